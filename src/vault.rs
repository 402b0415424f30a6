//! The vault: seals the private keys in the store, and authenticates what the store says.
//!
//! Each store has one random data key. It seals every private key (AES-256-GCM), bound to its row, and authenticates the
//! decisions and everything that is selected without asking (HMAC-SHA-256). The `vault` table of the store holds the data key, as it
//! is or encrypted under the primary password (Argon2id).

pub mod agent;
mod data_key;
mod held;
#[cfg(feature = "keyring")]
pub(crate) mod keyring;
mod password;
pub(crate) mod sealed_file;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::SignatureScheme;
use rustls::sign::SigningKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::certificate::Certificate;
use crate::certificate::private_key::PrivateKey;
use crate::error::Error;
pub(crate) use data_key::{DataKey, KeyRow, Message, SealedKey};
use held::HeldKey;
pub(crate) use held::Holder;
pub(crate) use password::{Cost, Wrapped};

/// Attempts at the primary password before giving up.
const TRIES: u32 = 3;

/// Gives the primary password when it is needed: from a terminal, a file, another program.
///
/// # Example
///
/// ```
/// # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
/// # let (_home, store) = alice::store()?;
/// use cardcase::Unlocker;
/// use zeroize::Zeroizing;
///
/// struct Dialog;
///
/// impl Unlocker for Dialog {
///     fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, cardcase::Error> {
///         # let _ = attempt;
///         // Ask the person here; `Error::Declined` if they decline to answer
///         Ok(Zeroizing::new("correct horse".to_owned()))
///     }
/// }
///
/// store.set_primary_password(Some("correct horse"), &Dialog)?;
/// assert!(store.has_primary_password());
/// store.unlock(&Dialog)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Unlocker: Send + Sync {
    /// The primary password. `attempt` counts from 1; the passwords of earlier attempts were wrong.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when nobody can be asked, [`Error::CannotAsk`] when asking failed, [`Error::Declined`] when the
    /// person declined to answer.
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error>;

    /// The number of attempts.
    fn tries(&self) -> u32 {
        TRIES
    }

    /// Called when no further password is needed: the last one was right, or there is no further attempt. Deriving a key from a
    /// password takes a moment, and a prompt on a terminal can keep the echo off until then. An unlocker that wraps another passes
    /// this call on.
    fn finished(&self) {}
}

/// The unlocker of a selector that was given none.
pub(crate) struct NoUnlocker;

impl Unlocker for NoUnlocker {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

/// What another program wants signed through the PKCS#11 module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub enum ToSign<'a> {
    /// A whole message, which is hashed as the scheme says.
    Message(&'a [u8]),
    /// What the program hashed a message to: with RSA by the digest of the scheme, with ECDSA by SHA-256, SHA-384 or SHA-512.
    Digest(&'a [u8]),
}

/// The data key as the store has it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// As it is.
    Open(DataKey),
    /// Encrypted under the primary password.
    Wrapped(Wrapped),
}

/// The vault of one store, locked or open.
pub(crate) struct Vault {
    kept: Kept,
    opened: RwLock<Opened>,
}

/// Where the data key is.
#[derive(Clone)]
enum Opened {
    /// Nowhere: the vault is locked.
    Not,
    /// In the clear in the file, and not yet shown to be the data key that sealed the private keys of the store. It is used for
    /// nothing: somebody who cannot open the vault of a store can put an open one in its place.
    Unproven(Arc<DataKey>),
    /// In this process.
    Here(Arc<DataKey>),
    /// In another process, which uses it for this one and does not give it away.
    Elsewhere(Arc<dyn Holder>),
    /// Nowhere, and nothing will be kept: a rehearsal seals with this key, and takes everything in the store for authentic.
    Rehearsing(Arc<DataKey>),
}

/// One signature with the key of this certificate.
///
/// # Errors
/// [`Error::UnusableKey`].
fn sign_with(
    key: &dyn SigningKey,
    certificate: &Certificate,
    scheme: SignatureScheme,
    message: &[u8],
) -> Result<Vec<u8>, Error> {
    let unusable = |detail: String| Error::UnusableKey { key: certificate.key().to_string(), detail };
    let signer = key.choose_scheme(&[scheme]).ok_or_else(|| unusable(format!("it makes no {scheme:?}")))?;
    signer.sign(message).map_err(|error| unusable(error.to_string()))
}

/// A part of the store that has an authentication code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authenticated {
    /// Its name, for a person.
    pub(crate) what: String,
    pub(crate) message: Message,
    pub(crate) code: Option<[u8; 32]>,
}

