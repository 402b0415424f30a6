//! The store: the SQLite database with the identities, the authorities and everything else.
//!
//! A rollback journal rather than a write-ahead log: one file is the whole store at rest, it can be copied and read from
//! a read-only place, and what is written here is small and rare.
//!
//! # Errors
//!
//! Of *reading*: [`Error::Store`]; [`Error::StoreBusy`] when another process writes for longer than this one waits; and
//! [`Error::StoreDamaged`]. Of *writing*: these, [`Error::StoreFull`] and [`Error::StoreReadOnly`], and
//! [`Error::NewerStore`] when a newer cardcase has been there since it was opened; then the store is as it was.
//!
//! # Example
//!
//! ```
//! use cardcase::Store;
//! use cardcase::file::pkcs12;
//! use cardcase::manage::{Import, Session, Timestamp};
//!
//! # let home = tempfile::tempdir()?;
//! # let path = home.path().join("cardcase.db"); // or `Store::default_path()?`
//! # let file = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/identities/openssl.p12"));
//! let store = Store::open(path, Session::login())?;
//! let contents = pkcs12::read(file, "cardcase", &pkcs12::Limits::default())?;
//! let done = store.import(vec![Import::from_contents(contents)?], None, Timestamp::now())?;
//! assert_eq!(done.imported[0].name(), "Alice Example's card");
//! assert_eq!(store.identities()?.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod anchors;
mod authentic;
mod damage;
pub(crate) mod decisions;
mod enrollments;
mod file;
mod history;
mod network;
pub(crate) mod renewal;
pub(crate) mod rules;
mod schema;
mod settings;
mod vault_row;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use directories::ProjectDirs;
use rusqlite::limits::Limit;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, named_params, params};
use rusqlite_migration::{M, Migrations};

use crate::answer::rules::Rules;
use crate::certificate::authority::{Authorities, Authority, Requested};
use crate::certificate::identity::{Identity, Import, NewIdentity, PrivateKey};
use crate::certificate::name::{NameKey, is_unprintable};
use crate::certificate::{Certificate, Fingerprint, FingerprintPrefix};
use crate::clock::Timestamp;
use crate::error::{Damage, Error};
use crate::file::pkcs12;
use crate::file::pkcs12::{Contents, KeyBag};
use crate::session::Session;
use crate::vault::{KeyRow, SealedKey, Unlocker, Vault};
pub(crate) use anchors::TrustAnchors;
pub use authentic::Accepted;
use authentic::InForce;
pub(crate) use authentic::{
    DecisionRow, Terms, authenticate_decisions, change_terms, check_decisions, read_decision, read_rules,
    restrict_terms, terms,
};
use damage::{AUTHORITIES, IDENTITIES, all_readable, read_row, wrong};
use schema::check_schema;
use vault_row::load_vault;

/// "card", in the header of the database file.
const APPLICATION_ID: i64 = 0x6361_7264;

/// The migrations, in order. Add new ones, never edit one that has been released.
static MIGRATIONS: [M<'static>; 1] = [M::up(include_str!("../migrations/0001_store.sql"))];

/// How long to wait for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of a value, or of a row: more than any file holds that is imported. A store that somebody else wrote takes no more memory
/// than that at a time.
const LONGEST_VALUE: i32 = 32 << 20;

/// Damaged rows of a table that are noted; whoever mends those sees the next.
const NOTED_DAMAGE: usize = 64;

/// Identities kept parsed in memory; past that they are forgotten, and those needed are parsed anew.
const CACHED_IDENTITIES: usize = 4096;

/// Characters a name may have.
const NAME_LENGTH: usize = 200;

/// An open store. Shared between threads; other processes may use the same file at the same time.
pub struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
    cache: Mutex<Cache>,
    vault: Mutex<Arc<Vault>>,
    damage: Mutex<Vec<Damage>>,
    session: Session,
}

/// What was parsed before, as long as nobody changed an identity, an authority or a rule.
#[derive(Default)]
pub(crate) struct Cache {
    generation: i64,
    identities: HashMap<i64, Arc<Identity>>,
    authorities: Option<Arc<Authorities>>,
    in_force: Option<(InForce, Arc<Rules>)>,
    /// Rows that were passed over.
    damaged: Vec<Damage>,
}

/// Identities, and what stands where others should.
pub(crate) struct Found {
    pub(crate) identities: Vec<Arc<Identity>>,
    pub(crate) damaged: Vec<Damage>,
}

/// An identity, or an enrollment, as far as its row can be read without its certificate: enough to remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// What the row says its fingerprint is; of an enrollment, the SHA-256 of the request.
    pub fingerprint: Fingerprint,
    /// Its name; of an enrollment, whom it is for.
    pub name: String,
}

