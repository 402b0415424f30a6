//! The table of the identities.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use zeroize::Zeroizing;

use super::authorities::cached_authorities;
use super::cache::Cache;
use super::changes::Changes;
use super::damage::{IDENTITIES, all_readable, numbers, read_certificate, read_row, readable, row_with, rows_with};
use super::enrollments;
use super::handle::Store;
use super::keys::{chosen_key, key_of_row, known_key, rewrite_key};
use super::pages::{Pages, ReadRows};
use super::sql::{MAX_VALUE, as_rusqlite, at_any_length, next_id, only};
use crate::certificate::authority::Requested;
use crate::certificate::identity::{Identity, LOST};
use crate::certificate::import::NewIdentity;
use crate::certificate::name::NameKey;
use crate::certificate::outline::{Outline, Outlines};
use crate::certificate::permission::{Confirmation, Permission, Permit};
use crate::certificate::tried::Tried;
use crate::certificate::{Fingerprint, FingerprintPrefix};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::text::is_unprintable;
use crate::vault::{KeyRow, SealedKey, Unlocker, Vault};

/// Characters a name may have.
const MAX_NAME: u32 = 200;

/// For [`parse_identity`].
const IDENTITY: &str =
    "SELECT id, fingerprint, certificate, name, requires_tls13, tried, permission, confirmation FROM identities";

/// A name, for [`text`]; empty if it is too long.
const NAME: &str =
    "SELECT CAST(iif(octet_length(name) <= ?2, name, '') AS BLOB) FROM identities WHERE fingerprint = ?1";

/// The order by name without regard to the case of ASCII letters. A name that cardcase has not written may be longer than the parameter,
/// and would end the query.
const BY_NAME: &str = "ORDER BY lower(iif(octet_length(name) <= ?1, name, '')), id";

impl Store {
    /// Every identity, by name, read from the file and not from memory. One whose row is damaged is skipped and noted in
    /// [`Self::damage`].
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn identities(&self) -> Result<Vec<Identity>, Error> {
        let (identities, _) = self.reading(|db, damaged| {
            rows_with(db, IDENTITIES, IDENTITY, &numbers_by_name(db)?, parse_identity, damaged)
        })?;
        Ok(identities)
    }

    /// The same, read while the iterator is used, a few hundred at a time. The store is not locked in between: an identity that is
    /// added or removed meanwhile is left out.
    ///
    /// # Errors
    /// Those of [reading](Self#errors), also from the iterator, which then ends.
    pub fn each_identity(&self) -> Result<impl Iterator<Item = Result<Identity, Error>>, Error> {
        let ids = self.read(numbers_by_name)?;
        let read: ReadRows<i64, Identity> =
            |db, ids, damaged| rows_with(db, IDENTITIES, IDENTITY, ids, parse_identity, damaged);
        Ok(Pages::new(self, ids, read))
    }

