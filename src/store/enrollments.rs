//! The private keys that wait for their certificate.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Store, as_rusqlite};
use crate::certificate::{Fingerprint, FingerprintPrefix};
use crate::clock::Timestamp;
use crate::enrollment::{Enrollment, NewEnrollment};
use crate::error::Error;
use crate::identity::Identity;
use crate::vault::{KeyRow, SealedKey, Vault};

/// For [`sealed_key`] and [`parse`].
const ENROLLMENT: &str = "SELECT id, request, private_key, made_at FROM enrollments";

impl Store {
    /// Keeps a private key until its certificate is imported: [`Self::add_known_keys`] finds it then, and [`Self::import`] ends
    /// the enrollment.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], and those of writing.
    pub fn enroll(&self, new: &NewEnrollment, now: Timestamp) -> Result<Enrollment, Error> {
        let damaged = |detail| Error::KeyNotMade { detail };
        let enrollment = Enrollment::from_request(new.request.clone(), now).map_err(damaged)?;
        self.transact_open(|db, vault| {
            let row = key_row(next_id(db)?, &new.request);
            let sealed = vault.seal(&row, &new.key).map_err(as_rusqlite)?;
            db.execute(
                "INSERT INTO enrollments (id, request, private_key, made_at) VALUES (?1, ?2, ?3, ?4)",
                params![row.id, new.request, sealed, now.0],
            )
        })?;
        Ok(enrollment)
    }

    /// Every enrollment, the oldest first.
    ///
    /// # Errors
    /// Those of reading; [`Error::StoreDamaged`].
    pub fn enrollments(&self) -> Result<Vec<Enrollment>, Error> {
        self.with(|db| {
            let mut query = db.prepare_cached(&format!("{ENROLLMENT} ORDER BY id"))?;
            let rows = query.query_map([], parse)?;
            rows.collect()
        })
    }

    /// The enrollment a person means, by a prefix of the SHA-256 of its request.
    ///
    /// # Errors
    /// [`Error::UnknownIdentity`], [`Error::Ambiguous`], and those of [`Self::enrollments`].
    pub fn find_enrollment(&self, id: &str) -> Result<Enrollment, Error> {
        let unknown = || Error::UnknownIdentity { id: id.to_owned() };
        let prefix: FingerprintPrefix = id.parse().map_err(|()| unknown())?;
        let all = self.enrollments()?;
        let mut found = all.into_iter().filter(|found| found.fingerprint().to_string().starts_with(prefix.digits()));
        match (found.next(), found.next()) {
            (None, _) => Err(unknown()),
            (Some(enrollment), None) => Ok(enrollment),
            (Some(_), Some(_)) => Err(Error::Ambiguous { id: id.to_owned() }),
        }
    }

    /// The sealed keys of enrollments for these public keys, with the requests' fingerprints.
    pub(super) fn enrolled_keys(&self, public_keys: &HashSet<Vec<u8>>) -> Result<Vec<SealedKey>, Error> {
        self.with(|db| {
            let mut query = db.prepare_cached(ENROLLMENT)?;
            let rows = query.query_map([], |row| Ok((parse(row)?, sealed_key(row)?)))?;
            let wanted =
                rows.filter(|row| row.as_ref().map_or(true, |(found, _)| public_keys.contains(found.public_key())));
            wanted.map(|row| row.map(|(_, key)| key)).collect()
        })
    }
}

/// Ends the enrollments whose certificate has come.
pub(super) fn complete(db: &Connection, identity: &Identity) -> rusqlite::Result<()> {
    let public_key = identity.certificate().public_key();
    let is_of = |request: &[u8]| {
        Enrollment::from_request(request.to_vec(), Timestamp(0)).is_ok_and(|found| found.public_key() == public_key)
    };
    remove_those(db, is_of)
}

/// Seals the keys anew.
pub(super) fn reseal(db: &Connection, old: &Vault, new: &Vault) -> rusqlite::Result<()> {
    let mut query = db.prepare(ENROLLMENT)?;
    let keys: Vec<SealedKey> = query.query_map([], sealed_key)?.collect::<rusqlite::Result<_>>()?;
    let mut update = db.prepare("UPDATE enrollments SET private_key = ?1 WHERE id = ?2")?;
    for key in keys {
        let resealed = old.open(&key).and_then(|opened| new.seal(&key.row, &opened)).map_err(as_rusqlite)?;
        update.execute(params![resealed, key.row.id])?;
    }
    Ok(())
}

/// Removes those whose requests have these fingerprints.
pub(super) fn remove(db: &Connection, fingerprints: &[Fingerprint]) -> rusqlite::Result<()> {
    remove_those(db, |request| fingerprints.contains(&Fingerprint::of(request)))
}

fn remove_those(db: &Connection, is_meant: impl Fn(&[u8]) -> bool) -> rusqlite::Result<()> {
    let mut query = db.prepare_cached("SELECT id, request FROM enrollments")?;
    let rows: Vec<(i64, Vec<u8>)> =
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    for (id, _) in rows.iter().filter(|(_, request)| is_meant(request)) {
        db.execute("DELETE FROM enrollments WHERE id = ?1", [id])?;
    }
    Ok(())
}

/// Never one that was given before.
fn next_id(db: &Connection) -> rusqlite::Result<i64> {
    let mut last = db.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'enrollments'")?;
    Ok(last.query_row([], |row| row.get::<_, i64>(0)).optional()?.unwrap_or(0) + 1)
}

/// What the key is bound to. No certificate has the fingerprint of a request, so it opens in no identity's row.
fn key_row(id: i64, request: &[u8]) -> KeyRow {
    KeyRow { id, fingerprint: Fingerprint::of(request), name: "an enrollment".to_owned(), requires_tls13: false }
}

fn sealed_key(row: &Row<'_>) -> rusqlite::Result<SealedKey> {
    let request: Vec<u8> = row.get(1)?;
    Ok(SealedKey { row: key_row(row.get(0)?, &request), sealed: row.get(2)? })
}

fn parse(row: &Row<'_>) -> rusqlite::Result<Enrollment> {
    let id: i64 = row.get(0)?;
    let damaged =
        |detail: String| as_rusqlite(Error::StoreDamaged { detail: format!("enrollments, row {id}: {detail}") });
    Enrollment::from_request(row.get(1)?, Timestamp(row.get(3)?)).map_err(damaged)
}