/// What an import did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Imported {
    /// Identities that are new.
    pub imported: Vec<Arc<Identity>>,
    /// Identities that the store had before, as it has them.
    pub already_present: Vec<Arc<Identity>>,
    /// CA certificates that are new.
    pub authorities: Vec<Certificate>,
}

impl Store {
    /// The store's place when none is given: `cardcase.db` in the user's data directory.
    ///
    /// # Errors
    /// [`Error::NoDataDirectory`].
    pub fn default_path() -> Result<PathBuf, Error> {
        let dirs = ProjectDirs::from("", "", "cardcase").ok_or(Error::NoDataDirectory)?;
        Ok(dirs.data_dir().join("cardcase.db"))
    }

    /// Opens a store, and makes it (0600, in a directory 0700) if there is none.
    ///
    /// # Errors
    /// [`Error::NotYours`], [`Error::NotAStore`] and [`Error::NewerStore`] leave the file as it is; [`Error::Store`],
    /// [`Error::StoreBusy`], [`Error::StoreFull`], [`Error::StoreReadOnly`], [`Error::StoreDamaged`], [`Error::VaultDamaged`].
    pub fn open(path: impl Into<PathBuf>, session: Session) -> Result<Self, Error> {
        // One name for one file, however it was given: processes that share it share a lock by its name
        let path = file::prepare(&path.into())?;
        let failed = |error| store_error(&path, error);
        // Not SQLite's default: it would create what is not there, readable for everybody, and take "file:..." for a URI
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags |= OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        check_is_ours(&connection, &path)?;
        prepare(&connection).map_err(failed)?;
        migrate(&mut connection, &path)?;
        check_schema(&connection).map_err(failed)?;
        let vault = load_vault(&mut connection, &path)?;
        let store = Self {
            path,
            connection: Mutex::new(connection),
            cache: Mutex::default(),
            vault: Mutex::new(Arc::new(vault)),
            damage: Mutex::default(),
            session,
        };
        store.expect_agent();
        Ok(store)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of file system it is on, where that is one over a network: the locks that keep processes apart may not
    /// hold there.
    pub fn network_file_system(&self) -> Option<&'static str> {
        network::file_system_of(&self.path)
    }

    /// The login session that session decisions belong to.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Stores everything a file brought, or nothing. What is there already stays as it is.
    ///
    /// `name` is given to the identity, where there is but one; else each has its friendlyName or its common name. A
    /// taken name gets a number.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when the vault is still locked, also because another process has changed the primary password
    /// meanwhile; [`Error::Name`], and those of [writing](crate::manage#errors).
    pub fn import(&self, files: Vec<Import>, name: Option<&str>, now: Timestamp) -> Result<Imported, Error> {
        Ok(self.import_and_then(files, name, now, |_, _, _| Ok(()))?.0)
    }

    /// `then` is done in the same transaction.
    pub(crate) fn import_and_then<T>(
        &self,
        files: Vec<Import>,
        name: Option<&str>,
        now: Timestamp,
        then: impl FnOnce(&Connection, &Vault, &mut Imported) -> rusqlite::Result<T>,
    ) -> Result<(Imported, T), Error> {
        if let Some(name) = name {
            check_name(name, files.iter().map(|import| import.identities.len()).sum())?;
        }
        self.transact_open(|db, vault| {
            let mut imported = Imported::default();
            for new in files.iter().flat_map(|import| &import.identities) {
                match insert_identity(db, vault, new, name, now)? {
                    (identity, true) => imported.imported.push(identity),
                    (identity, false) => imported.already_present.push(identity),
                }
            }
            enrollments::complete(db, &imported.imported)?;
            for authority in files.iter().flat_map(|import| &import.authorities) {
                if insert_authority(db, authority, now)? {
                    imported.authorities.push(authority.clone());
                }
            }
            let done = then(db, vault, &mut imported)?;
            Ok((imported, done))
        })
    }

    /// Every identity, by name. Reads afresh and keeps nothing in memory. One whose row is damaged is passed over, and noted
    /// in [`Self::damage`].
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn identities(&self) -> Result<Vec<Identity>, Error> {
        Ok(self.every_identity()?.0)
    }

    fn every_identity(&self) -> Result<(Vec<Identity>, Vec<Damage>), Error> {
        self.reading(|db, aside| {
            let mut query = db.prepare_cached(&format!("{IDENTITY} ORDER BY name COLLATE NOCASE, id"))?;
            all_readable(query.query_map([], parse_identity)?, aside)
        })
    }

