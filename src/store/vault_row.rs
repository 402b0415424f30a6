//! The row of the vault: how the data key lies in the store, and the primary password.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use zeroize::Zeroizing;

use super::authentic::{authenticate_decisions, authenticate_terms, check_decisions, check_terms};
use super::damage::{ENROLLMENTS, IDENTITIES};
use super::schema::check_schema;
use super::{SEALED_KEY, Store, as_rusqlite, enrollments, locked, sealed_key, store_error};
use crate::certificate::identity::PrivateKey;
use crate::error::Error;
use crate::vault::agent::{Client, Grant, Place, Status};
use crate::vault::{Cost, DataKey, Kept, Protection, SealedKey, Unlocker, Vault, Wrapped};

impl Store {
    /// What encrypts the private keys.
    pub fn vault(&self) -> Arc<Vault> {
        locked(&self.vault).clone()
    }

    /// The vault as it is in the file by now; another process may have changed it.
    pub(crate) fn current_vault(&self, db: &Connection) -> rusqlite::Result<Arc<Vault>> {
        let kept = read_vault(db)?.ok_or_else(|| damaged("its row is gone"))?;
        let mut vault = locked(&self.vault);
        if vault.kept() != &kept {
            *vault = Arc::new(Vault::new(kept));
        }
        Ok(vault.clone())
    }

    /// Unlocks the vault, if it is locked: by the agent of the store where one runs ([`crate::manage::agent`]), else by `unlocker`. Anew, if
    /// another process has changed the password since.
    ///
    /// # Errors
    /// [`Error::WrongPrimaryPassword`] after three tries, what the unlocker says, [`Error::Agent`], and those of
    /// [reading](crate::manage#errors).
    pub fn unlock(&self, unlocker: &dyn Unlocker) -> Result<(), Error> {
        let vault = self.with(|db| self.current_vault(db))?;
        if vault.is_open_here() {
            return Ok(());
        }
        match self.agent_of(&vault) {
            Some(agent) if agent.is_there()? => {
                vault.hold_elsewhere(Arc::new(agent));
                Ok(())
            }
            _ => vault.unlock(unlocker),
        }
    }

    /// Unlocks the vault in this process, whether or not an agent would sign: for what takes private keys in the clear, or the
    /// data key itself.
    ///
    /// # Errors
    /// Those of [`Self::unlock`], and [`Error::AgentKeepsKeys`] where an agent runs and nobody can be asked.
    pub fn unlock_fully(&self, unlocker: &dyn Unlocker) -> Result<(), Error> {
        let vault = self.with(|db| self.current_vault(db))?;
        // Who has unlocked the store already should not be told to do so
        let is_kept = || self.agent_of(&vault).is_some_and(|agent| agent.is_there().unwrap_or(false));
        vault.unlock(unlocker).map_err(|error| match error {
            Error::VaultLocked if is_kept() => Error::AgentKeepsKeys,
            error => error,
        })
    }

    /// Sets, changes or (`None`) removes the primary password. The vault is unlocked first, by `unlocker`. An agent that serves
    /// under the old one ends.
    ///
    /// A store that had no password gets a new data key, under which every private key is sealed anew: the old one lay
    /// open in the file, and in every copy of it.
    ///
    /// # Errors
    /// Those of [`Self::unlock`], and of [writing](crate::manage#errors); [`Error::PasswordChanged`] when another process was first;
    /// [`Error::SealedKey`] when a private key does not open, and [`Error::NotAuthentic`].
    pub fn set_primary_password(&self, password: Option<&str>, unlocker: &dyn Unlocker) -> Result<(), Error> {
        self.unlock_fully(unlocker)?;
        let old = self.vault();
        let new = match (old.protection(), password) {
            (Protection::None, Some(password)) => Vault::create()?.rewrapped(Some(password))?,
            (_, password) => old.rewrapped(password)?,
        };
        self.put_in_place(&old, new)?;
        // It refuses to answer for the new one in any case
        let _ = self.end_agent();
        Ok(())
    }

    /// What another process needs to be the agent of this store for that long: to be given to [`crate::manage::agent::Server::start`]
    /// over a pipe, and to nobody else, for the data key is in it.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] before [`Self::unlock_fully`], and where no primary password protects the store; [`Error::Io`]
    /// when the runtime directory is not the user's alone.
    pub fn grant(&self, lifetime: Duration) -> Result<Grant, Error> {
        let vault = self.vault();
        let digest = vault.digest().ok_or(Error::VaultLocked)?;
        let place = Place::new(self.session.directory()?, &self.path)?;
        Grant::new(&place, &*vault.data_key()?, digest, lifetime)
    }

    /// The agent of this store, if one runs.
    ///
    /// # Errors
    /// [`Error::Agent`] when it does not answer.
    pub fn agent(&self) -> Result<Option<Status>, Error> {
        let digest = self.with(|db| self.current_vault(db))?.digest();
        match self.agent_place() {
            None => Ok(None),
            Some(place) => Client::new(&place, digest.unwrap_or_default()).status(),
        }
    }

    /// Ends the agent of this store. Returns whether one ran; by then it is gone, and the data key with it.
    ///
    /// # Errors
    /// [`Error::Agent`] when it neither ends nor can be killed.
    pub fn end_agent(&self) -> Result<bool, Error> {
        self.agent_place().map_or(Ok(false), |place| Client::new(&place, [0; 32]).end())
    }

