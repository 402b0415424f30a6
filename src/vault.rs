//! The vault: what encrypts the private keys in the store, and tells what was written by whoever has the primary password
//! from what was not.
//!
//! One random data key per store seals every private key (AES-256-GCM), bound to its row, and authenticates decisions and
//! what is selected without asking (HMAC-SHA-256). The data key lies in the store's `vault` table, as it is or encrypted
//! under the primary password (Argon2id).
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use cardcase::Unlocker;
//! use cardcase::manage::Protection;
//! use zeroize::Zeroizing;
//!
//! struct Dialog;
//!
//! impl Unlocker for Dialog {
//!     fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, cardcase::Error> {
//!         # let _ = attempt;
//!         // Ask the person here; `Error::Declined` when they do not want to
//!         Ok(Zeroizing::new("correct horse".to_owned()))
//!     }
//! }
//!
//! store.set_primary_password(Some("correct horse"), &Dialog)?;
//! assert_eq!(store.vault().protection(), Protection::Password);
//! store.unlock(&Dialog)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod agent;
mod data_key;
mod held;
#[cfg(feature = "keyring")]
pub(crate) mod keyring;
mod password;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::SignatureScheme;
use rustls::sign::SigningKey;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::certificate::Certificate;
use crate::certificate::private_key::PrivateKey;
use crate::error::Error;
pub(crate) use data_key::{DataKey, KeyRow, Message, SealedKey};
use held::HeldKey;
pub(crate) use held::Holder;
pub(crate) use password::{Cost, Wrapped};

/// Tries at the primary password before giving up.
const TRIES: u32 = 3;

/// Whoever knows the primary password: a terminal, a file, a program, nobody.
pub trait Unlocker: Send + Sync {
    /// The primary password, asked for the `attempt`-th time (from 1; the earlier ones were wrong).
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when nobody can be asked, [`Error::CannotAsk`] when asking failed, [`Error::Declined`] when the
    /// person did not want to answer.
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error>;

    /// How often it is asked at most.
    fn tries(&self) -> u32 {
        TRIES
    }
}

/// The unlocker of a selector that was given none.
pub(crate) struct NoUnlocker;

impl Unlocker for NoUnlocker {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

/// How the data key lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protection {
    /// As it is: whoever reads the file reads the keys.
    None,
    /// Encrypted under the primary password.
    Password,
}

/// The data key as it lies in the store.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// As it is.
    Open(DataKey),
    /// Under the primary password.
    Wrapped(Wrapped),
}

/// The vault of one store, locked or open.
pub struct Vault {
    kept: Kept,
    opened: RwLock<Opened>,
}

/// Where the data key is.
#[derive(Clone)]
enum Opened {
    /// Nowhere: the vault is locked.
    Not,
    /// In this process.
    Here(Arc<DataKey>),
    /// With somebody who uses it for us and does not give it away.
    Elsewhere(Arc<dyn Holder>),
}

/// Something in the store that carries an authentication code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authenticated {
    /// What it is, for a person.
    pub(crate) what: String,
    pub(crate) message: Message,
    pub(crate) code: Option<[u8; 32]>,
}

impl Vault {
    /// A vault with a new random data key, not protected by a password.
    pub(crate) fn create() -> Result<Self, Error> {
        Ok(Self::new(Kept::Open(DataKey::random()?)))
    }

    pub(crate) fn new(kept: Kept) -> Self {
        let opened = match &kept {
            Kept::Open(data_key) => Opened::Here(Arc::new(data_key.clone())),
            Kept::Wrapped(_) => Opened::Not,
        };
        Self { kept, opened: RwLock::new(opened) }
    }

    /// What its table row says.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Whether a primary password protects the data key.
    pub fn protection(&self) -> Protection {
        match self.kept {
            Kept::Open(_) => Protection::None,
            Kept::Wrapped(_) => Protection::Password,
        }
    }

