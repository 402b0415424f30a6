//! The schema of the store: nothing but what the migrations make. A trigger that somebody put there would write, in the
//! middle of the owner's own transaction, what that transaction then makes authentic.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use rusqlite::Connection;
use rusqlite_migration::Migrations;

use super::{MIGRATIONS, as_rusqlite};
use crate::error::Error;

/// Type, name, table and SQL of an object of the schema.
type Object = (String, String, String, Option<String>);

/// Whether the schema is what the migrations make.
///
/// # Errors
/// [`Error::StoreDamaged`] with what is there besides, or is missing.
pub(super) fn check_schema(db: &Connection) -> rusqlite::Result<()> {
    let (found, made) = (read_schema(db)?, made_by_migrations()?);
    match found.symmetric_difference(made).next() {
        None => Ok(()),
        Some(foreign) => Err(as_rusqlite(Error::StoreDamaged { detail: described(foreign, found.contains(foreign)) })),
    }
}

fn described((kind, name, table, _): &Object, is_there: bool) -> String {
    match is_there {
        true => format!("it was not cardcase that made the {kind} {name:?} on the table {table:?}"),
        false => format!("the {kind} {name:?} on the table {table:?} is missing, or not as cardcase made it"),
    }
}

fn made_by_migrations() -> rusqlite::Result<&'static BTreeSet<Object>> {
    static MADE: OnceLock<BTreeSet<Object>> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(made);
    }
    let mut pattern = Connection::open_in_memory()?;
    Migrations::from_slice(&MIGRATIONS).to_latest(&mut pattern).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => err,
        other => rusqlite::Error::ToSqlConversionFailure(Box::new(other)),
    })?;
    let made = read_schema(&pattern)?;
    Ok(MADE.get_or_init(|| made))
}

/// All but the statistics that `ANALYZE` leaves, which cannot write.
fn read_schema(db: &Connection) -> rusqlite::Result<BTreeSet<Object>> {
    let mut query = db.prepare_cached(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE NOT (type = 'table' AND name GLOB 'sqlite_stat[0-9]')",
    )?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    rows.collect()
}
