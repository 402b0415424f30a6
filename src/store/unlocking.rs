//! Locking and unlocking: the primary password, and the agent.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use rustls::SignatureScheme;
use zeroize::Zeroizing;

use super::damage::{ENROLLMENTS, IDENTITIES};
use super::enrollments;
use super::handle::Store;
use super::integrity::{authenticate_decisions, authenticate_terms, check_decisions, check_terms};
use super::keys;
use super::sql::as_rusqlite;
use super::vault::{read_vault, write_vault};
use crate::certificate::identity::Identity;
use crate::certificate::private_key::PrivateKey;
use crate::error::Error;
use crate::vault::agent::{self, Client, LockMark, Socket, Status};
use crate::vault::{SealedKey, ToSign, Unlocker, Vault};

impl Store {
    /// Whether a primary password protects the private keys.
    pub fn has_primary_password(&self) -> bool {
        self.vault().has_password()
    }

    /// Whether private keys cannot be used until somebody types the primary password.
    pub fn is_locked(&self) -> bool {
        self.vault().is_locked()
    }

    /// Unlocks the vault, if it is locked: by the agent of the store if one runs ([`crate::manage::agent`]), or else by
    /// `unlocker`. If another process has changed the password, the vault is locked again.
    ///
    /// # Errors
    /// [`Error::WrongPrimaryPassword`] after the last attempt, the errors of the unlocker, [`Error::Agent`], and those of
    /// [reading](Self#errors).
    pub fn unlock(&self, unlocker: &dyn Unlocker) -> Result<(), Error> {
        let vault = self.read(|db| self.usable_vault(db))?;
        if vault.is_open_here() {
            return Ok(());
        }
        match self.agent_of(&vault) {
            Some(agent) if agent.is_there()? => {
                vault.hold_elsewhere(Arc::new(agent));
                Ok(())
            }
            _ => self.open_here(&vault, unlocker),
        }
    }

    /// Unlocks the vault in this process, even if an agent would sign: for functions that need private keys in the clear, or
    /// the data key itself.
    ///
    /// # Errors
    /// Those of [`Self::unlock`], and [`Error::AgentKeepsKeys`] when an agent runs and the unlocker cannot ask anybody.
    pub fn unlock_fully(&self, unlocker: &dyn Unlocker) -> Result<(), Error> {
        let vault = self.read(|db| self.usable_vault(db))?;
        // "Unlock the store first" would be wrong advice for a person who has done so
        let is_kept = || self.agent_of(&vault).is_some_and(|agent| agent.is_there().unwrap_or(false));
        self.open_here(&vault, unlocker).map_err(|error| match error {
            Error::VaultLocked if is_kept() => Error::AgentKeepsKeys,
            error => error,
        })
    }

    /// Opens the vault in this process, until the store is [locked](Self::end_agent).
    fn open_here(&self, vault: &Vault, unlocker: &dyn Unlocker) -> Result<(), Error> {
        if !vault.is_open_here() {
            self.note_opened();
        }
        vault.unlock(unlocker)
    }

    /// Sets, changes or (with `None`) removes the primary password. `unlocker` unlocks the vault first. An agent that serves
    /// under the old password ends.
    ///
    /// A store without a password gets a new data key with its first one, and every private key is sealed anew: the old data
    /// key was in the clear in the file, and in every copy of it.
    ///
    /// # Errors
    /// Those of [`Self::unlock`] and of [writing](Self#errors); [`Error::PasswordChanged`] when another process has changed the
    /// password at the same time; [`Error::SealedKey`] when a private key does not open; and [`Error::NotAuthentic`].
    pub fn set_primary_password(&self, password: Option<&str>, unlocker: &dyn Unlocker) -> Result<(), Error> {
        self.unlock_fully(unlocker)?;
        let old = self.vault();
        let new = match old.has_password() {
            false if password.is_some() => Vault::create()?.rewrapped(password)?,
            _ => old.rewrapped(password)?,
        };
        self.transact(|db| match read_vault(db)? {
            Some(kept) if kept == *old.kept() => replace_vault(db, &old, &new),
            _ => Err(as_rusqlite(Error::PasswordChanged)),
        })?;
        self.set_vault(new);
        // It refuses to work for the new vault in any case
        let _ = self.end_agent();
        self.note_opened();
        Ok(())
    }

    /// What another process needs to be the agent of this store for `lifetime`: pass it to [`serve`] there. It contains the
    /// data key, so send it over a pipe, and to nobody else.
    ///
    /// [`serve`]: crate::manage::agent::serve
    ///
    /// # Errors
    /// [`Error::VaultLocked`] before [`Self::unlock_fully`]; [`Error::Io`] when other users can enter the runtime directory, or its path
    /// is too long for a socket in it.
    pub fn lease(&self, lifetime: Duration) -> Result<Zeroizing<Vec<u8>>, Error> {
        let socket = Socket::new(self.session().directory()?, self.path())?;
        socket.check_path()?;
        agent::lease(&socket, &self.vault(), lifetime)
    }

