//! Identities: a certificate with the private key that fits it and the CA certificates that came along.
//!
//! # Example
//!
//! ```
//! use cardcase::file::pkcs12;
//! use cardcase::manage::Import;
//!
//! # let file = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/identities/openssl.p12"));
//! let contents = pkcs12::read(file, "cardcase", &pkcs12::Limits::default())?;
//! let import = Import::from_contents(contents)?;
//! assert_eq!(import.identities[0].friendly_name.as_deref(), Some("Alice Example's card"));
//! assert_eq!(import.authorities.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use der::asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use pkcs8::PrivateKeyInfoRef;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use crate::certificate::name::NameKey;
use crate::certificate::rsa_pss;
use crate::certificate::rsa_pss::PssKey;
use crate::certificate::{Certificate, Fingerprint, KeyKind};
use crate::error::Error;
use crate::file::pkcs12;
use crate::file::pkcs12::{CertificateBag, Contents, PassedOver};

/// An identity of the store. Its private key stays there, sealed, until a handshake needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: String,
    certificate: Certificate,
    requires_tls13: bool,
}

impl Identity {
    pub(crate) fn new(name: String, certificate: Certificate, requires_tls13: bool) -> Self {
        Self { name, certificate, requires_tls13 }
    }

    /// What the person calls it; unique in its store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The certificate of its key.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Whether it goes out in TLS 1.3 only, where nobody on the way can read it.
    pub fn requires_tls13(&self) -> bool {
        self.requires_tls13
    }

    /// Checks that `new` is this identity renewed: of the same subject and issuer, for the same usages, and valid longer.
    ///
    /// # Errors
    /// [`Error::NotARenewal`], with what they do not share.
    pub fn check_renewed_by(&self, new: &Identity) -> Result<(), Error> {
        let (before, after) = (&self.certificate, &new.certificate);
        let checks = [
            (before.fingerprint() != after.fingerprint(), "it is the same certificate"),
            (before.subject_key() == after.subject_key(), "they have different subjects"),
            (before.issuer_key() == after.issuer_key(), "they have different issuers"),
            (before.key_usage() == after.key_usage(), "they have different key usages"),
            (before.extended_key_usage() == after.extended_key_usage(), "they have different extended key usages"),
            (before.not_after() < after.not_after(), "it is not valid for longer"),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, reason)) => Err(Error::NotARenewal { new: new.name.clone(), old: self.name.clone(), reason }),
        }
    }

    /// The fingerprint of its certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }
}

/// A private key as DER PrivateKeyInfo (RFC 5958), wiped from memory when dropped.
pub struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    /// Takes the DER of a PrivateKeyInfo.
    pub fn from_pkcs8(der: Zeroizing<Vec<u8>>) -> Self {
        Self(der)
    }

    /// The DER of the PrivateKeyInfo.
    pub fn pkcs8(&self) -> &[u8] {
        &self.0
    }

    /// Gives the DER of the PrivateKeyInfo away.
    pub(crate) fn into_pkcs8(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// Makes it usable for handshakes, if its public half is that of `certificate`.
    ///
    /// # Errors
    /// [`Error::KeyMismatch`] when it is another certificate's key, [`Error::UnusableKey`] when rustls cannot sign with it.
    pub fn signing_key(&self, certificate: &Certificate) -> Result<Arc<dyn SigningKey>, Error> {
        let unusable = |detail: String| Error::UnusableKey { key: certificate.key().to_string(), detail };
        let key = self.load().map_err(|error| unusable(error.to_string()))?;
        let public = public_key_of(&*key).ok_or_else(|| unusable("its public half is not known".to_owned()))?;
        if public != certificate.public_key() {
            return Err(Error::KeyMismatch { subject: certificate.subject().to_string() });
        }
        match certificate.key() {
            KeyKind::RsaPss(_, digests) if digests.schemes().is_empty() => {
                Err(unusable("its parameters allow no signature that TLS has".to_owned()))
            }
            KeyKind::RsaPss(_, digests) => Ok(Arc::new(PssKey::new(key, *digests))),
            _ if self.info().as_ref().is_some_and(is_rsa_pss) => {
                Err(unusable("it is for RSASSA-PSS alone, its certificate is not".to_owned()))
            }
            _ => Ok(key),
        }
    }

    /// Checks that its public half is that of `certificate`, also where no handshake can use it.
    ///
    /// # Errors
    /// [`Error::KeyMismatch`] when it is another certificate's key, [`Error::UnusableKey`] when that cannot be known.
    pub(crate) fn check_fits(&self, certificate: &Certificate) -> Result<(), Error> {
        match self.signing_key(certificate) {
            Err(Error::UnusableKey { .. }) if self.public_key().as_deref() == Some(certificate.public_key()) => Ok(()),
            checked => checked.map(drop),
        }
    }

    /// Makes it sign, whatever it is the key of.
    pub(crate) fn load(&self) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        // aws-lc-rs refuses the algorithm's name, not the RSAPrivateKey behind it
        match self.info().filter(is_rsa_pss) {
            Some(info) => any_supported_type(&PrivateKeyDer::Pkcs1(info.private_key.as_bytes().into())),
            None => any_supported_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8()))),
        }
    }

    fn info(&self) -> Option<PrivateKeyInfoRef<'_>> {
        PrivateKeyInfoRef::from_der(self.pkcs8()).ok()
    }

    /// The bits of its public half: computed where rustls knows the kind of key, else as the key itself has them.
    fn public_key(&self) -> Option<Vec<u8>> {
        self.computed_public_key().or_else(|| self.claimed_public_key())
    }

    fn claimed_public_key(&self) -> Option<Vec<u8>> {
        let info = self.info()?;
        match info.algorithm.oid.to_string().as_str() {
            "1.2.840.113549.1.1.1" | rsa_pss::OID => rsa_public_key(info.private_key.as_bytes()),
            // A compressed point is not what certificates have
            "1.2.840.10045.2.1" => ec_public_key(info.private_key.as_bytes()).filter(|point| point.first() == Some(&4)),
            _ => info.public_key.map(|bits| bits.raw_bytes().to_vec()),
        }
    }

    fn computed_public_key(&self) -> Option<Vec<u8>> {
        public_key_of(&*self.load().ok()?)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

fn is_rsa_pss(info: &PrivateKeyInfoRef<'_>) -> bool {
    info.algorithm.oid.to_string() == rsa_pss::OID
}

fn public_key_of(key: &dyn SigningKey) -> Option<Vec<u8>> {
    let spki = key.public_key()?;
    let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki).ok()?;
    Some(parsed.subject_public_key.data.to_vec())
}

