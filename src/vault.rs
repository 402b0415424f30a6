//! The vault: what encrypts the private keys in the store.
//!
//! One random data key per store seals every private key as encrypted PKCS#8 (RFC 5958, PBES2 of RFC 8018). The data key
//! lies in the store's `vault` table, as it is or encrypted under the primary password.

use std::fmt;
use std::sync::OnceLock;

use der::asn1::OctetStringRef;
use der::{Decode, Encode};
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::{self, EncryptionScheme, scrypt};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::identity::PrivateKey;

/// Tries at the primary password before giving up.
const TRIES: u32 = 3;

/// Rounds of PBKDF2 between data key and private key. The data key is 256 random bits, which no number of rounds makes
/// harder to guess.
const SEALING_ROUNDS: u32 = 1;

/// scrypt's cost for a new primary password, as log2 N with r = 8 and p = 1: 64 MiB, about 0.2 s.
const PASSWORD_LOG_N: u8 = 16;

/// The largest cost accepted from the store: 1 GiB. More is damage or malice.
const MAX_PASSWORD_LOG_N: u8 = 20;

/// Whoever knows the primary password: a terminal, a file, a program, nobody.
pub trait Unlocker: Send + Sync {
    /// The primary password, asked for the `attempt`-th time (from 1; the earlier ones were wrong).
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when nobody can be asked, [`Error::Aborted`] when the person declined.
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error>;
}

/// Nobody to ask for the primary password.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoUnlocker;

impl Unlocker for NoUnlocker {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

/// How the data key lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// As it is: whoever reads the file reads the keys.
    None,
    /// Encrypted under the primary password.
    Password,
}

type DataKey = Zeroizing<[u8; 32]>;

/// The vault of one store, locked or open.
pub struct Vault {
    protection: Protection,
    wrapped: Zeroizing<Vec<u8>>,
    data_key: OnceLock<DataKey>,
}

/// A private key as it lies in the store: DER EncryptedPrivateKeyInfo under the data key.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey(pub(crate) Vec<u8>);

impl Vault {
    /// A vault with a new random data key, not protected by a password.
    pub(crate) fn create() -> Result<Self, Error> {
        let mut data_key = DataKey::default();
        fill_random(&mut *data_key)?;
        Ok(Self {
            protection: Protection::None,
            wrapped: Zeroizing::new(data_key.to_vec()),
            data_key: OnceLock::from(data_key),
        })
    }

    /// The vault as its table row has it.
    pub(crate) fn from_row(protection: Protection, wrapped: Zeroizing<Vec<u8>>) -> Result<Self, Error> {
        let data_key = match protection {
            Protection::None => OnceLock::from(as_data_key(&wrapped)?),
            Protection::Password => OnceLock::new(),
        };
        Ok(Self { protection, wrapped, data_key })
    }

    /// The columns of its table row.
    pub(crate) fn row(&self) -> (Protection, &[u8]) {
        (self.protection, &self.wrapped)
    }

    /// Whether a primary password protects the data key.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Whether keys cannot be sealed and opened yet.
    pub fn is_locked(&self) -> bool {
        self.data_key.get().is_none()
    }

    /// Asks for the primary password, three times at most. Does nothing when the vault is open.
    ///
    /// Derives a key for about 0.2 s: not for an asynchronous executor's thread.
    ///
    /// # Errors
    /// [`Error::WrongPrimaryPassword`] after the last try, or what the unlocker says.
    pub fn unlock(&self, unlocker: &dyn Unlocker) -> Result<(), Error> {
        for attempt in 1..=TRIES {
            if !self.is_locked() {
                return Ok(());
            }
            let password = unlocker.primary_password(attempt)?;
            if let Some(data_key) = self.unwrap_with(&password)? {
                // Another thread may have been first, with the same key
                let _ = self.data_key.set(data_key);
                return Ok(());
            }
        }
        Err(Error::WrongPrimaryPassword)
    }

    /// The same vault with its data key under another primary password, or under none.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] while it is locked.
    pub(crate) fn rewrapped(&self, password: Option<&str>) -> Result<Self, Error> {
        let data_key = self.opened()?.clone();
        let (protection, wrapped) = match password {
            None => (Protection::None, Zeroizing::new(data_key.to_vec())),
            Some(password) => (Protection::Password, Zeroizing::new(wrap(&data_key, password)?)),
        };
        Ok(Self { protection, wrapped, data_key: OnceLock::from(data_key) })
    }

