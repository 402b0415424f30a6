//! The sealed private keys, in the rows of the identities and of the enrollments.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::damage::{ENROLLMENTS, IDENTITIES, numbers, read_row, row_with};
use super::sql::as_rusqlite;
use crate::certificate::Fingerprint;
use crate::certificate::identity::Identity;
use crate::certificate::permission::Permit;
use crate::certificate::tried::Tried;
use crate::error::Error;
use crate::vault::{KeyRow, SealedKey, Vault};

/// For [`parse_key`].
const SEALED_KEY: &str =
    "SELECT id, fingerprint, name, requires_tls13, private_key, tried, permission, confirmation FROM identities";

/// For [`parse_enrollment_key`].
pub(super) const ENROLLMENT: &str = "SELECT id, request, private_key, made_at FROM enrollments";

fn parse_key(row: &Row<'_>) -> rusqlite::Result<SealedKey> {
    read_row(row, IDENTITIES, |row| {
        Ok(SealedKey {
            row: KeyRow {
                id: row.get(0)?,
                fingerprint: Fingerprint::from_bytes(row.get(1)?),
                name: row.get(2)?,
                requires_tls13: row.get(3)?,
                tried: Tried::from_number(row.get(5)?),
                permit: Permit::from_numbers(row.get(6)?, row.get(7)?),
            },
            sealed: row.get(4)?,
        })
    })
}

/// The sealed key of an identity, by the number of its row.
pub(super) fn key_of_row(db: &Connection, id: i64) -> rusqlite::Result<SealedKey> {
    row_with(db, IDENTITIES, SEALED_KEY, id, parse_key)
}

/// The sealed key of every identity, one after the other.
pub(super) fn every_key(
    db: &Connection,
) -> rusqlite::Result<impl Iterator<Item = rusqlite::Result<SealedKey>> + use<'_>> {
    Ok(numbers(db, IDENTITIES)?.into_iter().map(|id| key_of_row(db, id)))
}

/// The sealed key of every enrollment, one after the other.
pub(super) fn every_enrollment_key(
    db: &Connection,
) -> rusqlite::Result<impl Iterator<Item = rusqlite::Result<SealedKey>> + use<'_>> {
    Ok(numbers(db, ENROLLMENTS)?.into_iter().map(|id| enrollment_key_of_row(db, id)))
}

/// The sealed key of an enrollment, by the number of its row.
fn enrollment_key_of_row(db: &Connection, id: i64) -> rusqlite::Result<SealedKey> {
    row_with(db, ENROLLMENTS, ENROLLMENT, id, parse_enrollment_key)
}

pub(super) fn parse_enrollment_key(row: &Row<'_>) -> rusqlite::Result<SealedKey> {
    let request: Vec<u8> = row.get(1)?;
    Ok(SealedKey { row: enrollment_row(row.get(0)?, &request), sealed: row.get(2)? })
}

/// What the key of an enrollment is bound to. No certificate has the fingerprint of a request, so the key opens in no
/// identity's row.
pub(super) fn enrollment_row(id: i64, request: &[u8]) -> KeyRow {
    let (name, fingerprint) = ("an enrollment".to_owned(), Fingerprint::from_der(request));
    let (tried, permit) = (Tried::default(), Permit::default());
    KeyRow { id, fingerprint, name, requires_tls13: false, tried, permit }
}

/// The sealed key of an identity.
///
/// # Errors
/// [`Error::UnknownIdentity`] when the identity has been removed.
pub(super) fn known_key(db: &Connection, identity: Fingerprint) -> rusqlite::Result<SealedKey> {
    let mut query = db.prepare_cached("SELECT id FROM identities WHERE fingerprint = ?1")?;
    match query.query_row([identity.as_bytes()], |row| row.get(0)).optional()? {
        Some(id) => key_of_row(db, id),
        None => Err(as_rusqlite(Error::UnknownIdentity { id: identity.to_string() })),
    }
}

/// The sealed key of an identity that a person chose by what they saw. Somebody who swaps names in the file can make a person
/// choose the wrong identity; but its key then opens only under the name that it had before.
///
/// # Errors
/// [`Error::Renamed`], and those of [`known_key`].
pub(super) fn chosen_key(db: &Connection, identity: &Identity) -> rusqlite::Result<SealedKey> {
    let key = known_key(db, identity.fingerprint())?;
    key.check_chosen(identity).map_err(as_rusqlite)?;
    Ok(key)
}

/// Binds a private key to another name, TLS version or permit, and writes these to its row.
pub(super) fn rewrite_key(db: &Connection, vault: &Vault, key: &SealedKey, row: KeyRow) -> rusqlite::Result<()> {
    let sealed = vault.open(key).and_then(|opened| vault.seal(&row, &opened)).map_err(as_rusqlite)?;
    let Permit { permission, confirmation } = row.permit;
    let mut update = db.prepare_cached(
        "UPDATE identities SET name = ?1, requires_tls13 = ?2, permission = ?3, confirmation = ?4, private_key = ?5
         WHERE id = ?6",
    )?;
    let (permission, confirmation) = (permission.number(), confirmation.number());
    update.execute(params![row.name, row.requires_tls13, permission, confirmation, sealed, row.id]).map(drop)
}