/// RSAPublicKey out of RSAPrivateKey (RFC 8017 appendix A.1.2): both begin with the same two numbers.
fn rsa_public_key(private: &[u8]) -> Option<Vec<u8>> {
    let whole = AnyRef::from_der(private).ok()?;
    let mut fields = SliceReader::new(whole.value()).ok()?;
    let _version = UintRef::decode(&mut fields).ok()?;
    let numbers = [UintRef::decode(&mut fields).ok()?, UintRef::decode(&mut fields).ok()?];
    let body = [numbers[0].to_der().ok()?, numbers[1].to_der().ok()?].concat();
    AnyRef::new(Tag::Sequence, &body).ok()?.to_der().ok()
}

/// The optional publicKey of an ECPrivateKey (RFC 5915).
fn ec_public_key(private: &[u8]) -> Option<Vec<u8>> {
    let whole = AnyRef::from_der(private).ok()?;
    let mut fields = SliceReader::new(whole.value()).ok()?;
    let _version = UintRef::decode(&mut fields).ok()?;
    let _private = <&OctetStringRef>::decode(&mut fields).ok()?;
    while !fields.is_finished() {
        let field = AnyRef::decode(&mut fields).ok()?;
        if let Tag::ContextSpecific { number: TagNumber(1), .. } = field.tag() {
            return BitStringRef::from_der(field.value()).ok().map(|bits| bits.raw_bytes().to_vec());
        }
    }
    None
}

/// An identity on its way into a store: the key is in hand, and fits.
#[derive(Debug)]
#[non_exhaustive]
pub struct NewIdentity {
    /// The certificate.
    pub certificate: Certificate,
    /// Its private key.
    pub key: PrivateKey,
    /// What the file calls it.
    pub friendly_name: Option<String>,
}

/// What a file brings: identities, each whole, and the CA certificates of their chains.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Import {
    /// Certificates with their keys.
    pub identities: Vec<NewIdentity>,
    /// CA certificates.
    pub authorities: Vec<Certificate>,
}

impl NewIdentity {
    /// A certificate with its private key, if it is that.
    ///
    /// # Errors
    /// [`Error::KeyMismatch`] when it is another certificate's key, [`Error::UnusableKey`] when that cannot be known.
    pub fn new(certificate: Certificate, key: PrivateKey, friendly_name: Option<String>) -> Result<Self, Error> {
        key.check_fits(&certificate)?;
        Ok(Self { certificate, key, friendly_name })
    }
}

impl Import {
    /// What did not come from a file.
    pub fn new(identities: Vec<NewIdentity>, authorities: Vec<Certificate>) -> Self {
        Self { identities, authorities }
    }

