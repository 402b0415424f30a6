//! The rows of cert9.db and key4.db, read without running anything that the files bring along.
//!
//! A file may come from anybody, and the program that it belongs to may be writing to it. So it is opened for reading only, with SQLite's
//! locks; only tables are read, by the names of their columns; no value is larger than the file; and SQLite does no more work than a file
//! of this size can need. Where SQLite would write even so, because of a file beside the database, it is not called.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, ffi};

use super::regular;
use crate::error::file::Error;

/// The largest file, in bytes: a thousand identities take about ten million.
const MAX_FILE: u64 = 64 << 20;

/// The most objects in one table.
const MAX_OBJECTS: usize = 100_000;

/// The steps of SQLite's virtual machine: these, and one for each byte of the file. A row of NSS takes at most 30 steps, and at least 100
/// bytes. But the pages of a file may name each other in a way that makes rows without end of few bytes.
const STEPS: u64 = 100_000;

/// The steps after which those that are left are counted.
const STEPS_AT_ONCE: u16 = 1000;

/// What NSS stores for an attribute that is there and empty.
const EMPTY: [u8; 3] = [0xa5, 0x00, 0x5a];

/// The number of an attribute, CKA_* of PKCS#11.
pub(super) type Attribute = u32;

/// A row of `nssPublic` or `nssPrivate`: an object of PKCS#11, with the attributes that were asked for.
#[derive(Debug, Clone)]
pub(super) struct Object {
    /// Its number in the table, which the names of authentication codes contain.
    pub(super) handle: u32,
    attributes: BTreeMap<Attribute, Vec<u8>>,
}

impl Object {
    pub(super) fn get(&self, attribute: Attribute) -> Option<&[u8]> {
        self.attributes.get(&attribute).map(Vec::as_slice)
    }

    /// An attribute of the type CK_ULONG.
    pub(super) fn number(&self, attribute: Attribute) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(attribute)?.try_into().ok()?))
    }
}

/// A row of `metaData`.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) item1: Option<Vec<u8>>,
    pub(super) item2: Option<Vec<u8>>,
}

/// One of the two files, open for reading. Everything that is read is of one moment.
pub(super) struct Database {
    connection: Connection,
    /// `cert9.db` or `key4.db`.
    name: &'static str,
    path: PathBuf,
    /// How many bytes may still be read: a whole file has no more than its size.
    left: u64,
}

impl Database {
    /// Waits for a program that writes, as long as `patience` allows.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Database`], [`Error::DatabaseBusy`], [`Error::UnfinishedDatabase`].
    pub(super) fn open(directory: &Path, name: &'static str, patience: Duration) -> Result<Self, Error> {
        let path = directory.join(name);
        let unreadable = |error: std::io::Error| Error::Unreadable { file: path.clone(), detail: error.to_string() };
        let size = check_file(&path, name)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(|error| match File::open(&path) {
            Err(error) => unreadable(error),
            Ok(_) => failed(name, &path, &error),
        })?;
        configure(&connection, size, patience).map_err(|error| failed(name, &path, &error))?;
        Ok(Self { connection, name, path, left: size })
    }

