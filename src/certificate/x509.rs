//! X.509 certificates (RFC 5280): what matching, choosing and sending need to know of one.
//!
//! # Example
//!
//! ```
//! use cardcase::file::pem;
//! use cardcase::file::pkcs12::Limits;
//! use cardcase::manage::Certificate;
//!
//! # let file = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/server/issuing.pem"));
//! let contents = pem::read(file, "", &Limits::default())?;
//! let certificate = Certificate::from_der(contents.certificates[0].der.as_slice())?;
//! assert_eq!(certificate.subject().common_name(), "Fixture Issuing CA");
//! assert!(certificate.is_ca() && !certificate.is_self_issued());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::sync::OnceLock;

use rustls::{SignatureAlgorithm, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::certificate::name::{Name, NameKey, hexadecimal};
use crate::certificate::rsa_pss;
use crate::clock::Timestamp;
use crate::error::Error;

/// The SHA-256 of a certificate's DER, shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of this DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes the 32 bytes of a stored fingerprint.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first eight digits, enough to tell identities apart in a list.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hexadecimal(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The kind and size of a public key, and with it the signatures it can make.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// rsaEncryption, with the bits of its modulus.
    Rsa(usize),
    /// id-RSASSA-PSS (RFC 4055), with the bits of its modulus and what its parameters allow.
    RsaPss(usize, rsa_pss::Digests),
    /// secp256r1.
    EcP256,
    /// secp384r1.
    EcP384,
    /// secp521r1.
    EcP521,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// Anything else, by the short name of the algorithm where it has one, else its OID.
    Other(String),
}

impl KeyKind {
    /// The schemes a client can sign its CertificateVerify with, the preferred one first, as rustls orders them.
    pub fn schemes(&self) -> &'static [SignatureScheme] {
        use SignatureScheme as S;
        // aws-lc-rs signs with RSA keys of these sizes only
        let usable = |bits: &usize| (2048..=8192).contains(bits);
        match self {
            Self::Rsa(bits) if usable(bits) => &[
                S::RSA_PSS_SHA512,
                S::RSA_PSS_SHA384,
                S::RSA_PSS_SHA256,
                S::RSA_PKCS1_SHA512,
                S::RSA_PKCS1_SHA384,
                S::RSA_PKCS1_SHA256,
            ],
            Self::RsaPss(bits, digests) if usable(bits) => digests.schemes(),
            Self::EcP256 => &[S::ECDSA_NISTP256_SHA256],
            Self::EcP384 => &[S::ECDSA_NISTP384_SHA384],
            Self::EcP521 => &[S::ECDSA_NISTP521_SHA512],
            Self::Ed25519 => &[S::ED25519],
            _ => &[],
        }
    }

    /// The family of signature algorithms, in rustls's words.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        match self {
            Self::Rsa(_) | Self::RsaPss(..) => SignatureAlgorithm::RSA,
            Self::EcP256 | Self::EcP384 | Self::EcP521 => SignatureAlgorithm::ECDSA,
            Self::Ed25519 => SignatureAlgorithm::ED25519,
            Self::Other(_) => SignatureAlgorithm::Anonymous,
        }
    }

    pub(crate) fn of(spki: &SubjectPublicKeyInfo<'_>) -> Self {
        let oid = spki.algorithm.algorithm.to_id_string();
        let modulus_bits = || match spki.parsed() {
            Ok(PublicKey::RSA(rsa)) => rsa.key_size(),
            _ => 0,
        };
        match oid.as_str() {
            "1.2.840.113549.1.1.1" => Self::Rsa(modulus_bits()),
            // x509-parser does not look into these keys; the bits are those of the same RSAPublicKey
            rsa_pss::OID => {
                let digests = rsa_pss::Digests::of(spki.algorithm.parameters.as_ref());
                Self::RsaPss(rsa_bits(&spki.subject_public_key.data), digests)
            }
            "1.2.840.10045.2.1" => Self::of_curve(spki),
            "1.3.101.112" => Self::Ed25519,
            "1.3.101.113" => Self::Other("ed448".into()),
            "1.2.840.10040.4.1" => Self::Other("dsa".into()),
            _ => Self::Other(oid),
        }
    }

    fn of_curve(spki: &SubjectPublicKeyInfo<'_>) -> Self {
        let named = spki.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).map(|oid| oid.to_id_string());
        match named.as_deref() {
            Some("1.2.840.10045.3.1.7") => Self::EcP256,
            Some("1.3.132.0.34") => Self::EcP384,
            Some("1.3.132.0.35") => Self::EcP521,
            Some("1.3.132.0.10") => Self::Other("ec-secp256k1".into()),
            Some("1.3.132.0.33") => Self::Other("ec-p224".into()),
            Some(oid) => Self::Other(format!("ec-{oid}")),
            None => Self::Other("ec-explicit".into()),
        }
    }
}

