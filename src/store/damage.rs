//! Rows that cannot be read. The other rows are still used: a damaged row is skipped and noted.

use data_encoding::HEXLOWER;
use rusqlite::types::Type;
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, Row};

use super::sql::{MAX_VALUE, as_rusqlite, is_about_a_column};
use crate::certificate::{Certificate, Fingerprint};
use crate::error::{Damage, Error};

/// The table of the identities.
pub(super) const IDENTITIES: &str = "identities";

/// The table of the authorities.
pub(super) const AUTHORITIES: &str = "authorities";

/// The table of the keys that wait for their certificates.
pub(super) const ENROLLMENTS: &str = "enrollments";

/// The table of the rules.
pub(super) const RULES: &str = "rules";

/// The table of the decisions.
pub(super) const DECISIONS: &str = "decisions";

/// Every row of a table that can be read, ordered by number; the others are added to `damaged`. Each row is read by its own query,
/// because SQLite ends a query at the first value that exceeds the length limit.
pub(super) fn every_row<T>(
    db: &Connection,
    table: &'static str,
    query: &str,
    mut parse: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    damaged: &mut Vec<Damage>,
) -> rusqlite::Result<Vec<T>> {
    rows_with(db, table, query, &numbers(db, table)?, &mut parse, damaged)
}

/// The rows of a table with these numbers that can be read, in this order; the others are added to `damaged`. A row that was removed
/// meanwhile is left out.
pub(super) fn rows_with<T>(
    db: &Connection,
    table: &'static str,
    query: &str,
    ids: &[i64],
    mut parse: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    damaged: &mut Vec<Damage>,
) -> rusqlite::Result<Vec<T>> {
    let mut query = by_number(db, query)?;
    let mut row = |id: &i64| one_row(db, &mut query, table, *id, &mut parse).optional().transpose();
    all_readable(ids.iter().filter_map(&mut row), damaged)
}

/// The numbers of the rows of a table.
pub(super) fn numbers(db: &Connection, table: &str) -> rusqlite::Result<Vec<i64>> {
    let mut query = db.prepare_cached(&format!("SELECT id FROM {table} ORDER BY id"))?;
    query.query_map([], |row| row.get(0))?.collect()
}

/// The row of a table with this number. `query` must not have a condition.
///
/// # Errors
/// [`Error::RowDamaged`] when a value exceeds the length limit, and those of `parse`.
pub(super) fn row_with<T>(
    db: &Connection,
    table: &'static str,
    query: &str,
    id: i64,
    parse: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    one_row(db, &mut by_number(db, query)?, table, id, parse)
}

fn by_number<'db>(db: &'db Connection, query: &str) -> rusqlite::Result<CachedStatement<'db>> {
    db.prepare_cached(&format!("{query} WHERE id = ?1"))
}

fn one_row<T>(
    db: &Connection,
    query: &mut CachedStatement<'_>,
    table: &'static str,
    id: i64,
    parse: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    query.query_row([id], parse).or_else(|error| match error.sqlite_error_code() {
        Some(ErrorCode::TooBig) => {
            let detail = format!("a value in it has more than {MAX_VALUE} bytes");
            Err(as_rusqlite(Error::RowDamaged(Damage { table, row: id, id: named(db, table, id)?, detail })))
        }
        _ => Err(error),
    })
}

/// The fingerprint by which a person can name a row with a value that is too long; empty if there is none, or if it is that value.
fn named(db: &Connection, table: &str, id: i64) -> rusqlite::Result<String> {
    let column = match table {
        IDENTITIES | AUTHORITIES => "fingerprint",
        ENROLLMENTS => "request",
        _ => return Ok(String::new()),
    };
    let query =
        format!("SELECT CAST({column} AS BLOB) FROM {table} WHERE id = ?1 AND octet_length({column}) <= {MAX_VALUE}");
    let value: Option<Vec<u8>> = db.query_row(&query, [id], |row| row.get(0)).optional()?;
    Ok(match value {
        Some(request) if table == ENROLLMENTS => Fingerprint::from_der(&request).to_string(),
        Some(fingerprint) => HEXLOWER.encode(&fingerprint),
        None => String::new(),
    })
}

/// Reads a row that begins with its number and its fingerprint.
///
/// # Errors
/// [`Error::RowDamaged`] when a column holds a value that cardcase never writes there.
pub(super) fn read_row<T>(
    row: &Row<'_>,
    table: &'static str,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    read(row).or_else(|error| {
        if !is_about_a_column(&error) {
            return Err(error);
        }
        let id = HEXLOWER.encode(&row.get::<_, Vec<u8>>(1)?);
        let detail = match error {
            rusqlite::Error::FromSqlConversionFailure(_, _, why) => why.to_string(),
            error => error.to_string(),
        };
        Err(as_rusqlite(Error::RowDamaged(Damage { table, row: row.get(0)?, id, detail })))
    })
}

/// The certificate of a row that begins with id, fingerprint and certificate. Rows are found by their fingerprints, so a
/// certificate that was moved to another row must not be read there.
pub(super) fn read_certificate(row: &Row<'_>) -> rusqlite::Result<Certificate> {
    let wrong = |detail: String| rusqlite::Error::FromSqlConversionFailure(2, Type::Blob, detail.into());
    let certificate = Certificate::from_der(row.get::<_, Vec<u8>>(2)?).map_err(|error| wrong(error.to_string()))?;
    if certificate.fingerprint().as_bytes() != &row.get::<_, [u8; 32]>(1)? {
        return Err(wrong("its certificate has another fingerprint than the row says".to_owned()));
    }
    Ok(certificate)
}

/// The rows that can be read. The others are added to `damaged`.
pub(super) fn all_readable<T>(
    rows: impl Iterator<Item = rusqlite::Result<T>>,
    damaged: &mut Vec<Damage>,
) -> rusqlite::Result<Vec<T>> {
    rows.filter_map(|row| readable(row, damaged).transpose()).collect()
}

/// A row, or `None` if it cannot be read. Then it is added to `damaged`.
pub(super) fn readable<T>(read: rusqlite::Result<T>, damaged: &mut Vec<Damage>) -> rusqlite::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(rusqlite::Error::ToSqlConversionFailure(error)) => match error.downcast::<Error>() {
            Ok(error) => match *error {
                Error::RowDamaged(damage) => {
                    damaged.push(damage);
                    Ok(None)
                }
                error => Err(as_rusqlite(error)),
            },
            Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(error)),
        },
        Err(error) => Err(error),
    }
}
