//! The history is written in the background, on a thread of its own: what waits is written in one transaction. Nobody waits for the
//! disk before a request goes out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use super::changes::Changes;
use super::database::{Database, SHORT};
use super::schema::Schema;
use super::sql::store_error;
use crate::answer::history::Use;
use crate::answer::settings::Mode;
use crate::error::Error;
use crate::request::Destination;

/// Entries that may wait. A store that cannot be written for so long loses those after them, and says so.
const MAX_WAITING: usize = 65_536;

/// How long entries wait for others, to be written together, while nobody waits for them.
const LINGERS: Duration = Duration::from_millis(100);

/// What is to be recorded.
pub(super) struct Entry {
    pub(super) used: Use,
    /// The destination whose decision gave the answer, if one did, and the mode; `None` for that of the store.
    pub(super) decided: Option<(Destination, Option<Mode>)>,
    /// The login session then.
    pub(super) session: Option<String>,
}

/// Writes one entry within a transaction.
pub(super) type WriteEntry = fn(&Connection, &Entry) -> rusqlite::Result<()>;

/// Writes the history of one store.
pub(super) struct Behind {
    shared: Arc<Shared>,
    /// The thread, and the process that it belongs to: a fork does not copy it.
    thread: Mutex<Option<(u32, JoinHandle<()>)>>,
}

struct Shared {
    path: Box<Path>,
    schema: &'static Schema,
    changes: Option<Arc<Changes>>,
    write_entry: WriteEntry,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Entry>,
    /// How many entries were added so far, how many of these were written or have failed, and how many somebody waits for.
    added: u64,
    done: u64,
    awaited: u64,
    is_ended: bool,
    /// The first error since it was last taken.
    error: Option<Error>,
}