    /// The identities that a request may be answered with, or all of them, with what is damaged among them.
    pub(crate) fn found(&self, requested: Option<&Requested>) -> Result<Found, Error> {
        match requested {
            Some(requested) => self.found_under(requested),
            None => {
                let (identities, damaged) = self.every_identity()?;
                Ok(Found { identities: identities.into_iter().map(Arc::new).collect(), damaged })
            }
        }
    }

    /// The rows that were passed over so far because they cannot be read, in the order in which they were come across; of
    /// each table the first 64.
    pub fn damage(&self) -> Vec<Damage> {
        locked(&self.damage).clone()
    }

    fn note(&self, damaged: &[Damage]) {
        let mut known = locked(&self.damage);
        for damage in damaged {
            let noted = known.iter().filter(|noted| noted.table == damage.table).count();
            if noted < NOTED_DAMAGE && !known.contains(damage) {
                known.push(damage.clone());
            }
        }
    }

    /// Reads rows, with a place for those that are damaged, and notes them.
    fn reading<T>(
        &self,
        read: impl FnOnce(&Connection, &mut Vec<Damage>) -> rusqlite::Result<T>,
    ) -> Result<(T, Vec<Damage>), Error> {
        let mut damaged = Vec::new();
        let read = self.with(|db| read(db, &mut damaged))?;
        self.note(&damaged);
        Ok((read, damaged))
    }

    /// The identities a request may be answered with, as far as the issuer goes: found by index, not by a scan. One whose row is
    /// damaged is passed over, and noted in [`Self::damage`].
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn identities_under(&self, requested: &Requested) -> Result<Vec<Arc<Identity>>, Error> {
        Ok(self.found_under(requested)?.identities)
    }

    fn found_under(&self, requested: &Requested) -> Result<Found, Error> {
        let issuers = key_list(requested.issuers());
        let names = key_list(requested.names());
        self.cached(|db, cache| {
            let mut query = db.prepare_cached(
                "SELECT id FROM identities WHERE issuer_key IN rarray(?1)
                 UNION SELECT id FROM identities WHERE subject_key IN rarray(?2)",
            )?;
            let ids: Vec<i64> = query.query_map([issuers, names], |row| row.get(0))?.collect::<Result<_, _>>()?;
            let mut damaged = Vec::new();
            let identities = all_readable(ids.into_iter().map(|id| cached_identity(db, cache, id)), &mut damaged)?;
            cache.damaged.extend_from_slice(&damaged);
            Ok(Found { identities, damaged })
        })
    }

    /// The identity a person means: by its name, or by a prefix of its fingerprint.
    ///
    /// # Errors
    /// [`Error::UnknownIdentity`]; [`Error::Ambiguous`], also when the name of one is the prefix of another; and
    /// [`Error::RowDamaged`].
    pub fn find_identity(&self, id: &str) -> Result<Identity, Error> {
        let found = self.find_stored(id)?;
        let identity = self.with(|db| {
            let mut query = db.prepare_cached(&format!("{IDENTITY} WHERE fingerprint = ?1"))?;
            query.query_row([found.fingerprint.as_bytes()], parse_identity).optional()
        })?;
        identity.ok_or_else(|| Error::UnknownIdentity { id: id.to_owned() })
    }

