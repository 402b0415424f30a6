//! A connection to the file of a store, and the transactions that every table uses.

use std::path::Path;
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, Transaction};

use super::changes::Changes;
use super::schema::Schema;
use super::sql::{MAX_VALUE, PATIENCE, alone, as_rusqlite, moment, store_error};
use super::{file, journal};
use crate::error::Error;

/// How long to wait for another process with writes that are not essential: to the history, and at the end of a session.
pub(super) const SHORT: Duration = Duration::from_secs(2);

/// "card", in the header of the database file.
const APPLICATION_ID: i64 = 0x6361_7264;

/// Statements that stay prepared: more than there are.
const STATEMENTS: usize = 128;

/// A connection. Only one thread at a time uses it.
pub(super) struct Database {
    connection: Connection,
    path: Box<Path>,
    schema: &'static Schema,
}

impl Database {
    /// Opens a file that [`file::prepare`] has checked, and makes it a store of the newest version if it is empty or older. Waits this
    /// long for another process that writes.
    ///
    /// # Errors
    /// [`Error::NotAStore`] and [`Error::NewerStore`] leave the file as it is. [`Error::StoreDamaged`], and the others of opening.
    pub(super) fn open(path: &Path, schema: &'static Schema, patience: Duration) -> Result<Self, Error> {
        let failed = |error| store_error(path, error);
        // Not the default of SQLite, which would create a missing file readable for everybody, and read "file:..." as a URI
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags |= OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        let database = Self { connection, path: path.into(), schema };
        database.begin(patience).map_err(failed)?;
        // A process that only reads does not wait for one that writes
        journal::erase(&database.connection, path, Duration::ZERO);
        Ok(database)
    }

    /// Opens a file that [`file::find`] has checked, without writing to it. Waits this long for another process.
    ///
    /// # Errors
    /// [`Error::StoreReadOnly`] if it has to be written to first: it is empty or older, or its journal has to be played back. Otherwise
    /// those of [`Self::open`].
    pub(super) fn open_to_read(path: &Path, schema: &'static Schema, patience: Duration) -> Result<Self, Error> {
        let failed = |error| store_error(path, error);
        let outdated = || Error::StoreReadOnly { path: path.to_owned(), place: path.to_owned() };
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        let database = Self { connection, path: path.into(), schema };
        configure(&database.connection).map_err(failed)?;
        database.connection.busy_timeout(patience).map_err(failed)?;
        let is_current = database.read(|db| match database.is_current(db)? {
            true => database.check_schema(db).map(|()| true),
            false => Ok(false),
        })?;
        if is_current { Ok(database) } else { Err(outdated()) }
    }

    fn begin(&self, patience: Duration) -> rusqlite::Result<()> {
        configure(&self.connection)?;
        journal::before_reading(&self.connection, &self.path)?;
        self.connection.busy_timeout(patience)?;
        let moment = moment(&self.connection)?;
        let is_current = self.is_current(&moment)?;
        if is_current {
            self.check_schema(&moment)?;
        }
        moment.commit()?;
        // These read the schema. SQLite has now read it in the same transaction in which it was checked
        journal::keep(&self.connection)?;
        // FULL does not wait until the overwritten header of the journal is on the disk: a power failure could then undo a change that
        // was reported as done
        self.connection.pragma_update(None, "synchronous", "EXTRA")?;
        if is_current {
            return Ok(());
        }
        let transaction = alone(&self.connection)?;
        self.schema.migrate(&transaction)?;
        self.schema.is_newest(&transaction, &self.path)?;
        self.check_schema(&transaction)?;
        transaction.commit()
    }

    /// Whether it is a store of the newest version, and not an older one or an empty file.
    ///
    /// # Errors
    /// [`Error::NotAStore`], and those of [`Schema::is_newest`].
    fn is_current(&self, db: &Connection) -> rusqlite::Result<bool> {
        let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
        if number("PRAGMA application_id")? == APPLICATION_ID {
            return self.schema.is_newest(db, &self.path);
        }
        // Another process may be creating the store
        if number("SELECT count(*) FROM sqlite_schema")? == 0 {
            return Ok(false);
        }
        let detail = "it is the SQLite database of another program".to_owned();
        Err(as_rusqlite(Error::NotAStore { path: self.path.to_path_buf(), detail }))
    }

