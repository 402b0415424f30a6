//! The store: the SQLite database with the identities, the authorities and everything else.
//!
//! A rollback journal rather than a write-ahead log: one file is the whole store at rest, it can be copied and read from
//! a read-only place, and what is written here is small and rare.

mod file;
mod network;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use directories::ProjectDirs;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, named_params, params};
use rusqlite_migration::{M, Migrations};

use crate::authority::{Authorities, Authority, Requested};
use crate::certificate::{Certificate, Fingerprint, FingerprintPrefix};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::identity::{Identity, Import, NewIdentity};
use crate::name::{NameKey, is_unprintable};
use crate::pkcs12::{self, Contents, KeyBag};
use crate::rules::Rules;
use crate::session::Session;
use crate::vault::{Protection, SealedKey, Unlocker, Vault};
use zeroize::Zeroizing;

/// "card", in the header of the database file.
const APPLICATION_ID: i64 = 0x6361_7264;

/// The migrations, in order. Add, never edit.
static MIGRATIONS: [M<'static>; 3] = [
    M::up(include_str!("../migrations/0001_store.sql")),
    M::up(include_str!("../migrations/0002_generation.sql")),
    M::up(include_str!("../migrations/0003_rules.sql")),
];

/// How long to wait for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

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
    session: Session,
}

/// What was parsed before, as long as nobody changed an identity, an authority or a rule.
#[derive(Default)]
pub(crate) struct Cache {
    generation: i64,
    identities: HashMap<i64, Arc<Identity>>,
    authorities: Option<Arc<Authorities>>,
    pub(crate) rules: Option<Arc<Rules>>,
}