    /// The same without its certificate, which may be damaged.
    ///
    /// # Errors
    /// [`Error::UnknownIdentity`], [`Error::Ambiguous`].
    pub fn find_stored(&self, id: &str) -> Result<Stored, Error> {
        let range = FingerprintPrefix::parse(id).map(|prefix| fingerprint_range(&prefix));
        let (first, last) = range.unzip();
        let found = self.with(|db| {
            let mut query = db.prepare_cached(
                "SELECT fingerprint, CAST(name AS BLOB) FROM identities WHERE name = ?1 OR fingerprint BETWEEN ?2 AND ?3 LIMIT 2",
            )?;
            let rows = query.query_map(params![id, first, last], |row| {
                let name = String::from_utf8_lossy(&row.get::<_, Vec<u8>>(1)?).into_owned();
                Ok(Stored { fingerprint: Fingerprint::from_bytes(row.get(0)?), name })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        only(found.into_iter(), id, || Error::UnknownIdentity { id: id.to_owned() })
    }

    /// The identity with exactly this fingerprint.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn identity(&self, fingerprint: Fingerprint) -> Result<Option<Arc<Identity>>, Error> {
        self.cached(|db, cache| match identity_id(db, fingerprint)? {
            Some(id) => cached_identity(db, cache, id).map(Some),
            None => Ok(None),
        })
    }

    /// The private key of an identity, in the clear: for handing it out, not for handshakes. The vault is unlocked first, by
    /// `unlocker`.
    ///
    /// # Errors
    /// Those of [`Self::unlock_fully`], and of [reading](crate::manage#errors); [`Error::SealedKey`]; [`Error::UnknownIdentity`] when it was removed
    /// meanwhile, [`Error::Renamed`]; [`Error::KeyMismatch`] and [`Error::UnusableKey`]: only a key that fits its certificate is given.
    pub fn private_key(&self, identity: &Identity, unlocker: &dyn Unlocker) -> Result<PrivateKey, Error> {
        self.unlock_fully(unlocker)?;
        let sealed = self.with(|db| chosen_key(db, identity))?;
        let key = self.vault().open(&sealed)?;
        key.check_fits(identity.certificate())?;
        Ok(key)
    }

    /// An identity with its private key, both of one moment; `None` when it was removed meanwhile.
    pub(crate) fn identity_with_key(
        &self,
        fingerprint: Fingerprint,
    ) -> Result<Option<(Arc<Identity>, SealedKey)>, Error> {
        self.cached(|db, cache| {
            let Some(id) = identity_id(db, fingerprint)? else { return Ok(None) };
            let mut query = db.prepare_cached(&format!("{SEALED_KEY} WHERE id = ?1"))?;
            let key = query.query_row([id], sealed_key)?;
            Ok(Some((identity_of_key(db, cache, &key.row)?, key)))
        })
    }

    /// An identity as a PKCS#12 file, with the CA certificates above it as far as the store has them. The vault is
    /// unlocked first, by `unlocker`.
    ///
    /// # Errors
    /// Those of [`Self::private_key`], and of writing PKCS#12.
    pub fn export(
        &self,
        identity: &Identity,
        password: &str,
        protection: pkcs12::Protection,
        unlocker: &dyn Unlocker,
    ) -> Result<Vec<u8>, Error> {
        let key = self.private_key(identity, unlocker)?;
        let chain = self.authorities()?.chain(identity.certificate(), None);
        let chain: Vec<&[u8]> = chain.authorities.iter().map(|authority| authority.certificate.der()).collect();
        let entry = pkcs12::Entry {
            pkcs8: key.pkcs8(),
            certificate: identity.certificate().der(),
            chain: &chain,
            friendly_name: identity.name(),
        };
        Ok(pkcs12::write(&entry, password, protection)?)
    }

    /// Adds to what a file held the private keys in the store that belong to its certificates: renewed with the same
    /// key, or issued for it, as where it waited for one ([`Self::enroll`]). Returns whether there were any.
    ///
    /// # Errors
    /// Those of [`Self::unlock_fully`], and of [reading](crate::manage#errors); [`Error::SealedKey`], or
    /// [`Error::RowDamaged`] where the key that does not open is an enrollment's.
    pub fn add_known_keys(&self, contents: &mut Contents, unlocker: &dyn Unlocker) -> Result<bool, Error> {
        let certificates = contents.certificates.iter().filter_map(|bag| Certificate::from_der(bag.der.clone()).ok());
        let mut wanted: HashSet<Vec<u8>> = certificates.map(|certificate| certificate.public_key().to_vec()).collect();
        let enrolled = self.enrolled_keys(&wanted)?;
        let mut sealed = Vec::new();
        for identity in self.identities()? {
            // Of several identities with one key the first will do
            if wanted.remove(identity.certificate().public_key())
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
            contents.keys.push(KeyBag::of_pkcs8(key?.into_pkcs8()));
        }
        Ok(true)
    }

    /// Lets an identity go out in TLS 1.3 only, or in every version again.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] before [`Self::unlock_fully`], [`Error::UnknownIdentity`] or [`Error::Renamed`] when it was removed or
    /// renamed meanwhile, and those of [writing](crate::manage#errors).
    pub fn require_tls13(&self, identity: &Identity, required: bool) -> Result<(), Error> {
        self.transact_open(|db, vault| {
            let key = chosen_key(db, identity)?;
            rewrite_key(db, vault, &key, KeyRow { requires_tls13: required, ..key.row.clone() })
        })
    }

    /// Gives an identity another name. Its private key is bound to the name, so the vault has to be open.
    ///
    /// # Errors
    /// [`Error::Name`] when the name is another identity's, or none that may be given; [`Error::VaultLocked`],
    /// [`Error::UnknownIdentity`] or [`Error::Renamed`] when it was removed or renamed meanwhile, and those of [writing](crate::manage#errors).
    pub fn rename(&self, identity: &Identity, name: &str) -> Result<(), Error> {
        check_name(name, 1)?;
        self.transact_open(|db, vault| {
            let key = chosen_key(db, identity)?;
            if key.row.name != name && !is_free(db, name)? {
                return Err(as_rusqlite(taken(name)));
            }
            rewrite_key(db, vault, &key, KeyRow { name: name.to_owned(), ..key.row.clone() })
        })
    }

    /// Removes identities, with the decisions on them, and enrollments, by their fingerprints. All of them or none.
    ///
    /// # Errors
    /// Those of [writing](crate::manage#errors).
    pub fn remove(&self, fingerprints: &[Fingerprint]) -> Result<(), Error> {
        self.transact(|db| {
            for fingerprint in fingerprints {
                db.execute("DELETE FROM identities WHERE fingerprint = ?1", [fingerprint.as_bytes()])?;
            }
            enrollments::remove(db, fingerprints)
        })
    }

    /// Every authority, arranged for look-up. One whose row is damaged is passed over, and noted in [`Self::damage`].
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn authorities(&self) -> Result<Arc<Authorities>, Error> {
        self.cached(cached_authorities)
    }

    /// Every authority, in the order in which they came. One whose row is damaged is passed over, and noted in
    /// [`Self::damage`].
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn list_authorities(&self) -> Result<Vec<Authority>, Error> {
        Ok(self.reading(read_authorities)?.0)
    }

    /// Stores CA certificates as trusted, all or none. Those that are there already become trusted.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::NotAuthentic`], and those of [writing](crate::manage#errors).
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

    /// Takes trust from an authority; it goes on to complete chains. That can be done whether or not the terms are authentic.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], and those of [writing](crate::manage#errors).
    pub fn distrust(&self, authority: Fingerprint) -> Result<(), Error> {
        self.restrict_terms(|db| {
            db.execute("UPDATE authorities SET trusted = 0 WHERE fingerprint = ?1", [authority.as_bytes()]).map(drop)
        })
    }

    /// Removes the row of an authority that cannot be read.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], and those of [writing](crate::manage#errors).
    pub fn remove_damaged_authority(&self, damage: &Damage) -> Result<(), Error> {
        self.restrict_terms(|db| {
            let mut aside = Vec::new();
            read_authorities(db, &mut aside)?;
            let mut delete = db.prepare_cached("DELETE FROM authorities WHERE id = ?1")?;
            aside.iter().filter(|found| *found == damage).try_for_each(|found| delete.execute([found.row]).map(drop))
        })
    }

    /// The authority a person means, by a prefix of its fingerprint.
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

    /// Runs statements, each on its own.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        work(&locked(&self.connection)).map_err(|error| store_error(&self.path, error))
    }

    /// Runs statements that write, all or none, and nothing that somebody attached to them.
    ///
    /// # Errors
    /// [`Error::StoreDamaged`] when the schema is no longer what it was, [`Error::NewerStore`] when a newer cardcase changed it, and
    /// those of the work.
    pub(crate) fn transact<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let mut connection = locked(&self.connection);
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            check_form(&transaction, &self.path)?;
            check_schema(&transaction)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        run().map_err(|error| store_error(&self.path, error))
    }

    /// Reads with the cache, emptied first if identities, authorities or rules changed since. In one transaction: all of it is of one moment, and
    /// the file is locked once, which costs more than most queries.
    pub(crate) fn cached<T>(
        &self,
        work: impl FnOnce(&Connection, &mut Cache) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.with(|db| {
            let moment = db.unchecked_transaction()?;
            let mut query = db.prepare_cached("SELECT generation FROM settings")?;
            let generation = query.query_row([], |row| row.get(0))?;
            let mut cache = locked(&self.cache);
            if cache.generation != generation {
                *cache = Cache { generation, ..Cache::default() };
                // Where the keys were sealed anew, they are so under another data key
                self.current_vault(db)?;
            } else if cache.identities.len() > CACHED_IDENTITIES {
                cache.identities.clear();
            }
            let done = work(db, &mut cache)?;
            self.note(&std::mem::take(&mut cache.damaged));
            moment.commit()?;
            Ok(done)
        })
    }
}

/// What was decided for a session of the program's own ends with it.
impl Drop for Store {
    fn drop(&mut self) {
        if let Some(token) = self.session.own_token() {
            // If this fails it is erased after half a year; nobody else has the token
            let _ = self.with(|db| db.execute("DELETE FROM decisions WHERE session = ?1", [token]));
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.path.display())
    }
}

/// Empty, or ours: nothing else is touched.
fn check_is_ours(connection: &Connection, path: &Path) -> Result<(), Error> {
    let failed = |error| store_error(path, error);
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    // All of one moment: another process may be about to make it a store
    let _moment = connection.unchecked_transaction().map_err(failed)?;
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).map_err(failed);
    if number("PRAGMA application_id")? == APPLICATION_ID {
        return check_form(connection, path).map_err(failed);
    }
    if number("SELECT count(*) FROM sqlite_schema")? == 0 {
        return Ok(());
    }
    Err(Error::NotAStore { path: path.to_owned(), detail: "it is the SQLite database of another program".to_owned() })
}

