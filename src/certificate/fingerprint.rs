//! Fingerprints of certificates, and their prefixes as people type them.

use std::fmt;

use data_encoding::HEXLOWER;

use crate::crypto;

/// The SHA-256 of a certificate's DER, shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate, given as DER.
    pub fn from_der(der: &[u8]) -> Self {
        Self(crypto::sha256(der))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A fingerprint from its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first eight digits, enough to tell identities apart in a list.
    pub fn short(&self) -> String {
        let [first, second, third, fourth, ..] = self.0;
        HEXLOWER.encode(&[first, second, third, fourth])
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A prefix of a fingerprint as a person types it: 4 to 64 hexadecimal digits, optionally with colons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FingerprintPrefix(String);

impl FingerprintPrefix {
    /// The digits, lower-case, without colons.
    pub(crate) fn digits(&self) -> &str {
        &self.0
    }

    /// `None` when the text is not a prefix.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|&c| c != ':').map(|c| c.to_ascii_lowercase()).collect();
        let is_prefix = (4..=64).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit());
        is_prefix.then_some(Self(digits))
    }
}