/// What an import did.
#[derive(Debug, Default)]
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
    /// [`Error::StoreBusy`], [`Error::StoreFull`], [`Error::StoreReadOnly`], [`Error::VaultDamaged`].
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
        let vault = Self::load_vault(&connection, &path)?;
        Ok(Self {
            path,
            connection: Mutex::new(connection),
            cache: Mutex::default(),
            vault: Mutex::new(Arc::new(vault)),
            session,
        })
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

    /// What encrypts the private keys.
    pub fn vault(&self) -> Arc<Vault> {
        locked(&self.vault).clone()
    }

    /// Unlocks the vault, if it is locked; anew, if another process has changed the password since.
    ///
    /// # Errors
    /// Those of [`Vault::unlock`], and of reading.
    pub fn unlock(&self, unlocker: &dyn Unlocker) -> Result<(), Error> {
        let vault = self.with(|db| self.current_vault(db))?;
        vault.unlock(unlocker)
    }

    /// The vault as it is in the file by now; another process may have changed it.
    fn current_vault(&self, db: &Connection) -> rusqlite::Result<Arc<Vault>> {
        let as_sql = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
        let row = read_vault(db)?.ok_or_else(|| as_sql(Error::VaultDamaged))?;
        let mut vault = locked(&self.vault);
        if !row.is_row_of(&vault) {
            *vault = Arc::new(row.into_vault().map_err(as_sql)?);
        }
        Ok(vault.clone())
    }

    /// Sets, changes or (`None`) removes the primary password. The vault is unlocked first, by `unlocker`.
    ///
    /// A store that had no password gets a new data key, under which every private key is sealed anew: the old one lay
    /// open in the file, and in every copy of it.
    ///
    /// # Errors
    /// Those of [`Vault::unlock`], and of writing; [`Error::SealedKey`] when a private key does not open.
    pub fn set_primary_password(&self, password: Option<&str>, unlocker: &dyn Unlocker) -> Result<(), Error> {
        self.unlock(unlocker)?;
        let old = self.vault();
        let new = match (old.protection(), password) {
            (Protection::None, Some(password)) => Vault::create()?.rewrapped(Some(password))?,
            (_, password) => old.rewrapped(password)?,
        };
        let stored = self.transact(|db| match read_vault(db)? {
            Some(row) if row.is_row_of(&old) => replace_vault(db, &old, &new).map(Ok),
            _ => Ok(Err(Error::StoreBusy { path: self.path.clone() })),
        })?;
        stored?;
        *locked(&self.vault) = Arc::new(new);
        Ok(())
    }

    /// Stores everything a file brought, or nothing. What is there already stays as it is.
    ///
    /// `name` is given to the identity, where there is but one; else each has its friendlyName or its common name. A
    /// taken name gets a number.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] when the vault is still locked, [`Error::StoreBusy`] also when another process changes the
    /// primary password meanwhile, [`Error::Name`], and those of writing.
    pub fn import(&self, files: Vec<Import>, name: Option<&str>, now: Timestamp) -> Result<Imported, Error> {
        Ok(self.import_and_then(files, name, now, |_, _| Ok(()))?.0)
    }

    /// `then` is done in the same transaction.
    pub(crate) fn import_and_then<T>(
        &self,
        files: Vec<Import>,
        name: Option<&str>,
        now: Timestamp,
        then: impl FnOnce(&Connection, &mut Imported) -> rusqlite::Result<T>,
    ) -> Result<(Imported, T), Error> {
        if let Some(name) = name {
            check_name(name, files.iter().map(|import| import.identities.len()).sum())?;
        }
        let vault = self.vault();
        let mut sealed = Vec::new();
        for new in files.iter().flat_map(|import| &import.identities) {
            sealed.push((new, vault.seal(&new.key)?));
        }
        let authorities: Vec<&Certificate> = files.iter().flat_map(|import| &import.authorities).collect();
        self.transact(|db| {
            // What was sealed under a data key that another process has replaced since nobody would ever open
            if !read_vault(db)?.is_some_and(|row| row.is_row_of(&vault)) {
                let changed = Error::StoreBusy { path: self.path.clone() };
                return Err(rusqlite::Error::ToSqlConversionFailure(Box::new(changed)));
            }
            let mut imported = Imported::default();
            for (new, key) in &sealed {
                match insert_identity(db, new, key, name, now)? {
                    (identity, true) => imported.imported.push(identity),
                    (identity, false) => imported.already_present.push(identity),
                }
            }
            for authority in authorities {
                if insert_authority(db, authority, false, now)? {
                    imported.authorities.push(authority.clone());
                }
            }
            let done = then(db, &mut imported)?;
            Ok((imported, done))
        })
    }

    /// Every identity, by name. Reads afresh and keeps nothing in memory.
    ///
    /// # Errors
    /// Those of reading; [`Error::Certificate`] when a row is damaged.
    pub fn identities(&self) -> Result<Vec<Identity>, Error> {
        self.with(|db| {
            let mut query = db.prepare_cached(&format!("{IDENTITY} ORDER BY name COLLATE NOCASE, id"))?;
            let rows = query.query_map([], parse_identity)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })
    }

    /// The identities a request may be answered with, as far as the issuer goes: found by index, not by a scan.
    ///
    /// # Errors
    /// Those of reading.
    pub fn identities_under(&self, requested: &Requested) -> Result<Vec<Arc<Identity>>, Error> {
        let issuers = key_list(requested.issuers());
        let names = key_list(requested.names());
        self.cached(|db, cache| {
            let mut query = db.prepare_cached(
                "SELECT id FROM identities WHERE issuer_key IN rarray(?1)
                 UNION SELECT id FROM identities WHERE subject_key IN rarray(?2)",
            )?;
            let ids: Vec<i64> = query.query_map([issuers, names], |row| row.get(0))?.collect::<Result<_, _>>()?;
            ids.into_iter().map(|id| cached_identity(db, cache, id)).collect()
        })
    }

    /// The identity a person means: by its name, or by a prefix of its fingerprint.
    ///
    /// # Errors
    /// [`Error::UnknownIdentity`]; [`Error::Ambiguous`], also when the name of one is the prefix of another.
    pub fn find_identity(&self, id: &str) -> Result<Identity, Error> {
        let mut found = self.identities_beginning(id)?;
        if let Some(named) = self.identity_named(id)? {
            found.retain(|identity| *identity != named);
            found.push(named);
        }
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(Error::UnknownIdentity { id: id.to_owned() }),
            (Some(identity), true) => Ok(identity),
            (Some(_), false) => Err(Error::Ambiguous { id: id.to_owned() }),
        }
    }

    /// Up to two identities whose fingerprints begin so.
    fn identities_beginning(&self, id: &str) -> Result<Vec<Identity>, Error> {
        let Ok(prefix) = id.parse::<FingerprintPrefix>() else { return Ok(Vec::new()) };
        let (first, last) = fingerprint_range(&prefix);
        self.with(|db| {
            let mut query = db.prepare_cached(&format!("{IDENTITY} WHERE fingerprint BETWEEN ?1 AND ?2 LIMIT 2"))?;
            let rows = query.query_map([first, last], parse_identity)?;
            rows.collect()
        })
    }

    /// The identity with exactly this fingerprint.
    ///
    /// # Errors
    /// Those of reading.
    pub fn identity(&self, fingerprint: Fingerprint) -> Result<Option<Arc<Identity>>, Error> {
        self.cached(|db, cache| match identity_id(db, fingerprint)? {
            Some(id) => cached_identity(db, cache, id).map(Some),
            None => Ok(None),
        })
    }

    fn identity_named(&self, name: &str) -> Result<Option<Identity>, Error> {
        self.with(|db| {
            let mut query = db.prepare_cached(&format!("{IDENTITY} WHERE name = ?1"))?;
            query.query_row([name], parse_identity).optional()
        })
    }

    /// The private key of an identity, still sealed; `None` when the identity was removed meanwhile.
    ///
    /// # Errors
    /// Those of reading.
    pub fn sealed_key(&self, fingerprint: Fingerprint) -> Result<Option<SealedKey>, Error> {
        self.with(|db| {
            let mut query = db.prepare_cached("SELECT private_key FROM identities WHERE fingerprint = ?1")?;
            query.query_row([fingerprint.as_bytes()], |row| row.get(0).map(SealedKey)).optional()
        })
    }

    /// An identity with its private key, both of one moment; `None` when it was removed meanwhile.
    pub(crate) fn identity_with_key(
        &self,
        fingerprint: Fingerprint,
    ) -> Result<Option<(Arc<Identity>, SealedKey)>, Error> {
        self.cached(|db, cache| {
            let Some(id) = identity_id(db, fingerprint)? else { return Ok(None) };
            let mut query = db.prepare_cached("SELECT private_key FROM identities WHERE id = ?1")?;
            let key = query.query_row([id], |row| row.get(0).map(SealedKey))?;
            Ok(Some((cached_identity(db, cache, id)?, key)))
        })
    }

    /// An identity as a PKCS#12 file, with the CA certificates above it as far as the store has them. The vault is
    /// unlocked first, by `unlocker`.
    ///
    /// # Errors
    /// Those of [`Vault::unlock`] and [`Vault::open`], and of reading; [`Error::UnknownIdentity`] when it was removed
    /// meanwhile; [`Error::KeyMismatch`] and [`Error::UnusableKey`]: only a key that fits its certificate is exported.
    pub fn export(
        &self,
        identity: &Identity,
        password: &str,
        protection: pkcs12::Protection,
        unlocker: &dyn Unlocker,
    ) -> Result<Vec<u8>, Error> {
        self.unlock(unlocker)?;
        let vault = self.vault();
        let sealed = self.sealed_key(identity.fingerprint())?;
        let key = vault.open(&sealed.ok_or_else(|| Error::UnknownIdentity { id: identity.name().to_owned() })?)?;
        key.check_fits(identity.certificate())?;
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
    /// key, or issued for it. Returns whether there were any.
    ///
    /// # Errors
    /// Those of [`Vault::unlock`] and [`Vault::open`], and of reading.
    pub fn add_known_keys(&self, contents: &mut Contents, unlocker: &dyn Unlocker) -> Result<bool, Error> {
        let certificates = contents.certificates.iter().filter_map(|bag| Certificate::from_der(bag.der.clone()).ok());
        let mut wanted: HashSet<Vec<u8>> = certificates.map(|certificate| certificate.public_key().to_vec()).collect();
        let mut added = false;
        for identity in self.identities()? {
            // Of several identities with one key the first will do
            if wanted.remove(identity.certificate().public_key())
                && let Some(sealed) = self.sealed_key(identity.fingerprint())?
            {
                self.unlock(unlocker)?;
                contents.keys.push(KeyBag::of_pkcs8(self.vault().open(&sealed)?.into_pkcs8()));
                added = true;
            }
        }
        Ok(added)
    }

    /// Lets an identity go out in TLS 1.3 only, or in every version again.
    ///
    /// # Errors
    /// [`Error::UnknownIdentity`] when it was removed meanwhile, and those of writing.
    pub fn require_tls13(&self, identity: Fingerprint, required: bool) -> Result<(), Error> {
        let changed = self.transact(|db| {
            let mut update = db.prepare_cached("UPDATE identities SET requires_tls13 = ?1 WHERE fingerprint = ?2")?;
            update.execute(params![required, identity.as_bytes()])
        })?;
        if changed == 1 { Ok(()) } else { Err(Error::UnknownIdentity { id: identity.to_string() }) }
    }

    /// Removes identities, with the decisions on them. All of them or none.
    ///
    /// # Errors
    /// Those of writing.
    pub fn remove(&self, identities: &[Fingerprint]) -> Result<(), Error> {
        self.transact(|db| {
            for fingerprint in identities {
                db.execute("DELETE FROM identities WHERE fingerprint = ?1", [fingerprint.as_bytes()])?;
            }
            Ok(())
        })
    }

    /// Every authority, arranged for look-up.
    ///
    /// # Errors
    /// Those of reading; [`Error::Certificate`] when a row is damaged.
    pub fn authorities(&self) -> Result<Arc<Authorities>, Error> {
        self.cached(cached_authorities)
    }

    /// Every authority, in the order in which they came.
    ///
    /// # Errors
    /// Those of reading; [`Error::Certificate`] when a row is damaged.
    pub fn list_authorities(&self) -> Result<Vec<Authority>, Error> {
        self.with(read_authorities)
    }

    /// Stores CA certificates as trusted, all or none. Those that are there already become trusted.
    ///
    /// # Errors
    /// Those of writing.
    pub fn trust(&self, certificates: &[Certificate], now: Timestamp) -> Result<(), Error> {
        self.transact(|db| {
            for certificate in certificates {
                if !insert_authority(db, certificate, true, now)? {
                    let fingerprint = certificate.fingerprint();
                    db.execute("UPDATE authorities SET trusted = 1 WHERE fingerprint = ?1", [fingerprint.as_bytes()])?;
                }
            }
            Ok(())
        })
    }

    /// The authority a person means, by a prefix of its fingerprint.
    ///
    /// # Errors
    /// [`Error::UnknownAuthority`], [`Error::Ambiguous`].
    pub fn find_authority(&self, id: &str) -> Result<Authority, Error> {
        let unknown = || Error::UnknownAuthority { id: id.to_owned() };
        let prefix: FingerprintPrefix = id.parse().map_err(|()| unknown())?;
        let all = self.list_authorities()?;
        let mut found =
            all.into_iter().filter(|ca| ca.certificate.fingerprint().to_string().starts_with(prefix.digits()));
        match (found.next(), found.next()) {
            (None, _) => Err(unknown()),
            (Some(authority), None) => Ok(authority),
            (Some(_), Some(_)) => Err(Error::Ambiguous { id: id.to_owned() }),
        }
    }

    /// Runs statements, each on its own.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        work(&locked(&self.connection)).map_err(|error| store_error(&self.path, error))
    }

    /// Runs statements that write, all or none.
    pub(crate) fn transact<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let mut connection = locked(&self.connection);
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
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
            moment.commit()?;
            Ok(done)
        })
    }

    fn load_vault(connection: &Connection, path: &Path) -> Result<Vault, Error> {
        let failed = |error| store_error(path, error);
        if let Some(row) = read_vault(connection).map_err(failed)? {
            return row.into_vault();
        }
        let created = Vault::create()?;
        let (protection, data_key) = created.row();
        // OR IGNORE: of two processes that make one store, the first makes the vault
        let insert = "INSERT OR IGNORE INTO vault (id, protection, data_key) VALUES (1, ?1, ?2)";
        connection.execute(insert, params![protection_text(protection), data_key]).map_err(failed)?;
        read_vault(connection).map_err(failed)?.ok_or(Error::VaultDamaged)?.into_vault()
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
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).map_err(failed);
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found = number("PRAGMA user_version")?;
    if number("PRAGMA application_id")? == APPLICATION_ID {
        if found > known {
            return Err(Error::NewerStore { path: path.to_owned(), found, known });
        }
        return Ok(());
    }
    if number("SELECT count(*) FROM sqlite_schema")? == 0 {
        return Ok(());
    }
    Err(Error::NotAStore { path: path.to_owned(), detail: "it is the SQLite database of another program".to_owned() })
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
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
            error => Error::Store { path, source: Box::new(error) },
        },
    }
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