    /// The names of identities, by their fingerprints. Those that are not in the store are left out.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn names(
        &self,
        identities: impl IntoIterator<Item = Fingerprint>,
    ) -> Result<HashMap<Fingerprint, String>, Error> {
        self.read(|db| {
            let mut query = db.prepare_cached(NAME)?;
            let mut names = HashMap::new();
            for fingerprint in identities {
                if let Entry::Vacant(vacant) = names.entry(fingerprint)
                    && let Some(name) = query.query_row(params![fingerprint.as_bytes(), MAX_VALUE], text).optional()?
                {
                    vacant.insert(name);
                }
            }
            Ok(names)
        })
    }

    /// The identities whose issuers fit a request, found by index; or, without one, every identity.
    pub(crate) fn found(&self, requested: Option<&Requested>) -> Result<Arc<Outlines>, Error> {
        let Some(requested) = requested else {
            let counter = || self.changes().and_then(Changes::counter);
            let is_unchanged = |since| self.changes().is_some_and(|changes| changes.is_unchanged(since));
            return self.cached(|db, cache| every_outline(db, cache, counter(), is_unchanged));
        };
        let issuers = key_list(requested.issuers());
        let names = key_list(requested.names());
        self.cached(|db, cache| {
            let mut query = db.prepare_cached(
                "SELECT id FROM identities WHERE issuer_key IN rarray(?1)
                 UNION SELECT id FROM identities WHERE subject_key IN rarray(?2)",
            )?;
            let ids: Vec<i64> = query.query_map([issuers, names], |row| row.get(0))?.collect::<Result<_, _>>()?;
            outlines(db, cache, &ids)
        })
    }

    /// The identities with these fingerprints, in this order; `None` for one that is no longer there, or is damaged.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    #[cfg(feature = "ask")]
    pub(crate) fn identities_with(&self, fingerprints: &[Fingerprint]) -> Result<Vec<Option<Arc<Identity>>>, Error> {
        self.cached(|db, cache| {
            let mut damaged = Vec::new();
            let mut read = |fingerprint: &Fingerprint| {
                let read = readable(cached_with(db, cache, *fingerprint), &mut damaged);
                cache.trim();
                read.map(Option::flatten)
            };
            let identities = fingerprints.iter().map(&mut read).collect::<Result<_, _>>()?;
            cache.damaged.append(&mut damaged);
            Ok(identities)
        })
    }

    /// The same for many, read while the iterator is used and not kept in memory. Those that are no longer there, or are damaged, are
    /// left out.
    ///
    /// # Errors
    /// Those of [reading](Self#errors), from the iterator, which then ends.
    pub(crate) fn each_with(
        &self,
        fingerprints: Vec<Fingerprint>,
    ) -> impl Iterator<Item = Result<Arc<Identity>, Error>> {
        let read: ReadRows<Fingerprint, Arc<Identity>> = |db, fingerprints, damaged| {
            let rows = fingerprints.iter().map(|fingerprint| identity_with(db, *fingerprint));
            Ok(all_readable(rows, damaged)?.into_iter().flatten().map(Arc::new).collect())
        };
        Pages::new(self, fingerprints, read)
    }

    /// The fingerprints of all identities, by name. The identities themselves are not read, and may be damaged.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub(crate) fn fingerprints(&self) -> Result<Vec<Fingerprint>, Error> {
        self.read(|db| {
            let mut query = db.prepare_cached(&format!(
                "SELECT fingerprint FROM identities WHERE typeof(fingerprint) = 'blob' AND octet_length(fingerprint) = 32
                 {BY_NAME}"
            ))?;
            query.query_map([4 * MAX_NAME], |row| Ok(Fingerprint::from_bytes(row.get(0)?)))?.collect()
        })
    }

    /// The identity that a person means by its name, or by a prefix of its fingerprint.
    ///
    /// # Errors
    /// [`Error::UnknownIdentity`]; [`Error::Ambiguous`], also when the name of one identity is a prefix of the fingerprint of
    /// another; and [`Error::RowDamaged`].
    pub fn find_identity(&self, id: &str) -> Result<Identity, Error> {
        let (fingerprint, _) = self.find_row(id)?;
        let identity = self.read(|db| identity_with(db, fingerprint))?;
        identity.ok_or_else(|| Error::UnknownIdentity { id: id.to_owned() })
    }

    /// What a person means to remove: an identity, by its name or a prefix of its fingerprint, or else an enrollment, by a
    /// prefix of the SHA-256 of its request. Returns the fingerprint for [`Self::remove`], and the name or the subject. The row
    /// may be damaged.
    ///
    /// # Errors
    /// [`Error::UnknownIdentity`], [`Error::Ambiguous`], and those of [reading](Self#errors).
    pub fn find_removable(&self, id: &str) -> Result<(Fingerprint, String), Error> {
        match self.find_row(id) {
            Err(Error::UnknownIdentity { .. }) => self.find_enrollment(id),
            found => found,
        }
    }

    /// The fingerprint and the name of an identity. Its certificate is not read, and may be damaged.
    fn find_row(&self, id: &str) -> Result<(Fingerprint, String), Error> {
        let range = FingerprintPrefix::parse(id).map(|prefix| fingerprint_range(&prefix));
        let (first, last) = range.unzip();
        let found = self.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT fingerprint, CAST(iif(octet_length(name) <= ?4, name, '') AS BLOB)
                 FROM identities WHERE name = ?1 OR fingerprint BETWEEN ?2 AND ?3 LIMIT 2",
            )?;
            let rows = query.query_map(params![id, first, last, MAX_VALUE], |row| {
                let name = String::from_utf8_lossy(&row.get::<_, Vec<u8>>(1)?).into_owned();
                Ok((Fingerprint::from_bytes(row.get(0)?), name))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        only(found.into_iter(), id, || Error::UnknownIdentity { id: id.to_owned() })
    }

    /// The identity with exactly this fingerprint.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn identity(&self, fingerprint: Fingerprint) -> Result<Option<Arc<Identity>>, Error> {
        self.cached(|db, cache| cached_with(db, cache, fingerprint))
    }

    /// An identity with its sealed private key, both from the same moment; `None` when it has been removed.
    pub(crate) fn identity_with_key(
        &self,
        fingerprint: Fingerprint,
    ) -> Result<Option<(Arc<Identity>, SealedKey)>, Error> {
        self.cached(|db, cache| {
            let Some(id) = identity_id(db, fingerprint)? else { return Ok(None) };
            let key = key_of_row(db, id)?;
            Ok(Some((identity_of_key(db, cache, &key.row)?, key)))
        })
    }

    /// The private key of an identity, unencrypted, as the DER of a PrivateKeyInfo (PKCS#8, RFC 5958): for handing it to another
    /// program, not for handshakes. `unlocker` unlocks the vault first.
    ///
    /// # Errors
    /// Those of [`Self::unlock_fully`] and of [reading](Self#errors); [`Error::SealedKey`]; [`Error::UnknownIdentity`] or
    /// [`Error::Renamed`] when the identity has been removed or renamed; [`Error::KeyMismatch`] and [`Error::UnusableKey`] when
    /// the key does not fit its certificate.
    pub fn private_key(&self, identity: &Identity, unlocker: &dyn Unlocker) -> Result<Zeroizing<Vec<u8>>, Error> {
        if identity.has_lost_key() {
            let key = identity.certificate().key().to_string();
            return Err(Error::UnusableKey { key, detail: LOST.to_owned() });
        }
        self.unlock_fully(unlocker)?;
        let sealed = self.read(|db| chosen_key(db, identity))?;
        let key = self.vault().open(&sealed)?;
        key.check_fits(identity.certificate())?;
        Ok(key.into_pkcs8())
    }

    /// Restricts an identity to TLS 1.3, or allows every version again.
    ///
    /// # Errors
    /// [`Error::NotWithTls13`] when other programs may have [anything](Permission::Any) signed with its key;
    /// [`Error::VaultLocked`] before [`Self::unlock_fully`]; [`Error::UnknownIdentity`] or [`Error::Renamed`] when the identity
    /// has been removed or renamed; and those of [writing](Self#errors).
    pub fn require_tls13(&self, identity: &Identity, required: bool) -> Result<(), Error> {
        self.transact_with_vault(|db, vault| {
            let key = chosen_key(db, identity)?;
            if required && key.row.permit.permission == Permission::Any {
                return Err(as_rusqlite(Error::NotWithTls13 { name: key.row.name }));
            }
            rewrite_key(db, vault, &key, KeyRow { requires_tls13: required, ..key.row.clone() })
        })
    }

    /// Permits programs to have something signed with the key of an identity through the PKCS#11 module, or nothing any more.
    /// Returns the identity as it is now.
    ///
    /// # Errors
    /// [`Error::NotWithTls13`] when an identity that requires TLS 1.3 is to sign [anything](Permission::Any);
    /// [`Error::VaultLocked`] before [`Self::unlock_fully`]; [`Error::UnknownIdentity`] or [`Error::Renamed`] when the identity has
    /// been removed or renamed; and those of [writing](Self#errors).
    pub fn permit(
        &self,
        identity: &Identity,
        permission: Permission,
        confirmation: Confirmation,
    ) -> Result<Identity, Error> {
        self.transact_with_vault(|db, vault| {
            let key = chosen_key(db, identity)?;
            if permission == Permission::Any && key.row.requires_tls13 {
                return Err(as_rusqlite(Error::NotWithTls13 { name: key.row.name }));
            }
            let permit = Permit { permission, confirmation };
            rewrite_key(db, vault, &key, KeyRow { permit, ..key.row.clone() })?;
            row_with(db, IDENTITIES, IDENTITY, key.row.id, parse_identity)
        })
    }

    /// Renames an identity. Its private key is bound to the name, so the vault must be open.
    ///
    /// # Errors
    /// [`Error::Name`] when another identity has the name, or it is not allowed; [`Error::VaultLocked`] before
    /// [`Self::unlock_fully`]; [`Error::UnknownIdentity`] or [`Error::Renamed`] when the identity has been removed or renamed; and
    /// those of [writing](Self#errors).
    pub fn rename(&self, identity: &Identity, name: &str) -> Result<(), Error> {
        check_name(name, 1)?;
        self.transact_with_vault(|db, vault| {
            let key = chosen_key(db, identity)?;
            if key.row.name != name && !is_free(db, name)? {
                return Err(as_rusqlite(taken(name)));
            }
            rewrite_key(db, vault, &key, KeyRow { name: name.to_owned(), ..key.row.clone() })
        })
    }

    /// Removes identities with the decisions for them, and enrollments, by their fingerprints; all or none.
    ///
    /// # Errors
    /// Those of [writing](Self#errors).
    pub fn remove(&self, fingerprints: &[Fingerprint]) -> Result<(), Error> {
        self.transact(|db| {
            at_any_length(db, |db| {
                for fingerprint in fingerprints {
                    db.execute("DELETE FROM identities WHERE fingerprint = ?1", [fingerprint.as_bytes()])?;
                }
                Ok(())
            })?;
            enrollments::remove(db, fingerprints)
        })
    }
}