/// `rsa-2048`, `ec-p256`, `ed25519`, ... as in docs/cli.md.
impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "rsa-{bits}"),
            Self::RsaPss(bits, _) => write!(f, "rsa-pss-{bits}"),
            Self::EcP256 => f.write_str("ec-p256"),
            Self::EcP384 => f.write_str("ec-p384"),
            Self::EcP521 => f.write_str("ec-p521"),
            Self::Ed25519 => f.write_str("ed25519"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// Bits of the modulus in a DER RSAPublicKey (RFC 8017 appendix A.1.1); 0 when it is none.
fn rsa_bits(der: &[u8]) -> usize {
    match x509_parser::public_key::RSAPublicKey::from_der(der) {
        Ok((_, key)) => key.key_size(),
        Err(_) => 0,
    }
}

/// A parsed certificate. Equal when the DER is.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    fingerprint: Fingerprint,
    subject: Name,
    issuer: Name,
    /// Preparing a name takes as long as parsing the rest, and showing a certificate does without.
    subject_key: OnceLock<NameKey>,
    issuer_key: OnceLock<NameKey>,
    serial: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
    key: KeyKind,
    public_key: Vec<u8>,
    version: u32,
    extensions: Extensions,
}

impl Certificate {
    /// Parses exactly one certificate.
    ///
    /// # Errors
    /// [`Error::Certificate`] with the place that does not parse, or when bytes follow the certificate.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let der = der.into();
        let damaged = |detail: String| Error::Certificate { detail };
        let (rest, x509) = X509Certificate::from_der(&der).map_err(|error| damaged(error.to_string()))?;
        if !rest.is_empty() {
            return Err(damaged(format!("{} bytes follow the certificate", rest.len())));
        }
        let (subject, issuer) = (Name::from_der(x509.subject().as_raw()), Name::from_der(x509.issuer().as_raw()));
        let mut extensions = Extensions::of(&x509);
        for email in x509.subject().iter_email().filter_map(|attribute| attribute.as_str().ok()) {
            if !extensions.emails.iter().any(|known| known == email) {
                extensions.emails.push(email.to_owned());
            }
        }
        Ok(Self {
            fingerprint: Fingerprint::of(&der),
            subject_key: OnceLock::new(),
            issuer_key: OnceLock::new(),
            subject,
            issuer,
            serial: x509.raw_serial().to_vec(),
            not_before: Timestamp(x509.validity().not_before.timestamp()),
            not_after: Timestamp(x509.validity().not_after.timestamp()),
            key: KeyKind::of(x509.public_key()),
            public_key: x509.public_key().subject_public_key.data.to_vec(),
            version: x509.version().0.saturating_add(1),
            extensions,
            der,
        })
    }

    /// The certificate as it came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whom it names.
    pub fn subject(&self) -> &Name {
        &self.subject
    }

    /// Who says so.
    pub fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// [`Name::key`] of the subject.
    pub fn subject_key(&self) -> NameKey {
        *self.subject_key.get_or_init(|| self.subject.key())
    }

    /// [`Name::key`] of the issuer.
    pub fn issuer_key(&self) -> NameKey {
        *self.issuer_key.get_or_init(|| self.issuer.key())
    }

    /// The serial number in hexadecimal, as encoded, without leading zero bytes.
    pub fn serial(&self) -> String {
        let zeros = self.serial.iter().take_while(|&&byte| byte == 0).count();
        match self.serial.get(zeros..) {
            Some([]) | None => "00".to_owned(),
            Some(significant) => hexadecimal(significant),
        }
    }

    /// First second it is valid.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Last second it is valid (RFC 5280 section 4.1.2.5: inclusive).
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it is valid at this time: neither expired nor not yet valid.
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&at)
    }

    /// Kind and size of the public key.
    pub fn key(&self) -> &KeyKind {
        &self.key
    }

    /// The bits of the subjectPublicKey, without the algorithm.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// 1, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether basicConstraints says it is a CA.
    pub fn is_ca(&self) -> bool {
        self.extensions.is_ca
    }

    /// Whether subject and issuer are the same name; what such a certificate says of itself proves nothing.
    pub fn is_self_issued(&self) -> bool {
        self.subject_key() == self.issuer_key()
    }

    /// The names of the key usages (RFC 5280 section 4.2.1.3); `None` without the extension.
    pub fn key_usage(&self) -> Option<Vec<&'static str>> {
        let bits = self.extensions.key_usage?;
        Some(KEY_USAGES.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, name)| *name).collect())
    }

    /// Whether the key may make signatures: keyUsage absent or with digitalSignature.
    pub fn allows_signing(&self) -> bool {
        self.extensions.key_usage.is_none_or(|bits| bits & 1 == 1)
    }

    /// The names, else OIDs, of the extended key usages (RFC 5280 section 4.2.1.12); `None` without the extension.
    pub fn extended_key_usage(&self) -> Option<&[String]> {
        self.extensions.extended_key_usage.as_deref()
    }

    /// Whether the certificate may authenticate a TLS client: extKeyUsage absent or with clientAuth. As in both
    /// browsers, anyExtendedKeyUsage alone does not do.
    pub fn allows_client_auth(&self) -> bool {
        self.extensions
            .extended_key_usage
            .as_ref()
            .is_none_or(|usages| usages.iter().any(|usage| usage == "clientAuth"))
    }

    /// E-mail addresses from the subject alternative name and the subject, each once.
    pub fn emails(&self) -> &[String] {
        &self.extensions.emails
    }

    /// Whether `self` could have been issued by `issuer`: the names chain, and the key identifiers do not contradict.
    pub fn could_be_issued_by(&self, issuer: &Certificate) -> bool {
        self.issuer_key() == issuer.subject_key()
            && match (&self.extensions.authority_key_identifier, &issuer.extensions.subject_key_identifier) {
                (Some(wanted), Some(found)) => wanted == found,
                _ => true,
            }
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} {})", self.fingerprint.short(), self.subject)
    }
}

