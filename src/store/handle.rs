//! An open store: its connection, what it keeps in memory, and the transactions that every table uses.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::behind::Behind;
use super::cache::Cache;
use super::changes::Changes;
use super::database::{Database, SHORT};
use super::network;
use super::remembered::Lately;
use super::sql::{PATIENCE, must_be_there};
use super::vault::{prove, read_vault, vault_damaged};
use crate::error::{Damage, Error};
use crate::session::Session;
use crate::vault::Vault;
use crate::vault::agent::LockMark;

/// Damaged rows of a table that are noted; repair these to see the rest.
const MAX_NOTED: usize = 64;

/// A store: the SQLite database with the identities, the authorities and everything else. Threads share it; other
/// processes may use the same file at the same time.
///
/// # Errors
///
/// Functions that *read* fail with [`Error::Store`], with [`Error::StoreBusy`] when another process writes for longer than
/// 20 seconds, and with [`Error::StoreDamaged`]. Functions that *write* also fail with [`Error::StoreFull`] and
/// [`Error::StoreReadOnly`], and with [`Error::NewerStore`] when a newer cardcase has migrated the store since it was opened.
/// After an error the store is unchanged.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "files")] {
/// use cardcase::Store;
/// use cardcase::file;
/// use cardcase::manage::Timestamp;
///
/// # let home = tempfile::tempdir()?;
/// # let path = home.path().join("cardcase.db");
/// # let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/identities/openssl.p12"));
/// let store = Store::open(path)?;
/// let done = store.import(vec![file::read(bytes, "cardcase")?], None, Timestamp::now())?;
/// assert_eq!(done.imported[0].name(), "Alice Example's card");
/// assert_eq!(store.identities()?.len(), 1);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Store {
    path: PathBuf,
    session: Session,
    behind: Behind,
    database: Mutex<Database>,
    /// Whether the file has changed; `None` where that shows under a lock only.
    changes: Option<Arc<Changes>>,
    lately: Lately,
    cache: Mutex<Cache>,
    vault: Mutex<Arc<Vault>>,
    damage: Mutex<Vec<Damage>>,
    looks: AtomicU64,
    /// The change counter of the file when the last number was given to its state.
    numbered: Mutex<Option<(u32, u64)>>,
    /// The mark of the last [lock](Store::end_agent) before the vault was opened in this process.
    lock_mark: Mutex<Option<LockMark>>,
}

impl Store {
    pub(super) fn new(
        path: PathBuf,
        session: Session,
        database: Database,
        changes: Option<Arc<Changes>>,
        behind: Behind,
        vault: Vault,
    ) -> Self {
        Self {
            behind,
            path,
            session,
            database: Mutex::new(database),
            changes,
            lately: Lately::default(),
            cache: Mutex::default(),
            vault: Mutex::new(Arc::new(vault)),
            damage: Mutex::default(),
            looks: AtomicU64::new(0),
            numbered: Mutex::default(),
            lock_mark: Mutex::default(),
        }
    }