/// The row of the vault.
struct VaultRow {
    protection: String,
    data_key: Zeroizing<Vec<u8>>,
}

impl VaultRow {
    fn is_row_of(&self, vault: &Vault) -> bool {
        let (protection, data_key) = vault.row();
        self.protection == protection_text(protection) && *self.data_key == data_key
    }

    fn into_vault(self) -> Result<Vault, Error> {
        let protection = match self.protection.as_str() {
            "none" => Protection::None,
            "password" => Protection::Password,
            _ => return Err(Error::VaultDamaged),
        };
        Vault::from_row(protection, self.data_key)
    }
}

fn read_vault(db: &Connection) -> rusqlite::Result<Option<VaultRow>> {
    let mut query = db.prepare("SELECT protection, data_key FROM vault")?;
    let parse = |row: &Row<'_>| Ok(VaultRow { protection: row.get(0)?, data_key: Zeroizing::new(row.get(1)?) });
    query.query_row([], parse).optional()
}

/// Writes the vault's row, and every private key sealed anew where the data key is another.
fn replace_vault(db: &Connection, old: &Vault, new: &Vault) -> rusqlite::Result<()> {
    let (protection, data_key) = new.row();
    db.execute("UPDATE vault SET protection = ?1, data_key = ?2", params![protection_text(protection), data_key])?;
    if old.shares_data_key(new) {
        return Ok(());
    }
    let mut query = db.prepare("SELECT id, private_key FROM identities")?;
    let sealed: Vec<(i64, Vec<u8>)> =
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut update = db.prepare("UPDATE identities SET private_key = ?1 WHERE id = ?2")?;
    for (id, key) in sealed {
        let resealed = old
            .open(&SealedKey(key))
            .and_then(|key| new.seal(&key))
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        update.execute(params![resealed.0, id])?;
    }
    Ok(())
}

