//! Renewal: an identity takes over from the one that its certificate renews.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! let alice = store.find_identity("Alice Example's card")?;
//! // An identity does not renew itself
//! let reason = alice.check_renewed_by(&alice).unwrap_err();
//! assert!(reason.to_string().ends_with("it is the same certificate"));
//! for old in store.renewed_by(&alice)? {
//!     let renewal = store.renew(&old, &alice)?;
//!     println!("{} is remembered in {} places now", renewal.new.name(), renewal.scopes.len());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::Connection;

use crate::answer::decision::Scope;
use crate::certificate::identity::Identity;
use crate::certificate::import::Import;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::store::{
    Imported, Store, as_rusqlite, authenticate_decisions, check_decisions, chosen_key, identities_of_subject,
    rewrite_key,
};
use crate::vault::{KeyRow, Vault};

/// What an identity took over.
#[derive(Clone, Debug)]
#[non_exhaustive]
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
    /// Those of [reading](crate::manage#errors).
    pub fn renewed_by(&self, new: &Identity) -> Result<Vec<Identity>, Error> {
        self.with(|db| renewed_by(db, new))
    }

    /// Lets an identity take over the decisions of the one it renews, and the demand for TLS 1.3.
    ///
    /// # Errors
    /// [`Error::VaultLocked`]; [`Error::NotAuthentic`]; [`Error::UnknownIdentity`] or [`Error::Renamed`] when one of them was
    /// removed or renamed meanwhile, and those of [writing](crate::manage#errors).
    pub fn renew(&self, old: &Identity, new: &Identity) -> Result<Renewal, Error> {
        self.transact_open(|db, vault| take_over(db, vault, old, new))
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
        self.import_and_then(files, name, now, |db, vault, imported| {
            let mut seen = HashSet::new();
            let mut renewals = Vec::new();
            for new in imported.imported.iter_mut().chain(&mut imported.already_present) {
                if !seen.insert(new.fingerprint()) {
                    continue;
                }
                for old in renewed_by(db, new)? {
                    let renewal = take_over(db, vault, &old, new)?;
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

fn take_over(db: &Connection, vault: &Vault, old: &Identity, new: &Identity) -> rusqlite::Result<Renewal> {
    let (old_key, new_key) = (chosen_key(db, old)?, chosen_key(db, new)?);
    let (old_id, new_id) = (old_key.row.id, new_key.row.id);
    // Also where nothing is decided: the demand for TLS 1.3 is taken over, and the new one's row says its name
    vault.check_key(&old_key).and_then(|()| vault.check_key(&new_key)).map_err(as_rusqlite)?;
    check_decisions(db, vault, Some(old_id))?;
    check_decisions(db, vault, Some(new_id))?;
    let mut update = db.prepare_cached(
        "UPDATE decisions SET identity = ?2, last_outcome = NULL WHERE identity = ?1 RETURNING host, port",
    )?;
    let rows = update.query_map([old_id, new_id], |row| Ok(Scope { host: row.get(0)?, port: row.get(1)? }))?;
    let scopes = rows.collect::<rusqlite::Result<_>>()?;
    authenticate_decisions(db, vault, Some(new_id))?;
    let restricted = old_key.row.requires_tls13 && !new_key.row.requires_tls13;
    if restricted {
        rewrite_key(db, vault, &new_key, KeyRow { requires_tls13: true, ..new_key.row.clone() })?;
    }
    let new = Identity::new(new.name().to_owned(), new.certificate().clone(), new.requires_tls13() || restricted);
    Ok(Renewal { old: old.clone(), new, scopes, restricted })
}
