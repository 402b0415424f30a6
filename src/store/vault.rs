//! The row of the vault: how the data key is stored.

use rusqlite::{Connection, OptionalExtension, Row, params};
use zeroize::Zeroizing;

use super::keys;
use super::sql::as_rusqlite;
use crate::error::Error;
use crate::vault::{Cost, DataKey, Kept, Vault, Wrapped};

/// `None`: the store is new and has no vault yet.
pub(super) fn read_vault(db: &Connection) -> rusqlite::Result<Option<Kept>> {
    let mut query = db.prepare_cached("SELECT protection, data_key, salt, memory, passes FROM vault")?;
    query.query_row([], parse_vault).optional()
}

pub(super) fn write_vault(db: &Connection, kept: &Kept) -> rusqlite::Result<()> {
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

/// Shows that a vault without a password is the one that sealed the private keys of this store.
///
/// # Errors
/// [`Error::VaultReplaced`].
pub(super) fn prove(db: &Connection, vault: &Vault) -> rusqlite::Result<()> {
    if !vault.is_unproven() {
        return Ok(());
    }
    vault.prove(keys::every_key(db)?.chain(keys::every_enrollment_key(db)?), as_rusqlite)
}

/// Whether something in the store was sealed or authenticated, which needs a vault.
pub(super) fn had_vault(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row(
        "SELECT EXISTS (SELECT 1 FROM identities) OR EXISTS (SELECT 1 FROM enrollments)
            OR EXISTS (SELECT 1 FROM decisions WHERE mac IS NOT NULL) OR EXISTS (SELECT 1 FROM settings WHERE mac IS NOT NULL)",
        [],
        |row| row.get(0),
    )
}

/// The error about a row that is damaged.
pub(super) fn vault_damaged(detail: &str) -> rusqlite::Error {
    as_rusqlite(Error::VaultDamaged { detail: detail.to_owned() })
}

/// Columns without a meaning for this protection have to be empty.
fn parse_vault(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let protection: String = row.get(0)?;
    let data_key = Zeroizing::new(row.get::<_, Vec<u8>>(1)?);
    Ok(match (protection.as_str(), row.get(2)?, row.get(3)?, row.get(4)?) {
        ("none", None, None, None) => {
            let data_key = DataKey::from_slice(&data_key);
            Kept::Open(data_key.ok_or_else(|| vault_damaged("its data key does not have 32 bytes"))?)
        }
        ("password", Some(salt), Some(memory), Some(passes)) => {
            let cost = Cost::read(memory, passes).map_err(as_rusqlite)?;
            Kept::Wrapped(Wrapped { cost, salt, data_key: data_key.to_vec() })
        }
        _ => return Err(vault_damaged("some of its columns are empty, or are not where they should be")),
    })
}
