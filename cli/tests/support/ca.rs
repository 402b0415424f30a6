//! A test CA: roots, intermediates, server certificates, client identities, and the files that
//! contain them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, RsaKeySize,
    SanType, SerialNumber, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};

use super::program;
use super::{fingerprint, missing};

/// The key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    P256,
    P384,
    P521,
    Rsa2048,
    Ed25519,
}

impl Key {
    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Key::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Key::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Key::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Key::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
            Key::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }

    pub fn generate(self) -> KeyPair {
        match self {
            Key::Rsa2048 => KeyPair::generate_rsa_for(self.algorithm(), RsaKeySize::_2048).unwrap(),
            // rcgen writes OneAsymmetricKey version 2 (RFC 8410), which OpenSSL 3.0 does not read
            Key::Ed25519 => ed25519_by_openssl(),
            _ => KeyPair::generate_for(self.algorithm()).unwrap(),
        }
    }

    /// The name in the command's JSON.
    pub fn name(self) -> &'static str {
        match self {
            Key::P256 => "ec-p256",
            Key::P384 => "ec-p384",
            Key::P521 => "ec-p521",
            Key::Rsa2048 => "rsa-2048",
            Key::Ed25519 => "ed25519",
        }
    }
}

/// When a certificate is valid, relative to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Now,
    /// Now, but for less than a month.
    Soon,
    Expired,
    NotYet,
    /// From and until so many days from now, and an hour later.
    Days(i64, i64),
}

impl Validity {
    pub fn period(self) -> (OffsetDateTime, OffsetDateTime) {
        let now = OffsetDateTime::now_utc();
        let (from, to) = match self {
            Validity::Now => (-30, 365),
            Validity::Soon => (-30, 20),
            Validity::Expired => (-30, -1),
            Validity::NotYet => (1, 365),
            Validity::Days(from, to) => {
                let hour = Duration::hours(1);
                return (now + Duration::days(from) + hour, now + Duration::days(to) + hour);
            }
        };
        (now + Duration::days(from), now + Duration::days(to))
    }
}

/// A CA certificate with its key and the CA certificates above it.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
    /// Intermediates from this one upwards; empty for a root.
    chain: Vec<Certificate>,
    root: Certificate,
}

impl Authority {
    pub fn root(name: &str) -> Authority {
        Authority::self_signed(authority_params(name))
    }

    /// A root with this subject.
    pub fn root_named(subject: DistinguishedName) -> Authority {
        let mut params = authority_params("");
        params.distinguished_name = subject;
        Authority::self_signed(params)
    }

    fn self_signed(params: CertificateParams) -> Authority {
        let key = Key::P256.generate();
        let certificate = params.self_signed(&key).unwrap();
        Authority { params, key, root: certificate.clone(), certificate, chain: Vec::new() }
    }

