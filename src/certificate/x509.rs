//! X.509 certificates (RFC 5280): what is needed to match, choose and send them.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "files")] {
//! use cardcase::file;
//!
//! # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/server/issuing.pem"));
//! let import = file::read(bytes, "")?;
//! let certificate = import.certificates().next().unwrap();
//! assert_eq!(certificate.subject().common_name(), "Fixture Issuing CA");
//! assert!(certificate.is_ca() && !certificate.is_self_issued());
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

use data_encoding::HEXLOWER;
use rustls::SignatureScheme;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE};
use x509_parser::prelude::{FromDer, X509Certificate, X509Error};

use crate::certificate::name::{Name, NameKey, Names};
use crate::certificate::public_key::Algorithm;
use crate::certificate::{Fingerprint, KeyKind, signature};
use crate::clock::Timestamp;
use crate::error::Error;

/// A parsed certificate. Two are equal if their DER is equal.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    fingerprint: Fingerprint,
    subject: Name,
    issuer: Name,
    /// Computed only when needed: it takes as long as parsing everything else.
    subject_key: OnceLock<NameKey>,
    issuer_key: OnceLock<NameKey>,
    self_signed: OnceLock<bool>,
    serial: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
    key: KeyKind,
    algorithm: Algorithm,
    public_key: Vec<u8>,
    version: u32,
    extensions: Extensions,
}