fn protection_text(protection: Protection) -> &'static str {
    match protection {
        Protection::None => "none",
        Protection::Password => "password",
    }
}

const IDENTITY: &str = "SELECT id, fingerprint, certificate, name, requires_tls13 FROM identities";

fn parse_identity(row: &Row<'_>) -> rusqlite::Result<Identity> {
    Ok(Identity::new(row.get(3)?, parse_certificate(row, "identities")?, row.get(4)?))
}

/// The certificate of a row that begins with id, fingerprint and certificate. It has to be the one that the fingerprint
/// names: rows are looked up by it, and what was moved or swapped must not pass for another.
fn parse_certificate(row: &Row<'_>, table: &str) -> rusqlite::Result<Certificate> {
    let id: i64 = row.get(0)?;
    let damaged = |detail: String| {
        let error = Error::StoreDamaged { detail: format!("{table}, row {id}: {detail}") };
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Blob, Box::new(error))
    };
    let certificate = Certificate::from_der(row.get::<_, Vec<u8>>(2)?).map_err(|error| damaged(error.to_string()))?;
    if certificate.fingerprint().as_bytes() != &row.get::<_, [u8; 32]>(1)? {
        return Err(damaged("its certificate is not the one that its fingerprint names".to_owned()));
    }
    Ok(certificate)
}

