//! The schema of the store: its versions, the migrations between them, and the check that nobody else changed it. A
//! trigger that somebody else added would write within the owner's own transactions, which then authenticate what it wrote.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::sql::as_rusqlite;
use crate::error::Error;

/// The schema of this cardcase.
pub(super) static SCHEMA: Schema = Schema::new(&MIGRATIONS, DIGEST);

static MIGRATIONS: [&str; 1] = [include_str!("../../migrations/0001_store.sql")];

/// The digest of what the migrations make. A test says what it is after a change to them.
const DIGEST: [u8; 32] = [
    0xb6, 0x9d, 0xbf, 0x08, 0xd5, 0x3e, 0x29, 0x74, 0xfa, 0x8a, 0xa0, 0x5c, 0xc9, 0xbb, 0x1b, 0xa8, 0x2b, 0xf8, 0x7b,
    0xd2, 0x78, 0xff, 0x6b, 0x8a, 0xb4, 0xbb, 0x88, 0xdf, 0x63, 0x3b, 0x10, 0x6c,
];

/// What migrations make. The version of a store is the number of the migrations it has seen: add new ones at the end, and
/// never edit one that has been released.
pub(super) struct Schema {
    migrations: &'static [&'static str],
    /// [`digest`] of the objects that they make: applying the migrations to compare their objects takes longer than everything else
    /// that opening a store takes.
    digest: [u8; 32],
}

/// Type, name, table and SQL of an object of the schema.
type Object = (String, String, String, Option<String>);

impl Schema {
    pub(super) const fn new(migrations: &'static [&'static str], digest: [u8; 32]) -> Self {
        Self { migrations, digest }
    }

    /// Whether a store has the newest version that is known, and not an older one. A newer cardcase may have changed it, also since it
    /// was opened.
    ///
    /// # Errors
    /// [`Error::NewerStore`]; [`Error::StoreDamaged`] for a version that no cardcase has written.
    pub(super) fn is_newest(&self, db: &Connection, path: &Path) -> rusqlite::Result<bool> {
        let known = self.version();
        match user_version(db)? {
            found if found > known => Err(as_rusqlite(Error::NewerStore { path: path.to_owned(), found, known })),
            // The first migration writes it together with the application id
            found if found < 1 => Err(as_rusqlite(Error::StoreDamaged {
                detail: format!("{}: its version (user_version) is {found}, and the first one is 1", path.display()),
            })),
            found => Ok(found == known),
        }
    }

    /// Brings a store to the newest version. Nobody else may be able to write meanwhile: another process may have done the same.
    pub(super) fn migrate(&self, db: &Connection) -> rusqlite::Result<()> {
        let seen = usize::try_from(user_version(db)?).unwrap_or_default();
        for migration in self.migrations.get(seen..).unwrap_or_default() {
            db.execute_batch(migration)?;
        }
        db.pragma_update(None, "user_version", self.version().max(user_version(db)?))
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
        let found = read_objects(db)?;
        if digest(&found) == self.digest {
            return Ok(());
        }
        match found.symmetric_difference(&self.objects()?).next() {
            None => Ok(()),
            Some(other) => Err(as_rusqlite(Error::StoreDamaged { detail: described(other, found.contains(other)) })),
        }
    }

    fn objects(&self) -> rusqlite::Result<BTreeSet<Object>> {
        let pattern = Connection::open_in_memory()?;
        self.migrate(&pattern)?;
        read_objects(&pattern)
    }
}

fn user_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA user_version")?.query_row([], |row| row.get(0))
}

/// SHA-256 of these objects.
fn digest(objects: &BTreeSet<Object>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for (kind, name, table, sql) in objects {
        for text in [kind, name, table, sql.as_ref().unwrap_or(&String::new())] {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
    }
    digest.finalize().into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_migrations() {
        let made = digest(&SCHEMA.objects().unwrap());
        assert_eq!(SCHEMA.digest, made, "DIGEST is now {made:#04x?}");
    }
}
