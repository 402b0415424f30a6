//! PKCS#12 (RFC 7292): bytes and a password to certificates, keys and names, and back.
//!
//! [`read`] takes what anybody writes: BER or DER, binary, PEM or base64, with every cipher, MAC and password encoding that
//! is known to be in use; `docs/pkcs12.md` has the table. [`Limits`] are checked before any work is done.

use crate::error::file::Error;
use crate::file::contents::Contents;
use crate::file::limits::Budget;

mod attributes;
mod ber;
mod cipher;
mod hash;
mod kdf;
mod key;
mod mac;
mod names;
mod open;
mod password;
mod shape;
mod structure;
mod write;

pub(super) use cipher::{PbeParams, Pbes2Params, Plaintext, cbc};
pub(super) use kdf::Derivation;
pub(super) use key::{open_keys, to_der};
pub(super) use mac::Pbmac1;
pub(super) use password::{Candidates, Form};
pub(super) use shape::{Shape, shape};
pub(crate) use write::{Entry, Protection, write};

/// Reads the binary form of a PKCS#12 file, whose size is within the limits.
///
/// A key or a safe with another password than the rest of the file is passed over.
pub(super) fn read(binary: &[u8], candidates: &mut Candidates, budget: &mut Budget<'_>) -> Result<Contents, Error> {
    let limits = budget.limits;
    let (der, _) = to_der(binary)?;
    let pfx = structure::pfx(&der, limits)?;
    let mac = pfx.mac.map(|mac| mac::FileMac::read(mac, limits)).transpose()?;
    let closed = open::Closed::read(&pfx.content, limits)?;
    let mac_rounds = mac.as_ref().map_or(0, mac::FileMac::rounds);
    budget.check(closed.rounds().saturating_add(mac_rounds))?;
    let mac = mac.as_ref().map(|mac| (mac, pfx.content.as_slice()));
    closed.open(mac, candidates, budget)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::file::limits::Limits;
    use hash::Hash;
    use kdf::Purpose;

    /// The same contents under another MAC: SHA-1 with one round.
    fn with_mac(file: &[u8], password: &str) -> Vec<u8> {
        let (der, _) = ber::to_der(file).unwrap();
        let content = structure::pfx(&der, &Limits::default()).unwrap().content;
        let candidates = Candidates::new(password);
        let password = candidates.of(Form::Pkcs12).next().unwrap();
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

    fn read(file: &[u8], passwords: &[&str]) -> Result<Contents, Error> {
        let mut candidates = Candidates::new(passwords[0]);
        passwords[1..].iter().for_each(|password| candidates.add(password));
        super::read(file, &mut candidates, &mut Budget::new(&Limits::default()))
    }

    #[test]
    fn a_password_that_fits_only_the_mac_is_a_content_password_error() {
        let original = include_bytes!("../../fixtures/identities/openssl.p12");
        let file = with_mac(original, "outer");
        assert_eq!(read(&file, &["outer"]).err(), Some(Error::ContentPassword));
        assert_eq!(read(&file, &["outer", "neither"]).err(), Some(Error::ContentPassword));
        assert_eq!(read(&file, &["cardcase"]).err(), Some(Error::WrongPassword));
        let whole = read(&file, &["outer", "cardcase"]).unwrap();
        assert_eq!((whole.certificates.len(), whole.keys.len()), (3, 1));
        let file = with_mac(original, "cardcase");
        assert_eq!(read(&file, &["cardcase"]).unwrap().certificates.len(), 3);
    }
}