impl Vault {
    /// A vault with a new random data key, not protected by a password.
    pub(crate) fn create() -> Result<Self, Error> {
        Ok(Self::open_with(DataKey::random()?))
    }

    /// The vault that a file holds. One without a password has to be [proven](Self::prove) before it is used.
    pub(crate) fn from_file(kept: Kept) -> Self {
        let opened = match &kept {
            Kept::Open(data_key) => Opened::Unproven(Arc::new(data_key.clone())),
            Kept::Wrapped(_) => Opened::Not,
        };
        Self { kept, opened: RwLock::new(opened) }
    }

    /// An open vault, for whoever has the data key.
    pub(crate) fn open_with(data_key: DataKey) -> Self {
        let opened = Opened::Here(Arc::new(data_key.clone()));
        Self { kept: Kept::Open(data_key), opened: RwLock::new(opened) }
    }

    /// A vault for a rehearsal in a store that is locked: every check succeeds, because none can be made, and a private key that is
    /// opened is empty.
    pub(crate) fn rehearsing() -> Result<Self, Error> {
        let data_key = DataKey::random()?;
        let opened = Opened::Rehearsing(Arc::new(data_key.clone()));
        Ok(Self { kept: Kept::Open(data_key), opened: RwLock::new(opened) })
    }

    /// Whether [`Self::prove`] has something to do.
    pub(crate) fn is_unproven(&self) -> bool {
        matches!(self.opened(), Opened::Unproven(_))
    }

    /// Shows that the data key of a vault without a password is the one that sealed the private keys of the store, which
    /// `sealed` reads. Does nothing for other vaults: a primary password proves them.
    ///
    /// # Errors
    /// Those of `sealed`, and [`Error::VaultReplaced`], passed through `told`, when one of the private keys does not open.
    pub(crate) fn prove<E>(
        &self,
        sealed: impl Iterator<Item = Result<SealedKey, E>>,
        told: impl FnOnce(Error) -> E,
    ) -> Result<(), E> {
        let Opened::Unproven(data_key) = self.opened() else { return Ok(()) };
        for key in sealed {
            let key = key?;
            if data_key.open(&key).is_none() {
                let KeyRow { name, fingerprint, .. } = key.row;
                return Err(told(Error::VaultReplaced { name, id: fingerprint.to_string() }));
            }
        }
        self.set(Opened::Here(data_key));
        Ok(())
    }

    /// The data key as the store has it.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Whether the data key is encrypted under a primary password.
    pub(crate) fn has_password(&self) -> bool {
        matches!(self.kept, Kept::Wrapped(_))
    }

