//! Rows that cannot be read. The other rows are still used: a damaged row is skipped and noted.

use data_encoding::HEXLOWER;
use rusqlite::Row;
use rusqlite::types::Type;

use super::sql::{as_rusqlite, is_about_a_column};
use crate::certificate::Certificate;
use crate::error::{Damage, Error};

/// The table of the identities.
pub(super) const IDENTITIES: &str = "identities";

/// The table of the authorities.
pub(super) const AUTHORITIES: &str = "authorities";

/// The table of the keys that wait for their certificates.
pub(super) const ENROLLMENTS: &str = "enrollments";

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

fn readable<T>(read: rusqlite::Result<T>, damaged: &mut Vec<Damage>) -> rusqlite::Result<Option<T>> {
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