/// The numbers of all rows, by name.
fn numbers_by_name(db: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut query = db.prepare_cached(&format!("SELECT id FROM identities {BY_NAME}"))?;
    query.query_map([4 * MAX_NAME], |row| row.get(0))?.collect()
}

/// A text that may not be valid UTF-8.
fn text(row: &Row<'_>) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned())
}

/// The outlines of all rows: those that were listed last, if the file has not changed since. The generation is no proof of that: somebody
/// may have removed a row for a moment, and put the generation back.
fn every_outline(
    db: &Connection,
    cache: &mut Cache,
    counter: Option<u32>,
    is_unchanged: impl Fn(u32) -> bool,
) -> rusqlite::Result<Arc<Outlines>> {
    if let Some((_, all)) = cache.all.as_ref().filter(|(counter, _)| is_unchanged(*counter)) {
        return Ok(all.clone());
    }
    let all = outlines(db, cache, &numbers(db, IDENTITIES)?)?;
    cache.all = counter.map(|counter| (counter, all.clone()));
    Ok(all)
}

/// The outlines of these rows.
fn outlines(db: &Connection, cache: &mut Cache, ids: &[i64]) -> rusqlite::Result<Arc<Outlines>> {
    let unknown: Vec<i64> = ids.iter().filter(|id| !cache.outlines.contains_key(id)).copied().collect();
    let mut damaged = Vec::new();
    if !unknown.is_empty() {
        let authorities = cached_authorities(db, cache)?;
        let Cache { outlines, issuers, .. } = cache;
        let outline = |row: &Row<'_>| {
            let identity = parse_identity(row)?;
            let certificate = identity.certificate();
            let issuer = match issuers.get(certificate.issuer()) {
                Some((issuer, key)) => {
                    certificate.know_issuer_key(*key);
                    issuer.clone()
                }
                None => {
                    let issuer = Arc::new(certificate.issuer().clone());
                    issuers.insert(certificate.issuer().clone(), (issuer.clone(), certificate.issuer_key()));
                    issuer
                }
            };
            let outline = Outline::new(&identity, issuer, authorities.chain_length(certificate));
            outlines.insert(row.get(0)?, Arc::new(outline));
            Ok(())
        };
        rows_with(db, IDENTITIES, IDENTITY, &unknown, outline, &mut damaged)?;
        cache.damaged.extend_from_slice(&damaged);
    }
    let found = ids.iter().filter_map(|id| cache.outlines.get(id).cloned()).collect();
    Ok(Arc::new(Outlines::new(found, damaged.into_iter().next())))
}

