//! Enrollments: private keys that were made here and wait for their certificate, with the request for it (RFC 2986).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use der::asn1::{AnyRef, BitString, Ia5StringRef, ObjectIdentifier, PrintableStringRef, SetOfVec, Utf8StringRef};
use der::{Any, Decode, Encode, Tag, Tagged};
use rustls::SignatureScheme;
use rustls::sign::SigningKey;
use x509_cert::attr::{Attribute, AttributeTypeAndValue};
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name as ParsedName;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::certificate::name::Name;
use crate::certificate::private_key::PrivateKey;
use crate::certificate::public_key::Algorithm;
use crate::certificate::{Fingerprint, KeyKind};
use crate::clock::Timestamp;
use crate::crypto;
use crate::error::Error;

/// A private key that was made here, and the request for its certificate.
///
/// # Example
///
/// ```
/// use cardcase::manage::{Enrollment, KeyKind, Timestamp};
///
/// # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
/// # let (_home, store) = alice::store()?;
/// let new = Enrollment::generate("CN=Alice Example, O=Example Ltd", &KeyKind::EcP256, Timestamp::now())?;
/// store.enroll(&new)?;
/// println!("{}", new.to_pem()); // for the CA; `Store::add_known_keys` finds the key when its certificate comes
/// assert_eq!(store.enrollments()?[0].subject().to_string(), "CN=Alice Example,O=Example Ltd");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Enrollment {
    request: Vec<u8>,
    subject: Name,
    key: KeyKind,
    public_key: Vec<u8>,
    canonical_public_key: Vec<u8>,
    made_at: Timestamp,
    /// Only until it is stored.
    private_key: Option<PrivateKey>,
}

impl Enrollment {
    /// Makes a key, and the request for a certificate that its owner can sign in with: with digitalSignature and clientAuth
    /// (RFC 5280 sections 4.2.1.3 and 4.2.1.12), which the CA may follow or not. [`Store::enroll`](crate::Store::enroll)
    /// stores both.
    ///
    /// `subject` is a distinguished name as in RFC 4514: `CN=Alice Example,O=Example Ltd`; blanks after a comma are ignored.
    /// `kind` is [`KeyKind::EcP256`], [`KeyKind::EcP384`], [`KeyKind::Ed25519`], or [`KeyKind::Rsa`] with 2048 or 4096 bits,
    /// which take a moment and need the feature `aws-lc-rs`.
    ///
    /// # Errors
    /// [`Error::Subject`] when it is not a distinguished name, [`Error::KeyNotMade`].
    pub fn generate(subject: &str, kind: &KeyKind, now: Timestamp) -> Result<Self, Error> {
        let subject = parse_subject(subject)?;
        let not_made = |error: &dyn fmt::Display| Error::KeyNotMade { detail: error.to_string() };
        let key = generate(kind)?;
        let signing = key.load().ok_or_else(|| not_made(&"it does not sign"))?;
        let request = signed_request(subject, &*signing).map_err(|error| not_made(&error))?;
        let enrollment = Self::from_request(request, now).map_err(|error| not_made(&error))?;
        Ok(Self { private_key: Some(key), ..enrollment })
    }

    /// Parses the request of a stored enrollment. The error is the parser's message.
    pub(crate) fn from_request(request: Vec<u8>, made_at: Timestamp) -> Result<Self, String> {
        let (rest, parsed) = X509CertificationRequest::from_der(&request).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err(format!("{} bytes follow the request", rest.len()));
        }
        let info = &parsed.certification_request_info;
        let algorithm = Algorithm::from_spki(&info.subject_pki);
        let public_key = &info.subject_pki.subject_public_key.data;
        Ok(Self {
            subject: Name::from_der(info.subject.as_raw()),
            key: KeyKind::new(algorithm, &info.subject_pki),
            canonical_public_key: algorithm.canonical(public_key).into_owned(),
            public_key: public_key.to_vec(),
            made_at,
            private_key: None,
            request,
        })
    }

    /// The subject of the requested certificate.
    pub fn subject(&self) -> &Name {
        &self.subject
    }

    /// Kind and size of the key.
    pub fn key(&self) -> &KeyKind {
        &self.key
    }

    /// The bits of the subjectPublicKey, by which the certificate is recognised when it comes.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The public key in the form that is compared with certificates.
    pub(crate) fn canonical_public_key(&self) -> &[u8] {
        &self.canonical_public_key
    }

    /// When the key was made.
    pub fn made_at(&self) -> Timestamp {
        self.made_at
    }

    /// SHA-256 of the request. It identifies the enrollment, as that of a certificate identifies an identity.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_der(&self.request)
    }

    /// The request in the form that a CA accepts: PEM, `CERTIFICATE REQUEST` (RFC 7468 section 7).
    pub fn to_pem(&self) -> String {
        let mut pem = "-----BEGIN CERTIFICATE REQUEST-----\n".to_owned();
        // 48 bytes make a line of 64 characters
        for line in self.request.chunks(48) {
            BASE64.encode_append(line, &mut pem);
            pem.push('\n');
        }
        pem + "-----END CERTIFICATE REQUEST-----\n"
    }

    pub(crate) fn request(&self) -> &[u8] {
        &self.request
    }

    /// The private key, unless it is in the store already.
    pub(crate) fn private_key(&self) -> Option<&PrivateKey> {
        self.private_key.as_ref()
    }
}

