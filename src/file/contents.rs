//! What a file holds, in the order of the file; keys and certificates are not paired yet.

use std::fmt;

use zeroize::Zeroizing;

use crate::error::file::Error;

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    /// The certificates, both of clients and of authorities.
    pub(super) certificates: Vec<CertificateBag>,
    /// The private keys.
    pub(super) keys: Vec<KeyBag>,
    /// Certificates that cannot be read.
    pub(super) damaged: Vec<Damaged>,
    /// Everything else.
    pub(super) passed_over: Vec<PassedOver>,
}

/// A certificate that cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damaged {
    pub(super) error: Error,
    pub(super) friendly_name: Option<String>,
}

/// A certificate, with its attributes (RFC 7292 section 4.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateBag {
    /// The DER of an X.509 certificate. It is not parsed here, so it may be anything.
    pub(super) der: Vec<u8>,
    /// The name a person gave it. May hold anything, even terminal escapes.
    pub(super) friendly_name: Option<String>,
    /// The same for a key and its certificate, if the writer of the file was careful.
    pub(super) local_key_id: Option<Vec<u8>>,
}

/// A private key, with its attributes (RFC 7292 sections 4.2.1 and 4.2.2).
#[derive(Clone)]
pub(super) struct KeyBag {
    /// The DER of a PrivateKeyInfo (PKCS#8, RFC 5208 or RFC 5958), not encrypted.
    pub(super) pkcs8: Zeroizing<Vec<u8>>,
    /// The name a person gave it. May hold anything, even terminal escapes.
    pub(super) friendly_name: Option<String>,
    /// The same for a key and its certificate, if the writer of the file was careful.
    pub(super) local_key_id: Option<Vec<u8>>,
}

impl Contents {
    pub(super) fn len(&self) -> usize {
        self.certificates.len() + self.keys.len() + self.damaged.len() + self.passed_over.len()
    }

    /// Adds what another part of the file holds.
    pub(super) fn extend(&mut self, other: Self) {
        self.certificates.extend(other.certificates);
        self.keys.extend(other.keys);
        self.damaged.extend(other.damaged);
        self.passed_over.extend(other.passed_over);
    }

    /// Whether certificates may be missing, because a safe has another password than the rest of the file.
    pub(super) fn has_locked_safe(&self) -> bool {
        self.passed_over.contains(&PassedOver::LockedSafe)
    }

    /// Whether a part of the file has another password than the rest.
    pub(super) fn has_locked_part(&self) -> bool {
        let is_locked = |passed: &PassedOver| matches!(passed, PassedOver::LockedKey { .. } | PassedOver::LockedSafe);
        self.passed_over.iter().any(is_locked)
    }
}

impl fmt::Debug for KeyBag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyBag")
            .field("friendly_name", &self.friendly_name)
            .field("local_key_id", &self.local_key_id)
            .finish_non_exhaustive()
    }
}

/// Something in a PKCS#12 file that is neither a certificate nor a key, or that cannot be decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PassedOver {
    /// A revocation list.
    Crl,
    /// A secret, such as the symmetric keys of Java keystores.
    Secret,
    /// A certificate in the SDSI format, which nobody uses.
    SdsiCertificate,
    /// A certificate of another type, by its object identifier.
    UnknownCertificate(String),
    /// A bag of another type, by its object identifier.
    UnknownBag(String),
    /// A safe that is neither plain nor encrypted with a password, by its object identifier. Most likely it is encrypted
    /// for a public key.
    UnknownContent(String),
    /// A private key with another password than the rest of the file.
    LockedKey { friendly_name: Option<String>, local_key_id: Option<Vec<u8>> },
    /// A safe with another password than the rest of the file.
    LockedSafe,
    /// A private key that is encrypted in an unknown way, of this name.
    UnknownCipher(String),
    /// A separate file that a kubeconfig names.
    NamedFile(String),
}

impl PassedOver {
    /// What it is, and why it is left out.
    pub(super) fn told(self) -> Option<(String, &'static str)> {
        let what = match self {
            Self::Crl => "a revocation list".to_owned(),
            Self::Secret => "a secret key".to_owned(),
            Self::SdsiCertificate => "an SDSI certificate".to_owned(),
            Self::UnknownCertificate(oid) => format!("a certificate of the type {oid}"),
            Self::UnknownBag(oid) => format!("an entry of the type {oid}"),
            Self::UnknownContent(oid) => format!("contents of the type {oid}"),
            Self::NamedFile(file) => return Some((file, "it is a separate file; import that file")),
            Self::UnknownCipher(name) => {
                return Some((format!("the private key {name:?}"), "it is encrypted in an unknown way"));
            }
            Self::LockedKey { .. } | Self::LockedSafe => return None,
        };
        Some((what, "only X.509 certificates and private keys are imported"))
    }
}