    /// Pairs keys with certificates: by the public key, and where that cannot be known by localKeyId, or because there is
    /// but one that is no CA's. A localKeyId that contradicts the public keys is ignored; files with wrong ones exist.
    ///
    /// # Errors
    /// [`Error::KeyWithoutCertificate`], [`Error::CertificateWithoutKey`], [`Error::EmptyFile`], [`Error::Certificate`];
    /// [`pkcs12::Error::ContentPassword`] when a part of the file has another password: a file comes in whole or not at
    /// all.
    pub fn from_contents(contents: Contents) -> Result<Self, Error> {
        let locked = |passed: &PassedOver| matches!(passed, PassedOver::LockedKey { .. } | PassedOver::LockedSafe);
        if contents.passed_over.iter().any(locked) {
            return Err(Error::Pkcs12(pkcs12::Error::ContentPassword));
        }
        let certificates = distinct(contents.certificates)?;
        if certificates.is_empty() && contents.keys.is_empty() {
            return Err(Error::EmptyFile);
        }
        let mut import = Self::default();
        let mut paired = HashSet::new();
        let by_public_key = by_public_key(&certificates);
        for bag in contents.keys {
            let key = PrivateKey::from_pkcs8(bag.pkcs8);
            let fitting = match key.public_key() {
                Some(public) => by_public_key.get(public.as_slice()).cloned().unwrap_or_default(),
                None => fitting(bag.local_key_id.as_deref(), &certificates),
            };
            if fitting.is_empty() {
                return Err(Error::KeyWithoutCertificate { name: bag.friendly_name });
            }
            for (certificate, name, _) in fitting {
                if paired.insert(certificate.fingerprint()) {
                    import.identities.push(NewIdentity {
                        certificate: certificate.clone(),
                        key: PrivateKey(key.0.clone()),
                        friendly_name: bag.friendly_name.clone().or_else(|| name.clone()),
                    });
                }
            }
        }
        import.authorities = authorities_among(certificates, &paired)?;
        Ok(import)
    }
}

/// A certificate of the file, with its friendlyName and its localKeyId.
type Named = (Certificate, Option<String>, Option<Vec<u8>>);

/// The certificates of a file, each once.
fn distinct(bags: Vec<CertificateBag>) -> Result<Vec<Named>, Error> {
    let mut seen = HashSet::new();
    let mut certificates = Vec::new();
    for bag in bags {
        let certificate = Certificate::from_der(bag.der)?;
        if seen.insert(certificate.fingerprint()) {
            certificates.push((certificate, bag.friendly_name, bag.local_key_id));
        }
    }
    Ok(certificates)
}

/// The certificates by their public keys: a file may have thousands.
fn by_public_key(certificates: &[Named]) -> HashMap<&[u8], Vec<&Named>> {
    let mut sorted: HashMap<&[u8], Vec<&Named>> = HashMap::new();
    for named in certificates {
        sorted.entry(named.0.public_key()).or_default().push(named);
    }
    sorted
}

/// The certificates of a key whose public half is not known: those with its localKeyId, else the only one of no CA.
fn fitting<'a>(local_key_id: Option<&[u8]>, certificates: &'a [Named]) -> Vec<&'a Named> {
    let by_id = |(_, _, id): &&Named| local_key_id.is_some_and(|wanted| id.as_deref() == Some(wanted));
    let linked: Vec<&Named> = certificates.iter().filter(by_id).collect();
    if !linked.is_empty() {
        return linked;
    }
    let leaves: Vec<&Named> = certificates.iter().filter(|(certificate, ..)| !certificate.is_ca()).collect();
    match (leaves.as_slice(), certificates) {
        ([only], _) => vec![only],
        (_, [only]) => vec![only],
        _ => Vec::new(),
    }
}

/// What is left beside the identities: CA certificates, by basicConstraints or, as version 1 has none, because they
/// issued another certificate of the file.
fn authorities_among(certificates: Vec<Named>, paired: &HashSet<Fingerprint>) -> Result<Vec<Certificate>, Error> {
    let issuers: HashSet<NameKey> = certificates
        .iter()
        .filter(|(certificate, ..)| !certificate.is_self_issued())
        .map(|(certificate, ..)| certificate.issuer_key())
        .collect();
    let mut authorities = Vec::new();
    for (certificate, ..) in certificates {
        let is_identity = paired.contains(&certificate.fingerprint());
        if issuers.contains(&certificate.subject_key()) || certificate.is_ca() && !is_identity {
            authorities.push(certificate);
        } else if !is_identity {
            return Err(Error::CertificateWithoutKey { subject: certificate.subject().to_string() });
        }
    }
    Ok(authorities)
}