    /// Whether what one seals the other opens; both have to be open.
    pub(crate) fn shares_data_key(&self, other: &Self) -> bool {
        matches!((self.data_key.get(), other.data_key.get()), (Some(ours), Some(theirs)) if ours == theirs)
    }

    /// Encrypts a private key under the data key.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] while it is locked.
    pub fn seal(&self, key: &PrivateKey) -> Result<SealedKey, Error> {
        let (salt, iv) = (random_bytes::<16>()?, random_bytes::<16>()?);
        let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(SEALING_ROUNDS, &salt, iv).map_err(failed)?;
        let info = PrivateKeyInfoRef::from_der(key.pkcs8()).map_err(failed)?;
        let sealed = info.encrypt_with_params(parameters, self.opened()?.as_slice()).map_err(failed)?;
        Ok(SealedKey(sealed.as_bytes().to_vec()))
    }

    /// Decrypts a private key. Whether it is the right one shows only against its certificate
    /// ([`PrivateKey::signing_key`]): the encryption is not authenticated.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] while it is locked, [`Error::SealedKey`] when this data key did not seal it.
    pub fn open(&self, sealed: &SealedKey) -> Result<PrivateKey, Error> {
        let data_key = self.opened()?;
        let info = EncryptedPrivateKeyInfoRef::from_der(&sealed.0).map_err(|_| Error::SealedKey)?;
        let ours = matches!(&info.encryption_algorithm, EncryptionScheme::Pbes2(Parameters { kdf: Kdf::Pbkdf2(kdf), .. })
            if kdf.iteration_count <= SEALING_ROUNDS);
        if !ours {
            return Err(Error::SealedKey);
        }
        let key = info.decrypt(data_key.as_slice()).map_err(|_| Error::SealedKey)?;
        Ok(PrivateKey::from_pkcs8(Zeroizing::new(key.as_bytes().to_vec())))
    }

    fn opened(&self) -> Result<&DataKey, Error> {
        self.data_key.get().ok_or(Error::VaultLocked)
    }

    /// `None`: the password is wrong.
    fn unwrap_with(&self, password: &str) -> Result<Option<DataKey>, Error> {
        let damaged = |_| Error::VaultDamaged;
        let wrapped = EncryptedPrivateKeyInfoRef::from_der(&self.wrapped).map_err(damaged)?;
        let affordable = matches!(&wrapped.encryption_algorithm, EncryptionScheme::Pbes2(Parameters { kdf: Kdf::Scrypt(kdf), .. })
            if kdf.cost_parameter <= 1 << MAX_PASSWORD_LOG_N && kdf.block_size <= 8 && kdf.parallelization <= 4);
        if !affordable {
            return Err(Error::VaultDamaged);
        }
        match wrapped.encryption_algorithm.decrypt(password.as_bytes(), wrapped.encrypted_data.as_bytes()) {
            Ok(plain) => Ok(open_framed(&Zeroizing::new(plain))),
            Err(pkcs5::Error::DecryptFailed) => Ok(None),
            Err(_) => Err(Error::VaultDamaged),
        }
    }
}

/// Shows the state and nothing else.
impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("protection", &self.protection)
            .field("locked", &self.is_locked())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedKey(..)")
    }
}

/// Encrypts the data key, with a digest of it behind it: CBC alone would take one wrong password in 256 for right.
fn wrap(data_key: &DataKey, password: &str) -> Result<Vec<u8>, Error> {
    let cost = scrypt::Params::new(PASSWORD_LOG_N, 8, 1).map_err(failed)?;
    let (salt, iv) = (random_bytes::<16>()?, random_bytes::<16>()?);
    let parameters = Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).map_err(failed)?;
    let framed = Zeroizing::new([data_key.as_slice(), &digest(data_key)].concat());
    let encrypted = parameters.encrypt(password.as_bytes(), &framed).map_err(failed)?;
    EncryptedPrivateKeyInfoRef {
        encryption_algorithm: parameters.into(),
        encrypted_data: OctetStringRef::new(&encrypted).map_err(failed)?,
    }
    .to_der()
    .map_err(failed)
}