pub(super) fn cached_identity(db: &Connection, cache: &mut Cache, id: i64) -> rusqlite::Result<Arc<Identity>> {
    if let Some(identity) = cache.identities.get(&id) {
        return Ok(identity.clone());
    }
    let identity = Arc::new(row_with(db, IDENTITIES, IDENTITY, id, parse_identity)?);
    cache.identities.insert(id, identity.clone());
    Ok(identity)
}

/// The identity with this fingerprint. The cache may hold what somebody put into its row for a moment, together with the generation that
/// hides the change: then the row is read again.
fn cached_with(
    db: &Connection,
    cache: &mut Cache,
    fingerprint: Fingerprint,
) -> rusqlite::Result<Option<Arc<Identity>>> {
    let Some(id) = identity_id(db, fingerprint)? else { return Ok(None) };
    let cached = cached_identity(db, cache, id)?;
    if cached.fingerprint() == fingerprint {
        return Ok(Some(cached));
    }
    cache.identities.remove(&id);
    cached_identity(db, cache, id).map(|identity| Some(identity).filter(|found| found.fingerprint() == fingerprint))
}

/// The identity in the row that a key was just read from. The cache may hold what somebody put into the row, together with the
/// generation that hides the change; the key opens only for the row as it is now.
pub(super) fn identity_of_key(db: &Connection, cache: &mut Cache, row: &KeyRow) -> rusqlite::Result<Arc<Identity>> {
    let identity = cached_identity(db, cache, row.id)?;
    let is_current = identity.fingerprint() == row.fingerprint
        && identity.name() == row.name
        && identity.requires_tls13() == row.requires_tls13
        && identity.tried() == row.tried
        && identity.permit() == row.permit;
    if is_current {
        return Ok(identity);
    }
    cache.identities.remove(&row.id);
    cached_identity(db, cache, row.id)
}

