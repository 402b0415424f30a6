//! Opening and creating a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use directories::ProjectDirs;

use super::behind::Behind;
use super::changes::Changes;
use super::database::{Database, SHORT};
use super::file;
use super::handle::Store;
use super::history::write_entry;
use super::integrity::authenticate_terms;
use super::schema::{SCHEMA, Schema};
use super::sql::{PATIENCE, as_rusqlite};
use super::vault::{had_vault, read_vault, vault_damaged, write_vault};
use crate::error::Error;
use crate::session::Session;
use crate::vault::Vault;

impl Store {
    /// The default path of the store: `cardcase.db` in the user's data directory.
    ///
    /// # Errors
    /// [`Error::NoDataDirectory`].
    pub fn default_path() -> Result<PathBuf, Error> {
        let dirs = ProjectDirs::from("", "", "cardcase").ok_or(Error::NoDataDirectory)?;
        Ok(dirs.data_dir().join("cardcase.db"))
    }

    /// Opens the user's store, at [`Self::default_path`].
    ///
    /// # Errors
    /// [`Error::NoDataDirectory`], and those of [`Self::open`].
    pub fn open_default() -> Result<Self, Error> {
        Self::open(Self::default_path()?)
    }

    /// Opens a store in the login session of the user. If there is no file, creates one that only the user can read.
    ///
    /// # Errors
    /// [`Error::NotYours`], [`Error::SharedDirectory`], [`Error::NotAStore`] and [`Error::NewerStore`] leave the file as it is;
    /// [`Error::Store`], [`Error::StoreBusy`], [`Error::StoreFull`], [`Error::StoreReadOnly`], [`Error::StoreDamaged`], [`Error::VaultDamaged`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::open_in_session(path, Session::login())
    }

    /// Opens a store that is there. Unlike [`Self::open`], it creates neither a file nor a directory: for what only reads, where a
    /// store that is missing is more likely a mistyped path.
    ///
    /// # Errors
    /// [`Error::NoStore`], and those of [`Self::open`].
    pub fn open_existing(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        file::find(&path)?;
        Self::open(path)
    }

    /// Opens a store to find out what is wrong with it. Nothing is changed: not the permissions of the file, not an old version, and
    /// not what a process left that died while it wrote. Functions that write fail. Waits two seconds at most for another process.
    ///
    /// # Errors
    /// Those of [`Self::open_to_read`].
    pub fn examine(path: impl AsRef<Path>) -> Result<Self, Error> {
        let store = open_to_read(path.as_ref(), SHORT)?;
        store.expect_agent();
        Ok(store)
    }

    /// Opens a store in this session.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn open_in_session(path: impl Into<PathBuf>, session: Session) -> Result<Self, Error> {
        open(&path.into(), session, &SCHEMA)
    }

    /// Opens an existing store to read it at once, as completions of a shell do. It creates and writes nothing, and waits for nobody.
    ///
    /// # Errors
    /// Those of [`Self::open_existing`]; [`Error::StoreReadOnly`] for a store that has to be repaired or updated first, which the next
    /// [`Self::open`] does.
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Self, Error> {
        open_to_read(path.as_ref(), Duration::ZERO)
    }
}

fn open_to_read(path: &Path, patience: Duration) -> Result<Store, Error> {
    let path = file::find(path)?;
    let database = Database::open_to_read(&path, &SCHEMA, patience)?;
    let kept = database.read(|db| read_vault(db)?.ok_or_else(|| vault_damaged("its row is missing")))?;
    let behind = Behind::new(&path, &SCHEMA, None, write_entry);
    Ok(Store::new(path, Session::login(), database, None, behind, Vault::from_file(kept)))
}

fn open(path: &Path, session: Session, schema: &'static Schema) -> Result<Store, Error> {
    // Canonical: processes that share the file share a lock by its name
    let path = file::prepare(path)?;
    let changes = Changes::of(&path).map(Arc::new);
    let database = Database::open(&path, schema, PATIENCE)?;
    let vault = load_vault(&database)?;
    let behind = Behind::new(&path, schema, changes.clone(), write_entry);
    let store = Store::new(path, session, database, changes, behind, vault);
    store.expect_agent();
    Ok(store)
}