impl Behind {
    pub(super) fn new(
        path: &Path,
        schema: &'static Schema,
        changes: Option<Arc<Changes>>,
        write_entry: WriteEntry,
    ) -> Self {
        let shared = Shared {
            path: path.into(),
            schema,
            changes,
            write_entry,
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        Self { shared: Arc::new(shared), thread: Mutex::default() }
    }

    /// Adds an entry to those that wait, and returns at once.
    pub(super) fn add(&self, entry: Entry) {
        let mut state = self.shared.state();
        if state.waiting.len() >= MAX_WAITING {
            let path = self.shared.path.to_path_buf();
            state.error.get_or_insert(Error::StoreBusy { path });
            return;
        }
        state.waiting.push(entry);
        state.added += 1;
        let is_first = state.waiting.len() == 1;
        drop(state);
        if is_first {
            self.shared.changed.notify_all();
            self.begin();
        }
    }

    /// Waits until everything that was added before is written, or has failed.
    pub(super) fn wait(&self) {
        drop(self.written());
    }

    /// [`Self::wait`].
    ///
    /// # Errors
    /// The first error of writing since the last call.
    pub(super) fn flush(&self) -> Result<(), Error> {
        self.written().error.take().map_or(Ok(()), Err)
    }

    fn written(&self) -> MutexGuard<'_, State> {
        let mut state = self.shared.state();
        let before = state.added;
        if state.done < before {
            state.awaited = before;
            drop(state);
            self.shared.changed.notify_all();
            self.begin();
            state = self.shared.state();
        }
        let is_missing = |state: &mut State| state.done < before;
        self.shared.changed.wait_while(state, is_missing).unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to write, unless that has begun before.
    fn begin(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if thread.as_ref().is_some_and(|(of, _)| *of == process) {
            return;
        }
        let shared = self.shared.clone();
        match Builder::new().name("cardcase-history".to_owned()).spawn(move || shared.run()) {
            Ok(begun) => *thread = Some((process, begun)),
            // Without another thread it is written here
            Err(_) => self.shared.write(&mut None, self.shared.state()),
        }
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.shared.state().is_ended = true;
        self.shared.changed.notify_all();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((_, thread)) = thread.filter(|(process, _)| *process == std::process::id()) {
            // The thread catches its own panics
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut database = None;
        loop {
            let is_idle = |state: &mut State| state.waiting.is_empty() && !state.is_ended;
            let state = self.changed.wait_while(self.state(), is_idle).unwrap_or_else(PoisonError::into_inner);
            let lingers = |state: &mut State| state.awaited <= state.done && !state.is_ended;
            let lingered = self.changed.wait_timeout_while(state, LINGERS, lingers);
            let (state, _) = lingered.unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                return;
            }
            self.write(&mut database, state);
        }
    }

    /// Writes what waits.
    fn write(&self, database: &mut Option<Database>, mut state: MutexGuard<'_, State>) {
        let (batch, last) = (std::mem::take(&mut state.waiting), state.added);
        drop(state);
        // Whatever happens, somebody may wait for it to be over
        let done = catch_unwind(AssertUnwindSafe(|| self.try_to_write(database, &batch)));
        let done = done.unwrap_or_else(|_| {
            Err(Error::Store { path: self.path.to_path_buf(), source: "an error of cardcase itself".into() })
        });
        let mut state = self.state();
        state.done = last;
        if let Err(error) = done {
            state.error.get_or_insert(error);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Over a connection of its own: the store can be read while this waits for the disk.
    fn try_to_write(&self, database: &mut Option<Database>, batch: &[Entry]) -> Result<(), Error> {
        let database = match database {
            Some(open) => open,
            None => {
                if self.changes.as_ref().is_some_and(|changes| !changes.are_of(&self.path)) {
                    let detail = format!("{}: another file was put in its place", self.path.display());
                    return Err(Error::StoreDamaged { detail });
                }
                database.insert(Database::open(&self.path, self.schema, SHORT)?)
            }
        };
        let mut failed = None;
        database.write_without_effect(SHORT, self.changes.as_deref(), |db| {
            for entry in batch {
                // One that cannot be written leaves the others
                db.execute_batch("SAVEPOINT entry")?;
                if let Err(error) = (self.write_entry)(db, entry) {
                    // A full disk, for example, has rolled back the whole transaction (https://sqlite.org/lang_transaction.html)
                    if db.is_autocommit() {
                        return Err(error);
                    }
                    db.execute_batch("ROLLBACK TO entry")?;
                    failed.get_or_insert(error);
                }
                db.execute_batch("RELEASE entry")?;
            }
            Ok(())
        })?;
        failed.map_or(Ok(()), |error| Err(store_error(&self.path, error)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::answer::decision::Outcome;
    use crate::answer::history::Use;
    use crate::error::Error;
    use crate::pki::{Home, NOW};
    use crate::store::Store;

    fn record(store: &Store, number: u16) {
        let used = Use {
            at: NOW,
            destination: Some(("a.example".to_owned(), number)),
            program: None,
            identity: None,
            source: "decision".to_owned(),
            outcome: Outcome::Accepted,
            alert: None,
            tls_version: None,
        };
        store.record(used, None).unwrap();
    }

    fn ports(store: &Store) -> Vec<u16> {
        store.history(None).unwrap().into_iter().filter_map(|used| Some(used.destination?.1)).rev().collect()
    }

    #[test]
    fn everything_is_written_in_order_before_it_is_read_flushed_or_the_store_is_dropped() {
        let home = Home::new();
        let (store, other) = (home.open(), home.open());
        for number in 1..=3 {
            record(&store, number);
        }
        assert_eq!(ports(&store), [1, 2, 3]);
        record(&store, 4);
        store.flush().unwrap();
        assert_eq!(ports(&other), [1, 2, 3, 4]);
        record(&store, 5);
        drop(store);
        assert_eq!(ports(&other), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn an_error_is_reported_once() {
        let home = Home::new();
        let store = home.open();
        // Somebody else changed the schema: nothing is written
        home.database().execute_batch("CREATE TABLE foreign_table (id)").unwrap();
        record(&store, 1);
        assert!(matches!(store.flush(), Err(Error::StoreDamaged { .. })));
        assert!(store.flush().is_ok());
        assert!(ports(&store).is_empty());
    }
}
