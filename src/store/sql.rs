//! Errors between SQLite and this library, and what several tables share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::error::Error;

/// How long to wait for another process.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of a value, or of a row: more than any imported file holds. Limits the memory that a store written by somebody
/// else can take.
pub(super) const MAX_VALUE: i32 = 32 << 20;

/// A transaction that only reads, so that all of it sees the same state. It and a process that writes wait for each other only while
/// that process commits.
pub(super) fn moment(db: &Connection) -> rusqlite::Result<Transaction<'_>> {
    Transaction::new_unchecked(db, TransactionBehavior::Deferred)
}

/// A transaction that writes: no other process writes until it ends.
pub(super) fn alone(db: &Connection) -> rusqlite::Result<Transaction<'_>> {
    Transaction::new_unchecked(db, TransactionBehavior::Immediate)
}

/// Raises the length limit to that of SQLite during `work`. Removing a row needs this, because SQLite reads the values that are in its
/// indexes.
pub(super) fn at_any_length<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::MAX)?;
    let done = work(db);
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
    done
}

/// The only row of a table that must have one.
///
/// # Errors
/// [`Error::StoreDamaged`] when there is none.
pub(super) fn must_be_there<T>(table: &str, found: rusqlite::Result<T>) -> rusqlite::Result<T> {
    found.map_err(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => {
            as_rusqlite(Error::StoreDamaged { detail: format!("the row of the table {table:?} is missing") })
        }
        error => error,
    })
}

/// What an error of SQLite means for the store at this path.
pub(super) fn store_error(path: &Path, error: rusqlite::Error) -> Error {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::NotAStore { path, detail: "it is not an SQLite database".to_owned() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::StoreBusy { path },
        Some(ErrorCode::DiskFull) => Error::StoreFull { path },
        Some(ErrorCode::ReadOnly) => Error::StoreReadOnly { place: read_only_place(&path, &error), path },
        Some(ErrorCode::TooBig) => Error::StoreDamaged {
            detail: format!("{}: a value or a row in it has more than {MAX_VALUE} bytes", path.display()),
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
            error if is_about_a_column(&error) => {
                Error::StoreDamaged { detail: format!("{}: {error}", path.display()) }
            }
            error => Error::Store { path, source: Box::new(error) },
        },
    }
}

/// Wraps an error of this library in one of SQLite; [`store_error`] unwraps it.
pub(super) fn as_rusqlite(error: Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// Whether a column holds a value that cardcase never writes there. SQLite itself reports no damage then.
pub(super) fn is_about_a_column(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))
}

/// SQLite creates its journal beside the file, so a read-only directory prevents writing too.
fn read_only_place(path: &Path, error: &rusqlite::Error) -> PathBuf {
    let is_directory =
        error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_READONLY_DIRECTORY);
    let directory = path.parent().filter(|_| is_directory);
    directory.unwrap_or(path).to_owned()
}

/// The number that the next row of a table receives. A private key is bound to it, so it must be known before the row is
/// inserted. As far as the file tells, no row ever had this number.
pub(super) fn next_id(db: &Connection, table: &str) -> rusqlite::Result<i64> {
    let mut last = db.prepare_cached(&format!(
        "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?1), 0), coalesce((SELECT max(id) FROM {table}), 0))"
    ))?;
    let last: i64 = last.query_row([table], |row| row.get(0))?;
    let used_up = || as_rusqlite(Error::StoreDamaged { detail: format!("the numbers for {table} are used up") });
    last.checked_add(1).ok_or_else(used_up)
}

/// The only element that matches `id`.
///
/// # Errors
/// `unknown` when there is none, [`Error::Ambiguous`] when there are several.
pub(super) fn only<T>(
    mut found: impl Iterator<Item = T>,
    id: &str,
    unknown: impl FnOnce() -> Error,
) -> Result<T, Error> {
    match (found.next(), found.next()) {
        (None, _) => Err(unknown()),
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(Error::Ambiguous { id: id.to_owned() }),
    }
}