    /// The objects of these classes, with the attributes that are wanted.
    pub(super) fn objects(
        &mut self,
        table: &'static str,
        classes: &[u32],
        wanted: &[Attribute],
    ) -> Result<Vec<Object>, Error> {
        const CLASS: Attribute = 0;
        if !self.has_table(table)? {
            return Err(self.damaged(format!("it has no table {table}")));
        }
        let there = self.columns(table)?;
        let attributes: Vec<Attribute> =
            wanted.iter().copied().filter(|attribute| there.contains_key(&column(*attribute))).collect();
        let names: Vec<String> = attributes.iter().map(|attribute| column(*attribute)).collect();
        let needed = ["id".to_owned(), column(CLASS)];
        if needed.iter().chain(&names).any(|name| there.get(name) != Some(&0)) {
            return Err(self.damaged(format!("the columns of the table {table}")));
        }
        let classes: Vec<String> = classes.iter().map(|class| format!("x'{class:08x}'")).collect();
        let columns: String = names.iter().map(|name| format!(", {name}")).collect();
        // Not by an index, which may say something else
        let query = format!(
            "SELECT id{columns} FROM {table} NOT INDEXED WHERE {} IN ({}) LIMIT {}",
            column(CLASS),
            classes.join(", "),
            MAX_OBJECTS + 1
        );
        let mut objects: BTreeMap<u32, Object> = BTreeMap::new();
        self.each_row(&query, |row, left| {
            let handle = row.get_ref(0).map_err(|_| None)?.as_i64().ok().and_then(|id| u32::try_from(id).ok());
            let handle = handle.filter(|id| *id != 0).ok_or(Some("the number of an object"))?;
            let mut object = Object { handle, attributes: BTreeMap::new() };
            for (index, attribute) in attributes.iter().enumerate() {
                if let Some(value) = blob(row, index + 1, left)? {
                    object.attributes.insert(*attribute, if value == EMPTY { Vec::new() } else { value });
                }
            }
            if objects.insert(handle, object).is_some() {
                return Err(Some("two objects with one number"));
            }
            if objects.len() > MAX_OBJECTS {
                return Err(Some("too many objects"));
            }
            Ok(())
        })?;
        Ok(objects.into_values().collect())
    }