pub(crate) fn cached_authorities(db: &Connection, cache: &mut Cache) -> rusqlite::Result<Arc<Authorities>> {
    if let Some(authorities) = &cache.authorities {
        return Ok(authorities.clone());
    }
    let authorities = Arc::new(Authorities::new(read_authorities(db)?));
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

pub(crate) fn identity_id(db: &Connection, fingerprint: Fingerprint) -> rusqlite::Result<Option<i64>> {
    let mut query = db.prepare_cached("SELECT id FROM identities WHERE fingerprint = ?1")?;
    query.query_row([fingerprint.as_bytes()], |row| row.get(0)).optional()
}

pub(crate) fn identities_of_subject(db: &Connection, subject: &NameKey) -> rusqlite::Result<Vec<Identity>> {
    let mut query = db.prepare_cached(&format!("{IDENTITY} WHERE subject_key = ?1"))?;
    let rows = query.query_map([subject.as_bytes()], parse_identity)?;
    rows.collect()
}

fn read_authorities(db: &Connection) -> rusqlite::Result<Vec<Authority>> {
    let mut query = db.prepare_cached("SELECT id, fingerprint, certificate, trusted FROM authorities ORDER BY id")?;
    let parse =
        |row: &Row<'_>| Ok(Authority { certificate: parse_certificate(row, "authorities")?, trusted: row.get(3)? });
    let rows = query.query_map([], parse)?;
    rows.collect()
}

/// The identity as it is stored now, and whether it is new.
fn insert_identity(
    db: &Connection,
    new: &NewIdentity,
    key: &SealedKey,
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
        Some(given) => {
            let taken = Error::Name { name: given.to_owned(), reason: "another identity has it".to_owned() };
            return Err(rusqlite::Error::ToSqlConversionFailure(Box::new(taken)));
        }
    };
    let mut insert = db.prepare_cached(
        "INSERT INTO identities (fingerprint, name, certificate, private_key, subject_key, issuer_key, added_at)
         VALUES (:fingerprint, :name, :certificate, :private_key, :subject_key, :issuer_key, :added_at)",
    )?;
    insert.execute(named_params! {
        ":fingerprint": certificate.fingerprint().as_bytes(),
        ":name": name,
        ":certificate": certificate.der(),
        ":private_key": key.0,
        ":subject_key": certificate.subject_key().as_bytes(),
        ":issuer_key": certificate.issuer_key().as_bytes(),
        ":added_at": now.0,
    })?;
    Ok((Arc::new(Identity::new(name, certificate.clone(), false)), true))
}

/// Whether it is new.
fn insert_authority(
    db: &Connection,
    certificate: &Certificate,
    trusted: bool,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let mut insert = db.prepare_cached(
        "INSERT OR IGNORE INTO authorities (fingerprint, certificate, trusted, added_at) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let added = insert.execute(params![certificate.fingerprint().as_bytes(), certificate.der(), trusted, now.0])?;
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
