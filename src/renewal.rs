//! Renewal: an identity takes over from the one that its certificate renews.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::certificate::Fingerprint;
use crate::clock::Timestamp;
use crate::decisions::Scope;
use crate::error::Error;
use crate::identity::{Identity, Import};
use crate::store::{Imported, Store, identities_of_subject, identity_id};

/// What an identity took over.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// From whom.
    pub old: Identity,
    /// Who did.
    pub new: Identity,
    /// Where it is remembered now in place of the old one.
    pub scopes: Vec<Scope>,
    /// Whether it goes out in TLS 1.3 only from now on, for the old one does.
    pub restricted: bool,
}

impl Store {
    /// The identities that this one renews ([`Identity::check_renewed_by`]), the one valid longest first.
    ///
    /// # Errors
    /// Those of reading.
    pub fn renewed_by(&self, new: &Identity) -> Result<Vec<Identity>, Error> {
        self.with(|db| renewed_by(db, new))
    }

    /// Lets an identity take over the decisions of the one it renews, and the demand for TLS 1.3.
    ///
    /// # Errors
    /// [`Error::UnknownIdentity`] when one of them was removed meanwhile, and those of writing.
    pub fn renew(&self, old: &Identity, new: &Identity) -> Result<Renewal, Error> {
        self.transact(|db| take_over(db, old, new))
    }

    /// Imports, and lets what is imported, or was there before, take over from the identities that it renews; all of it or
    /// nothing.
    ///
    /// # Errors
    /// Those of [`Self::import`].
    pub fn import_and_renew(
        &self,
        files: Vec<Import>,
        name: Option<&str>,
        now: Timestamp,
    ) -> Result<(Imported, Vec<Renewal>), Error> {
        self.import_and_then(files, name, now, |db, imported| {
            let mut seen = HashSet::new();
            let mut renewals = Vec::new();
            for new in imported.imported.iter_mut().chain(&mut imported.already_present) {
                if !seen.insert(new.fingerprint()) {
                    continue;
                }
                for old in renewed_by(db, new)? {
                    let renewal = take_over(db, &old, new)?;
                    *new = Arc::new(renewal.new.clone());
                    renewals.push(renewal);
                }
            }
            Ok(renewals)
        })
    }
}

fn renewed_by(db: &Connection, new: &Identity) -> rusqlite::Result<Vec<Identity>> {
    let mut old = identities_of_subject(db, &new.certificate().subject_key())?;
    old.retain(|old| old.check_renewed_by(new).is_ok());
    old.sort_by_key(|old| Reverse(old.certificate().not_after()));
    Ok(old)
}

fn take_over(db: &Connection, old: &Identity, new: &Identity) -> rusqlite::Result<Renewal> {
    let ids = [known(db, old.fingerprint())?, known(db, new.fingerprint())?];
    let mut update = db.prepare_cached(
        "UPDATE decisions SET identity = ?2, last_outcome = NULL WHERE identity = ?1 RETURNING host, port",
    )?;
    let rows = update.query_map(ids, |row| Ok(Scope { host: row.get(0)?, port: row.get(1)? }))?;
    let scopes = rows.collect::<rusqlite::Result<_>>()?;
    let [old_id, new_id] = ids;
    let mut restrict = db.prepare_cached(
        "UPDATE identities SET requires_tls13 = 1 WHERE id = ?2 AND requires_tls13 = 0
         AND (SELECT requires_tls13 FROM identities WHERE id = ?1)",
    )?;
    let restricted = restrict.execute(params![old_id, new_id])? == 1;
    let new = Identity::new(new.name().to_owned(), new.certificate().clone(), new.requires_tls13() || restricted);
    Ok(Renewal { old: old.clone(), new, scopes, restricted })
}

fn known(db: &Connection, fingerprint: Fingerprint) -> rusqlite::Result<i64> {
    identity_id(db, fingerprint)?.ok_or_else(|| {
        let unknown = Error::UnknownIdentity { id: fingerprint.to_string() };
        rusqlite::Error::ToSqlConversionFailure(Box::new(unknown))
    })
}