    /// The rows of `metaData` by their names. Of several with one name the first counts, as in NSS. The table is not there before a
    /// password is set for the first time, even an empty one.
    pub(super) fn entries(&mut self) -> Result<HashMap<String, Entry>, Error> {
        let mut entries = HashMap::new();
        if !self.has_table("metaData")? {
            return Ok(entries);
        }
        let there = self.columns("metaData")?;
        if ["id", "item1", "item2"].iter().any(|name| there.get(*name) != Some(&0)) {
            return Err(self.damaged("the columns of the table metaData".to_owned()));
        }
        // A key has at most seven codes
        let query = format!("SELECT id, item1, item2 FROM metaData NOT INDEXED LIMIT {}", 8 * MAX_OBJECTS);
        self.each_row(&query, |row, left| {
            let ValueRef::Text(name) = row.get_ref(0).map_err(|_| None)? else { return Ok(()) };
            let name = String::from_utf8_lossy(name).into_owned();
            spend(left, name.len())?;
            let entry = Entry { item1: blob(row, 1, left)?, item2: blob(row, 2, left)? };
            entries.entry(name).or_insert(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    /// Whether there is a table of this name: a view could go on for ever, and a virtual table runs a module.
    fn has_table(&self, name: &str) -> Result<bool, Error> {
        let query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name = ?1";
        let count = self.connection.query_row(query, [name], |row| row.get::<_, i64>(0));
        Ok(count.map_err(|error| self.failed(&error))? == 1)
    }

    /// The columns of a table; a number other than 0 marks those that are computed.
    fn columns(&self, table: &str) -> Result<HashMap<String, i64>, Error> {
        let read = || -> rusqlite::Result<HashMap<String, i64>> {
            let mut statement = self.connection.prepare("SELECT name, hidden FROM pragma_table_xinfo(?1)")?;
            statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        read().map_err(|error| self.failed(&error))
    }

    /// Calls `each` with every row and with the number of bytes that may still be read. It fails with what is wrong, or with `None`
    /// where the row has not as many columns.
    fn each_row(
        &mut self,
        query: &str,
        mut each: impl FnMut(&Row<'_>, &mut u64) -> Result<(), Option<&'static str>>,
    ) -> Result<(), Error> {
        let mut left = self.left;
        let mut read = || -> rusqlite::Result<Result<(), Option<&'static str>>> {
            let mut statement = self.connection.prepare(query)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Err(wrong) = each(row, &mut left) {
                    return Ok(Err(wrong));
                }
            }
            Ok(Ok(()))
        };
        let done = read().map_err(|error| self.failed(&error))?;
        self.left = left;
        done.map_err(|wrong| self.damaged(wrong.unwrap_or("a row").to_owned()))
    }

    fn damaged(&self, detail: String) -> Error {
        Error::Database { file: self.name, detail }
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        failed(self.name, &self.path, error)
    }
}

/// Looks at what SQLite would open, without SQLite. Returns the size of the file.
fn check_file(path: &Path, name: &'static str) -> Result<u64, Error> {
    let unreadable = |error: std::io::Error| Error::Unreadable { file: path.to_owned(), detail: error.to_string() };
    let file = regular::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if size > MAX_FILE {
        return Err(Error::TooCostly { what: "bytes", value: size, limit: MAX_FILE });
    }
    // SQLite would remove a journal beside it
    if size == 0 {
        return Err(Error::Database { file: name, detail: "it is empty".to_owned() });
    }
    let mut header = Vec::new();
    file.take(HEADER).read_to_end(&mut header).map_err(unreadable)?;
    let mut is_wal = header.get(VERSIONS).is_some_and(|versions| versions.contains(&WAL_VERSION));
    // SQLite looks beside the file that a link leads to
    let real = path.canonicalize().map_err(unreadable)?;
    for suffix in ["-journal", "-wal", "-shm"] {
        let mut beside = OsString::from(&real);
        beside.push(suffix);
        let beside = PathBuf::from(beside);
        match beside.symlink_metadata() {
            Ok(found) if found.is_file() => is_wal |= suffix == "-wal",
            Ok(_) => return Err(Error::Unreadable { file: beside, detail: regular::NOT_REGULAR.to_owned() }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::Unreadable { file: beside, detail: error.to_string() }),
        }
    }
    if is_wal {
        let detail = format!(
            "it has a write-ahead log (WAL), which NSS does not use; copy the whole directory, and there run: \
             sqlite3 {name} 'pragma journal_mode=delete'"
        );
        return Err(Error::Unreadable { file: path.to_owned(), detail });
    }
    Ok(size)
}

/// The size of the header of an SQLite file, in bytes, the place of the versions of its format, and the version for a write-ahead log,
/// with which even a reader writes (<https://www.sqlite.org/fileformat.html>, section 1.3).
const HEADER: u64 = 100;
const VERSIONS: std::ops::Range<usize> = 18..20;
const WAL_VERSION: u8 = 2;

fn configure(connection: &Connection, size: u64, patience: Duration) -> rusqlite::Result<()> {
    let mut left = STEPS + size;
    let is_too_much = move || {
        left = left.saturating_sub(STEPS_AT_ONCE.into());
        left == 0
    };
    // Before the first statement, which reads the list of the tables
    connection.progress_handler(STEPS_AT_ONCE.into(), Some(is_too_much))?;
    connection.busy_timeout(patience)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(size).unwrap_or(i32::MAX).max(1 << 16))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.execute_batch("BEGIN")
}

/// The name of the column of an attribute.
fn column(attribute: Attribute) -> String {
    format!("a{attribute:x}")
}

/// The bytes in a column, if there are any.
fn blob(row: &Row<'_>, index: usize, left: &mut u64) -> Result<Option<Vec<u8>>, Option<&'static str>> {
    match row.get_ref(index).map_err(|_| None)? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) => {
            spend(left, bytes.len())?;
            Ok(Some(bytes.to_vec()))
        }
        _ => Err(Some("text or a number in place of bytes")),
    }
}

/// Counts bytes that are kept.
fn spend(left: &mut u64, size: usize) -> Result<(), Option<&'static str>> {
    *left = left.checked_sub(size as u64).ok_or(Some("it holds more than fits into it"))?;
    Ok(())
}

/// What an error of SQLite means for the file.
fn failed(name: &'static str, path: &Path, error: &rusqlite::Error) -> Error {
    let file = path.to_owned();
    let detail = match error {
        rusqlite::Error::SqliteFailure(inner, message) => match (inner.code, inner.extended_code) {
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => return Error::DatabaseBusy { file },
            (_, ffi::SQLITE_READONLY_ROLLBACK | ffi::SQLITE_READONLY_RECOVERY) => {
                return Error::UnfinishedDatabase { file };
            }
            (ErrorCode::OperationInterrupted, _) => "it makes more work than a file of its size can".to_owned(),
            (ErrorCode::NotADatabase, _) => "it is no SQLite database".to_owned(),
            (ErrorCode::SystemIoFailure | ErrorCode::CannotOpen, _) => {
                return Error::Unreadable { file, detail: inner.to_string() };
            }
            _ => message.clone().unwrap_or_else(|| inner.to_string()),
        },
        other => other.to_string(),
    };
    Error::Database { file: name, detail }
}
