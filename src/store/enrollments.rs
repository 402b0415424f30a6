//! The table of the enrollments: private keys that wait for their certificates.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::damage::{ENROLLMENTS, every_row, numbers, row_with};
use super::handle::Store;
use super::keys::{ENROLLMENT, enrollment_row, parse_enrollment_key};
use super::sql::{MAX_VALUE, as_rusqlite, at_any_length, next_id, only};
use crate::certificate::enrollment::Enrollment;
use crate::certificate::identity::Identity;
use crate::certificate::private_key::PrivateKey;
use crate::certificate::{Fingerprint, FingerprintPrefix};
use crate::clock::Timestamp;
use crate::error::{Damage, Error};
use crate::vault::{SealedKey, Vault};

impl Store {
    /// Stores a private key until its certificate is imported: [`Self::add_known_keys`] then finds the key, and
    /// [`Self::import`] ends the enrollment.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], and those of [writing](Self#errors); [`Error::KeyNotMade`] when the enrollment comes from a
    /// store, and so has no private key.
    pub fn enroll(&self, new: &Enrollment) -> Result<(), Error> {
        let stored = || Error::KeyNotMade { detail: "the enrollment is in a store already".to_owned() };
        let key = new.private_key().ok_or_else(stored)?;
        self.transact_with_vault(|db, vault| insert(db, vault, new, key))
    }

    /// Every enrollment, the oldest first. One whose row is damaged is skipped and noted in [`Self::damage`].
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn enrollments(&self) -> Result<Vec<Enrollment>, Error> {
        let read = self.reading(|db, damaged| every_row(db, ENROLLMENTS, ENROLLMENT, parse_enrollment, damaged));
        Ok(read?.0)
    }

    /// The enrollment that a person means by a prefix of the SHA-256 of its request, which may be damaged: that SHA-256, and the
    /// subject.
    ///
    /// # Errors
    /// [`Error::UnknownIdentity`], [`Error::Ambiguous`], and those of [reading](Self#errors).
    pub(super) fn find_enrollment(&self, id: &str) -> Result<(Fingerprint, String), Error> {
        let unknown = || Error::UnknownIdentity { id: id.to_owned() };
        let prefix = FingerprintPrefix::parse(id).ok_or_else(unknown)?;
        let requests: Vec<Vec<u8>> = self.read(|db| {
            let mut query = db.prepare_cached("SELECT request FROM enrollments WHERE octet_length(request) <= ?1")?;
            query.query_map([MAX_VALUE], |row| row.get(0))?.collect()
        })?;
        let is_meant = |request: &&Vec<u8>| Fingerprint::from_der(request).to_string().starts_with(prefix.digits());
        let request = only(requests.iter().filter(is_meant), id, unknown)?;
        Ok((Fingerprint::from_der(request), subject_of(request)))
    }

    /// The sealed keys of the enrollments for these public keys.
    pub(super) fn enrolled_keys(&self, public_keys: &HashSet<Vec<u8>>) -> Result<Vec<SealedKey>, Error> {
        let read = self.reading(|db, damaged| {
            let parse = |row: &Row<'_>| Ok((parse_enrollment(row)?, parse_enrollment_key(row)?));
            every_row(db, ENROLLMENTS, ENROLLMENT, parse, damaged)
        });
        let wanted = read?.0.into_iter().filter(|(found, _)| public_keys.contains(found.canonical_public_key()));
        Ok(wanted.map(|(_, key)| key).collect())
    }
}

fn insert(db: &Connection, vault: &Vault, new: &Enrollment, key: &PrivateKey) -> rusqlite::Result<()> {
    let row = enrollment_row(next_id(db, ENROLLMENTS)?, new.request());
    let sealed = vault.seal(&row, key).map_err(as_rusqlite)?;
    db.execute(
        "INSERT INTO enrollments (id, request, private_key, made_at) VALUES (?1, ?2, ?3, ?4)",
        params![row.id, new.request(), sealed, new.made_at().0],
    )
    .map(drop)
}