    /// Whether the data key cannot be used yet.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self.opened(), Opened::Not)
    }

    /// Whether the data key is in this process, which gives access to private keys in the clear.
    pub(crate) fn is_open_here(&self) -> bool {
        self.data_key().is_ok()
    }

    /// Whether another process holds the data key for this one.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_held_elsewhere(&self) -> bool {
        matches!(self.opened(), Opened::Elsewhere(_))
    }

    /// Whether the data key can be used now. If another process holds it, this asks that process, which may have ended.
    pub(crate) fn is_open_now(&self) -> bool {
        match self.opened() {
            Opened::Here(_) => true,
            Opened::Elsewhere(holder) => self.ask(&holder, |holder| holder.check_held()).is_ok(),
            Opened::Rehearsing(_) | Opened::Not | Opened::Unproven(_) => false,
        }
    }

    /// The data key.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when it is not in this process.
    pub(crate) fn data_key(&self) -> Result<Arc<DataKey>, Error> {
        match self.opened() {
            Opened::Here(data_key) => Ok(data_key),
            Opened::Not | Opened::Unproven(_) | Opened::Elsewhere(_) | Opened::Rehearsing(_) => Err(Error::VaultLocked),
        }
    }

    /// Lets another process use the data key, unless it is in this one.
    pub(crate) fn hold_elsewhere(&self, holder: Arc<dyn Holder>) {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*opened, Opened::Here(_)) {
            *opened = Opened::Elsewhere(holder);
        }
    }

    /// Forgets the data key, or who holds it.
    pub(crate) fn lock(&self) {
        self.set(Opened::Not);
    }

    /// Identifies this vault under its current primary password, or under none.
    pub(crate) fn digest(&self) -> [u8; 32] {
        match &self.kept {
            Kept::Open(data_key) => data_key.mac(&Message::new("vault")),
            Kept::Wrapped(Wrapped { cost, salt, data_key }) => {
                let message = Message::new("vault").number(cost.memory.into()).number(cost.passes.into()).field(salt);
                Sha256::digest(message.field(data_key).as_bytes()).into()
            }
        }
    }

    /// Asks for the primary password, as often as the unlocker allows. Does nothing when the data key is in this process.
    ///
    /// Deriving the key takes about half a second: do not call this on the thread of an asynchronous executor.
    ///
    /// # Errors
    /// [`Error::WrongPrimaryPassword`] after the last attempt, or the error of the unlocker.
    pub(crate) fn unlock(&self, unlocker: &dyn Unlocker) -> Result<(), Error> {
        let unlocked = self.try_passwords(unlocker);
        unlocker.finished();
        unlocked
    }

    fn try_passwords(&self, unlocker: &dyn Unlocker) -> Result<(), Error> {
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

    /// The same vault with its data key under another primary password, or under none. The cost of the derivation stays as it was
    /// calibrated for the first password.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when the data key is not in this process.
    pub(crate) fn rewrapped(&self, password: Option<&str>) -> Result<Self, Error> {
        let data_key = &*self.data_key()?;
        match (password, &self.kept) {
            (None, _) => Ok(Self::open_with(data_key.clone())),
            (Some(password), Kept::Wrapped(wrapped)) => Self::wrapping(data_key, password, wrapped.cost),
            (Some(password), _) => Self::wrapping(data_key, password, Cost::calibrated()?),
        }
    }

    /// Whether both vaults have the same data key, each in this process.
    pub(crate) fn shares_data_key(&self, other: &Self) -> bool {
        matches!((self.data_key(), other.data_key()), (Ok(ours), Ok(theirs)) if ours == theirs)
    }

    /// Encrypts a private key for this row.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] while it is locked, and [`Error::Agent`].
    pub(crate) fn seal(&self, row: &KeyRow, key: &PrivateKey) -> Result<Vec<u8>, Error> {
        match self.opened() {
            Opened::Not | Opened::Unproven(_) => Err(Error::VaultLocked),
            Opened::Here(data_key) | Opened::Rehearsing(data_key) => data_key.seal(row, key.pkcs8()),
            Opened::Elsewhere(holder) => self.ask(&holder, |holder| holder.seal(row, key.pkcs8())),
        }
    }

    /// Decrypts a private key.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when the data key is not in this process; [`Error::SealedKey`] when the key was not sealed with it
    /// for this row.
    pub(crate) fn open(&self, key: &SealedKey) -> Result<PrivateKey, Error> {
        if matches!(self.opened(), Opened::Rehearsing(_)) {
            return Ok(PrivateKey::none());
        }
        let pkcs8 = self.data_key()?.open(key).ok_or_else(|| Error::SealedKey { name: key.row.name.clone() })?;
        Ok(PrivateKey::from_pkcs8(pkcs8))
    }

    /// Checks that a private key opens in its row, wherever the data key is: that the row is as cardcase wrote it, with its name
    /// and its restriction to TLS 1.3.
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

    /// A private key to sign with, if its public half is that of `certificate`. If the data key is in another process, the first
    /// signature checks that.
    ///
    /// # Errors
    /// Those of [`Self::open`] and of [`PrivateKey::signing_key`].
    pub(crate) fn signing_key(
        self: &Arc<Self>,
        key: &SealedKey,
        certificate: &Certificate,
    ) -> Result<Arc<dyn SigningKey>, Error> {
        match self.opened() {
            Opened::Elsewhere(_) => {
                let (vault, key, of) = (self.clone(), key.clone(), certificate.clone());
                let sign = move |scheme, message: &[u8]| vault.sign(&key, &of, scheme, message);
                Ok(Arc::new(HeldKey::new(certificate.clone(), sign)))
            }
            _ => self.open(key)?.signing_key(certificate),
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
        sign_with(&*self.open(key)?.signing_key(certificate)?, certificate, scheme, message)
    }

    /// The code of a message. It proves later that the author of the message could open this vault.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] while it is locked, and [`Error::Agent`].
    pub(crate) fn authenticate(&self, message: &Message) -> Result<[u8; 32], Error> {
        match self.opened() {
            Opened::Not | Opened::Unproven(_) => Err(Error::VaultLocked),
            Opened::Here(data_key) | Opened::Rehearsing(data_key) => Ok(data_key.mac(message)),
            Opened::Elsewhere(holder) => self.ask(&holder, |holder| holder.authenticate(message)),
        }
    }

    /// Whether this is the code of a message. Compares in constant time.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] while it is locked, and [`Error::Agent`].
    pub(crate) fn verify(&self, message: &Message, code: &[u8; 32]) -> Result<bool, Error> {
        match self.opened() {
            Opened::Not | Opened::Unproven(_) => Err(Error::VaultLocked),
            Opened::Here(data_key) => Ok(data_key.verify(message, code)),
            Opened::Rehearsing(_) => Ok(true),
            Opened::Elsewhere(holder) => self.ask(&holder, |holder| holder.verify(message, code)),
        }
    }

    /// Checks the code of a part of the store.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`] when the code is wrong or missing, and those of [`Self::verify`].
    pub(crate) fn check(&self, authenticated: &Authenticated) -> Result<(), Error> {
        let is_authentic = match authenticated.code {
            Some(code) => self.verify(&authenticated.message, &code)?,
            None if self.is_locked() => return Err(Error::VaultLocked),
            None => matches!(self.opened(), Opened::Rehearsing(_)),
        };
        if is_authentic {
            return Ok(());
        }
        Err(Error::NotAuthentic { what: authenticated.what.clone() })
    }

    /// Asks the process that holds the data key. If that no longer has it, the vault is locked from then on.
    fn ask<T>(&self, holder: &Arc<dyn Holder>, what: impl FnOnce(&dyn Holder) -> Result<T, Error>) -> Result<T, Error> {
        let answer = what(&**holder);
        if matches!(answer, Err(Error::VaultLocked)) {
            let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
            // Unless the vault has been unlocked meanwhile
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

/// Shows the state, and nothing secret.
impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("password", &self.has_password())
            .field("locked", &self.is_locked())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Fingerprint;
    use crate::certificate::permission::Permit;
    use crate::certificate::tried::Tried;

    /// Answers with these passwords, one after the other.
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
        let (name, tried, permit) = ("alice".to_owned(), Tried::default(), Permit::default());
        let row = KeyRow { id: 1, fingerprint, name, requires_tls13: false, tried, permit };
        let sealed = vault.seal(&row, &key).unwrap();
        (key, SealedKey { row, sealed })
    }

    /// The vault as another process finds it.
    fn reopened(vault: &Vault) -> Vault {
        Vault::from_file(vault.kept().clone())
    }

    fn prove<const N: usize>(vault: &Vault, sealed: [&SealedKey; N]) -> Result<(), Error> {
        vault.prove(sealed.into_iter().cloned().map(Ok), |error| error)
    }

    #[test]
    fn a_sealed_key_opens_and_is_not_in_the_clear() {
        let vault = Vault::create().unwrap();
        let (key, sealed) = sealed_by(&vault);
        let again = reopened(&vault);
        prove(&again, [&sealed]).unwrap();
        assert_eq!(again.open(&sealed).unwrap().pkcs8(), key.pkcs8());
        assert!(!sealed.sealed.windows(32).any(|window| key.pkcs8().windows(32).any(|plain| plain == window)));
        assert!(matches!(Vault::create().unwrap().open(&sealed), Err(Error::SealedKey { .. })));
    }

    #[test]
    fn a_vault_that_did_not_seal_the_keys_of_its_store_is_not_used() {
        let (key, sealed) = sealed_by(&Vault::create().unwrap());
        let other = reopened(&Vault::create().unwrap());
        assert!(matches!(prove(&other, [&sealed]), Err(Error::VaultReplaced { .. })));
        assert!(other.is_unproven() && !other.is_locked());
        assert!(matches!(other.seal(&sealed.row, &key), Err(Error::VaultLocked)));
        assert!(matches!(other.authenticate(&Message::new("x")), Err(Error::VaultLocked)));
        assert!(matches!(other.verify(&Message::new("x"), &[0; 32]), Err(Error::VaultLocked)));
        prove(&other, []).unwrap();
        other.authenticate(&Message::new("x")).unwrap();
    }

    #[test]
    fn the_primary_password_locks_and_has_three_attempts() {
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
        prove(&removed, [&sealed]).unwrap();
        assert_eq!(removed.open(&sealed).unwrap().pkcs8(), key.pkcs8());
    }

    #[test]
    fn only_a_code_of_the_data_key_is_authentic() {
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

    #[test]
    fn debug_output_shows_no_secret() {
        let vault = Vault::create().unwrap();
        assert_eq!(format!("{vault:?}"), "Vault { password: false, locked: false, .. }");
    }
}