impl Certificate {
    /// Parses exactly one certificate.
    ///
    /// # Errors
    /// [`Error::Certificate`] when it does not parse, or when bytes follow it.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let der = der.into();
        let damaged = |detail: String| Error::Certificate { detail };
        let (rest, x509) = X509Certificate::from_der(&der).map_err(|error| damaged(told(&error)))?;
        if !rest.is_empty() {
            return Err(damaged(match rest.len() {
                1 => "a byte follows the certificate".to_owned(),
                number => format!("{number} bytes follow the certificate"),
            }));
        }
        let algorithm = Algorithm::from_spki(x509.public_key());
        let (subject, issuer) = (Name::from_der(x509.subject().as_raw()), Name::from_der(x509.issuer().as_raw()));
        let mut extensions = Extensions::from_x509(&x509);
        for email in x509.subject().iter_email().filter_map(|attribute| attribute.as_str().ok()) {
            if !extensions.emails.iter().any(|known| known == email) {
                extensions.emails.push(email.to_owned());
            }
        }
        Ok(Self {
            fingerprint: Fingerprint::from_der(&der),
            subject_key: OnceLock::new(),
            issuer_key: OnceLock::new(),
            self_signed: OnceLock::new(),
            subject,
            issuer,
            serial: x509.raw_serial().to_vec(),
            not_before: Timestamp(x509.validity().not_before.timestamp()),
            not_after: Timestamp(x509.validity().not_after.timestamp()),
            key: KeyKind::new(algorithm, x509.public_key()),
            algorithm,
            public_key: x509.public_key().subject_public_key.data.to_vec(),
            version: x509.version().0.saturating_add(1),
            extensions,
            der,
        })
    }

    /// The DER that it was parsed from.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The subject.
    pub fn subject(&self) -> &Name {
        &self.subject
    }

    /// The issuer.
    pub fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// [`Name::key`] of the subject.
    pub(crate) fn subject_key(&self) -> NameKey {
        *self.subject_key.get_or_init(|| self.subject.key())
    }

    /// [`Name::key`] of the issuer.
    pub(crate) fn issuer_key(&self) -> NameKey {
        *self.issuer_key.get_or_init(|| self.issuer.key())
    }

    /// The serial number in hexadecimal, as encoded, without leading zero bytes.
    pub fn serial(&self) -> String {
        let zeros = self.serial.iter().take_while(|&&byte| byte == 0).count();
        match self.serial.get(zeros..) {
            Some([]) | None => "00".to_owned(),
            Some(significant) => HEXLOWER.encode(significant),
        }
    }

    /// The contents of the serial number, as encoded.
    #[cfg(feature = "files")]
    pub(crate) fn raw_serial(&self) -> &[u8] {
        &self.serial
    }

    /// The first second of its validity.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second of its validity (RFC 5280 section 4.1.2.5: inclusive).
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

    /// The schemes that a client can sign its CertificateVerify with in rustls (RFC 8446 section 4.4.3), in the order rustls
    /// prefers them. This does not say whether rustls can load the private key.
    pub fn schemes(&self) -> impl Iterator<Item = SignatureScheme> + use<> {
        self.algorithm.schemes()
    }

    /// The algorithm of the public key.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bits of the subjectPublicKey, without the algorithm.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The same in the one form that is equal for equal keys: certificates may have compressed points, or padded numbers.
    pub(crate) fn canonical_public_key(&self) -> Cow<'_, [u8]> {
        self.algorithm.canonical(&self.public_key)
    }

    /// The version: 1, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether basicConstraints says it is a CA.
    pub fn is_ca(&self) -> bool {
        self.extensions.is_ca
    }

    /// Whether subject and issuer are the same name.
    pub fn is_self_issued(&self) -> bool {
        self.subject_key() == self.issuer_key()
    }

    /// The names of the key usages (RFC 5280 section 4.2.1.3). `None` without the extension.
    pub fn key_usage(&self) -> Option<Vec<&'static str>> {
        let bits = self.extensions.key_usage?;
        Some(KEY_USAGES.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, name)| *name).collect())
    }

    /// Whether the key may make signatures: keyUsage is absent or has digitalSignature.
    pub fn allows_signing(&self) -> bool {
        self.extensions.key_usage.is_none_or(|bits| bits & 1 == 1)
    }

    /// The names, or else the object identifiers, of the extended key usages (RFC 5280 section 4.2.1.12). `None` without the
    /// extension.
    pub fn extended_key_usage(&self) -> Option<&[String]> {
        self.extensions.extended_key_usage.as_deref()
    }

    /// Whether the certificate may authenticate a TLS client: extKeyUsage is absent or has clientAuth. As in both browsers,
    /// anyExtendedKeyUsage alone is not enough.
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

    /// Whether subject and issuer are the same name, and the certificate is signed with its own key as far as that can be
    /// checked: a root. A CA that certifies its new key with its old one is self-issued, but not self-signed (RFC 5280 section
    /// 3.2).
    pub fn is_self_signed(&self) -> bool {
        *self.self_signed.get_or_init(|| self.is_self_issued() && self.is_signed_by(self) != Some(false))
    }

    /// Whether it may issue certificates: basicConstraints says it is a CA and keyUsage, if present, has keyCertSign (RFC 5280
    /// section 4.2.1.3); or it is a self-issued certificate of version 1, as old roots are.
    pub fn may_issue(&self) -> bool {
        match self.version {
            1 => self.is_self_issued(),
            _ => self.is_ca() && self.extensions.key_usage.is_none_or(|bits| bits & KEY_CERT_SIGN != 0),
        }
    }

    /// Whether `issuer` could have issued this certificate: the names match, and no signature that can be checked proves
    /// otherwise. A key identifier that differs does not count: it is a hint (RFC 5280 section 4.2.1.1).
    pub fn could_be_issued_by(&self, issuer: &Certificate) -> bool {
        self.issuer_key() == issuer.subject_key() && self.is_signed_by(issuer) != Some(false)
    }

    /// Whether the key of `issuer` made its signature. `None` if that cannot be checked: the algorithm is old, or the kind or size
    /// of the key is not supported.
    pub(crate) fn is_signed_by(&self, issuer: &Certificate) -> Option<bool> {
        if let KeyKind::Rsa(bits) | KeyKind::RsaPss(bits) = issuer.key
            && !(2048..=8192).contains(&bits)
        {
            return None;
        }
        let (_, parsed) = X509Certificate::from_der(&issuer.der).ok()?;
        signature::verifies(&self.der, parsed.public_key().raw)
    }

    /// Whether rustls can check signatures by this kind of key.
    pub(crate) fn has_supported_key(&self) -> bool {
        let parsed = X509Certificate::from_der(&self.der);
        parsed.is_ok_and(|(_, parsed)| signature::is_supported(parsed.public_key().raw))
    }

    /// The key of its issuer, as its authorityKeyIdentifier has it (RFC 5280 section 4.2.1.1).
    pub(crate) fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.extensions.authority_key_identifier.as_deref()
    }

    /// Takes a name key that was computed for an equal issuer.
    pub(crate) fn know_issuer_key(&self, key: NameKey) {
        let _ = self.issuer_key.set(key);
    }

    /// Whether its authorityKeyIdentifier is the subjectKeyIdentifier of `issuer`. `None` if one of them is absent.
    pub(crate) fn names_key_of(&self, issuer: &Certificate) -> Option<bool> {
        let wanted = self.extensions.authority_key_identifier.as_ref()?;
        Some(wanted == issuer.extensions.subject_key_identifier.as_ref()?)
    }

    /// The hosts and addresses of the servers that it is for: dNSName and iPAddress of its subjectAltName (RFC 5280 section
    /// 4.2.1.6). The common name does not count (RFC 9525 section 2).
    pub fn server_names(&self) -> &[String] {
        &self.extensions.server_names
    }

    /// Whether it may authenticate a TLS server: extKeyUsage is absent or has serverAuth, and keyUsage is absent or has
    /// digitalSignature, keyEncipherment or keyAgreement.
    pub(crate) fn allows_server_auth(&self) -> bool {
        self.extensions
            .extended_key_usage
            .as_ref()
            .is_none_or(|usages| usages.iter().any(|usage| usage == "serverAuth"))
            && self.extensions.key_usage.is_none_or(|bits| bits & SERVER_KEY_USAGES != 0)
    }
}