    /// One signature for another program that cannot use this library, by the agent. The private key is never opened in this process.
    /// The agent signs what the owner of the identity [permits](Self::permit), and may ask a person first, which takes up to a minute.
    /// A signature by ECDSA is in DER, as in TLS (RFC 8422 section 5.4).
    ///
    /// A store without a primary password needs an agent too.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when no agent serves; [`Error::NotPermitted`] and [`Error::NotConfirmed`]; [`Error::UnknownIdentity`] when
    /// the identity has been removed; [`Error::SealedKey`], [`Error::KeyMismatch`], [`Error::UnusableKey`], [`Error::Agent`], and those
    /// of [reading](Self#errors).
    pub fn sign_for_program(
        &self,
        identity: &Identity,
        scheme: SignatureScheme,
        what: ToSign<'_>,
    ) -> Result<Vec<u8>, Error> {
        let (vault, key) =
            self.read(|db| Ok((self.current_vault(db)?, keys::known_key(db, identity.fingerprint())?)))?;
        let agent = self.client(&vault).ok_or(Error::VaultLocked)?;
        agent.sign_for_program(&key, identity.certificate(), scheme, what)
    }

    /// The status of the agent of this store, if one runs.
    ///
    /// # Errors
    /// [`Error::Agent`] when it does not answer.
    pub fn agent(&self) -> Result<Option<Status>, Error> {
        let vault = self.read(|db| self.current_vault(db))?;
        self.client(&vault).map_or(Ok(None), |agent| agent.status())
    }

    /// Locks the store: ends its agent, and tells the programs of the session that have opened the vault themselves to lock it before
    /// their next connection. Returns whether an agent ran. Afterwards the agent is gone, and the data key with it.
    ///
    /// # Errors
    /// [`Error::Agent`] when it neither ends nor can be killed; [`Error::Io`] when the other programs cannot be told.
    pub fn end_agent(&self) -> Result<bool, Error> {
        // Without a directory that only the user can access, there is no agent
        let Ok(directory) = self.session().directory() else { return Ok(false) };
        let socket = Socket::new(directory, self.path())?;
        let told = socket.mark_locked().map_err(|source| Error::Io { path: self.path().to_owned(), source });
        let ended = Client::new(&socket, [0; 32]).end()?;
        told.map(|()| ended)
    }

    /// The mark of the last lock.
    pub(super) fn lock_mark(&self) -> Option<LockMark> {
        self.agent_socket()?.lock_mark()
    }

    /// If there seems to be an agent, lets it sign from the start. If it is gone, the first use shows that.
    pub(super) fn expect_agent(&self) {
        let vault = self.vault();
        if let Some(agent) = self.agent_of(&vault).filter(Client::may_be_there) {
            vault.hold_elsewhere(Arc::new(agent));
        }
    }

    /// The agent that may unlock a vault. An agent of one without a primary password signs for other programs only.
    fn agent_of(&self, vault: &Vault) -> Option<Client> {
        self.client(vault).filter(|_| vault.has_password())
    }

    fn client(&self, vault: &Vault) -> Option<Client> {
        Some(Client::new(&self.agent_socket()?, vault.digest()))
    }

    fn agent_socket(&self) -> Option<Socket> {
        Socket::new(self.session().existing_directory()?, self.path()).ok()
    }
}

/// Writes the row of the vault. If the data key is another one, seals every private key and makes every code anew.
fn replace_vault(db: &Connection, old: &Vault, new: &Vault) -> rusqlite::Result<()> {
    write_vault(db, new.kept())?;
    if old.shares_data_key(new) {
        return Ok(());
    }
    check_decisions(db, old, None)?;
    check_terms(db, old)?;
    reseal(db, IDENTITIES, keys::every_key(db)?, new, |key| old.open(key))?;
    reseal(db, ENROLLMENTS, keys::every_enrollment_key(db)?, new, |key| enrollments::open(old, key))?;
    authenticate_decisions(db, new, None)?;
    authenticate_terms(db, new)
}

/// Seals the private keys of a table anew.
fn reseal(
    db: &Connection,
    table: &str,
    keys: impl Iterator<Item = rusqlite::Result<SealedKey>>,
    new: &Vault,
    open: impl Fn(&SealedKey) -> Result<PrivateKey, Error>,
) -> rusqlite::Result<()> {
    let mut update = db.prepare(&format!("UPDATE {table} SET private_key = ?1 WHERE id = ?2"))?;
    for key in keys {
        let key = key?;
        let resealed = open(&key).and_then(|opened| new.seal(&key.row, &opened)).map_err(as_rusqlite)?;
        update.execute(params![resealed, key.row.id])?;
    }
    Ok(())
}