/// What the extensions say. One that is there twice or does not parse is taken as forbidding what it governs.
#[derive(Clone, Default)]
struct Extensions {
    is_ca: bool,
    key_usage: Option<u16>,
    extended_key_usage: Option<Vec<String>>,
    /// From the subject alternative name, then from the subject.
    emails: Vec<String>,
    subject_key_identifier: Option<Vec<u8>>,
    authority_key_identifier: Option<Vec<u8>>,
}

impl Extensions {
    fn of(x509: &X509Certificate<'_>) -> Self {
        let mut found = Self::default();
        for extension in x509.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => found.is_ca = constraints.ca,
                ParsedExtension::KeyUsage(usage) => {
                    found.key_usage = Some(found.key_usage.map_or(usage.flags, |before| before & usage.flags));
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    found.extended_key_usage.get_or_insert_default().extend(usage_names(usage));
                }
                ParsedExtension::SubjectKeyIdentifier(id) => found.subject_key_identifier = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    found.authority_key_identifier = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in &names.general_names {
                        if let GeneralName::RFC822Name(email) = name {
                            found.emails.push((*email).to_owned());
                        }
                    }
                }
                ParsedExtension::ParseError { .. } => match extension.oid.to_id_string().as_str() {
                    "2.5.29.15" => found.key_usage = Some(0),
                    "2.5.29.37" => found.extended_key_usage = Some(Vec::new()),
                    _ => {}
                },
                _ => {}
            }
        }
        found
    }
}

/// RFC 5280 section 4.2.1.3, by bit number.
const KEY_USAGES: [&str; 9] = [
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
];

fn usage_names(usage: &x509_parser::extensions::ExtendedKeyUsage<'_>) -> Vec<String> {
    [
        (usage.any, "anyExtendedKeyUsage"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .map(|(_, name)| name.to_owned())
    .chain(usage.other.iter().map(|oid| oid.to_id_string()))
    .collect()
}

/// A prefix of a fingerprint as a person types it: 4 to 64 hexadecimal digits, colons allowed between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FingerprintPrefix(String);

impl FingerprintPrefix {
    /// The digits, lower-case, without colons.
    pub(crate) fn digits(&self) -> &str {
        &self.0
    }

    /// `None` of a text that is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|&c| c != ':').map(|c| c.to_ascii_lowercase()).collect();
        let is_prefix = (4..=64).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit());
        is_prefix.then_some(Self(digits))
    }
}