fn open_framed(framed: &[u8]) -> Option<DataKey> {
    let (key, check) = framed.split_at_checked(32)?;
    let data_key = as_data_key(key).ok()?;
    (check == digest(&data_key)).then_some(data_key)
}

fn digest(data_key: &DataKey) -> [u8; 32] {
    Sha256::new().chain_update(b"cardcase data key").chain_update(data_key.as_slice()).finalize().into()
}

fn as_data_key(bytes: &[u8]) -> Result<DataKey, Error> {
    <[u8; 32]>::try_from(bytes).map(DataKey::new).map_err(|_| Error::VaultDamaged)
}

fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

fn fill_random(bytes: &mut [u8]) -> Result<(), Error> {
    // Not from aws-lc-rs, which first gathers jitter of the processor for 35 ms: longer than an import takes
    getrandom::fill(bytes).map_err(|error| Error::Sealing { detail: format!("no randomness: {error}") })
}

fn failed(error: impl fmt::Display) -> Error {
    Error::Sealing { detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with these passwords in turn.
    struct Typed(Vec<&'static str>);

    impl Unlocker for Typed {
        fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
            let typed = self.0.get(attempt as usize - 1).ok_or(Error::VaultLocked)?;
            Ok(Zeroizing::new((*typed).to_owned()))
        }
    }

    fn key() -> PrivateKey {
        PrivateKey::from_pkcs8(Zeroizing::new(rcgen::KeyPair::generate().unwrap().serialize_der()))
    }

    /// As another process finds it.
    fn reopened(vault: &Vault) -> Vault {
        let (protection, wrapped) = vault.row();
        Vault::from_row(protection, Zeroizing::new(wrapped.to_vec())).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_and_is_not_in_the_clear() {
        let vault = Vault::create().unwrap();
        let key = key();
        let sealed = vault.seal(&key).unwrap();
        assert_eq!(reopened(&vault).open(&sealed).unwrap().pkcs8(), key.pkcs8());
        assert!(!sealed.0.windows(32).any(|window| key.pkcs8().windows(32).any(|plain| plain == window)));
    }

    #[test]
    fn another_data_key_does_not_open_it() {
        let sealed = Vault::create().unwrap().seal(&key()).unwrap();
        assert!(matches!(Vault::create().unwrap().open(&sealed), Err(Error::SealedKey)));
    }

    #[test]
    fn the_primary_password_locks_and_has_three_tries() {
        let open = Vault::create().unwrap();
        let key = key();
        let sealed = open.seal(&key).unwrap();
        let protected = open.rewrapped(Some("correct horse")).unwrap();

        let vault = reopened(&protected);
        assert!(matches!(vault.open(&sealed), Err(Error::VaultLocked)));
        assert!(matches!(vault.unlock(&NoUnlocker), Err(Error::VaultLocked)));
        assert!(matches!(vault.unlock(&Typed(vec!["a", "b", "c", "correct horse"])), Err(Error::WrongPrimaryPassword)));
        assert!(vault.is_locked());
        vault.unlock(&Typed(vec!["", "wrong", "correct horse"])).unwrap();
        assert_eq!(vault.open(&sealed).unwrap().pkcs8(), key.pkcs8());

        let removed = reopened(&vault.rewrapped(None).unwrap());
        assert_eq!(removed.open(&sealed).unwrap().pkcs8(), key.pkcs8());
    }

    #[test]
    fn a_row_that_was_tampered_with_is_damage_not_a_hang() {
        let open = Vault::create().unwrap();
        let protected = open.rewrapped(Some("x")).unwrap();
        let (_, wrapped) = protected.row();
        // The cost parameter N stands as INTEGER 01 00 00 in the DER: make it 0x7f0000
        let at = wrapped.windows(5).position(|bytes| bytes == [2, 3, 1, 0, 0]).unwrap();
        let mut costly = wrapped.to_vec();
        costly.splice(at..at + 5, [2, 3, 0x7f, 0, 0]);
        let vault = Vault::from_row(Protection::Password, Zeroizing::new(costly)).unwrap();
        assert!(matches!(vault.unlock(&Typed(vec!["x"])), Err(Error::VaultDamaged)));
        assert!(matches!(Vault::from_row(Protection::None, Zeroizing::new(vec![1; 31])), Err(Error::VaultDamaged)));
    }
}