    /// Lets an agent sign from the beginning, where there seems to be one: should it be gone, that shows at the first use.
    pub(super) fn expect_agent(&self) {
        let vault = self.vault();
        if let Some(agent) = self.agent_of(&vault).filter(Client::may_be_there) {
            vault.hold_elsewhere(Arc::new(agent));
        }
    }

    fn agent_of(&self, vault: &Vault) -> Option<Client> {
        Some(Client::new(&self.agent_place()?, vault.digest()?))
    }

    fn agent_place(&self) -> Option<Place> {
        Place::new(self.session.existing_directory()?, &self.path).ok()
    }

    fn put_in_place(&self, old: &Vault, new: Vault) -> Result<(), Error> {
        self.transact(|db| match read_vault(db)? {
            Some(kept) if kept == *old.kept() => replace_vault(db, old, &new),
            _ => Err(as_rusqlite(Error::PasswordChanged)),
        })?;
        *locked(&self.vault) = Arc::new(new);
        Ok(())
    }
}

/// The vault of the file, created when there is none yet.
pub(super) fn load_vault(connection: &mut Connection, path: &Path) -> Result<Vault, Error> {
    let mut load = || {
        if let Some(kept) = read_vault(connection)? {
            return Ok(Vault::new(kept));
        }
        // When two processes create one store, the second finds the vault of the first
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        check_schema(&transaction)?;
        let vault = match read_vault(&transaction)? {
            Some(kept) => Vault::new(kept),
            None => {
                let created = Vault::create().map_err(as_rusqlite)?;
                write_vault(&transaction, created.kept())?;
                authenticate_terms(&transaction, &created)?;
                created
            }
        };
        transaction.commit()?;
        Ok(vault)
    };
    load().map_err(|error| store_error(path, error))
}

pub(super) fn read_vault(db: &Connection) -> rusqlite::Result<Option<Kept>> {
    let mut query = db.prepare_cached("SELECT protection, data_key, salt, memory, passes FROM vault")?;
    query.query_row([], parse_vault).optional()
}

/// Columns without a meaning for this protection have to be empty.
fn parse_vault(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let protection: String = row.get(0)?;
    let data_key = Zeroizing::new(row.get::<_, Vec<u8>>(1)?);
    Ok(match (protection.as_str(), row.get(2)?, row.get(3)?, row.get(4)?) {
        ("none", None, None, None) => {
            let data_key = DataKey::from_slice(&data_key);
            Kept::Open(data_key.ok_or_else(|| damaged("the length of its data key is not 32 bytes"))?)
        }
        ("password", Some(salt), Some(memory), Some(passes)) => {
            let cost = Cost::read(memory, passes).map_err(as_rusqlite)?;
            Kept::Wrapped(Wrapped { cost, salt, data_key: data_key.to_vec() })
        }
        _ => return Err(damaged("some of its columns are empty, or are not where they should be")),
    })
}

fn damaged(detail: &str) -> rusqlite::Error {
    as_rusqlite(Error::VaultDamaged { detail: detail.to_owned() })
}

fn write_vault(db: &Connection, kept: &Kept) -> rusqlite::Result<()> {
    let mut write = db.prepare(
        "INSERT OR REPLACE INTO vault (id, protection, data_key, salt, memory, passes) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
    )?;
    match kept {
        Kept::Open(data_key) => {
            write.execute(params!["none", data_key.as_bytes(), None::<i64>, None::<i64>, None::<i64>])
        }
        Kept::Wrapped(Wrapped { cost, salt, data_key }) => {
            write.execute(params!["password", data_key, salt, cost.memory, cost.passes])
        }
    }
    .map(drop)
}

/// Writes the vault's row, and everything that hangs on the data key anew where that is another.
fn replace_vault(db: &Connection, old: &Vault, new: &Vault) -> rusqlite::Result<()> {
    write_vault(db, new.kept())?;
    if old.shares_data_key(new) {
        return Ok(());
    }
    check_decisions(db, old, None)?;
    check_terms(db, old)?;
    reseal(db, IDENTITIES, every_key(db)?, new, |key| old.open(key))?;
    reseal(db, ENROLLMENTS, enrollments::every_key(db)?, new, |key| enrollments::open(old, key))?;
    authenticate_decisions(db, new, None)?;
    authenticate_terms(db, new)
}

fn every_key(db: &Connection) -> rusqlite::Result<Vec<SealedKey>> {
    db.prepare(SEALED_KEY)?.query_map([], sealed_key)?.collect()
}

/// Seals the private keys of a table anew.
fn reseal(
    db: &Connection,
    table: &str,
    keys: Vec<SealedKey>,
    new: &Vault,
    open: impl Fn(&SealedKey) -> Result<PrivateKey, Error>,
) -> rusqlite::Result<()> {
    let mut update = db.prepare(&format!("UPDATE {table} SET private_key = ?1 WHERE id = ?2"))?;
    for key in keys {
        let resealed = open(&key).and_then(|opened| new.seal(&key.row, &opened)).map_err(as_rusqlite)?;
        update.execute(params![resealed, key.row.id])?;
    }
    Ok(())
}