    /// The canonical path of its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of network file system that the file is on, if it is on one. File locks may not work there between
    /// processes, and two processes can damage the store.
    pub fn network_file_system(&self) -> Option<&'static str> {
        network::file_system_of(&self.path)
    }

    /// The login session that session decisions belong to.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// How often identities, authorities, rules and enrollments have changed, in any process. While the number is the same, so are they.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn generation(&self) -> Result<i64, Error> {
        self.read(read_generation)
    }

    /// The damaged rows that were skipped so far, in the order they were found; at most 64 of each table.
    pub fn damage(&self) -> Vec<Damage> {
        locked(&self.damage).clone()
    }

    /// What seals the private keys and makes the authentication codes.
    pub(crate) fn vault(&self) -> Arc<Vault> {
        locked(&self.vault).clone()
    }

    /// Notes that the vault is being opened in this process: it stays open until the store is locked.
    pub(super) fn note_opened(&self) {
        *locked(&self.lock_mark) = self.lock_mark();
    }

    /// Locks a vault that was opened in this process, if the store has been locked since.
    pub(super) fn follow_lock(&self, vault: &Vault) {
        if vault.has_password() && vault.is_open_here() && *locked(&self.lock_mark) != self.lock_mark() {
            vault.lock();
        }
    }

    /// Writes the history.
    pub(super) fn behind(&self) -> &Behind {
        &self.behind
    }

    /// Whether the file has changed; `None` where that shows under a lock only.
    pub(super) fn changes(&self) -> Option<&Changes> {
        self.changes.as_deref()
    }

    /// What was read lately.
    pub(super) fn lately(&self) -> &Lately {
        &self.lately
    }

    /// A number for the state of the file. It must be taken within the transaction: then a later state has a higher number.
    pub(super) fn number(&self) -> u64 {
        let mut numbered = locked(&self.numbered);
        let Some(changes) = self.changes() else { return self.next_number() };
        match *numbered {
            Some((counter, number)) if changes.is_unchanged(counter) => number,
            _ => {
                let number = self.next_number();
                *numbered = changes.counter().map(|counter| (counter, number));
                number
            }
        }
    }

    fn next_number(&self) -> u64 {
        self.looks.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn set_vault(&self, vault: Vault) {
        *locked(&self.vault) = Arc::new(vault);
        self.lately.clear();
    }

    /// The vault as the file has it now; another process may have changed it.
    pub(super) fn current_vault(&self, db: &Connection) -> rusqlite::Result<Arc<Vault>> {
        let kept = read_vault(db)?.ok_or_else(|| vault_damaged("its row is missing"))?;
        let mut vault = locked(&self.vault);
        if vault.kept() != &kept {
            *vault = Arc::new(Vault::from_file(kept));
            // What was read before may have the data key of the old one
            self.lately.clear();
        }
        Ok(vault.clone())
    }

    /// [`Self::current_vault`], if it may be used.
    ///
    /// # Errors
    /// [`Error::VaultReplaced`].
    pub(super) fn usable_vault(&self, db: &Connection) -> rusqlite::Result<Arc<Vault>> {
        let vault = self.current_vault(db)?;
        prove(db, &vault)?;
        Ok(vault)
    }

    /// [`Database::read`].
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        locked(&self.database).read(work)
    }

    /// [`Self::read`]s rows. `read` adds damaged ones to the list it is given; they are noted and returned.
    pub(super) fn reading<T>(
        &self,
        read: impl FnOnce(&Connection, &mut Vec<Damage>) -> rusqlite::Result<T>,
    ) -> Result<(T, Vec<Damage>), Error> {
        let mut damaged = Vec::new();
        let read = self.read(|db| read(db, &mut damaged))?;
        self.note(&damaged);
        Ok((read, damaged))
    }

    /// [`Self::read`]s with the cache, which is emptied first if identities, authorities, rules or enrollments have changed.
    pub(super) fn cached<T>(
        &self,
        work: impl FnOnce(&Connection, &mut Cache) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.read(|db| {
            let generation = read_generation(db)?;
            // The counter does not change with the password. The old vault in this process must not be used any more
            let vault = self.current_vault(db)?;
            self.follow_lock(&vault);
            let mut cache = locked(&self.cache);
            if cache.generation != generation {
                *cache = Cache { generation, ..Cache::default() };
            } else {
                cache.trim();
            }
            let done = work(db, &mut cache)?;
            self.note(&std::mem::take(&mut cache.damaged));
            Ok(done)
        })
    }

    /// [`Database::write`], waiting as long for another process as for a read.
    pub(super) fn transact<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        self.transact_within(PATIENCE, work)
    }

    /// [`Database::write`].
    pub(super) fn transact_within<T>(
        &self,
        patience: Duration,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        locked(&self.database).write(patience, work)
    }

    /// [`Self::transact`] with the vault as the file has it: another process may have set a primary password, which brings a
    /// new data key.
    pub(super) fn transact_with_vault<T>(
        &self,
        work: impl FnOnce(&Connection, &Vault) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.transact(|db| {
            let vault = self.usable_vault(db)?;
            work(db, &vault)
        })
    }

    /// [`Database::rehearse`]. A vault that is open in this process checks what it would check in earnest. If it is locked, everything
    /// in the store is taken for authentic, and nobody is asked for the primary password.
    pub(super) fn rehearse<T>(
        &self,
        work: impl FnOnce(&Connection, &Vault) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let stand_in = Vault::rehearsing()?;
        locked(&self.database).rehearse(|db| {
            let vault = self.usable_vault(db)?;
            work(db, if vault.is_open_here() { &vault } else { &stand_in })
        })
    }

    fn note(&self, damaged: &[Damage]) {
        let mut known = locked(&self.damage);
        for damage in damaged {
            let noted = known.iter().filter(|noted| noted.table == damage.table).count();
            if noted < MAX_NOTED && !known.contains(damage) {
                known.push(damage.clone());
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(token) = self.session().own_token() {
            // The decisions of the session. If this fails, they are deleted after half a year; nobody else has the token
            let forget = |db: &Connection| db.execute("DELETE FROM decisions WHERE session = ?1", [token]);
            let _ = self.transact_within(SHORT, forget);
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.path.display())
    }
}

fn read_generation(db: &Connection) -> rusqlite::Result<i64> {
    let mut query = db.prepare_cached("SELECT generation FROM settings")?;
    must_be_there("settings", query.query_row([], |row| row.get(0)))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under these locks leaves nothing half done: a transaction that did not commit is rolled back
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use crate::pki::{Ca, Home, NOW, import};
    use crate::vault::NoUnlocker;

    /// Each function reads the numbers of rows, and then the rows.
    #[test]
    fn a_row_that_another_process_removes_meanwhile_is_no_error() {
        let home = Home::new();
        let root = Ca::root("Root");
        let (stays, comes_and_goes) = (root.leaf("Stays"), root.leaf("Comes and goes"));
        let other = home.with([&stays], [&root.certificate]);
        let is_over = AtomicBool::new(false);
        thread::scope(|threads| {
            threads.spawn(|| {
                for _ in 0..100 {
                    other.import(vec![import([&comes_and_goes], [])], None, NOW).unwrap();
                    other.remove(&[comes_and_goes.fingerprint()]).unwrap();
                }
                is_over.store(true, Ordering::Relaxed);
            });
            while !is_over.load(Ordering::Relaxed) {
                // Opened anew: the vault of the file is proven by every key, once
                let store = home.open();
                store.unlock_fully(&NoUnlocker).unwrap();
                assert!(store.find_identity("Stays").is_ok());
                assert!(store.identities().unwrap().iter().any(|found| found.name() == "Stays"));
                let found = store.find_identity("Comes and goes");
                assert!(matches!(found, Ok(_) | Err(Error::UnknownIdentity { .. })), "{found:?}");
            }
        });
    }
}
