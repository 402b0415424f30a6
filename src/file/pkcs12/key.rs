//! Encrypted private keys outside of PKCS#12 (EncryptedPrivateKeyInfo, RFC 5958 section 3), for the PEM reader.
//!
//! A shrouded key bag holds the same structure. So the keys are put into bags and opened like bags, with the same ciphers,
//! passwords and limits.

use zeroize::Zeroizing;

use super::ber::{self, BerError, encode};
use super::open::Closed;
use super::password::Candidates;
use crate::error::file::Error;
use crate::file::limits::Budget;

/// 1.2.840.113549.1.7.1
const DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// 1.2.840.113549.1.12.10.1.2
const SHROUDED_KEY_BAG: [u8; 11] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];

/// Decrypts DER EncryptedPrivateKeyInfos, and returns the PrivateKeyInfos in the same order; `None` for those with another
/// password.
///
/// # Errors
/// As [`read`](super::read); [`Error::WrongPassword`] when the first of many do not open, unless `is_proven`: the password is
/// right for something else in the file.
pub(in crate::file) fn open_keys(
    encrypted: &[Vec<u8>],
    candidates: &mut Candidates,
    budget: &mut Budget<'_>,
    is_proven: bool,
) -> Result<Vec<Option<Zeroizing<Vec<u8>>>>, Error> {
    let closed = Closed::read(&authenticated_safe(encrypted), budget.limits)?;
    budget.check(closed.rounds())?;
    closed.open_keys(candidates, budget, is_proven)
}

/// Converts the first element of `input` to DER. Also returns how many bytes of `input` it took.
///
/// # Errors
/// [`Error::Truncated`], [`Error::Damaged`].
pub(in crate::file) fn to_der(input: &[u8]) -> Result<(Zeroizing<Vec<u8>>, usize), Error> {
    ber::to_der(input).map_err(|error| match error {
        BerError::Truncated(missing) => Error::Truncated { at: input.len(), missing },
        BerError::Malformed(what) => Error::Damaged { what },
    })
}

/// An AuthenticatedSafe with these keys and nothing else (RFC 7292 section 4.1).
fn authenticated_safe(keys: &[Vec<u8>]) -> Zeroizing<Vec<u8>> {
    let bags: Vec<u8> = keys.iter().flat_map(|key| typed(&SHROUDED_KEY_BAG, key).to_vec()).collect();
    let safe = encode(ber::OCTET_STRING, &encode(ber::SEQUENCE, &bags));
    encode(ber::SEQUENCE, &typed(&DATA, &safe))
}

/// `SEQUENCE { type, [0] EXPLICIT value }`, the form of SafeBag and ContentInfo alike.
fn typed(oid: &[u8], value: &[u8]) -> Zeroizing<Vec<u8>> {
    let oid = encode(ber::OBJECT_IDENTIFIER, oid);
    encode(ber::SEQUENCE, &[oid.as_slice(), &encode(ber::CONTEXT_0, value)].concat())
}
