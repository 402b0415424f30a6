//! The data key, which seals private keys and authenticates rows of the store.
//!
//! It is never used directly. HMAC-SHA-256 (RFC 2104) derives a key for each purpose from it, as HKDF-Expand (RFC 5869) does for
//! one block.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::certificate::Fingerprint;
use crate::certificate::identity::Identity;
use crate::certificate::permission::Permit;
use crate::certificate::tried::Tried;
use crate::crypto;
use crate::crypto::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use crate::error::Error;

/// Bytes of a nonce of AES-GCM.
const NONCE: usize = 12;

/// The first byte of a sealed key: the version of the format.
const FORMAT: u8 = 1;

/// 256 random bits. Each store has its own.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DataKey(Zeroizing<[u8; 32]>);

/// The row of a sealed key. The key opens only in this row: not for another certificate, not under another name, not without the
/// restriction to TLS 1.3, not with another record of what signed with it, and not with another permit for other programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) id: i64,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) name: String,
    pub(crate) requires_tls13: bool,
    pub(crate) tried: Tried,
    pub(crate) permit: Permit,
}

/// A private key as the store has it, with the row it is bound to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SealedKey {
    pub(crate) row: KeyRow,
    pub(crate) sealed: Vec<u8>,
}

impl SealedKey {
    /// Checks that this is the key of an identity that a person chose by its name.
    ///
    /// # Errors
    /// [`Error::Renamed`] when it has another name now.
    pub(crate) fn check_chosen(&self, identity: &Identity) -> Result<(), Error> {
        match self.row.name == identity.name() {
            true => Ok(()),
            false => Err(Error::Renamed { name: identity.name().to_owned() }),
        }
    }
}

/// What an authentication code covers: fields with their lengths, so that no field can pass for a part of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

impl DataKey {
    pub(crate) fn random() -> Result<Self, Error> {
        random_bytes().map(Zeroizing::new).map(Self)
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Zeroizing::new).map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Uses a random nonce. NIST SP 800-38D allows that for 2^32 keys, which no store reaches.
    pub(super) fn seal(&self, row: &KeyRow, pkcs8: &[u8]) -> Result<Vec<u8>, Error> {
        let sealed = encrypt(&self.derived(b"sealing"), &row.message(), pkcs8)?;
        Ok([&[FORMAT], sealed.as_slice()].concat())
    }

    pub(super) fn open(&self, key: &SealedKey) -> Option<Zeroizing<Vec<u8>>> {
        let sealed = key.sealed.strip_prefix(&[FORMAT])?;
        decrypt(&self.derived(b"sealing"), &key.row.message(), sealed)
    }

    /// The bytes of [`Self::seal_file`] for contents of so many bytes.
    pub(super) fn sealed_length(contents: usize) -> usize {
        NONCE + contents + AES_256_GCM.tag_len()
    }

    /// Encrypts the contents of a file, and binds them to its header.
    pub(super) fn seal_file(&self, header: &Message, contents: &[u8]) -> Result<Vec<u8>, Error> {
        encrypt(&self.derived(b"backup"), header, contents)
    }

    /// `None` when the contents were changed, or are those of another header.
    pub(super) fn open_file(&self, header: &Message, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        decrypt(&self.derived(b"backup"), header, sealed)
    }

    pub(super) fn mac(&self, message: &Message) -> [u8; 32] {
        self.hmac(b"authentication", &message.0).finalize().into_bytes().into()
    }

    /// Compares in constant time.
    pub(super) fn verify(&self, message: &Message, code: &[u8]) -> bool {
        self.hmac(b"authentication", &message.0).verify_slice(code).is_ok()
    }

    fn hmac(&self, purpose: &[u8], message: &[u8]) -> Hmac<Sha256> {
        with_key(&self.derived(purpose)).chain_update(message)
    }

    fn derived(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let derived = with_key(&self.0).chain_update(b"cardcase ").chain_update(purpose).chain_update([1]);
        Zeroizing::new(derived.finalize().into_bytes().into())
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKey").field("row", &self.row).finish_non_exhaustive()
    }
}

impl KeyRow {
    fn message(&self) -> Message {
        Message::new("private key")
            .number(self.id)
            .field(self.fingerprint.as_bytes())
            .field(self.name.as_bytes())
            .number(self.requires_tls13.into())
            .number(self.tried.number().into())
            .number(self.permit.permission.number().into())
            .number(self.permit.confirmation.number().into())
    }
}

impl Message {
    /// A message of this kind; no message of one kind passes for one of another.
    pub(crate) fn new(kind: &str) -> Self {
        Self(Vec::new()).field(kind.as_bytes())
    }

    /// A message that another process made.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn field(mut self, bytes: &[u8]) -> Self {
        self.0.extend((bytes.len() as u64).to_be_bytes());
        self.0.extend(bytes);
        self
    }

    pub(crate) fn number(self, number: i64) -> Self {
        self.field(&number.to_be_bytes())
    }

    /// A field that may be absent, which differs from empty.
    pub(crate) fn optional(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            None => self.field(b"none"),
            Some(bytes) => self.field(b"some").field(bytes),
        }
    }
}