    /// A root with an empty subject, the shortest possible name in a certificate request.
    pub fn nameless_root(serial: u64) -> Authority {
        let mut params = authority_params("");
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from(serial));
        Authority::self_signed(params)
    }

    pub fn intermediate(&self, name: &str) -> Authority {
        self.certify(authority_params(name))
    }

    /// An intermediate with this subject.
    pub fn intermediate_named(&self, subject: DistinguishedName) -> Authority {
        let mut params = authority_params("");
        params.distinguished_name = subject;
        self.certify(params)
    }

    fn certify(&self, params: CertificateParams) -> Authority {
        let key = Key::P256.generate();
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        let mut chain = vec![certificate.clone()];
        chain.extend(self.chain.iter().cloned());
        Authority { params, key, certificate, chain, root: self.root.clone() }
    }

    /// The same authority and key, with its name as another program writes it in the certificates that it issues.
    pub fn renamed(&self, name: &str) -> Authority {
        let mut params = self.params.clone();
        params.distinguished_name = distinguished_name(name, &["Test Authorities"]);
        let key = KeyPair::try_from(self.key.serialize_der()).unwrap();
        let (certificate, chain, root) = (self.certificate.clone(), self.chain.clone(), self.root.clone());
        Authority { params, key, certificate, chain, root }
    }

    /// A certificate from this authority for the name and key of another authority, as PEM.
    pub fn cross_sign(&self, other: &Authority) -> String {
        other.params.signed_by(&other.key, &self.issuer()).unwrap().pem()
    }

    /// A revocation list with these certificates, in a file.
    pub fn revocations(&self, dir: &Path, revoked: &[&Issued]) -> PathBuf {
        let now = OffsetDateTime::now_utc();
        let entry = |issued: &&Issued| RevokedCertParams {
            serial_number: issued.certificate_serial(),
            revocation_time: now - Duration::days(1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now - Duration::days(1),
            next_update: now + Duration::days(1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        write(dir, "revocations", "pem", list.signed_by(&self.issuer()).unwrap().pem().unwrap())
    }

    /// A server certificate for these DNS names and addresses.
    pub fn server(&self, names: &[&str]) -> Issued {
        self.server_as(names, |_| ())
    }

    /// A server certificate that is altered before it is signed.
    pub fn server_as(&self, names: &[&str], alter: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = server_params(names);
        alter(&mut params);
        self.issue(names[0], &params, Key::P256)
    }

    /// A root that is altered before it is signed.
    pub fn root_as(name: &str, alter: impl FnOnce(&mut CertificateParams)) -> Authority {
        let mut params = authority_params(name);
        alter(&mut params);
        Authority::self_signed(params)
    }

    /// An intermediate that is altered before it is signed.
    pub fn intermediate_as(&self, name: &str, alter: impl FnOnce(&mut CertificateParams)) -> Authority {
        let mut params = authority_params(name);
        alter(&mut params);
        self.certify(params)
    }

    /// A server certificate with this key, also for key exchange by RSA.
    pub fn server_with_key(&self, key: Key, names: &[&str]) -> Issued {
        let mut params = server_params(names);
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        self.issue(names[0], &params, key)
    }

    /// A builder for a client identity.
    pub fn client(&self, name: &str) -> Client<'_> {
        Client {
            authority: self,
            name: name.to_owned(),
            key: Key::P256,
            validity: Validity::Now,
            key_usages: vec![KeyUsagePurpose::DigitalSignature],
            extended_key_usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
            email: None,
            serial: None,
            is_ca: false,
            names_key: false,
        }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    pub fn fingerprint(&self) -> String {
        fingerprint(self.der())
    }

    /// The certificate in a file, for `-CAfile`, `--cacert` and the like.
    pub fn file(&self, dir: &Path) -> PathBuf {
        pem_file(dir, "authority", &[&self.certificate])
    }

    /// Its private key in a file, for another program that issues certificates.
    pub fn key_file(&self, dir: &Path) -> PathBuf {
        write(dir, "authority-key", "pem", self.key.serialize_pem())
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn issue(&self, name: &str, params: &CertificateParams, key: Key) -> Issued {
        let key = key.generate();
        Issued {
            name: name.to_owned(),
            certificate: params.signed_by(&key, &self.issuer()).unwrap(),
            key,
            chain: self.chain.clone(),
            root: Some(self.root.clone()),
        }
    }
}

/// A server certificate signed by its own key, altered before.
pub fn own_server(names: &[&str], alter: impl FnOnce(&mut CertificateParams)) -> Issued {
    let (mut params, key) = (server_params(names), Key::P256.generate());
    alter(&mut params);
    let certificate = params.self_signed(&key).unwrap();
    Issued { name: names[0].to_owned(), certificate, key, chain: Vec::new(), root: None }
}

fn server_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params.distinguished_name = distinguished_name(&names[0], &[]);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = Validity::Now.period();
    params
}

/// The fingerprint of the certificate in a PEM text.
pub fn fingerprint_of_pem(text: &str) -> String {
    fingerprint(CertificateDer::from_pem_slice(text.as_bytes()).unwrap().as_ref())
}

/// Several authorities in one PEM file.
pub fn authorities_file(dir: &Path, authorities: &[&Authority]) -> PathBuf {
    let certificates: Vec<_> = authorities.iter().map(|each| &each.certificate).collect();
    pem_file(dir, "authorities", &certificates)
}

/// The properties of a client certificate.
#[derive(Clone)]
pub struct Client<'a> {
    authority: &'a Authority,
    name: String,
    key: Key,
    validity: Validity,
    key_usages: Vec<KeyUsagePurpose>,
    extended_key_usages: Vec<ExtendedKeyUsagePurpose>,
    email: Option<String>,
    serial: Option<Vec<u8>>,
    is_ca: bool,
    names_key: bool,
}

impl Client<'_> {
    pub fn key(mut self, key: Key) -> Self {
        self.key = key;
        self
    }

    pub fn validity(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// The key usages. Without any, the extension is omitted.
    pub fn key_usages(mut self, usages: &[KeyUsagePurpose]) -> Self {
        self.key_usages = usages.to_vec();
        self
    }

    /// The extended key usages. Without any, the extension is omitted.
    pub fn extended_key_usages(mut self, usages: &[ExtendedKeyUsagePurpose]) -> Self {
        self.extended_key_usages = usages.to_vec();
        self
    }

    pub fn email(mut self, email: &str) -> Self {
        self.email = Some(email.to_owned());
        self
    }

    pub fn serial(mut self, serial: &[u8]) -> Self {
        self.serial = Some(serial.to_vec());
        self
    }

    /// A CA certificate used as a client's, as `openssl req -x509` makes them.
    pub fn ca(mut self) -> Self {
        self.is_ca = true;
        self
    }

    /// With an authorityKeyIdentifier that was computed in another way than the CA's subjectKeyIdentifier.
    pub fn names_key_of_issuer(mut self) -> Self {
        self.names_key = true;
        self
    }

    pub fn issue(self) -> Issued {
        let params = self.params();
        if !self.names_key {
            return self.authority.issue(&self.name, &params, self.key);
        }
        let mut issuer = self.authority.params.clone();
        issuer.key_identifier_method = KeyIdMethod::Sha256;
        let key = self.key.generate();
        let certificate = params.signed_by(&key, &Issuer::from_params(&issuer, &self.authority.key)).unwrap();
        let (chain, root) = (self.authority.chain.clone(), Some(self.authority.root.clone()));
        Issued { name: self.name, certificate, key, chain, root }
    }

    pub fn self_signed(self) -> Issued {
        let key = self.key.generate();
        let certificate = self.params().self_signed(&key).unwrap();
        Issued { name: self.name, certificate, key, chain: Vec::new(), root: None }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(&self.name, &["Test Clients"]);
        params.key_usages = self.key_usages.clone();
        params.extended_key_usages = self.extended_key_usages.clone();
        params.serial_number = self.serial.clone().map(SerialNumber::from);
        params.use_authority_key_identifier_extension = self.names_key;
        (params.not_before, params.not_after) = self.validity.period();
        if self.is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        if let Some(email) = &self.email {
            params.subject_alt_names = vec![SanType::Rfc822Name(email.as_str().try_into().unwrap())];
        }
        params
    }
}

/// The ciphers of a `.p12` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum P12 {
    /// PBES2, AES-256, SHA-256 MAC.
    Default,
    /// RC2-40, 3DES, SHA-1.
    Legacy,
    /// Like `Default`, with this many rounds of each key derivation.
    Rounds(u32),
}