/// Whether the store is of a form that is known here. It may have been when it was opened, and a newer cardcase has come since.
fn check_form(db: &Connection, path: &Path) -> rusqlite::Result<()> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    match db.query_row("PRAGMA user_version", [], |row| row.get(0))? {
        found if found > known => Err(as_rusqlite(Error::NewerStore { path: path.to_owned(), found, known })),
        _ => Ok(()),
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST_VALUE)?;
    rusqlite::vtab::array::load_module(connection)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    // FULL would leave the removal of the journal to the file system: power lost then could undo what was acknowledged
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    // What SQLite cannot keep in memory it would otherwise write to a file of its own
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    let migrations = Migrations::from_slice(&MIGRATIONS);
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    let Err(error) = migrations.to_latest(connection) else {
        return Ok(());
    };
    // Another process may have migrated between this one's look and its try
    if migrations.pending_migrations(connection).is_ok_and(|pending| pending == 0) {
        return Ok(());
    }
    match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => Err(store_error(path, err)),
        other => Err(Error::Store { path: path.to_owned(), source: Box::new(other) }),
    }
}

fn store_error(path: &Path, error: rusqlite::Error) -> Error {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::NotAStore { path, detail: "it is not an SQLite database".to_owned() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::StoreBusy { path },
        Some(ErrorCode::DiskFull) => Error::StoreFull { path },
        Some(ErrorCode::ReadOnly) => Error::StoreReadOnly { place: read_only_place(&path, &error), path },
        Some(ErrorCode::TooBig) => Error::StoreDamaged {
            detail: format!("{}: a value or a row in it has more than {LONGEST_VALUE} bytes", path.display()),
        },
        Some(ErrorCode::DatabaseCorrupt) => Error::StoreDamaged { detail: format!("{}: {error}", path.display()) },
        _ => match error {
            rusqlite::Error::FromSqlConversionFailure(column, kind, source) => match source.downcast() {
                Ok(damaged) => *damaged,
                Err(source) => {
                    let error = rusqlite::Error::FromSqlConversionFailure(column, kind, source);
                    Error::StoreDamaged { detail: format!("{}: {error}", path.display()) }
                }
            },
            rusqlite::Error::ToSqlConversionFailure(source) => match source.downcast() {
                Ok(ours) => *ours,
                Err(source) => Error::Store { path, source },
            },
            error if is_of_a_column(&error) => Error::StoreDamaged { detail: format!("{}: {error}", path.display()) },
            error => Error::Store { path, source: Box::new(error) },
        },
    }
}

