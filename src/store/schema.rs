//! The schema of the store: its versions, the migrations between them, and the check that nobody else changed it. A
//! trigger that somebody else added would write within the owner's own transactions, which then authenticate what it wrote.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::Connection;

use super::sql::{alone, as_rusqlite};
use crate::error::Error;

/// The schema of this cardcase.
pub(super) static SCHEMA: Schema = Schema::new(&MIGRATIONS);

static MIGRATIONS: [&str; 1] = [include_str!("../../migrations/0001_store.sql")];

/// What migrations make. The version of a store is the number of the migrations it has seen: add new ones at the end, and
/// never edit one that has been released.
pub(super) struct Schema {
    migrations: &'static [&'static str],
    objects: OnceLock<BTreeSet<Object>>,
}

/// Type, name, table and SQL of an object of the schema.
type Object = (String, String, String, Option<String>);

impl Schema {
    pub(super) const fn new(migrations: &'static [&'static str]) -> Self {
        Self { migrations, objects: OnceLock::new() }
    }

    /// Checks the version of a store: a newer cardcase may have changed it, also since it was opened.
    ///
    /// # Errors
    /// [`Error::NewerStore`]; [`Error::StoreDamaged`] for a version that no cardcase has written.
    pub(super) fn check_version(&self, db: &Connection, path: &Path) -> rusqlite::Result<()> {
        let known = self.version();
        match db.query_row("PRAGMA user_version", [], |row| row.get(0))? {
            found if found > known => Err(as_rusqlite(Error::NewerStore { path: path.to_owned(), found, known })),
            // The first migration writes it together with the application id
            found if found < 1 => Err(as_rusqlite(Error::StoreDamaged {
                detail: format!("{}: its version (user_version) is {found}, and the first one is 1", path.display()),
            })),
            _ => Ok(()),
        }
    }

    /// Brings a store to the newest version, in one transaction.
    pub(super) fn migrate(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.pending(connection)?.is_empty() {
            return Ok(());
        }
        let transaction = alone(connection)?;
        // Read again now that nobody else can write: another process may have migrated the store meanwhile
        for migration in self.pending(&transaction)? {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", self.version())?;
        transaction.commit()
    }

    /// The migrations that a store has not seen.
    fn pending(&self, db: &Connection) -> rusqlite::Result<&'static [&'static str]> {
        let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok(self.migrations.get(version as usize..).unwrap_or_default())
    }

    /// The newest version.
    fn version(&self) -> i64 {
        i64::try_from(self.migrations.len()).unwrap_or(i64::MAX)
    }

    /// Checks that the schema is exactly the one that the migrations make.
    ///
    /// # Errors
    /// [`Error::StoreDamaged`], which names an object that is missing or foreign.
    pub(super) fn check(&self, db: &Connection) -> rusqlite::Result<()> {
        let (found, made) = (read_objects(db)?, self.objects()?);
        match found.symmetric_difference(made).next() {
            None => Ok(()),
            Some(other) => Err(as_rusqlite(Error::StoreDamaged { detail: described(other, found.contains(other)) })),
        }
    }

    fn objects(&self) -> rusqlite::Result<&BTreeSet<Object>> {
        if let Some(objects) = self.objects.get() {
            return Ok(objects);
        }
        let pattern = Connection::open_in_memory()?;
        self.migrate(&pattern)?;
        let objects = read_objects(&pattern)?;
        Ok(self.objects.get_or_init(|| objects))
    }
}

fn described((kind, name, table, _): &Object, is_there: bool) -> String {
    match is_there {
        true if kind == "table" => format!("the table {name:?} was not made by cardcase, or was changed"),
        false if kind == "table" => format!("the table {name:?} is missing, or is not as cardcase made it"),
        true => format!("the {kind} {name:?} on the table {table:?} was not made by cardcase"),
        false => format!("the {kind} {name:?} on the table {table:?} is missing, or is not as cardcase made it"),
    }
}

/// Every object except the statistics that `ANALYZE` leaves, which cannot write.
fn read_objects(db: &Connection) -> rusqlite::Result<BTreeSet<Object>> {
    let mut query = db.prepare_cached(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE NOT (type = 'table' AND name GLOB 'sqlite_stat[0-9]')",
    )?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    rows.collect()
}