/// The vault of the file. A new store gets one, and the code of its terms.
fn load_vault(database: &Database) -> Result<Vault, Error> {
    if let Some(kept) = database.read(read_vault)? {
        return Ok(Vault::from_file(kept));
    }
    // When two processes create one store, the second finds the vault of the first
    database.write(PATIENCE, |db| match read_vault(db)? {
        Some(kept) => Ok(Vault::from_file(kept)),
        // Whoever removes the row must not get a vault that they can open
        None if had_vault(db)? => Err(vault_damaged("its row is missing")),
        None => {
            let created = Vault::create().map_err(as_rusqlite)?;
            write_vault(db, created.kept())?;
            authenticate_terms(db, &created)?;
            Ok(created)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rusqlite::Connection;

    use super::*;
    use crate::answer::decision::{Lifetime, Scope};
    use crate::clock::Timestamp;

    const FIRST: &str = include_str!("../../migrations/0001_store.sql");

    /// Leaves one row for each time it is applied.
    const SECOND: &str = "CREATE TABLE IF NOT EXISTS made_up (id INTEGER PRIMARY KEY) STRICT;
        INSERT INTO made_up DEFAULT VALUES;";

    /// The schema of a cardcase that does not exist yet.
    static NEXT: Schema = Schema::new(&MIGRATIONS, [0; 32]);

    static MIGRATIONS: [&str; 2] = [FIRST, SECOND];

    struct Home(tempfile::TempDir);

    impl Home {
        /// With a store of version 1 that remembers something.
        fn new() -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            home.open(&SCHEMA).unwrap().remember(&scope(), None, Lifetime::Permanent, Timestamp(0)).unwrap();
            assert_eq!(home.number("PRAGMA user_version"), 1);
            home
        }

        fn open(&self, schema: &'static Schema) -> Result<Store, Error> {
            let session = Session::in_directory(self.0.path().join("session"));
            super::open(&self.0.path().join("cardcase.db"), session, schema)
        }

        fn number(&self, query: &str) -> i64 {
            let database = Connection::open(self.0.path().join("cardcase.db")).unwrap();
            database.query_row(query, [], |row| row.get(0)).unwrap()
        }
    }

    fn scope() -> Scope {
        Scope { host: "a.example".to_owned(), port: None }
    }

    #[test]
    fn the_next_migration_is_applied_once_and_keeps_what_is_stored() {
        let home = Home::new();
        for _ in 0..2 {
            let store = home.open(&NEXT).unwrap();
            assert!(store.decision(&scope()).unwrap().is_some());
            store.forget(&Scope { host: "b.example".to_owned(), port: None }).unwrap();
            assert_eq!(home.number("PRAGMA user_version"), 2);
            assert_eq!(home.number("SELECT count(*) FROM made_up"), 1);
        }
    }

    #[test]
    fn connections_that_open_a_store_at_once_migrate_it_once() {
        for _ in 0..4 {
            let home = Home::new();
            thread::scope(|threads| {
                let opened: Vec<_> = (0..8).map(|_| threads.spawn(|| home.open(&NEXT).map(drop))).collect();
                opened.into_iter().for_each(|opened| opened.join().unwrap().unwrap());
            });
            assert_eq!(home.number("SELECT count(*) FROM made_up"), 1);
        }
    }

    /// Every file there, with its content.
    fn files(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(home.0.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    #[test]
    fn opening_to_read_writes_nothing() {
        let home = Home::new();
        let path = home.0.path().join("cardcase.db");
        let before = files(&home);
        let store = Store::open_to_read(&path).unwrap();
        assert_eq!(store.decisions().unwrap().len(), 1);
        assert!(store.forget(&scope()).is_err());
        assert_eq!(files(&home), before);
        // What a process left that was killed while it wrote
        std::fs::write(home.0.path().join("cardcase.db-journal"), [1; 100]).unwrap();
        let before = files(&home);
        assert!(matches!(Store::open_to_read(&path), Err(Error::StoreReadOnly { .. })));
        assert_eq!(files(&home), before);
    }

    #[test]
    fn opening_to_read_creates_nothing_and_waits_for_nobody() {
        let home = Home::new();
        let missing = home.0.path().join("none").join("cardcase.db");
        assert!(matches!(Store::open_to_read(&missing), Err(Error::NoStore { .. })));
        assert!(!missing.parent().unwrap().exists());
        let empty = home.0.path().join("empty.db");
        std::fs::write(&empty, "").unwrap();
        assert!(matches!(Store::open_to_read(&empty), Err(Error::StoreReadOnly { .. })));
        assert_eq!(std::fs::read(&empty).unwrap(), b"");
        let writer = Connection::open(home.0.path().join("cardcase.db")).unwrap();
        writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let begun = std::time::Instant::now();
        assert!(Store::open_to_read(home.0.path().join("cardcase.db")).is_err());
        assert!(begun.elapsed() < PATIENCE / 4);
    }

    #[test]
    fn what_is_only_examined_stays_as_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let home = Home::new();
        let path = home.0.path().join("cardcase.db");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let before = std::fs::read(&path).unwrap();
        let store = Store::examine(&path).unwrap();
        assert_eq!(store.check_file().unwrap(), Vec::<String>::new());
        assert!(store.check_authenticity().unwrap().is_empty());
        assert!(matches!(store.forget_all(), Err(Error::StoreReadOnly { .. })));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_has_to_exist_is_not_created() {
        let home = tempfile::tempdir().unwrap();
        for path in ["missing.db", "no/directory.db"] {
            let path = home.path().join(path);
            for opened in [Store::open_existing(&path), Store::examine(&path)] {
                assert!(matches!(opened, Err(Error::NoStore { path: named }) if named == path));
            }
        }
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_store_of_a_newer_version_is_refused() {
        let home = Home::new();
        let before = home.open(&SCHEMA).unwrap();
        drop(home.open(&NEXT).unwrap());
        let is_refused = |error: &Error| matches!(error, Error::NewerStore { found: 2, known: 1, .. });
        assert!(is_refused(&home.open(&SCHEMA).unwrap_err()));
        assert!(is_refused(&before.forget_all().unwrap_err()));
        assert_eq!(home.number("SELECT count(*) FROM decisions"), 1);
    }

    #[test]
    fn a_failed_migration_leaves_the_store_as_it_was() {
        static MIGRATIONS: [&str; 2] = [FIRST, "CREATE TABLE made_up (id); SELECT nonsense;"];
        static BROKEN: Schema = Schema::new(&MIGRATIONS, [0; 32]);
        let home = Home::new();
        assert!(matches!(home.open(&BROKEN), Err(Error::Store { .. })));
        assert_eq!(home.number("PRAGMA user_version"), 1);
        assert!(home.open(&SCHEMA).unwrap().decision(&scope()).unwrap().is_some());
    }
}
