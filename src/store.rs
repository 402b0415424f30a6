//! The store: the SQLite database with the identities, the authorities and everything else. The only place with SQL.
//!
//! One file for each table, and below them what they share. Each file uses only those before it in this list:
//!
//! | file | what |
//! |---|---|
//! | `sql` | errors between SQLite and this library |
//! | `file`, `network` | the file of the store, and the file system it is on |
//! | `journal` | SQLite's journal, which is overwritten before it is unlinked |
//! | `schema` | versions, migrations, and the check that nobody else changed the schema |
//! | `damage` | rows that cannot be read |
//! | `vault` | the row of the vault |
//! | `cache` | what was parsed stays in memory |
//! | `database` | a connection and its transactions |
//! | `changes` | whether the file has changed, without a lock |
//! | `behind` | the history, written on a thread of its own |
//! | `remembered` | what is remembered for a destination, and what of it was read lately |
//! | `handle` | [`Store`]: what is shared between threads |
//! | `pages` | tables that are read while they are shown |
//! | `keys` | the sealed private keys of the identities |
//! | `integrity` | every authentication code |
//! | `settings`, `rules`, `authorities` | their tables; together the *terms* of the store |
//! | `decisions`, `history` | their tables |
//! | `enrollments` | its table |
//! | `unlocking` | primary password and agent |
//! | `identities` | its table |
//! | `import`, `renewal`, `accept` | changes to several tables |
//! | `check` | whether anything in the whole store is wrong |
//! | `export` | identities as files |
//! | `backup`, `restore` | everything in one file |
//! | `look` | everything that answering a server takes, from one moment |
//! | `open` | opening and creating a store |
//!
//! The journal is a rollback journal and not a write-ahead log: at rest one file is the whole store, which can be copied, and
//! read in a read-only place. Writes are small and rare.

mod accept;
mod anchors;
mod authorities;
mod backup;
mod behind;
mod cache;
mod changes;
mod check;
mod damage;
mod database;
mod decisions;
mod enrollments;
#[cfg(feature = "files")]
mod export;
mod file;
mod handle;
mod history;
mod identities;
mod import;
mod integrity;
mod journal;
mod keys;
mod look;
mod network;
mod open;
mod pages;
mod remembered;
mod renewal;
mod reset;
mod restore;
mod rules;
mod schema;
mod settings;
mod sql;
mod unlocking;
mod vault;

pub(crate) use anchors::TrustAnchors;
pub use backup::Backup;
pub use handle::Store;
pub use import::Imported;
pub(crate) use remembered::{Remembered, Remembering};
pub use renewal::Renewal;
pub use reset::Unverified;
pub use restore::Restored;