/// The password of every `.p12` file in the tests.
pub const PASSWORD: &str = "cardcase";

/// A certificate with its key and its chain.
pub struct Issued {
    pub name: String,
    certificate: Certificate,
    key: KeyPair,
    /// The intermediates, nearest first; never the root.
    chain: Vec<Certificate>,
    root: Option<Certificate>,
}

impl Issued {
    pub fn fingerprint(&self) -> String {
        fingerprint(self.certificate.der())
    }

    /// The fingerprints of what a server must receive: leaf and intermediates, without the root.
    pub fn sent_chain(&self) -> Vec<String> {
        let certificates = std::iter::once(&self.certificate).chain(&self.chain);
        certificates.map(|each| fingerprint(each.der())).collect()
    }

    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub fn key_der(&self) -> Vec<u8> {
        self.key.serialize_der()
    }

    fn certificate_serial(&self) -> SerialNumber {
        let (_, parsed) = x509_parser::parse_x509_certificate(self.der()).unwrap();
        SerialNumber::from_slice(parsed.raw_serial())
    }

    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::pem).collect()
    }

    /// Certificate and chain in one file, for a server or `curl --cert`.
    pub fn certificate_file(&self, dir: &Path) -> PathBuf {
        write(dir, "certificate", "pem", self.pem() + &self.chain_pem())
    }

    pub fn key_file(&self, dir: &Path) -> PathBuf {
        write(dir, "key", "pem", self.key_pem())
    }

    /// Key, certificate and chain in one PEM file, which `import` reads too.
    pub fn pem_file(&self, dir: &Path) -> PathBuf {
        write(dir, "identity", "pem", self.key_pem() + &self.pem() + &self.chain_pem())
    }

    /// A `.p12` file by `openssl pkcs12`, with chain, root and friendly name.
    pub fn p12(&self, dir: &Path, form: P12) -> PathBuf {
        self.p12_with_password(dir, form, PASSWORD)
    }

    pub fn p12_with_password(&self, dir: &Path, form: P12, password: &str) -> PathBuf {
        let root = self.root.iter().map(Certificate::pem).collect::<String>();
        let above = write(dir, "above", "pem", self.chain_pem() + &root);
        let file = unused(dir, "identity", "p12");
        let mut command = program::named("openssl");
        command.args(["pkcs12", "-export", "-name", &self.name, "-passout"]);
        command.arg(format!("pass:{password}")).arg("-out").arg(&file);
        command.arg("-in").arg(write(dir, "leaf", "pem", self.pem()));
        command.arg("-inkey").arg(self.key_file(dir));
        if !self.chain.is_empty() || self.root.is_some() {
            command.arg("-certfile").arg(above);
        }
        match form {
            P12::Default => {}
            P12::Legacy => drop(command.arg("-legacy")),
            P12::Rounds(rounds) => drop(command.arg("-iter").arg(rounds.to_string())),
        }
        run(command, "openssl", "openssl");
        file
    }
}

