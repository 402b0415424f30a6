//! Renewal: an identity takes over from the one whose certificate its own renews.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::Connection;

use super::decisions::move_decisions;
use super::handle::Store;
use super::identities::identities_with_subject;
use super::import::{Imported, paired, store_all};
use super::integrity::{authenticate_decisions, check_decisions};
use super::keys::{chosen_key, rewrite_key};
use super::sql::as_rusqlite;
use crate::answer::decision::Scope;
use crate::certificate::identity::Identity;
use crate::certificate::import::Import;
use crate::certificate::permission::Permission;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::vault::{KeyRow, Vault};

/// What an identity took over from another.
///
/// # Example
///
/// ```
/// # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
/// # let (_home, store) = alice::store()?;
/// let alice = store.find_identity("Alice Example's card")?;
/// // An identity does not renew itself
/// let reason = alice.check_renewed_by(&alice).unwrap_err();
/// assert!(reason.to_string().ends_with("it is the same certificate"));
/// for old in store.renewed_by(&alice)? {
///     let renewal = store.renew(&old, &alice)?;
///     println!("{} is now remembered in {} scopes", renewal.new.name(), renewal.scopes.len());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Renewal {
    /// The identity that was renewed.
    pub old: Identity,
    /// The identity that renews it.
    pub new: Identity,
    /// The scopes in which the new identity is now remembered in place of the old one.
    pub scopes: Vec<Scope>,
    /// Whether the new identity is restricted to TLS 1.3 from now on, because the old one is.
    pub restricted: bool,
}

impl Store {
    /// The identities that this one renews ([`Identity::check_renewed_by`]), the one with the latest end of validity first.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn renewed_by(&self, new: &Identity) -> Result<Vec<Identity>, Error> {
        self.read(|db| renewed_by(db, new))
    }

    /// Lets an identity take over the decisions of the one it renews, its restriction to TLS 1.3, and, if nothing is permitted to other
    /// programs with the new one yet, what they may have signed with the old one.
    ///
    /// # Errors
    /// [`Error::VaultLocked`]; [`Error::NotAuthentic`]; [`Error::UnknownIdentity`] or [`Error::Renamed`] when one of them has
    /// been removed or renamed; and those of [writing](Self#errors).
    pub fn renew(&self, old: &Identity, new: &Identity) -> Result<Renewal, Error> {
        self.transact_with_vault(|db, vault| take_over(db, vault, old, new))
    }

    /// What [`Self::renew`] would do. Nothing is changed, and the vault may be locked; then nothing is checked that needs it.
    ///
    /// # Errors
    /// Those of [`Self::renew`].
    pub fn would_renew(&self, old: &Identity, new: &Identity) -> Result<Renewal, Error> {
        self.rehearse(|db, vault| take_over(db, vault, old, new))
    }

    /// Imports files, and lets each identity in them take over from those that it renews; all or nothing. One that no server
    /// accepts now ([`Identity::why_useless`]) takes nothing over.
    ///
    /// # Errors
    /// Those of [`Self::import`] and [`Self::renew`].
    pub fn import_and_renew(
        &self,
        files: Vec<Import>,
        name: Option<&str>,
        now: Timestamp,
    ) -> Result<(Imported, Vec<Renewal>), Error> {
        let files = paired(files, name)?;
        self.transact_with_vault(|db, vault| store_and_renew(db, vault, &files, name, now))
    }

    /// What [`Self::import_and_renew`] would do. Nothing is changed, and the vault may be locked; then nothing is checked that needs
    /// it.
    ///
    /// # Errors
    /// Those of [`Self::import_and_renew`].
    pub fn would_import_and_renew(
        &self,
        files: Vec<Import>,
        name: Option<&str>,
        now: Timestamp,
    ) -> Result<(Imported, Vec<Renewal>), Error> {
        let files = paired(files, name)?;
        self.rehearse(|db, vault| store_and_renew(db, vault, &files, name, now))
    }
}

fn store_and_renew(
    db: &Connection,
    vault: &Vault,
    files: &[Import],
    name: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<(Imported, Vec<Renewal>)> {
    let mut imported = store_all(db, vault, files, name, now)?;
    let mut seen = HashSet::new();
    let mut renewals = Vec::new();
    for new in imported.imported.iter_mut().chain(&mut imported.already_present) {
        if !seen.insert(new.fingerprint()) || !new.why_useless(now).is_empty() {
            continue;
        }
        for old in renewed_by(db, new)? {
            let renewal = take_over(db, vault, &old, new)?;
            *new = Arc::new(renewal.new.clone());
            renewals.push(renewal);
        }
    }
    Ok((imported, renewals))
}

fn renewed_by(db: &Connection, new: &Identity) -> rusqlite::Result<Vec<Identity>> {
    let mut old = identities_with_subject(db, &new.certificate().subject_key())?;
    old.retain(|old| old.check_renewed_by(new).is_ok());
    old.sort_by_key(|old| Reverse(old.certificate().not_after()));
    Ok(old)
}

fn take_over(db: &Connection, vault: &Vault, old: &Identity, new: &Identity) -> rusqlite::Result<Renewal> {
    let (old_key, new_key) = (chosen_key(db, old)?, chosen_key(db, new)?);
    let (old_id, new_id) = (old_key.row.id, new_key.row.id);
    // Without a decision too: the restriction to TLS 1.3 and the permit come from the old row, and the new name is shown
    vault.check_key(&old_key).and_then(|()| vault.check_key(&new_key)).map_err(as_rusqlite)?;
    check_decisions(db, vault, Some(old_id))?;
    check_decisions(db, vault, Some(new_id))?;
    let scopes = move_decisions(db, old_id, new_id)?;
    authenticate_decisions(db, vault, Some(new_id))?;
    let restricted = old_key.row.requires_tls13 && !new_key.row.requires_tls13;
    let requires_tls13 = new.requires_tls13() || restricted;
    let permit = match new.permit().permission {
        Permission::Off => old_key.row.permit,
        _ => new_key.row.permit,
    };
    let permit = permit.within(requires_tls13);
    if restricted || permit != new_key.row.permit {
        rewrite_key(db, vault, &new_key, KeyRow { requires_tls13, permit, ..new_key.row.clone() })?;
    }
    let (name, certificate) = (new.name().to_owned(), new.certificate().clone());
    let new = Identity::new(name, certificate, requires_tls13, new.tried(), permit);
    Ok(Renewal { old: old.clone(), new, scopes, restricted })
}