/// Stores an enrollment, unless the store has it. Returns whether it is new.
pub(super) fn insert_unless_known(
    db: &Connection,
    vault: &Vault,
    new: &Enrollment,
    key: &PrivateKey,
) -> rusqlite::Result<bool> {
    let mut known = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM enrollments WHERE request = ?1)")?;
    if known.query_row([new.request()], |row| row.get(0))? {
        return Ok(false);
    }
    insert(db, vault, new, key).map(|()| true)
}

/// Removes every enrollment.
pub(super) fn remove_all(db: &Connection) -> rusqlite::Result<()> {
    at_any_length(db, |db| db.execute("DELETE FROM enrollments", [])).map(drop)
}

/// Removes the enrollments whose certificates these identities have, unless the private key in the enrollment is the only one: the
/// identity may have lost its own.
pub(super) fn complete(db: &Connection, identities: &[Arc<Identity>]) -> rusqlite::Result<()> {
    let whole = identities.iter().filter(|identity| !identity.has_lost_key());
    let public_keys: HashSet<Vec<u8>> =
        whole.map(|identity| identity.certificate().canonical_public_key().into_owned()).collect();
    remove_where(db, |request| {
        let parsed = Enrollment::from_request(request.to_vec(), Timestamp(0));
        parsed.is_ok_and(|enrollment| public_keys.contains(enrollment.canonical_public_key()))
    })
}

/// Opens the key of an enrollment.
///
/// # Errors
/// [`Error::RowDamaged`] when it does not open in its row: it has no name by which a person could find it.
pub(super) fn open(vault: &Vault, key: &SealedKey) -> Result<PrivateKey, Error> {
    vault.open(key).map_err(|error| match error {
        Error::SealedKey { .. } => Error::RowDamaged(Damage {
            table: ENROLLMENTS,
            row: key.row.id,
            id: key.row.fingerprint.to_string(),
            detail: "its private key does not open".to_owned(),
        }),
        error => error,
    })
}

/// Removes the enrollments whose requests have these fingerprints.
pub(super) fn remove(db: &Connection, fingerprints: &[Fingerprint]) -> rusqlite::Result<()> {
    remove_where(db, |request| fingerprints.contains(&Fingerprint::from_der(request)))
}

fn remove_where(db: &Connection, is_meant: impl Fn(&[u8]) -> bool) -> rusqlite::Result<()> {
    let mut query = db.prepare_cached("SELECT id, request FROM enrollments WHERE octet_length(request) <= ?1")?;
    let rows: Vec<(i64, Vec<u8>)> =
        query.query_map([MAX_VALUE], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    for (id, _) in rows.iter().filter(|(_, request)| is_meant(request)) {
        db.execute("DELETE FROM enrollments WHERE id = ?1", [id])?;
    }
    Ok(())
}

fn subject_of(request: &[u8]) -> String {
    let parsed = Enrollment::from_request(request.to_vec(), Timestamp(0));
    parsed.map_or("an enrollment".to_owned(), |enrollment| enrollment.subject().to_string())
}

/// Every enrollment, by number.
///
/// # Errors
/// [`Error::RowDamaged`] when one cannot be read.
pub(super) fn every_enrollment(db: &Connection) -> rusqlite::Result<Vec<Enrollment>> {
    numbers(db, ENROLLMENTS)?
        .into_iter()
        .map(|id| row_with(db, ENROLLMENTS, ENROLLMENT, id, parse_enrollment))
        .collect()
}

fn parse_enrollment(row: &Row<'_>) -> rusqlite::Result<Enrollment> {
    let (number, request): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
    let id = Fingerprint::from_der(&request).to_string();
    let damaged = |detail| as_rusqlite(Error::RowDamaged(Damage { table: ENROLLMENTS, row: number, id, detail }));
    Enrollment::from_request(request, Timestamp(row.get(3)?)).map_err(damaged)
}