fn ed25519_by_openssl() -> KeyPair {
    KeyPair::try_from(openssl("genpkey -algorithm ed25519 -outform DER")).unwrap()
}

/// Runs openssl with the words of `line` as arguments and returns what it writes to stdout.
pub fn openssl(line: &str) -> Vec<u8> {
    let mut command = program::named("openssl");
    command.args(line.split_whitespace());
    run(command, "openssl", "openssl")
}

/// Runs the command and returns what it writes to stdout.
fn run(mut command: Command, program: &str, package: &str) -> Vec<u8> {
    let output =
        command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{}", missing(program, package, &error)));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(name, &["Test Authorities"]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = Validity::Now.period();
    // A CA certificate must not expire before the certificates below it
    params.not_before -= Duration::days(365);
    params.not_after += Duration::days(365);
    params
}

fn distinguished_name(common_name: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for organization in organizations {
        name.push(DnType::OrganizationName, *organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn pem_file(dir: &Path, stem: &str, certificates: &[&Certificate]) -> PathBuf {
    write(dir, stem, "pem", certificates.iter().map(|each| each.pem()).collect::<String>())
}

/// Writes a new file in `dir` with a unique name.
pub fn write(dir: &Path, stem: &str, extension: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let file = unused(dir, stem, extension);
    std::fs::write(&file, content).unwrap();
    file
}

pub fn unused(dir: &Path, stem: &str, extension: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    dir.join(format!("{stem}-{}.{extension}", COUNT.fetch_add(1, Ordering::Relaxed)))
}
