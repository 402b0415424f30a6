//! Images of stores. The input of the fuzz target is a list of changes to the image of a valid store: changes to rows, which are made
//! with SQL, and changes to pages. Any bytes are a valid list.

use std::path::Path;
use std::time::Duration;

use cardcase::manage::{Enrollment, KeyKind, Lifetime, Rule, Scope, Session, Timestamp};
use cardcase::{Store, file};
use rusqlite::types::Value;
use rusqlite::{Connection, MAIN_DB, params_from_iter};

const PAGE: usize = 4096;

/// The most changes of each kind in one input.
const MAX_CHANGES: usize = 12;

/// The image of a valid store, which the inputs change.
pub struct Image {
    bytes: Vec<u8>,
    /// Tables with their columns.
    tables: Vec<(String, Vec<String>)>,
}

impl Image {
    /// Makes a store in this directory that has rows in every table, and takes its image.
    pub fn new(directory: &Path) -> Self {
        let path = directory.join("good.db");
        let store = Store::open_in_session(&path, Session::in_directory(directory.join("session"))).unwrap();
        let now = Timestamp(1_795_357_800);
        let alice = include_str!("../../fixtures/pem/whole.pem").to_owned();
        let server =
            [include_str!("../../fixtures/server/localhost.pem"), include_str!("../../fixtures/server/localhost.key")];
        let files = [alice, server.concat()].map(|pem| file::read(pem.as_bytes(), "").unwrap());
        store.import(files.into(), None, now).unwrap();
        let alice = store.identities().unwrap().remove(0);
        store.enroll(&Enrollment::generate("CN=Enrolled", &KeyKind::EcP256, now).unwrap()).unwrap();
        let rules = ["https://a.example", "https://[*.]example.com/path"].map(|pattern| Rule::new(pattern).unwrap());
        store.add_rules(&rules, now).unwrap();
        let authorities: Vec<_> = store.authorities().unwrap().iter().map(|each| each.certificate.clone()).collect();
        store.trust(&authorities[..1], now).unwrap();
        for (host, port, identity, lifetime) in [
            ("www.example.com", None, Some(alice.fingerprint()), Lifetime::Permanent),
            ("other.example", Some(8443), Some(alice.fingerprint()), Lifetime::Session),
            ("none.example", None, None, Lifetime::Permanent),
        ] {
            store.remember(&Scope { host: host.to_owned(), port }, identity, lifetime, now).unwrap();
        }
        drop(store);
        let database = Connection::open(&path).unwrap();
        let history = "INSERT INTO uses (at, host, port, identity, source, outcome, alert, tls_version)
            SELECT 1795357800, 'www.example.com', 443, fingerprint, 'decision', 'refused', 'bad_certificate', '1.3' FROM identities";
        database.execute(history, []).unwrap();
        drop(database);
        Self::of(&path)
    }

    /// The image of any database.
    pub fn of(path: &Path) -> Self {
        let database = Connection::open(path).unwrap();
        let tables = tables(&database);
        drop(database);
        Self { bytes: std::fs::read(path).unwrap(), tables }
    }

    /// The image after the changes in an input.
    pub fn changed(&self, input: &[u8]) -> Vec<u8> {
        let mut input = Input(input);
        let in_rows = input.byte() as usize % MAX_CHANGES;
        let mut bytes = match in_rows {
            0 => self.bytes.clone(),
            changes => self.with_changed_rows(&mut input, changes),
        };
        for _ in 0..MAX_CHANGES {
            if input.0.is_empty() {
                break;
            }
            change_page(&mut bytes, &mut input);
        }
        bytes
    }

    /// Switches STRICT and NOT NULL off during the changes, so that any value can be in any column.
    fn with_changed_rows(&self, input: &mut Input<'_>, changes: usize) -> Vec<u8> {
        let mut database = Connection::open_in_memory().unwrap();
        database.deserialize_read_exact(MAIN_DB, &*self.bytes, self.bytes.len(), false).unwrap();
        database.busy_timeout(Duration::ZERO).unwrap();
        database
            .execute_batch(
                "PRAGMA ignore_check_constraints = on; PRAGMA foreign_keys = off; PRAGMA writable_schema = on;
                 CREATE TEMP TABLE made AS SELECT name, sql FROM main.sqlite_schema;
                 UPDATE main.sqlite_schema SET sql = replace(replace(sql, ' STRICT', ''), ' NOT NULL', '');
                 PRAGMA writable_schema = reset; PRAGMA writable_schema = on;",
            )
            .unwrap();
        for _ in 0..changes {
            // SQLite may refuse some changes, such as a duplicate of a unique value
            let _ = self.change_row(&database, input);
        }
        let restored =
            "UPDATE main.sqlite_schema SET sql = (SELECT sql FROM temp.made WHERE made.name = sqlite_schema.name)";
        let _ = database.execute(restored, []);
        database.serialize(MAIN_DB).map(|bytes| bytes.to_vec()).unwrap_or_else(|_| self.bytes.clone())
    }

