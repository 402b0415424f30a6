//! The table of the authorities.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::cache::Cache;
use super::damage::{AUTHORITIES, every_row, read_certificate, read_row};
use super::handle::Store;
use super::sql::only;
use crate::certificate::authority::{Authorities, Authority};
use crate::certificate::{Certificate, Fingerprint, FingerprintPrefix};
use crate::clock::Timestamp;
use crate::error::{Damage, Error};

impl Store {
    /// Every authority, arranged for look-up. One whose row is damaged is skipped and noted in [`Self::damage`].
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub(crate) fn arranged_authorities(&self) -> Result<Arc<Authorities>, Error> {
        self.cached(cached_authorities)
    }

    /// The CA certificates above this one that the store has: its issuer first, up to a self-issued one if the store has it.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn chain(&self, certificate: &Certificate) -> Result<Vec<Arc<Authority>>, Error> {
        Ok(self.arranged_authorities()?.chain(certificate, None).authorities)
    }

    /// How many authorities are in the [chain](Self::chain) of each of these certificates.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn chain_lengths<'a>(
        &self,
        certificates: impl IntoIterator<Item = &'a Certificate>,
    ) -> Result<Vec<usize>, Error> {
        let authorities = self.arranged_authorities()?;
        Ok(certificates.into_iter().map(|certificate| authorities.chain_length(certificate)).collect())
    }

    /// Every authority, in the order they were added. One whose row is damaged is skipped and noted in [`Self::damage`].
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn authorities(&self) -> Result<Vec<Authority>, Error> {
        Ok(self.reading(read_authorities)?.0)
    }

    /// The authority that a person means by a prefix of its fingerprint.
    ///
    /// # Errors
    /// [`Error::UnknownAuthority`], [`Error::Ambiguous`], [`Error::RowDamaged`].
    pub fn find_authority(&self, id: &str) -> Result<Authority, Error> {
        let unknown = || Error::UnknownAuthority { id: id.to_owned() };
        let prefix = FingerprintPrefix::parse(id).ok_or_else(unknown)?;
        let (all, damaged) = self.reading(read_authorities)?;
        if let Some(damage) = damaged.into_iter().find(|damage| damage.id.starts_with(prefix.digits())) {
            return Err(Error::RowDamaged(damage));
        }
        let is_meant = |ca: &Authority| ca.certificate.fingerprint().to_string().starts_with(prefix.digits());
        only(all.into_iter().filter(is_meant), id, unknown)
    }

    /// Stores certificates of CAs, and of servers that are trusted for themselves, as trusted, all or none. Those that the store
    /// already has become trusted. [`Certificate::why_untrustable`] says in advance which of them verify no server.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::NotAuthentic`], and those of [writing](Self#errors).
    pub fn trust(&self, certificates: &[Certificate], now: Timestamp) -> Result<(), Error> {
        self.change_terms(|db| {
            for certificate in certificates {
                insert_authority(db, certificate, now)?;
                trust_authority(db, certificate)?;
            }
            Ok(())
        })
    }

    /// Stops trusting an authority, which still completes chains. This succeeds even when the trusted authorities are not
    /// authentic.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], and those of [writing](Self#errors).
    pub fn distrust(&self, authority: Fingerprint) -> Result<(), Error> {
        self.restrict_terms(|db| {
            db.execute("UPDATE authorities SET trusted = 0 WHERE fingerprint = ?1", [authority.as_bytes()]).map(drop)
        })
    }

    /// Removes the row of an authority that cannot be read.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], and those of [writing](Self#errors).
    pub fn remove_damaged_authority(&self, damage: &Damage) -> Result<(), Error> {
        self.restrict_terms(|db| {
            let mut damaged = Vec::new();
            read_authorities(db, &mut damaged)?;
            let mut delete = db.prepare_cached("DELETE FROM authorities WHERE id = ?1")?;
            damaged.iter().filter(|found| *found == damage).try_for_each(|found| delete.execute([found.row]).map(drop))
        })
    }
}

pub(super) fn cached_authorities(db: &Connection, cache: &mut Cache) -> rusqlite::Result<Arc<Authorities>> {
    if let Some(authorities) = &cache.authorities {
        return Ok(authorities.clone());
    }
    let authorities = Arc::new(Authorities::new(read_authorities(db, &mut cache.damaged)?));
    cache.authorities = Some(authorities.clone());
    Ok(authorities)
}

pub(super) fn read_authorities(db: &Connection, damaged: &mut Vec<Damage>) -> rusqlite::Result<Vec<Authority>> {
    let query = "SELECT id, fingerprint, certificate, trusted FROM authorities";
    let parse = |row: &Row<'_>| {
        read_row(row, AUTHORITIES, |row| Ok(Authority { certificate: read_certificate(row)?, trusted: row.get(3)? }))
    };
    every_row(db, AUTHORITIES, query, parse, damaged)
}

/// Returns whether the certificate is new, or replaces a damaged one.
pub(super) fn insert_authority(db: &Connection, certificate: &Certificate, now: Timestamp) -> rusqlite::Result<bool> {
    let mut insert = db.prepare_cached(
        "INSERT INTO authorities (fingerprint, certificate, added_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (fingerprint) DO UPDATE SET certificate = excluded.certificate WHERE certificate != excluded.certificate",
    )?;
    let added = insert.execute(params![certificate.fingerprint().as_bytes(), certificate.der(), now.0])?;
    Ok(added == 1)
}

/// Whether an authority of the store is a trusted one.
pub(super) fn is_trusted(db: &Connection, certificate: &Certificate) -> rusqlite::Result<bool> {
    let mut query =
        db.prepare_cached("SELECT EXISTS (SELECT 1 FROM authorities WHERE fingerprint = ?1 AND trusted)")?;
    query.query_row([certificate.fingerprint().as_bytes()], |row| row.get(0))
}

/// Makes an authority of the store a trusted one. Returns whether it was not.
pub(super) fn trust_authority(db: &Connection, certificate: &Certificate) -> rusqlite::Result<bool> {
    let mut trust = db.prepare_cached("UPDATE authorities SET trusted = 1 WHERE fingerprint = ?1 AND NOT trusted")?;
    Ok(trust.execute([certificate.fingerprint().as_bytes()])? > 0)
}