    /// Checks the schema in a transaction, so that everything later in it uses the schema that was checked.
    fn check_schema(&self, db: &Connection) -> rusqlite::Result<()> {
        // SQLite reads the schema again when its number in the file has changed, and somebody may have changed both and then the number
        // back. So SQLite forgets what it has parsed, and reads the schema in this transaction
        db.pragma_update(None, "writable_schema", "RESET")?;
        self.schema.check(db)
    }

    /// Reads in one transaction: everything comes from the same moment, and the file is locked once, which costs more than most
    /// queries.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        file::check_beside(&self.path)?;
        let run = || {
            let moment = moment(&self.connection)?;
            let read = work(&moment)?;
            moment.commit()?;
            Ok(read)
        };
        run().map_err(|error| store_error(&self.path, error))
    }

    /// Runs statements that write, all or none. Waits this long for another process that writes.
    ///
    /// # Errors
    /// [`Error::NewerStore`] when a newer cardcase has changed the schema, [`Error::StoreDamaged`] when somebody else has, and
    /// those of `work`.
    pub(super) fn write<T>(
        &self,
        patience: Duration,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.write_and(patience, work, |transaction| transaction.commit())
    }

    /// Runs statements that write, and rolls back what they wrote. Nothing reaches the file.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub(super) fn rehearse<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        self.write_and(PATIENCE, work, |transaction| transaction.rollback())
    }

    /// [`Self::write`] for a change that does not matter to what answers a server.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub(super) fn write_without_effect(
        &self,
        patience: Duration,
        changes: Option<&Changes>,
        work: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), Error> {
        self.write_and(patience, work, |transaction| match changes {
            Some(changes) => changes.commit_without_effect(|| transaction.commit()),
            None => transaction.commit(),
        })
    }

    fn write_and<T>(
        &self,
        patience: Duration,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
        commit: impl FnOnce(Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<T, Error> {
        file::check_beside(&self.path)?;
        let run = || {
            self.connection.busy_timeout(patience)?;
            let transaction = alone(&self.connection)?;
            self.schema.is_newest(&transaction, &self.path)?;
            self.check_schema(&transaction)?;
            let done = work(&transaction)?;
            commit(transaction)?;
            Ok(done)
        };
        let done = run();
        let _ = self.connection.busy_timeout(PATIENCE);
        journal::erase(&self.connection, &self.path, SHORT);
        done.map_err(|error| store_error(&self.path, error))
    }
}

/// Settings of the connection. None of them reads the schema.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
    rusqlite::vtab::array::load_module(connection)?;
    // Others can read until the transaction commits. Otherwise SQLite would write to the file earlier, when its cache is full, and
    // lock them out
    connection.pragma_update(None, "cache_spill", false)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    // SQLite would write what does not fit in its memory to a temporary file
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)
}

#[cfg(test)]
mod tests {
    use crate::error::Error;
    use crate::pki::Home;

    /// A trigger would write in the owner's transactions, which then authenticate what it wrote.
    #[test]
    fn a_trigger_is_found_even_if_the_number_of_the_schema_is_put_back() {
        let home = Home::new();
        let (store, somebody) = (home.open(), home.database());
        let version: i64 = somebody.query_row("PRAGMA schema_version", [], |row| row.get(0)).unwrap();
        somebody.execute_batch(&format!("PRAGMA schema_version = {}", version + 7)).unwrap();
        store.settings().unwrap();
        let trigger = "CREATE TRIGGER evil AFTER INSERT ON rules BEGIN DELETE FROM uses; END";
        somebody.execute_batch(&format!("{trigger}; PRAGMA schema_version = {version}")).unwrap();
        assert!(matches!(store.transact(|_| Ok(())), Err(Error::StoreDamaged { .. })));
    }
}
