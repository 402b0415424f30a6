//! What files bring into the store: one transaction over several tables.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::Connection;

use super::authorities::insert_authority;
use super::enrollments;
use super::handle::Store;
use super::identities::{check_name, insert_identity};
use crate::certificate::Certificate;
use crate::certificate::identity::Identity;
use crate::certificate::import::Import;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::vault::{Unlocker, Vault};

/// What an import did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Imported {
    /// Identities that are new.
    pub imported: Vec<Arc<Identity>>,
    /// Identities that the store already had, as it has them.
    pub already_present: Vec<Arc<Identity>>,
    /// CA certificates that are new.
    pub authorities: Vec<Certificate>,
}

impl Store {
    /// Stores everything that files hold, or nothing. What the store already has stays as it is.
    ///
    /// If there is exactly one identity, `name` names it. If not, the name of each identity is its friendlyName or its common
    /// name, with a number when it is taken.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] while the vault is locked, also because another process has changed the primary password;
    /// [`Error::Name`]; those of [`Import::pair`], and of [writing](Self#errors).
    pub fn import(&self, files: Vec<Import>, name: Option<&str>, now: Timestamp) -> Result<Imported, Error> {
        let files = paired(files, name)?;
        self.transact_with_vault(|db, vault| store_all(db, vault, &files, name, now))
    }

    /// What [`Self::import`] would do. Nothing is changed, and the vault may be locked; then nothing is checked that needs it.
    ///
    /// # Errors
    /// Those of [`Self::import`].
    pub fn would_import(&self, files: Vec<Import>, name: Option<&str>, now: Timestamp) -> Result<Imported, Error> {
        let files = paired(files, name)?;
        self.rehearse(|db, vault| store_all(db, vault, &files, name, now))
    }

    /// Adds to an import the private keys that the store has for its certificates that are not [paired](Import::pair) yet: a
    /// certificate may have been renewed with the same key, or issued for an enrollment ([`Self::enroll`]). Returns whether
    /// there were any.
    ///
    /// # Errors
    /// Those of [`Self::unlock_fully`] and of [reading](Self#errors); [`Error::SealedKey`] when the key of an identity does not
    /// open, [`Error::RowDamaged`] when that of an enrollment does not.
    pub fn add_known_keys(&self, import: &mut Import, unlocker: &dyn Unlocker) -> Result<bool, Error> {
        let mut wanted: HashSet<Vec<u8>> = import.unpaired_public_keys().map(Cow::into_owned).collect();
        let enrolled = self.enrolled_keys(&wanted)?;
        let mut sealed = Vec::new();
        for identity in self.identities()? {
            // When several identities have the same key, one of them is enough
            if !identity.has_lost_key()
                && wanted.remove(&*identity.certificate().canonical_public_key())
                && let Some((_, key)) = self.identity_with_key(identity.fingerprint())?
            {
                sealed.push(key);
            }
        }
        if enrolled.is_empty() && sealed.is_empty() {
            return Ok(false);
        }
        self.unlock_fully(unlocker)?;
        let vault = self.vault();
        let opened = enrolled.iter().map(|key| enrollments::open(&vault, key));
        for key in opened.chain(sealed.iter().map(|key| vault.open(key))) {
            import.add_key(key?);
        }
        Ok(true)
    }
}

/// The files with their identities, of which there is one if it is given a name.
pub(super) fn paired(mut files: Vec<Import>, name: Option<&str>) -> Result<Vec<Import>, Error> {
    files.iter_mut().try_for_each(Import::pair)?;
    if let Some(name) = name {
        check_name(name, files.iter().map(|import| import.identities().count()).sum())?;
    }
    Ok(files)
}

pub(super) fn store_all(
    db: &Connection,
    vault: &Vault,
    files: &[Import],
    name: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<Imported> {
    let mut imported = Imported::default();
    for new in files.iter().flat_map(Import::new_identities) {
        match insert_identity(db, vault, new, name, now)? {
            (identity, true) => imported.imported.push(identity),
            (identity, false) => imported.already_present.push(identity),
        }
    }
    enrollments::complete(db, &imported.imported)?;
    for authority in files.iter().flat_map(Import::authorities) {
        if insert_authority(db, authority, now)? {
            imported.authorities.push(authority.clone());
        }
    }
    Ok(imported)
}