/// Whether a column holds what it never should, which SQLite itself has no say in.
fn is_of_a_column(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))
}

/// SQLite has to make its journal beside the file: a directory that cannot be written to keeps it from writing too.
fn read_only_place(path: &Path, error: &rusqlite::Error) -> PathBuf {
    let is_directory =
        error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_READONLY_DIRECTORY);
    let directory = path.parent().filter(|_| is_directory);
    directory.unwrap_or(path).to_owned()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks: a transaction that did not commit is rolled back
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes an error of this library through SQLite's.
pub(crate) fn as_rusqlite(error: Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// For [`sealed_key`].
const SEALED_KEY: &str = "SELECT id, fingerprint, name, requires_tls13, private_key FROM identities";

fn sealed_key(row: &Row<'_>) -> rusqlite::Result<SealedKey> {
    read_row(row, IDENTITIES, |row| {
        Ok(SealedKey {
            row: KeyRow {
                id: row.get(0)?,
                fingerprint: Fingerprint::from_bytes(row.get(1)?),
                name: row.get(2)?,
                requires_tls13: row.get(3)?,
            },
            sealed: row.get(4)?,
        })
    })
}

/// The sealed key of an identity.
///
/// # Errors
/// [`Error::UnknownIdentity`] when it was removed meanwhile.
pub(crate) fn known_key(db: &Connection, identity: Fingerprint) -> rusqlite::Result<SealedKey> {
    let mut query = db.prepare_cached(&format!("{SEALED_KEY} WHERE fingerprint = ?1"))?;
    let key = query.query_row([identity.as_bytes()], sealed_key).optional()?;
    key.ok_or_else(|| as_rusqlite(Error::UnknownIdentity { id: identity.to_string() }))
}

/// The sealed key of an identity that somebody chose by what they saw. Whoever swaps names can have another one chosen; but the
/// key then opens under the name that was swapped, or not at all.
///
/// # Errors
/// [`Error::Renamed`], and those of [`known_key`].
pub(crate) fn chosen_key(db: &Connection, identity: &Identity) -> rusqlite::Result<SealedKey> {
    let key = known_key(db, identity.fingerprint())?;
    key.check_chosen(identity).map_err(as_rusqlite)?;
    Ok(key)
}

/// Changes what a private key is bound to, and with it what the row says.
pub(crate) fn rewrite_key(db: &Connection, vault: &Vault, key: &SealedKey, row: KeyRow) -> rusqlite::Result<()> {
    let sealed = vault.open(key).and_then(|opened| vault.seal(&row, &opened)).map_err(as_rusqlite)?;
    let mut update =
        db.prepare_cached("UPDATE identities SET name = ?1, requires_tls13 = ?2, private_key = ?3 WHERE id = ?4")?;
    update.execute(params![row.name, row.requires_tls13, sealed, row.id]).map(drop)
}

const IDENTITY: &str = "SELECT id, fingerprint, certificate, name, requires_tls13 FROM identities";

fn parse_identity(row: &Row<'_>) -> rusqlite::Result<Identity> {
    read_row(row, IDENTITIES, |row| Ok(Identity::new(row.get(3)?, parse_certificate(row)?, row.get(4)?)))
}

/// The certificate of a row that begins with id, fingerprint and certificate. It has to be the one that the fingerprint
/// names: rows are looked up by it, and what was moved or swapped must not pass for another.
fn parse_certificate(row: &Row<'_>) -> rusqlite::Result<Certificate> {
    let certificate = Certificate::from_der(row.get::<_, Vec<u8>>(2)?).map_err(|error| wrong(error.to_string()))?;
    if certificate.fingerprint().as_bytes() != &row.get::<_, [u8; 32]>(1)? {
        return Err(wrong("its certificate is not the one that its fingerprint names"));
    }
    Ok(certificate)
}

pub(crate) fn cached_authorities(db: &Connection, cache: &mut Cache) -> rusqlite::Result<Arc<Authorities>> {
    if let Some(authorities) = &cache.authorities {
        return Ok(authorities.clone());
    }
    let authorities = Arc::new(Authorities::new(read_authorities(db, &mut cache.damaged)?));
    cache.authorities = Some(authorities.clone());
    Ok(authorities)
}

pub(crate) fn cached_identity(db: &Connection, cache: &mut Cache, id: i64) -> rusqlite::Result<Arc<Identity>> {
    if let Some(identity) = cache.identities.get(&id) {
        return Ok(identity.clone());
    }
    let mut query = db.prepare_cached(&format!("{IDENTITY} WHERE id = ?1"))?;
    let identity = Arc::new(query.query_row([id], parse_identity)?);
    cache.identities.insert(id, identity.clone());
    Ok(identity)
}

/// The identity as it stands in the row that a key was just read from. What is kept in memory may be what somebody put there for a
/// moment, with the number that says whether anything changed; the key opens for the row as it is.
pub(crate) fn identity_of_key(db: &Connection, cache: &mut Cache, row: &KeyRow) -> rusqlite::Result<Arc<Identity>> {
    let identity = cached_identity(db, cache, row.id)?;
    let is_of_row = identity.fingerprint() == row.fingerprint
        && identity.name() == row.name
        && identity.requires_tls13() == row.requires_tls13;
    if is_of_row {
        return Ok(identity);
    }
    cache.identities.remove(&row.id);
    cached_identity(db, cache, row.id)
}

pub(crate) fn identity_id(db: &Connection, fingerprint: Fingerprint) -> rusqlite::Result<Option<i64>> {
    let mut query = db.prepare_cached("SELECT id FROM identities WHERE fingerprint = ?1")?;
    query.query_row([fingerprint.as_bytes()], |row| row.get(0)).optional()
}

/// As far as they can be read: of the others nobody knows what they would be renewed by.
pub(crate) fn identities_of_subject(db: &Connection, subject: &NameKey) -> rusqlite::Result<Vec<Identity>> {
    let mut query = db.prepare_cached(&format!("{IDENTITY} WHERE subject_key = ?1"))?;
    all_readable(query.query_map([subject.as_bytes()], parse_identity)?, &mut Vec::new())
}

fn read_authorities(db: &Connection, aside: &mut Vec<Damage>) -> rusqlite::Result<Vec<Authority>> {
    let mut query = db.prepare_cached("SELECT id, fingerprint, certificate, trusted FROM authorities ORDER BY id")?;
    let parse = |row: &Row<'_>| {
        read_row(row, AUTHORITIES, |row| Ok(Authority { certificate: parse_certificate(row)?, trusted: row.get(3)? }))
    };
    all_readable(query.query_map([], parse)?, aside)
}

