//! The table of the authorities.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Row, params};

use super::cache::Cache;
use super::damage::{AUTHORITIES, all_readable, read_certificate, read_row};
use super::handle::Store;
use super::integrity::read_terms_anew;
use super::look::Remembered;
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

    /// [`Self::chain`] of each of these certificates.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn chains<'a>(
        &self,
        certificates: impl IntoIterator<Item = &'a Certificate>,
    ) -> Result<Vec<Vec<Arc<Authority>>>, Error> {
        let authorities = self.arranged_authorities()?;
        Ok(certificates.into_iter().map(|certificate| authorities.chain(certificate, None).authorities).collect())
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
                let fingerprint = certificate.fingerprint();
                db.execute("UPDATE authorities SET trusted = 1 WHERE fingerprint = ?1", [fingerprint.as_bytes()])?;
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

    /// The trusted authorities. If the vault is open, here or in an agent, their code is checked at once; if not, a selector
    /// that knows of them checks it when a key is used. Asks nobody.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`], and those of [reading](Self#errors).
    pub(crate) fn trust_anchors(&self) -> Result<TrustAnchors, Error> {
        let ((anchors, vault), _) = self.reading(|db, damaged| {
            let moment = db.unchecked_transaction()?;
            let trusted = read_authorities(db, damaged)?.into_iter().filter(|authority| authority.trusted);
            let certificates = trusted.map(|authority| authority.certificate).collect::<Vec<_>>();
            let read = ((certificates, read_terms_anew(db)?, self.number()), self.usable_vault(db)?);
            moment.commit()?;
            Ok(read)
        })?;
        let (certificates, terms, number) = anchors;
        match vault.check(&terms) {
            Err(error @ Error::NotAuthentic { .. }) if !certificates.is_empty() => Err(error),
            // Without any it does not matter; and while the vault is locked it cannot be known
            _ => Ok(TrustAnchors::new(certificates, number)),
        }
    }
}

/// The trusted authorities of a store, by which the connections of a selector verify servers, as they were at the last look.
///
/// Each is in the terms of the latest look, which must be authentic before a key is used; or it was added since, and those terms
/// were authentic. So no key is used for a server that only an authority of somebody else vouches for.
#[derive(Debug)]
pub(crate) struct TrustAnchors(Mutex<Followed>);

#[derive(Debug)]
struct Followed {
    certificates: Arc<[Certificate]>,
    /// Counts the changes.
    version: u64,
    /// Counts the looks at which some were no longer trusted.
    distrusted: u64,
    /// The number of the latest look.
    number: u64,
    /// What was trusted then, if that is all there is to know.
    known: Option<Arc<HashSet<Fingerprint>>>,
}

impl TrustAnchors {
    fn new(certificates: Vec<Certificate>, number: u64) -> Self {
        Self(Mutex::new(Followed { certificates: certificates.into(), version: 0, distrusted: 0, number, known: None }))
    }

    /// The certificates, with a number that changes when they do.
    pub(crate) fn certificates(&self) -> (u64, Arc<[Certificate]>) {
        let followed = self.locked();
        (followed.version, followed.certificates.clone())
    }

    /// Follows a look at the store: what is no longer trusted no longer counts; what is trusted since counts if the terms of the
    /// store are authentic. Returns how often something was no longer trusted so far.
    pub(crate) fn follow(&self, now: &Remembered) -> u64 {
        let mut followed = self.locked();
        let trusted = &now.terms.trusted;
        if !followed.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, trusted)) {
            followed.drop_all_but(trusted);
            // Another thread may have looked later. What was added by then may have been removed since
            if now.number > followed.number {
                followed.number = now.number;
                followed.add(now);
            }
        }
        followed.distrusted
    }

    fn locked(&self) -> MutexGuard<'_, Followed> {
        // Each change of it is whole
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followed {
    fn drop_all_but(&mut self, trusted: &HashSet<Fingerprint>) {
        let is_trusted = |certificate: &&Certificate| trusted.contains(&certificate.fingerprint());
        let kept: Vec<Certificate> = self.certificates.iter().filter(is_trusted).cloned().collect();
        if kept.len() < self.certificates.len() {
            self.certificates = kept.into();
            self.version += 1;
            self.distrusted += 1;
            self.known = None;
        }
    }

    fn add(&mut self, now: &Remembered) {
        let before: HashSet<Fingerprint> = self.certificates.iter().map(Certificate::fingerprint).collect();
        let is_new = |certificate: &&Certificate| !before.contains(&certificate.fingerprint());
        let added: Vec<Certificate> = now.authorities.trusted().filter(is_new).cloned().collect();
        if !added.is_empty() {
            if now.vault.check(&now.terms.authenticated).is_err() {
                return;
            }
            self.certificates = self.certificates.iter().cloned().chain(added).collect();
            self.version += 1;
        }
        self.known = Some(now.terms.trusted.clone());
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

fn read_authorities(db: &Connection, damaged: &mut Vec<Damage>) -> rusqlite::Result<Vec<Authority>> {
    let mut query = db.prepare_cached("SELECT id, fingerprint, certificate, trusted FROM authorities ORDER BY id")?;
    let parse = |row: &Row<'_>| {
        read_row(row, AUTHORITIES, |row| Ok(Authority { certificate: read_certificate(row)?, trusted: row.get(3)? }))
    };
    all_readable(query.query_map([], parse)?, damaged)
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