/// The identities with this subject that can be read.
pub(super) fn identities_with_subject(db: &Connection, subject: &NameKey) -> rusqlite::Result<Vec<Identity>> {
    let mut query = db.prepare_cached("SELECT id FROM identities WHERE subject_key = ?1 ORDER BY id")?;
    let ids: Vec<i64> = query.query_map([subject.as_bytes()], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let identities = ids.into_iter().map(|id| row_with(db, IDENTITIES, IDENTITY, id, parse_identity));
    all_readable(identities, &mut Vec::new())
}

/// The public keys of the identities that have their private keys and can be read.
pub(super) fn public_keys(db: &Connection) -> rusqlite::Result<HashSet<Vec<u8>>> {
    let mut damaged = Vec::new();
    let identities = rows_with(db, IDENTITIES, IDENTITY, &numbers(db, IDENTITIES)?, parse_identity, &mut damaged)?;
    let whole = identities.iter().filter(|identity| !identity.has_lost_key());
    Ok(whole.map(|identity| identity.certificate().canonical_public_key().into_owned()).collect())
}

/// Every identity, by number.
///
/// # Errors
/// [`Error::RowDamaged`] when one cannot be read.
pub(super) fn every_identity(db: &Connection) -> rusqlite::Result<Vec<Identity>> {
    numbers(db, IDENTITIES)?.into_iter().map(|id| row_with(db, IDENTITIES, IDENTITY, id, parse_identity)).collect()
}

fn identity_id(db: &Connection, fingerprint: Fingerprint) -> rusqlite::Result<Option<i64>> {
    let mut query = db.prepare_cached("SELECT id FROM identities WHERE fingerprint = ?1")?;
    query.query_row([fingerprint.as_bytes()], |row| row.get(0)).optional()
}

fn identity_with(db: &Connection, fingerprint: Fingerprint) -> rusqlite::Result<Option<Identity>> {
    identity_id(db, fingerprint)?.map(|id| row_with(db, IDENTITIES, IDENTITY, id, parse_identity)).transpose()
}

fn parse_identity(row: &Row<'_>) -> rusqlite::Result<Identity> {
    read_row(row, IDENTITIES, |row| {
        let (tried, permit) = (Tried::from_number(row.get(5)?), Permit::from_numbers(row.get(6)?, row.get(7)?));
        Ok(Identity::new(row.get(3)?, read_certificate(row)?, row.get(4)?, tried, permit))
    })
}

/// Returns the identity as it is stored, and whether it is new, or has its key again.
pub(super) fn insert_identity(
    db: &Connection,
    vault: &Vault,
    new: &NewIdentity,
    name: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<(Arc<Identity>, bool)> {
    let certificate = &new.certificate;
    if let Some(identity) = identity_with(db, certificate.fingerprint())? {
        let gets_key = identity.has_lost_key() && !new.tried.is_lost;
        let identity = if gets_key { give_key(db, vault, &identity, new)? } else { identity };
        return Ok((Arc::new(identity), gets_key));
    }
    let name = match name {
        None => free_name(db, &default_name(new))?,
        Some(given) if is_free(db, given)? => given.to_owned(),
        Some(given) => return Err(as_rusqlite(taken(given))),
    };
    let (id, fingerprint) = (next_id(db, IDENTITIES)?, certificate.fingerprint());
    let NewIdentity { requires_tls13, tried, permit, .. } = *new;
    let row = KeyRow { id, fingerprint, name, requires_tls13, tried, permit };
    let sealed = vault.seal(&row, &new.key).map_err(as_rusqlite)?;
    let mut insert = db.prepare_cached(
        "INSERT INTO identities (id, fingerprint, name, certificate, private_key, subject_key, issuer_key, added_at, tried,
            requires_tls13, permission, confirmation)
         VALUES (:id, :fingerprint, :name, :certificate, :private_key, :subject_key, :issuer_key, :added_at, :tried,
            :requires_tls13, :permission, :confirmation)",
    )?;
    insert.execute(named_params! {
        ":id": row.id,
        ":fingerprint": certificate.fingerprint().as_bytes(),
        ":name": row.name,
        ":certificate": certificate.der(),
        ":private_key": sealed,
        ":subject_key": certificate.subject_key().as_bytes(),
        ":issuer_key": certificate.issuer_key().as_bytes(),
        ":added_at": now.0,
        ":tried": row.tried.number(),
        ":requires_tls13": row.requires_tls13,
        ":permission": row.permit.permission.number(),
        ":confirmation": row.permit.confirmation.number(),
    })?;
    Ok((Arc::new(Identity::new(row.name, certificate.clone(), requires_tls13, tried, permit)), true))
}

/// Gives an identity whose key was lost its key again.
///
/// # Errors
/// [`Error::SealedKey`] when its row is not as cardcase wrote it.
fn give_key(db: &Connection, vault: &Vault, identity: &Identity, new: &NewIdentity) -> rusqlite::Result<Identity> {
    let known = known_key(db, identity.fingerprint())?;
    // The new seal vouches for the name and the restriction to TLS 1.3 in the row, so the old one must have done so
    vault.check_key(&known).map_err(as_rusqlite)?;
    let row = KeyRow { tried: new.tried, ..known.row };
    let sealed = vault.seal(&row, &new.key).map_err(as_rusqlite)?;
    let mut update = db.prepare_cached("UPDATE identities SET private_key = ?1, tried = ?2 WHERE id = ?3")?;
    update.execute(params![sealed, row.tried.number(), row.id])?;
    Ok(Identity::new(row.name, identity.certificate().clone(), row.requires_tls13, row.tried, row.permit))
}

fn default_name(new: &NewIdentity) -> String {
    let given = new.friendly_name.as_deref().map(clean_name).filter(|name| !name.is_empty());
    given.unwrap_or_else(|| match clean_name(&new.certificate.subject().common_name()) {
        name if name.is_empty() => new.certificate.fingerprint().short(),
        name => name,
    })
}

/// One line of printable characters, of limited length. Every kind of space becomes the ordinary one.
fn clean_name(name: &str) -> String {
    let spaced = name.chars().map(|c| if c.is_whitespace() && !c.is_control() { ' ' } else { c });
    let printable: String = spaced.filter(|&c| !is_unprintable(c)).take(MAX_NAME as usize).collect();
    printable.trim().to_owned()
}

/// Checks that a person may give this name to the only one of `identities` identities.
pub(super) fn check_name(name: &str, identities: usize) -> Result<(), Error> {
    let refused = |reason: &str| Err(Error::Name { name: name.to_owned(), reason: reason.to_owned() });
    match name {
        _ if identities != 1 => refused(&format!("it is for one identity, and there are {identities}")),
        _ if name != clean_name(name) || is_reserved(name) => {
            refused("it is empty, too long, reserved, or has unprintable characters")
        }
        _ => Ok(()),
    }
}

fn taken(name: &str) -> Error {
    Error::Name { name: name.to_owned(), reason: "another identity has it".to_owned() }
}

/// `remember HOST none` means no identity.
fn is_reserved(name: &str) -> bool {
    name.is_empty() || name.eq_ignore_ascii_case("none")
}

fn is_free(db: &Connection, name: &str) -> rusqlite::Result<bool> {
    let mut taken = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM identities WHERE name = ?1)")?;
    taken.query_row([name], |row| row.get::<_, bool>(0)).map(|taken| !taken)
}

