//! PKCS#12 (RFC 7292): bytes and a password to plain certificates, keys and names.
//!
//! [`read`] takes what anybody writes: BER or DER, binary, PEM or base64, with every cipher, MAC
//! and way to encode a password that is known to be in use; `docs/pkcs12.md` has the table. What a
//! file may cost is settled by [`Limits`] before any work is done.
//!
//! # Example
//!
//! ```
//! use cardcase::file::pkcs12;
//! use cardcase::file::pkcs12::{Error, Limits};
//!
//! # fn ask() -> String { "cardcase".to_owned() }
//! # let file = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/identities/openssl.p12"));
//! let limits = Limits::default();
//! let contents = match pkcs12::read(file, "", &limits) {
//!     Err(Error::WrongPassword) => pkcs12::read(file, &ask(), &limits),
//!     other => other,
//! }?;
//! assert_eq!((contents.certificates.len(), contents.keys.len()), (3, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;

use zeroize::Zeroizing;

mod armor;
mod attributes;
mod ber;
mod cipher;
mod error;
mod hash;
mod kdf;
mod key;
mod limits;
mod mac;
mod names;
mod open;
mod password;
mod structure;
mod write;

pub use error::Error;
pub(crate) use key::{open_keys, to_der};
pub use limits::Limits;
pub use write::{Entry, Protection, write};

/// What a PKCS#12 file held, in file order; keys and certificates are not paired yet.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Contents {
    /// The certificates, of clients and of authorities alike.
    pub certificates: Vec<CertificateBag>,
    /// The private keys.
    pub keys: Vec<KeyBag>,
    /// What was in the file and is none of the above.
    pub passed_over: Vec<PassedOver>,
}

/// A certificate, with what the file says about it (RFC 7292 section 4.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateBag {
    /// What the bag holds: DER of an X.509 certificate, or whatever was put in its place; it is
    /// not looked at here.
    pub der: Vec<u8>,
    /// The name a person gave it. May hold anything, terminal escapes included.
    pub friendly_name: Option<String>,
    /// What links it to its key, when the writer was careful.
    pub local_key_id: Option<Vec<u8>>,
}

/// A private key, with what the file says about it (RFC 7292 sections 4.2.1 and 4.2.2).
#[derive(Clone)]
#[non_exhaustive]
pub struct KeyBag {
    /// DER of PrivateKeyInfo (PKCS#8, RFC 5208 or RFC 5958), not encrypted.
    pub pkcs8: Zeroizing<Vec<u8>>,
    /// The name a person gave it. May hold anything, terminal escapes included.
    pub friendly_name: Option<String>,
    /// What links it to its certificate, when the writer was careful.
    pub local_key_id: Option<Vec<u8>>,
}

impl CertificateBag {
    /// A certificate of which nothing more is said.
    pub fn of_der(der: Vec<u8>) -> Self {
        Self { der, friendly_name: None, local_key_id: None }
    }
}

impl KeyBag {
    /// A key of which nothing more is said.
    pub fn of_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Self {
        Self { pkcs8, friendly_name: None, local_key_id: None }
    }
}

impl Contents {
    fn len(&self) -> usize {
        self.certificates.len() + self.keys.len() + self.passed_over.len()
    }

    /// Adds what another file held.
    pub fn extend(&mut self, other: Self) {
        self.certificates.extend(other.certificates);
        self.keys.extend(other.keys);
        self.passed_over.extend(other.passed_over);
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

/// Something in a PKCS#12 file that is neither certificate nor key, or could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassedOver {
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
    /// A safe that is neither plain nor encrypted with a password, by its object identifier: most
    /// likely it is encrypted for somebody's public key.
    UnknownContent(String),
    /// A private key with another password than the rest of the file.
    LockedKey {
        /// As in [`KeyBag`].
        friendly_name: Option<String>,
        /// As in [`KeyBag`].
        local_key_id: Option<Vec<u8>>,
    },
    /// A safe with another password than the rest of the file.
    LockedSafe,
}

/// Reads a PKCS#12 file.
///
/// No password and the empty one are the same here: both are `""`. A file that needs none is read
/// with any. Where the file has one password and a key in it another, the key is passed over as
/// [`PassedOver::LockedKey`].
///
/// # Errors
/// [`Error`] says what is wrong. Only [`Error::WrongPassword`] and [`Error::ContentPassword`] are
/// worth another try with another password.
pub fn read(input: &[u8], password: &str, limits: &Limits) -> Result<Contents, Error> {
    limits.check_file_size(input.len())?;
    let binary = armor::binary(input)?;
    let (der, _) = ber::to_der(&binary).map_err(|error| match error {
        ber::BerError::Truncated(missing) => Error::Truncated { at: binary.len(), missing },
        ber::BerError::Malformed(what) => Error::Damaged { what },
    })?;
    let pfx = structure::pfx(&der, limits)?;
    let mac = pfx.mac.map(|mac| mac::FileMac::read(mac, limits)).transpose()?;
    let closed = open::Closed::read(&pfx.content, limits)?;
    let mac_rounds = mac.as_ref().map_or(0, mac::FileMac::rounds);
    limits.check_total(closed.rounds().saturating_add(mac_rounds))?;
    let mac = mac.as_ref().map(|mac| (mac, pfx.content.as_slice()));
    closed.open(mac, password::Candidates::new(password), limits)
}

/// Whether `input` looks like PKCS#12 at all: binary, or in PEM or base64 text.
///
/// Looks at the first few elements only, so a damaged file is recognised too.
pub fn recognise(input: &[u8]) -> bool {
    armor::recognise(input)
}

/// What `input` looks like, with its article, when that is no PKCS#12.
pub(crate) fn looks_like(input: &[u8]) -> Option<&'static str> {
    match armor::binary(input) {
        Err(Error::NotPkcs12 { found }) => found,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use hash::Hash;
    use kdf::Purpose;

    /// The same contents under another MAC: SHA-1 with one round.
    fn with_mac(file: &[u8], password: &str) -> Vec<u8> {
        let (der, _) = ber::to_der(file).unwrap();
        let content = structure::pfx(&der, &Limits::default()).unwrap().content;
        let candidates = password::Candidates::new(password);
        let password = candidates.of(password::Form::Pkcs12).first().unwrap();
        let key = kdf::pkcs12(Hash::Sha1, password, b"salt", Purpose::Mac, 1, 20);
        let digest = kdf::hmac(Hash::Sha1, &key, &content);
        let sha1 = [0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00];
        let info = ber::encode(ber::SEQUENCE, &[sha1.as_slice(), &ber::encode(ber::OCTET_STRING, &digest)].concat());
        let salt = ber::encode(ber::OCTET_STRING, b"salt");
        let mac = ber::encode(ber::SEQUENCE, &[info.as_slice(), &salt].concat());
        let mut parts = ber::Elements(&der).next().unwrap().children();
        let (version, safes) = (parts.next().unwrap().whole, parts.next().unwrap().whole);
        ber::encode(ber::SEQUENCE, &[version, safes, &mac].concat()).to_vec()
    }

    #[test]
    fn a_mac_that_fits_and_contents_that_do_not() {
        let original = include_bytes!("../../fixtures/identities/openssl.p12");
        let limits = Limits::default();
        let file = with_mac(original, "outer");
        assert_eq!(read(&file, "outer", &limits).err(), Some(Error::ContentPassword));
        assert_eq!(read(&file, "cardcase", &limits).err(), Some(Error::WrongPassword));
        let file = with_mac(original, "cardcase");
        assert_eq!(read(&file, "cardcase", &limits).unwrap().certificates.len(), 3);
    }
}