impl<'a> From<&'a Certificate> for Names<'a> {
    fn from(certificate: &'a Certificate) -> Self {
        Self { issuer: &certificate.issuer, subject: &certificate.subject }
    }
}

/// What the parser says of a certificate, in words.
fn told(error: &x509_parser::nom::Err<X509Error>) -> String {
    use x509_parser::nom::Err;
    match error {
        Err::Incomplete(_) => "it is cut short".to_owned(),
        Err::Error(X509Error::Der(_) | X509Error::NomError(_))
        | Err::Failure(X509Error::Der(_) | X509Error::NomError(_)) => "it is not DER".to_owned(),
        Err::Error(error) | Err::Failure(error) => error.to_string(),
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

/// What the extensions say. An extension that is repeated or does not parse forbids what it controls.
#[derive(Clone, Default)]
struct Extensions {
    is_ca: bool,
    key_usage: Option<u16>,
    extended_key_usage: Option<Vec<String>>,
    /// From the subject alternative name, then from the subject.
    emails: Vec<String>,
    server_names: Vec<String>,
    subject_key_identifier: Option<Vec<u8>>,
    authority_key_identifier: Option<Vec<u8>>,
}

impl Extensions {
    fn from_x509(x509: &X509Certificate<'_>) -> Self {
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
                        match name {
                            GeneralName::RFC822Name(email) => found.emails.push((*email).to_owned()),
                            GeneralName::DNSName(host) => found.server_names.push((*host).to_owned()),
                            GeneralName::IPAddress(address) => found.server_names.extend(ip_address(address)),
                            _ => {}
                        }
                    }
                }
                ParsedExtension::ParseError { .. } if extension.oid == OID_X509_EXT_KEY_USAGE => {
                    found.key_usage = Some(0)
                }
                ParsedExtension::ParseError { .. } if extension.oid == OID_X509_EXT_EXTENDED_KEY_USAGE => {
                    found.extended_key_usage = Some(Vec::new());
                }
                _ => {}
            }
        }
        found
    }
}

/// RFC 5280 section 4.2.1.6: four or sixteen octets.
fn ip_address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok().map(|address| address.to_string())
}

/// The bit of keyCertSign.
const KEY_CERT_SIGN: u16 = 1 << 5;
/// The bits of digitalSignature, keyEncipherment and keyAgreement, with one of which a server proves its identity.
const SERVER_KEY_USAGES: u16 = 1 | 1 << 2 | 1 << 4;

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