    /// Whether keys cannot be used yet.
    pub fn is_locked(&self) -> bool {
        matches!(self.opened(), Opened::Not)
    }

    /// Whether the data key is in this process, so that keys can be had in the clear.
    pub(crate) fn is_open_here(&self) -> bool {
        self.data_key().is_ok()
    }

    /// The data key, for whoever is to hold it.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when it is not in this process.
    pub(crate) fn data_key(&self) -> Result<Arc<DataKey>, Error> {
        match self.opened() {
            Opened::Here(data_key) => Ok(data_key),
            Opened::Not | Opened::Elsewhere(_) => Err(Error::VaultLocked),
        }
    }

    /// Lets somebody else use the data key, while it is not in this process.
    pub(crate) fn hold_elsewhere(&self, holder: Arc<dyn Holder>) {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*opened, Opened::Here(_)) {
            *opened = Opened::Elsewhere(holder);
        }
    }

    /// Forgets where the data key is.
    pub(crate) fn lock(&self) {
        self.set(Opened::Not);
    }

    /// Tells this vault from what it is under another primary password; nothing where it has none.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        let Kept::Wrapped(Wrapped { cost, salt, data_key }) = &self.kept else { return None };
        let message = Message::new("vault").number(cost.memory.into()).number(cost.passes.into()).field(salt);
        Some(Sha256::digest(message.field(data_key).as_bytes()).into())
    }

    /// Asks for the primary password, as often as the unlocker allows. Does nothing when the data key is in this process.
    ///
    /// Deriving the key takes about half a second: do not call this on the thread of an asynchronous executor.
    ///
    /// # Errors
    /// [`Error::WrongPrimaryPassword`] after the last attempt, or the error of the unlocker.
    pub(crate) fn unlock(&self, unlocker: &dyn Unlocker) -> Result<(), Error> {
        for attempt in 1..=unlocker.tries() {
            if self.is_open_here() {
                return Ok(());
            }
            let password = unlocker.primary_password(attempt)?;
            if let Some(data_key) = self.unwrap_with(&password)? {
                self.set(Opened::Here(Arc::new(data_key)));
                return Ok(());
            }
        }
        Err(Error::WrongPrimaryPassword)
    }

    /// `None`: the password is wrong.
    fn unwrap_with(&self, password: &str) -> Result<Option<DataKey>, Error> {
        match &self.kept {
            Kept::Open(data_key) => Ok(Some(data_key.clone())),
            Kept::Wrapped(wrapped) => wrapped.unwrap_with(password),
        }
    }

    fn wrapping(data_key: &DataKey, password: &str, cost: Cost) -> Result<Self, Error> {
        let kept = Kept::Wrapped(Wrapped::new(data_key, password, cost)?);
        Ok(Self { kept, opened: RwLock::new(Opened::Here(Arc::new(data_key.clone()))) })
    }

    /// The same vault with its data key under another primary password, or under none. What a derivation costs was found
    /// out when the first password was set, and stays.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when the data key is not in this process.
    pub(crate) fn rewrapped(&self, password: Option<&str>) -> Result<Self, Error> {
        let data_key = &*self.data_key()?;
        match (password, &self.kept) {
            (None, _) => Ok(Self::new(Kept::Open(data_key.clone()))),
            (Some(password), Kept::Wrapped(wrapped)) => Self::wrapping(data_key, password, wrapped.cost),
            (Some(password), _) => Self::wrapping(data_key, password, Cost::calibrated()?),
        }
    }

    /// Whether what one sealed the other opens; the data keys of both have to be here.
    pub(crate) fn shares_data_key(&self, other: &Self) -> bool {
        matches!((self.data_key(), other.data_key()), (Ok(ours), Ok(theirs)) if ours == theirs)
    }

    /// Encrypts a private key under the data key, for this row.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] while it is locked, and [`Error::Agent`].
    pub(crate) fn seal(&self, row: &KeyRow, key: &PrivateKey) -> Result<Vec<u8>, Error> {
        match self.opened() {
            Opened::Not => Err(Error::VaultLocked),
            Opened::Here(data_key) => data_key.seal(row, key.pkcs8()),
            Opened::Elsewhere(holder) => self.ask(&holder, |holder| holder.seal(row, key.pkcs8())),
        }
    }

    /// Decrypts a private key.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when the data key is not in this process, [`Error::SealedKey`] when the key was not sealed with
    /// it for this row.
    pub(crate) fn open(&self, key: &SealedKey) -> Result<PrivateKey, Error> {
        let pkcs8 = self.data_key()?.open(key).ok_or_else(|| Error::SealedKey { name: key.row.name.clone() })?;
        Ok(PrivateKey::from_pkcs8(pkcs8))
    }

    /// Whether a private key opens in its row, wherever the data key is: whether the row is as cardcase wrote it, with its name
    /// and its demand for TLS 1.3.
    ///
    /// # Errors
    /// [`Error::SealedKey`] when it does not, [`Error::VaultLocked`] while the vault is locked, and [`Error::Agent`].
    pub(crate) fn check_key(&self, key: &SealedKey) -> Result<(), Error> {
        let Opened::Elsewhere(holder) = self.opened() else { return self.open(key).map(drop) };
        match self.ask(&holder, |holder| holder.opens(key))? {
            true => Ok(()),
            false => Err(Error::SealedKey { name: key.row.name.clone() }),
        }
    }

    /// A private key, to sign with; only if its public half is that of `certificate`. Where the data key is elsewhere, that is
    /// found out with the first signature.
    ///
    /// # Errors
    /// Those of [`Self::open`] and of [`PrivateKey::signing_key`].
    pub(crate) fn signing_key(
        self: &Arc<Self>,
        key: &SealedKey,
        certificate: &Certificate,
    ) -> Result<Arc<dyn SigningKey>, Error> {
        match self.opened() {
            Opened::Elsewhere(_) => Ok(Arc::new(HeldKey::new(self.clone(), key.clone(), certificate.clone()))),
            Opened::Not | Opened::Here(_) => self.open(key)?.signing_key(certificate),
        }
    }

    /// One signature, wherever the data key is.
    ///
    /// # Errors
    /// Those of [`Self::open`] and of [`PrivateKey::signing_key`], [`Error::UnusableKey`], and [`Error::Agent`].
    pub(crate) fn sign(
        &self,
        key: &SealedKey,
        certificate: &Certificate,
        scheme: SignatureScheme,
        message: &[u8],
    ) -> Result<Vec<u8>, Error> {
        if let Opened::Elsewhere(holder) = self.opened() {
            return self.ask(&holder, |holder| holder.sign(key, certificate, scheme, message));
        }
        let unusable = |detail: String| Error::UnusableKey { key: certificate.key().to_string(), detail };
        let signer = self.open(key)?.signing_key(certificate)?.choose_scheme(&[scheme]);
        let signer = signer.ok_or_else(|| unusable(format!("it makes no {scheme:?}")))?;
        signer.sign(message).map_err(|error| unusable(error.to_string()))
    }

    /// The code that shows later that whoever wrote a message could open this vault.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] while it is locked, and [`Error::Agent`].
    pub(crate) fn authenticate(&self, message: &Message) -> Result<[u8; 32], Error> {
        match self.opened() {
            Opened::Not => Err(Error::VaultLocked),
            Opened::Here(data_key) => Ok(data_key.mac(message)),
            Opened::Elsewhere(holder) => self.ask(&holder, |holder| holder.authenticate(message)),
        }
    }

    /// Whether this is the code of a message, in constant time.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] while it is locked, and [`Error::Agent`].
    pub(crate) fn verify(&self, message: &Message, code: &[u8; 32]) -> Result<bool, Error> {
        match self.opened() {
            Opened::Not => Err(Error::VaultLocked),
            Opened::Here(data_key) => Ok(data_key.verify(message, code)),
            Opened::Elsewhere(holder) => self.ask(&holder, |holder| holder.verify(message, code)),
        }
    }

    /// Whether what the store says was written by whoever can open this vault.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`] when it was not, and those of [`Self::verify`].
    pub(crate) fn check(&self, authenticated: &Authenticated) -> Result<(), Error> {
        let is_authentic = match authenticated.code {
            Some(code) => self.verify(&authenticated.message, &code)?,
            None if self.is_locked() => return Err(Error::VaultLocked),
            None => false,
        };
        if is_authentic {
            return Ok(());
        }
        Err(Error::NotAuthentic { what: authenticated.what.clone() })
    }

    /// Asks whoever holds the data key. Without it, the vault is locked from then on.
    fn ask<T>(&self, holder: &Arc<dyn Holder>, what: impl FnOnce(&dyn Holder) -> Result<T, Error>) -> Result<T, Error> {
        let answer = what(&**holder);
        if matches!(answer, Err(Error::VaultLocked)) {
            let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
            // Unless it was unlocked meanwhile
            if matches!(&*opened, Opened::Elsewhere(current) if Arc::ptr_eq(current, holder)) {
                *opened = Opened::Not;
            }
        }
        answer
    }

    fn opened(&self) -> Opened {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, opened: Opened) {
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = opened;
    }
}