    fn change_row(&self, database: &Connection, input: &mut Input<'_>) -> rusqlite::Result<()> {
        let (table, columns) = &self.tables[input.byte() as usize % self.tables.len()];
        let column = &columns[input.byte() as usize % columns.len()];
        let row = format!("rowid = (SELECT rowid FROM {table} LIMIT 1 OFFSET {})", input.byte() % 4);
        let (sql, values) = match input.byte() % 8 {
            0 => (format!("DELETE FROM {table} WHERE {row}"), vec![]),
            1 => (format!("DELETE FROM {table}"), vec![]),
            2 => (format!("DROP TABLE {table}"), vec![]),
            3 => {
                let pragma = ["user_version", "application_id", "encoding"][input.byte() as usize % 3];
                return database.pragma_update(None, pragma, i64::from(input.byte()));
            }
            // Bytes in the middle of a value, for example of a certificate whose outer structure stays intact
            4 | 5 => {
                let sql = format!(
                    "UPDATE {table} SET {column} = CAST(substr({column}, 1, ?1) || ?2 || substr({column}, ?1 + length(?2) + 1) AS BLOB) WHERE {row}"
                );
                let at = i64::from(input.byte()) * 2;
                let length = usize::from(input.byte() % 4);
                (sql, vec![at.into(), Value::Blob(input.bytes(length).to_vec())])
            }
            6 => {
                let other = format!("(SELECT {column} FROM {table} LIMIT 1 OFFSET {})", input.byte() % 4);
                (format!("UPDATE {table} SET {column} = {other} WHERE {row}"), vec![])
            }
            _ => (format!("UPDATE {table} SET {column} = ?1 WHERE {row}"), vec![input.value()]),
        };
        database.execute(&sql, params_from_iter(values)).map(drop)
    }
}

fn tables(database: &Connection) -> Vec<(String, Vec<String>)> {
    let mut tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let columns = |table: &String| {
        let mut columns = database.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
        columns.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    names.into_iter().map(|name| (name.clone(), columns(&name))).collect()
}

/// Changes bytes of a page (in its header, in its pointers or anywhere), replaces the page by another, or cuts the file off there.
fn change_page(image: &mut Vec<u8>, input: &mut Input<'_>) {
    let pages = image.len() / PAGE;
    let page = usize::from(input.byte()) % pages.max(1);
    let start = page * PAGE;
    let at = match input.byte() % 8 {
        0 => return image.truncate((start + usize::from(input.byte())).max(1)),
        1 => {
            let from = usize::from(input.byte()) % pages.max(1) * PAGE;
            let end = image.len().min(from + PAGE).min(from + image.len().saturating_sub(start));
            let start = start.min(image.len());
            return image.copy_within(from.min(end)..end, start);
        }
        2..=4 => start + usize::from(input.byte()) % 100,
        5 => start + usize::from(input.byte()),
        _ => start + usize::from(u16::from_be_bytes([input.byte(), input.byte()])) % PAGE,
    };
    let length = usize::from(input.byte() % 8);
    for (place, byte) in image.iter_mut().skip(at).zip(input.bytes(length)) {
        *place = *byte;
    }
}

/// The rest of an input. Reading beyond its end returns zeros.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn value(&mut self) -> Value {
        match self.byte() % 8 {
            0 => Value::Null,
            1 => Value::Integer(i64::from(self.byte() as i8)),
            2 => Value::Integer(self.bytes(8).iter().fold(0, |number, byte| number << 8 | i64::from(*byte))),
            3 => Value::Real(f64::from(self.byte())),
            4 => Value::Blob(vec![self.byte(); usize::from(self.byte()) * 256]),
            5 => {
                let length = usize::from(self.byte() % 64);
                Value::Blob(self.bytes(length).to_vec())
            }
            _ => {
                let length = usize::from(self.byte() % 64);
                Value::Text(String::from_utf8_lossy(self.bytes(length)).into_owned())
            }
        }
    }
}