/// `name`, or `name (2)` and so on: the first that is free.
fn free_name(db: &Connection, name: &str) -> rusqlite::Result<String> {
    if !is_reserved(name) && is_free(db, name)? {
        return Ok(name.to_owned());
    }
    // Doubling, then halving, finds the first free number without trying each
    let numbered = |number: u64| format!("{name} ({number})");
    let mut high = 2;
    while !is_free(db, &numbered(high))? {
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low.midpoint(high);
        if is_free(db, &numbered(middle))? { high = middle } else { low = middle }
    }
    Ok(numbered(high))
}

fn key_list<'a>(keys: impl Iterator<Item = &'a NameKey>) -> Rc<Vec<Value>> {
    let distinct: HashSet<&NameKey> = keys.collect();
    Rc::new(distinct.into_iter().map(|key| Value::Blob(key.as_bytes().to_vec())).collect())
}

/// The first and the last fingerprint that begin with these digits.
fn fingerprint_range(prefix: &FingerprintPrefix) -> (Vec<u8>, Vec<u8>) {
    let padded = |fill: char| {
        let digits: Vec<u8> = prefix
            .digits()
            .chars()
            .chain(std::iter::repeat(fill))
            .take(64)
            .filter_map(|c| c.to_digit(16))
            .map(|d| d as u8)
            .collect();
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
    };
    (padded('0'), padded('f'))
}
