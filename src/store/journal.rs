//! The rollback journal of SQLite. It holds what a transaction changes as it was before: keys that were removed, and the data key
//! from before the first password. SQLite would unlink it with its content, which stays on the disk. So it is kept, overwritten
//! and then unlinked.
//!
//! A process that is killed before that leaves a journal with a name, which the next one overwrites: the next that opens the
//! store, or that writes to it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::file::{check_file, with_suffix};
use super::sql::{PATIENCE, alone};

/// Opens a connection that keeps the journal. SQLite plays back the journal of a process that died when it first reads the file, so
/// that must not unlink it either.
pub(super) fn before_reading(db: &Connection, path: &Path) -> rusqlite::Result<()> {
    match is_there(path) {
        // In this mode SQLite unlinks none. `PRAGMA journal_mode` would read the file first
        true => set(db, "locking_mode", "EXCLUSIVE"),
        false => Ok(()),
    }
}

/// Keeps every journal from now on.
pub(super) fn keep(db: &Connection) -> rusqlite::Result<()> {
    set(db, "journal_mode", "PERSIST")?;
    set(db, "locking_mode", "NORMAL")?;
    // The lock of the exclusive mode ends with the next read
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// These pragmas answer with a row.
fn set(db: &Connection, pragma: &str, value: &str) -> rusqlite::Result<()> {
    db.pragma_update_and_check(None, pragma, value, |_| Ok(()))
}

/// Overwrites and unlinks the journal, if there is one, unless another process writes to the store for so long: then that one does
/// so. The store itself is complete in any case, so a failure here is none of the caller's: the next process tries again.
pub(super) fn erase(db: &Connection, path: &Path, patience: Duration) {
    if is_there(path) {
        let _ = db.busy_timeout(patience);
        let _ = erase_journal(db, &journal_of(path));
        let _ = db.busy_timeout(PATIENCE);
    }
}

fn erase_journal(db: &Connection, journal: &Path) -> io::Result<()> {
    // From here on no other process writes to it, and what a process that died left in it was played back
    let _alone = alone(db).map_err(io::Error::other)?;
    erase_file(journal)
}

/// Overwrites and unlinks a file of the user.
pub(super) fn erase_file(path: &Path) -> io::Result<()> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new().write(true).custom_flags(no_follow).open(path)?;
    check_file(path, &file.metadata()?).map_err(io::Error::other)?;
    overwrite(&file)?;
    fs::remove_file(path)
}

/// Writes zeros over all of a file, also on the disk.
fn overwrite(mut file: &File) -> io::Result<()> {
    const ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut left = file.metadata()?.len();
    while left > 0 {
        let length = left.min(ZEROS.len() as u64);
        file.write_all(ZEROS.get(..length as usize).unwrap_or(&ZEROS))?;
        left -= length;
    }
    file.sync_data()
}

fn is_there(path: &Path) -> bool {
    journal_of(path).symlink_metadata().is_ok()
}

fn journal_of(path: &Path) -> PathBuf {
    with_suffix(path, "-journal")
}