/// AES-256-GCM: nonce, ciphertext, tag.
pub(super) fn encrypt(key: &[u8; 32], covered: &Message, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
    let nonce: [u8; NONCE] = random_bytes()?;
    let failed = || Error::Sealing { detail: format!("{} failed", crypto::NAME) };
    let key = aead_key(key).ok_or_else(failed)?;
    // As long as it gets, so that no copy of the plaintext is left behind in freed memory
    let mut sealed = Vec::with_capacity(NONCE + plaintext.len() + AES_256_GCM.tag_len());
    sealed.extend(nonce);
    sealed.extend(plaintext);
    let (_, text) = sealed.split_at_mut(NONCE);
    let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&covered.0), text);
    let tag = tag.inspect_err(|_| text.zeroize()).map_err(|_| failed())?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// `None` when it was encrypted with another key, or for other covered data.
pub(super) fn decrypt(key: &[u8; 32], covered: &Message, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>()?;
    let mut opened = Zeroizing::new(ciphertext.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = aead_key(key)?.open_in_place(nonce, Aad::from(&covered.0), &mut opened).ok()?.len();
    opened.truncate(length);
    Some(opened)
}

fn aead_key(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    // Not from aws-lc-rs, which may first measure the jitter of the CPU for 40 ms, longer than an import takes
    getrandom::fill(&mut bytes).map_err(|error| Error::Sealing { detail: format!("no randomness: {error}") })?;
    Ok(bytes)
}

fn with_key(key: &[u8; 32]) -> Hmac<Sha256> {
    // Padded with zeros to a block of SHA-256, as RFC 2104 does with a shorter key; this cannot fail
    let mut block = Zeroizing::new([0; 64]);
    block.split_at_mut(key.len()).0.copy_from_slice(key);
    Hmac::<Sha256>::new((&*block).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::permission::{Confirmation, Permission};

    fn row() -> KeyRow {
        let (fingerprint, tried) = (Fingerprint::from_bytes([7; 32]), Tried::default());
        KeyRow { id: 7, fingerprint, name: "alice".to_owned(), requires_tls13: true, tried, permit: Permit::default() }
    }

    #[test]
    fn a_key_opens_only_in_its_own_row() {
        let data_key = DataKey::random().unwrap();
        let key = SealedKey { row: row(), sealed: data_key.seal(&row(), b"secret").unwrap() };
        assert_eq!(**data_key.open(&key).unwrap(), *b"secret");
        assert!(DataKey::random().unwrap().open(&key).is_none());
        for changed in [
            KeyRow { id: 8, ..row() },
            KeyRow { fingerprint: Fingerprint::from_bytes([8; 32]), ..row() },
            KeyRow { name: "bob".to_owned(), ..row() },
            KeyRow { requires_tls13: false, ..row() },
            KeyRow { tried: Tried { by_rustls: true, ..Tried::default() }, ..row() },
            KeyRow { tried: Tried::NO_KEY, ..row() },
            KeyRow { permit: Permit { permission: Permission::Any, ..Permit::default() }, ..row() },
            KeyRow { permit: Permit { confirmation: Confirmation::Each, ..Permit::default() }, ..row() },
        ] {
            assert!(data_key.open(&SealedKey { row: changed.clone(), ..key.clone() }).is_none(), "{changed:?}");
        }
        for at in 0..key.sealed.len() {
            let mut flipped = key.clone();
            flipped.sealed[at] ^= 1;
            assert!(data_key.open(&flipped).is_none(), "{at}");
            flipped.sealed.truncate(at);
            assert!(data_key.open(&flipped).is_none(), "{at}");
        }
    }

    #[test]
    fn each_library_reads_what_the_other_wrote() {
        macro_rules! encrypted_by {
            ($library:ident) => {{
                use $library::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
                let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[5; 32]).unwrap());
                let mut text = b"secret".to_vec();
                let nonce = Nonce::assume_unique_for_key([7; NONCE]);
                key.seal_in_place_append_tag(nonce, Aad::from(row().message().as_bytes()), &mut text).unwrap();
                [&[7; NONCE], text.as_slice()].concat()
            }};
        }
        for sealed in [encrypted_by!(aws_lc_rs), encrypted_by!(ring)] {
            assert_eq!(decrypt(&[5; 32], &row().message(), &sealed).unwrap().as_slice(), b"secret");
            assert!(decrypt(&[5; 32], &Message::new("other"), &sealed).is_none());
        }
    }

    #[test]
    fn a_field_cannot_be_taken_for_a_part_of_another() {
        let data_key = DataKey::random().unwrap();
        let code = data_key.mac(&Message::new("x").field(b"ab").field(b"c"));
        assert!(data_key.verify(&Message::new("x").field(b"ab").field(b"c"), &code));
        for other in [
            Message::new("x").field(b"a").field(b"bc"),
            Message::new("xab").field(b"c"),
            Message::new("x").field(b"ab").optional(Some(b"c")),
            Message::new("x").field(b"abc"),
        ] {
            assert!(!data_key.verify(&other, &code), "{other:?}");
        }
        assert!(!data_key.verify(&Message::new("x").field(b"ab").field(b"c"), &code[..31]));
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let data_key = DataKey::random().unwrap();
        assert_eq!(format!("{data_key:?}"), "DataKey(..)");
    }
}
