//! A certification authority in a few lines, and stores with the certificates that it issued.
// The benches use parts of this file too
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cardcase::Store;
use cardcase::manage::Import;
use cardcase::manage::Name;
use cardcase::manage::Session;
use cardcase::manage::Timestamp;
use cardcase::manage::{Certificate, Fingerprint};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SignatureAlgorithm,
};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// 2026-11-22T14:30:00Z. Every certificate is valid at this time unless a test sets another validity.
pub const NOW: Timestamp = Timestamp(1_795_357_800);

/// In seconds.
pub const DAY: i64 = 86_400;

/// The parameters of a certificate for `common_name` that may authenticate a TLS client.
pub fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// The parameters of a CA certificate.
pub fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = params(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages.clear();
    params
}

/// Parameters with this validity.
pub fn valid(mut params: CertificateParams, from: Timestamp, until: Timestamp) -> CertificateParams {
    let at = |at: Timestamp| time::OffsetDateTime::from_unix_timestamp(at.0).unwrap();
    (params.not_before, params.not_after) = (at(from), at(until));
    params
}

pub fn expired(common_name: &str) -> CertificateParams {
    valid(params(common_name), Timestamp(NOW.0 - 20 * DAY), Timestamp(NOW.0 - 10 * DAY))
}

pub fn parse(certificate: &rcgen::Certificate) -> Certificate {
    Certificate::from_der(certificate.der().to_vec()).unwrap()
}

/// A CA with its key.
pub struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pub certificate: Certificate,
}

impl Ca {
    pub fn root(common_name: &str) -> Self {
        Self::root_of(ca_params(common_name))
    }

    pub fn root_of(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = parse(&params.self_signed(&key).unwrap());
        Self { params, key, certificate }
    }

    /// An intermediate under this CA.
    pub fn intermediate(&self, common_name: &str) -> Self {
        let (params, key) = (ca_params(common_name), KeyPair::generate().unwrap());
        let certificate = self.sign(params.clone(), &key);
        Self { params, key, certificate }
    }

    /// A root with the same key and these parameters.
    pub fn again(&self, params: CertificateParams) -> Self {
        let key = KeyPair::try_from(self.key.serialize_der()).unwrap();
        let certificate = parse(&params.self_signed(&key).unwrap());
        Self { params, key, certificate }
    }

    /// A certificate from this CA for the name and key of another CA.
    pub fn cross_sign(&self, other: &Ca) -> Certificate {
        self.sign(other.params.clone(), &other.key)
    }

    pub fn sign(&self, params: CertificateParams, key: &KeyPair) -> Certificate {
        parse(&params.signed_by(key, &Issuer::from_params(&self.params, &self.key)).unwrap())
    }

    /// A personal certificate with a P-256 key.
    pub fn leaf(&self, common_name: &str) -> Leaf {
        self.leaf_of(params(common_name))
    }

    pub fn leaf_of(&self, params: CertificateParams) -> Leaf {
        self.leaf_with(params, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub fn leaf_with(&self, params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Leaf {
        let key = KeyPair::generate_for(algorithm).unwrap();
        Leaf { certificate: self.sign(params, &key), pkcs8: key.serialize_der() }
    }

    pub fn name(&self) -> Name {
        self.certificate.subject().clone()
    }
}

/// A certificate with its key, not yet in a store.
#[derive(Clone)]
pub struct Leaf {
    pub certificate: Certificate,
    pub pkcs8: Vec<u8>,
}

impl Leaf {
    /// Signed by its own key, as `openssl req -x509` does.
    pub fn self_signed(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: parse(&params.self_signed(&key).unwrap()), pkcs8: key.serialize_der() }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }

    pub fn add_to(&self, import: &mut Import, friendly_name: Option<&str>) {
        let pkcs8 = Zeroizing::new(self.pkcs8.clone());
        import.add_identity(self.certificate.clone(), pkcs8, friendly_name).unwrap();
    }
}

/// An import of these certificates.
pub fn import<'a>(
    leaves: impl IntoIterator<Item = &'a Leaf>,
    authorities: impl IntoIterator<Item = &'a Certificate>,
) -> Import {
    let mut import = Import::default();
    leaves.into_iter().for_each(|leaf| leaf.add_to(&mut import, None));
    authorities.into_iter().for_each(|authority| import.add_authority(authority.clone()));
    import
}

/// A directory with a store file and a login session, which is removed on drop.
pub struct Home {
    directory: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn store_file(&self) -> PathBuf {
        self.path().join("data").join("cardcase.db")
    }

    pub fn session(&self) -> Session {
        Session::in_directory(self.session_directory())
    }

    pub fn session_directory(&self) -> PathBuf {
        self.path().join("session")
    }

    /// Opens the store again, as another process would.
    pub fn open(&self) -> Arc<Store> {
        Arc::new(Store::open_in_session(self.store_file(), self.session()).unwrap())
    }

    /// The store with these certificates in it.
    pub fn with<'a>(
        &self,
        leaves: impl IntoIterator<Item = &'a Leaf>,
        authorities: impl IntoIterator<Item = &'a Certificate>,
    ) -> Arc<Store> {
        let store = self.open();
        store.import(vec![import(leaves, authorities)], None, NOW).unwrap();
        store
    }

    /// A direct connection to the database.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.store_file()).unwrap()
    }
}