/// The identity as it is stored now, and whether it is new.
fn insert_identity(
    db: &Connection,
    vault: &Vault,
    new: &NewIdentity,
    name: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<(Arc<Identity>, bool)> {
    let certificate = &new.certificate;
    let mut known = db.prepare_cached(&format!("{IDENTITY} WHERE fingerprint = ?1"))?;
    if let Some(identity) = known.query_row([certificate.fingerprint().as_bytes()], parse_identity).optional()? {
        return Ok((Arc::new(identity), false));
    }
    let name = match name {
        None => free_name(db, &default_name(new))?,
        Some(given) if is_free(db, given)? => given.to_owned(),
        Some(given) => return Err(as_rusqlite(taken(given))),
    };
    let row =
        KeyRow { id: next_id(db, IDENTITIES)?, fingerprint: certificate.fingerprint(), name, requires_tls13: false };
    let sealed = vault.seal(&row, &new.key).map_err(as_rusqlite)?;
    let mut insert = db.prepare_cached(
        "INSERT INTO identities (id, fingerprint, name, certificate, private_key, subject_key, issuer_key, added_at)
         VALUES (:id, :fingerprint, :name, :certificate, :private_key, :subject_key, :issuer_key, :added_at)",
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
    })?;
    Ok((Arc::new(Identity::new(row.name, certificate.clone(), false)), true))
}