/// Shows the state and nothing else.
impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("protection", &self.protection())
            .field("locked", &self.is_locked())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Fingerprint;

    /// Answers with these passwords in turn.
    struct Typed(Vec<&'static str>);

    impl Unlocker for Typed {
        fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
            let typed = self.0.get(attempt as usize - 1).ok_or(Error::VaultLocked)?;
            Ok(Zeroizing::new((*typed).to_owned()))
        }
    }

    fn sealed_by(vault: &Vault) -> (PrivateKey, SealedKey) {
        let key = PrivateKey::from_pkcs8(Zeroizing::new(rcgen::KeyPair::generate().unwrap().serialize_der()));
        let fingerprint = Fingerprint::from_bytes([1; 32]);
        let row = KeyRow { id: 1, fingerprint, name: "alice".to_owned(), requires_tls13: false };
        let sealed = vault.seal(&row, &key).unwrap();
        (key, SealedKey { row, sealed })
    }

    /// As another process finds it.
    fn reopened(vault: &Vault) -> Vault {
        Vault::new(vault.kept().clone())
    }

    #[test]
    fn what_is_sealed_opens_and_is_not_in_the_clear() {
        let vault = Vault::create().unwrap();
        let (key, sealed) = sealed_by(&vault);
        assert_eq!(reopened(&vault).open(&sealed).unwrap().pkcs8(), key.pkcs8());
        assert!(!sealed.sealed.windows(32).any(|window| key.pkcs8().windows(32).any(|plain| plain == window)));
        assert!(matches!(Vault::create().unwrap().open(&sealed), Err(Error::SealedKey { .. })));
    }

    #[test]
    fn the_primary_password_locks_and_has_three_tries() {
        let open = Vault::create().unwrap();
        let (key, sealed) = sealed_by(&open);
        let vault = reopened(&open.rewrapped(Some("correct horse")).unwrap());
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
    fn only_what_the_data_key_authenticated_is_authentic() {
        let vault = Vault::create().unwrap();
        let message = Message::new("x").field(b"a");
        let code = Some(vault.authenticate(&message).unwrap());
        let what = "a test".to_owned();
        let authentic = Authenticated { what, message, code };
        vault.check(&authentic).unwrap();
        for forged in [
            Authenticated { code: None, ..authentic.clone() },
            Authenticated { code: Some([0; 32]), ..authentic.clone() },
            Authenticated { message: Message::new("x").field(b"b"), ..authentic.clone() },
        ] {
            assert!(matches!(vault.check(&forged), Err(Error::NotAuthentic { .. })), "{forged:?}");
        }
    }
}
