//! Checks of the whole store, for a person who wants to know whether something is wrong with it.

use super::handle::Store;
use super::integrity::{decisions, read_terms_anew};
use super::keys::{every_enrollment_key, every_key};
use super::sql::store_error;
use crate::error::Error;
use crate::vault::Vault;

/// Faults that SQLite names at most.
const MOST: usize = 20;

impl Store {
    /// Has SQLite check the whole file. Returns what is wrong with it, as SQLite says it; nothing if it is whole. Rows that SQLite can
    /// read and this library cannot are in [`Self::damage`] once they were read.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn check_file(&self) -> Result<Vec<String>, Error> {
        self.read(|db| {
            let mut query = db.prepare(&format!("PRAGMA integrity_check({MOST})"))?;
            let mut faults: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            faults.retain(|fault| fault != "ok");
            let mut query = db.prepare("PRAGMA foreign_key_check")?;
            let dangling = query.query_map([], |row| {
                let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
                Ok(format!("a row of {table} names a row of {parent} that is missing"))
            })?;
            for fault in dangling.take(MOST) {
                faults.push(fault?);
            }
            Ok(faults)
        })
    }

    /// Checks everything that has to be as cardcase wrote it: the settings, the rules and the trusted authorities, the decisions for
    /// identities, and that every private key opens. Call [`Self::unlock`] first. Returns one error for each thing that is not:
    /// [`Error::NotAuthentic`], [`Error::SealedKey`] or [`Error::VaultReplaced`]. Damaged rows are left out.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], and those of [reading](Self#errors).
    pub fn check_authenticity(&self) -> Result<Vec<Error>, Error> {
        let checked = self.read(|db| {
            let vault = self.usable_vault(db)?;
            let codes = std::iter::once(read_terms_anew(db)).map(|terms| vault_check(&vault, terms));
            let decisions = decisions(db, None)?.into_iter().map(|(_, decision)| vault_check(&vault, Ok(decision)));
            let keys = every_key(db)?.chain(every_enrollment_key(db)?).map(|key| Ok(vault.check_key(&key?).err()));
            Ok(codes.chain(decisions).chain(keys).collect::<Vec<rusqlite::Result<Option<Error>>>>())
        });
        let checked = match checked {
            Err(error @ Error::VaultReplaced { .. }) => return Ok(vec![error]),
            checked => checked?,
        };
        let mut wrong = Vec::new();
        for one in checked {
            match one.map_err(|error| store_error(self.path(), error)) {
                Ok(None) | Err(Error::RowDamaged(_)) => {}
                Ok(Some(error @ (Error::NotAuthentic { .. } | Error::SealedKey { .. }))) => wrong.push(error),
                Ok(Some(error)) | Err(error) => return Err(error),
            }
        }
        Ok(wrong)
    }
}

fn vault_check(
    vault: &Vault,
    authenticated: rusqlite::Result<crate::vault::Authenticated>,
) -> rusqlite::Result<Option<Error>> {
    Ok(vault.check(&authenticated?).err())
}
