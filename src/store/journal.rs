//! The rollback journal of SQLite. It holds the old content of the pages that a transaction changes: keys that were removed, and the
//! data key from before the first password. SQLite would unlink it without overwriting it, and its content would stay on the disk. So
//! SQLite is told to keep it, and it is overwritten and unlinked here.
//!
//! A process that is killed before that leaves the journal. The next process that opens the store, or writes to it, overwrites it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::file::{check_file, with_suffix};
use super::sql::{PATIENCE, alone};

/// Prepares a new connection. When SQLite first reads the file, it replays the journal of a process that died, and must not unlink it
/// then.
pub(super) fn before_reading(db: &Connection, path: &Path) -> rusqlite::Result<()> {
    match is_there(path) {
        // In this mode SQLite unlinks no journal. `PRAGMA journal_mode` would read the file first
        true => set(db, "locking_mode", "EXCLUSIVE"),
        false => Ok(()),
    }
}

/// Makes SQLite keep every journal from now on.
pub(super) fn keep(db: &Connection) -> rusqlite::Result<()> {
    set(db, "journal_mode", "PERSIST")?;
    set(db, "locking_mode", "NORMAL")?;
    // SQLite releases the lock of the exclusive mode at the next read
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Sets a pragma that returns a row.
fn set(db: &Connection, pragma: &str, value: &str) -> rusqlite::Result<()> {
    db.pragma_update_and_check(None, pragma, value, |_| Ok(()))
}

/// Overwrites and unlinks the journal, if there is one. If another process writes to the store for longer than `patience`, that process
/// will do it. The store is complete in any case, so a failure here is not reported: the next process tries again.
pub(super) fn erase(db: &Connection, path: &Path, patience: Duration) {
    if is_there(path) {
        let _ = db.busy_timeout(patience);
        let _ = erase_journal(db, &journal_of(path));
        let _ = db.busy_timeout(PATIENCE);
    }
}

fn erase_journal(db: &Connection, journal: &Path) -> io::Result<()> {
    // No other process writes to the journal now, and a journal that a process left when it died has been replayed
    let _alone = alone(db).map_err(io::Error::other)?;
    erase_file(journal)
}

/// Overwrites and unlinks a file that belongs to the user.
pub(super) fn erase_file(path: &Path) -> io::Result<()> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new().write(true).custom_flags(no_follow).open(path)?;
    check_file(path, &file.metadata()?).map_err(io::Error::other)?;
    overwrite(&file)?;
    fs::remove_file(path)
}

/// Overwrites a file with zeros, and waits until they are on the disk.
fn overwrite(mut file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_data()
}

fn is_there(path: &Path) -> bool {
    journal_of(path).symlink_metadata().is_ok()
}

fn journal_of(path: &Path) -> PathBuf {
    with_suffix(path, "-journal")
}
