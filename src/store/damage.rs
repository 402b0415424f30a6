//! Rows that cannot be read. They are no reason to do without the others: they are passed over, and noted.

use data_encoding::HEXLOWER;
use rusqlite::Row;
use rusqlite::types::Type;

use super::{as_rusqlite, is_of_a_column};
use crate::error::{Damage, Error};

/// The table of the identities.
pub(super) const IDENTITIES: &str = "identities";

/// The table of the authorities.
pub(super) const AUTHORITIES: &str = "authorities";

/// The table of the keys that wait for their certificate.
pub(super) const ENROLLMENTS: &str = "enrollments";

/// What is wrong with the certificate of a row.
pub(super) fn wrong(detail: impl Into<String>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(2, Type::Blob, detail.into().into())
}

/// Reads a row that begins with its number and its fingerprint.
///
/// # Errors
/// [`Error::RowDamaged`] when a column of it holds what it never should.
pub(super) fn read_row<T>(
    row: &Row<'_>,
    table: &'static str,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    read(row).or_else(|error| {
        if !is_of_a_column(&error) {
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

/// What was read by [`read_row`]; `None` when the row is damaged, which is put aside.
fn readable<T>(read: rusqlite::Result<T>, aside: &mut Vec<Damage>) -> rusqlite::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(rusqlite::Error::ToSqlConversionFailure(error)) => match error.downcast::<Error>() {
            Ok(error) => match *error {
                Error::RowDamaged(damage) => {
                    aside.push(damage);
                    Ok(None)
                }
                error => Err(as_rusqlite(error)),
            },
            Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(error)),
        },
        Err(error) => Err(error),
    }
}

/// Those of many that can be read.
pub(super) fn all_readable<T>(
    rows: impl Iterator<Item = rusqlite::Result<T>>,
    aside: &mut Vec<Damage>,
) -> rusqlite::Result<Vec<T>> {
    rows.filter_map(|row| readable(row, aside).transpose()).collect()
}