/// Makes a key. It is stored in the same form as one from a file.
fn generate(kind: &KeyKind) -> Result<PrivateKey, Error> {
    let made = match kind {
        KeyKind::EcP256 => crypto::generate_ec(SignatureScheme::ECDSA_NISTP256_SHA256),
        KeyKind::EcP384 => crypto::generate_ec(SignatureScheme::ECDSA_NISTP384_SHA384),
        KeyKind::Ed25519 => crypto::generate_ed25519(),
        KeyKind::Rsa(bits @ (2048 | 4096)) => crypto::generate_rsa(*bits),
        other => Err(format!("{other} is not supported")),
    };
    made.map(PrivateKey::from_foreign).map_err(|detail| Error::KeyNotMade { detail })
}

fn signed_request(subject: ParsedName, key: &dyn SigningKey) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let schemes = [
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::RSA_PKCS1_SHA256,
        SignatureScheme::ED25519,
    ];
    let signer = key.choose_scheme(&schemes).ok_or("it signs in no way that a request can be signed in")?;
    let public_key = key.public_key().ok_or("its public half is not known")?;
    let info = CertReqInfo {
        version: Version::V1,
        subject,
        public_key: SubjectPublicKeyInfoOwned::from_der(&public_key)?,
        attributes: SetOfVec::try_from(vec![wanted_extensions()?])?,
    };
    let signature = BitString::from_bytes(&signer.sign(&info.to_der()?)?)?;
    Ok(CertReq { info, algorithm: algorithm(signer.scheme())?, signature }.to_der()?)
}

/// The attribute extensionRequest (RFC 2985 section 5.4.2).
fn wanted_extensions() -> der::Result<Attribute> {
    use der::oid::AssociatedOid;
    let usage = KeyUsage(KeyUsages::DigitalSignature.into());
    let extended = ExtendedKeyUsage(vec![der::oid::db::rfc5280::ID_KP_CLIENT_AUTH]);
    let extension = |extn_id: ObjectIdentifier, critical: bool, value: Vec<u8>| -> der::Result<Extension> {
        Ok(Extension { extn_id, critical, extn_value: der::asn1::OctetString::new(value)? })
    };
    let extensions: Extensions = vec![
        extension(KeyUsage::OID, true, usage.to_der()?)?,
        extension(ExtendedKeyUsage::OID, false, extended.to_der()?)?,
    ];
    Attribute::try_from(ExtensionReq(extensions))
}

/// RFC 5758 section 3.2, RFC 4055 section 5, RFC 8410 section 3.
fn algorithm(scheme: SignatureScheme) -> Result<AlgorithmIdentifierOwned, String> {
    use der::oid::db::rfc5912::{ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, SHA_256_WITH_RSA_ENCRYPTION};
    use der::oid::db::rfc8410::ID_ED_25519;
    let (oid, parameters) = match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => (ECDSA_WITH_SHA_256, None),
        SignatureScheme::ECDSA_NISTP384_SHA384 => (ECDSA_WITH_SHA_384, None),
        SignatureScheme::RSA_PKCS1_SHA256 => (SHA_256_WITH_RSA_ENCRYPTION, Some(Any::from(AnyRef::NULL))),
        SignatureScheme::ED25519 => (ID_ED_25519, None),
        other => return Err(format!("{other:?} is not for requests")),
    };
    Ok(AlgorithmIdentifierOwned { oid, parameters })
}

fn parse_subject(text: &str) -> Result<ParsedName, Error> {
    let refused = |reason: String| Error::Subject { subject: text.to_owned(), reason };
    let parsed = ParsedName::from_str(&without_blanks(text)).map_err(|_| {
        refused(
            "it has to be attributes that are known, or OIDs, each with '=' and a value, and commas between".to_owned(),
        )
    })?;
    let invalid = parsed.iter().find(|attribute| !is_valid(attribute)).map(ToString::to_string);
    match invalid {
        None => Ok(parsed),
        Some(attribute) => Err(refused(format!("{attribute} has a value that its attribute may not have"))),
    }
}

/// Removes blanks before the names of attributes. RFC 4514 does not allow them, but people write them.
fn without_blanks(text: &str) -> String {
    let (mut kept, mut escaped, mut at_name) = (String::new(), false, true);
    for c in text.trim_start().chars() {
        if at_name && c == ' ' {
            continue;
        }
        at_name = !escaped && matches!(c, ',' | '+');
        escaped = !escaped && c == '\\';
        kept.push(c);
    }
    kept
}

/// Whether a value has only the characters of its type and is not empty.
fn is_valid(attribute: &AttributeTypeAndValue) -> bool {
    let value = &attribute.value;
    let text = match value.tag() {
        Tag::PrintableString => PrintableStringRef::try_from(value).map(|text| text.as_str().len()),
        Tag::Ia5String => Ia5StringRef::try_from(value).map(|text| text.as_str().len()),
        Tag::Utf8String => Utf8StringRef::try_from(value).map(|text| text.as_str().len()),
        // Given as DER
        _ => return true,
    };
    let is_country = attribute.oid == der::oid::db::rfc4519::COUNTRY_NAME;
    text.is_ok_and(|length| if is_country { length == 2 } else { length > 0 })
}