/// The number that the next row of a table gets: a key is bound to it, so it has to be known first. Never one that was given
/// before, as far as the file says.
fn next_id(db: &Connection, table: &str) -> rusqlite::Result<i64> {
    let mut last = db.prepare_cached(&format!(
        "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?1), 0), coalesce((SELECT max(id) FROM {table}), 0))"
    ))?;
    let last: i64 = last.query_row([table], |row| row.get(0))?;
    let used_up = || as_rusqlite(Error::StoreDamaged { detail: format!("the numbers for {table} are used up") });
    last.checked_add(1).ok_or_else(used_up)
}

/// Whether it is new, or takes the place of what was damaged.
fn insert_authority(db: &Connection, certificate: &Certificate, now: Timestamp) -> rusqlite::Result<bool> {
    let mut insert = db.prepare_cached(
        "INSERT INTO authorities (fingerprint, certificate, added_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (fingerprint) DO UPDATE SET certificate = excluded.certificate WHERE certificate != excluded.certificate",
    )?;
    let added = insert.execute(params![certificate.fingerprint().as_bytes(), certificate.der(), now.0])?;
    Ok(added == 1)
}

fn default_name(new: &NewIdentity) -> String {
    let given = new.friendly_name.as_deref().map(clean_name).filter(|name| !name.is_empty());
    given.unwrap_or_else(|| match clean_name(&new.certificate.subject().common_name()) {
        name if name.is_empty() => new.certificate.fingerprint().short(),
        name => name,
    })
}

/// One line of printable characters, of bounded length.
fn clean_name(name: &str) -> String {
    let printable: String = name.chars().filter(|&c| !is_unprintable(c)).take(NAME_LENGTH).collect();
    printable.trim().to_owned()
}

/// Whether a person may give this name to the one identity among as many.
fn check_name(name: &str, identities: usize) -> Result<(), Error> {
    let refused = |reason: &str| Err(Error::Name { name: name.to_owned(), reason: reason.to_owned() });
    match name {
        _ if identities != 1 => refused(&format!("it is for one identity, and there are {identities}")),
        _ if name != clean_name(name) || is_reserved(name) => {
            refused("it is empty, too long, reserved, or has unprintable characters")
        }
        _ => Ok(()),
    }
}

/// `remember HOST none` means no identity.
fn taken(name: &str) -> Error {
    Error::Name { name: name.to_owned(), reason: "another identity has it".to_owned() }
}

fn is_reserved(name: &str) -> bool {
    name.is_empty() || name.eq_ignore_ascii_case("none")
}

fn is_free(db: &Connection, name: &str) -> rusqlite::Result<bool> {
    let mut taken = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM identities WHERE name = ?1)")?;
    taken.query_row([name], |row| row.get::<_, bool>(0)).map(|taken| !taken)
}

/// `name`, or with the first number behind it that is free.
fn free_name(db: &Connection, name: &str) -> rusqlite::Result<String> {
    if !is_reserved(name) && is_free(db, name)? {
        return Ok(name.to_owned());
    }
    // Doubling, then halving, finds the end of a long row of namesakes without trying each
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

/// The one that a person means by `id`, of those that it may mean.
///
/// # Errors
/// `unknown` when there is none, [`Error::Ambiguous`] when there are several.
fn only<T>(mut found: impl Iterator<Item = T>, id: &str, unknown: impl FnOnce() -> Error) -> Result<T, Error> {
    match (found.next(), found.next()) {
        (None, _) => Err(unknown()),
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(Error::Ambiguous { id: id.to_owned() }),
    }
}

/// The first and the last fingerprint that begin so.
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
