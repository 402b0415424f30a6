//! The row of the vault: how the data key lies in the store, and the primary password.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use zeroize::Zeroizing;

use super::authentic::{authenticate_decisions, authenticate_terms, check_decisions, check_terms};
use super::{SEALED_KEY, Store, as_rusqlite, locked, sealed_key, store_error};
use crate::error::Error;
use crate::vault::{Cost, DataKey, Kept, Protection, SealedKey, Unlocker, Vault, Wrapped};

impl Store {
    /// What encrypts the private keys.
    pub fn vault(&self) -> Arc<Vault> {
        locked(&self.vault).clone()
    }

    pub(super) fn replace(&self, vault: Arc<Vault>) {
        *locked(&self.vault) = vault;
    }

    /// Unlocks the vault, if it is locked.
    ///
    /// # Errors
    /// [`Error::WrongPrimaryPassword`] after three tries, what the unlocker says, and those of reading.
    pub fn unlock(&self, unlocker: &dyn Unlocker) -> Result<(), Error> {
        let vault = self.vault();
        if !vault.is_locked() {
            return Ok(());
        }
        // Another process may have changed the password since
        let kept = self.with(read_vault)?.ok_or(Error::VaultDamaged)?;
        let current = if vault.kept() == &kept { vault } else { Arc::new(Vault::new(kept)) };
        match current.unlock(unlocker)? {
            None => self.replace(current),
            Some(successor) => self.put_in_place(&current, successor)?,
        }
        Ok(())
    }

    /// Sets, changes or (`None`) removes the primary password. The vault is unlocked first, by `unlocker`.
    ///
    /// A store that had no password gets a new data key, under which every private key is sealed anew: the old one lay
    /// open in the file, and in every copy of it.
    ///
    /// # Errors
    /// Those of [`Self::unlock`], and of writing; [`Error::PasswordChanged`] when another process was first;
    /// [`Error::SealedKey`] when a private key does not open, and [`Error::NotAuthentic`].
    pub fn set_primary_password(&self, password: Option<&str>, unlocker: &dyn Unlocker) -> Result<(), Error> {
        self.unlock(unlocker)?;
        let old = self.vault();
        let new = match (old.protection(), password) {
            (Protection::None, Some(password)) => Vault::create()?.rewrapped(Some(password))?,
            (_, password) => old.rewrapped(password)?,
        };
        self.put_in_place(&old, new)
    }

    fn put_in_place(&self, old: &Vault, new: Vault) -> Result<(), Error> {
        self.transact(|db| match read_vault(db)? {
            Some(kept) if kept == *old.kept() => replace_vault(db, old, &new),
            _ => Err(as_rusqlite(Error::PasswordChanged)),
        })?;
        self.replace(Arc::new(new));
        Ok(())
    }
}

/// The vault of the file, made when there is none yet, and brought to the form of today where that takes no password.
pub(super) fn load_vault(connection: &mut Connection, path: &Path) -> Result<Vault, Error> {
    let mut load = || {
        if let Some(kept) = read_vault(connection)?
            && Vault::new(kept.clone()).updated().is_none()
        {
            return Ok(Vault::new(kept));
        }
        // Of two processes that make or update one store the second finds it done
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let vault = match read_vault(&transaction)? {
            None => {
                let created = Vault::create().map_err(as_rusqlite)?;
                write_vault(&transaction, created.kept())?;
                authenticate_terms(&transaction, &created)?;
                created
            }
            Some(kept) => {
                let found = Vault::new(kept);
                match found.updated() {
                    None => found,
                    Some(updated) => {
                        replace_vault(&transaction, &found, &updated)?;
                        updated
                    }
                }
            }
        };
        transaction.commit()?;
        Ok(vault)
    };
    load().map_err(|error| store_error(path, error))
}

pub(super) fn read_vault(db: &Connection) -> rusqlite::Result<Option<Kept>> {
    let mut query = db.prepare_cached("SELECT form, protection, data_key, salt, memory, passes FROM vault")?;
    query.query_row([], parse_vault).optional()
}

fn parse_vault(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let damaged = || as_rusqlite(Error::VaultDamaged);
    let data_key = Zeroizing::new(row.get::<_, Vec<u8>>(2)?);
    let open = || DataKey::from_slice(&data_key).ok_or_else(damaged);
    Ok(match (row.get(0)?, row.get::<_, String>(1)?.as_str()) {
        (1, "none") => Kept::OutdatedOpen(open()?),
        (1, "password") => Kept::OutdatedWrapped(data_key),
        (2, "none") => Kept::Open(open()?),
        (2, "password") => Kept::Wrapped(Wrapped {
            cost: Cost { memory: row.get(4)?, passes: row.get(5)? },
            salt: row.get(3)?,
            data_key: data_key.to_vec(),
        }),
        (_, _) => return Err(damaged()),
    })
}

fn write_vault(db: &Connection, kept: &Kept) -> rusqlite::Result<()> {
    let mut write = db.prepare(
        "INSERT OR REPLACE INTO vault (id, form, protection, data_key, salt, memory, passes)
         VALUES (1, 2, ?1, ?2, ?3, ?4, ?5)",
    )?;
    match kept {
        Kept::Open(data_key) => {
            write.execute(params!["none", data_key.as_bytes(), None::<i64>, None::<i64>, None::<i64>])
        }
        Kept::Wrapped(Wrapped { cost, salt, data_key }) => {
            write.execute(params!["password", data_key, salt, cost.memory, cost.passes])
        }
        // Nothing makes one
        Kept::OutdatedOpen(_) | Kept::OutdatedWrapped(_) => Err(as_rusqlite(Error::VaultDamaged)),
    }
    .map(drop)
}

/// Writes the vault's row, and everything that hangs on the data key anew where that is another.
fn replace_vault(db: &Connection, old: &Vault, new: &Vault) -> rusqlite::Result<()> {
    write_vault(db, new.kept())?;
    if old.shares_data_key(new) {
        return Ok(());
    }
    // Before there were codes, nothing had one
    if !old.is_outdated() {
        check_decisions(db, old, None)?;
        check_terms(db, old)?;
    }
    reseal(db, old, new)?;
    authenticate_decisions(db, new, None)?;
    authenticate_terms(db, new)
}

fn reseal(db: &Connection, old: &Vault, new: &Vault) -> rusqlite::Result<()> {
    let mut query = db.prepare(SEALED_KEY)?;
    let keys: Vec<SealedKey> = query.query_map([], sealed_key)?.collect::<rusqlite::Result<_>>()?;
    let mut update = db.prepare("UPDATE identities SET private_key = ?1 WHERE id = ?2")?;
    for key in keys {
        let resealed = old.open(&key).and_then(|opened| new.seal(&key.row, &opened)).map_err(as_rusqlite)?;
        update.execute(params![resealed, key.row.id])?;
    }
    Ok(())
}
