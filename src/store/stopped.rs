//! Reading while another process is stopped in the middle of a commit (Ctrl-Z, SIGSTOP): for as long as it is stopped, it holds the
//! lock that keeps everybody out.
//!
//! The file and the journal are then as a kill at that moment would leave them. So SQLite can play the journal back into a copy,
//! which is the store as it was before the change. The copy is in memory and can only be read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, MAIN_DB};

use super::file::{check_file, with_suffix};
use super::journal;

/// The largest store that is copied, in bytes.
const MAX_COPY: u64 = 256 << 20;

/// The byte of the file that SQLite locks to keep new readers out.
const PENDING: u64 = 0x4000_0000;

/// The number of a process, and the store as it is without the change that this process is stopped in.
pub(super) struct Stopped {
    pub(super) process: u32,
    pub(super) before: Connection,
}

impl Stopped {
    /// `None` when no process is stopped in a commit, or the store cannot be copied. `scratch` is a directory of the user.
    pub(super) fn find(path: &Path, scratch: &Path) -> Option<Self> {
        let process = stopped_writer(path)?;
        let before = copy(path, scratch, || stopped_writer(path) == Some(process)).ok().flatten()?;
        Some(Self { process, before })
    }
}

/// The process that locks the file for its commit, if it is stopped. Only Linux tells.
fn stopped_writer(path: &Path) -> Option<u32> {
    let inode = path.metadata().ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let process = locks.lines().find_map(|line| committing(line, inode))?;
    let status = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program, in parentheses, may have spaces
    let state = status.rsplit_once(')')?.1.trim_start().chars().next()?;
    matches!(state, 'T' | 't').then_some(process)
}

/// The process of a line of /proc/locks, if it has the lock of a commit on the file with this inode:
/// `1: POSIX  ADVISORY  WRITE 1234 fe:00:56789 1073741824 1073742335`
fn committing(line: &str, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "POSIX", _, "WRITE", process, file, first, last] = words.as_slice() else { return None };
    let is_file = file.rsplit(':').next()?.parse() == Ok(inode);
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().unwrap_or(u64::MAX));
    (is_file && (first..=last).contains(&PENDING)).then(|| process.parse().ok())?
}

/// Copies the store. `None` when it changes meanwhile.
fn copy(path: &Path, scratch: &Path, is_stopped: impl Fn() -> bool) -> io::Result<Option<Connection>> {
    let journal = with_suffix(path, "-journal");
    let state = || [path.metadata(), journal.metadata()].map(|found| found.ok().map(|found| stamp(&found)));
    // Closing it would end every lock that this process has on the file
    let file = ManuallyDrop::new(OpenOptions::new().read(true).open(path)?);
    if file.metadata()?.len() > MAX_COPY {
        return Ok(None);
    }
    let before = state();
    let mut image = read(&file)?;
    let played = match File::open(&journal) {
        Ok(journal_file) => {
            check_file(&journal, &journal_file.metadata()?).map_err(io::Error::other)?;
            Some(read(&journal_file)?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if !is_stopped() || state() != before {
        return Ok(None);
    }
    if let Some(journal) = played {
        image = play_back(&image, &journal, scratch)?;
    }
    let mut connection = Connection::open_in_memory().map_err(io::Error::other)?;
    connection.deserialize_read_exact(MAIN_DB, &*image, image.len(), true).map_err(io::Error::other)?;
    Ok(Some(connection))
}

/// What changes whenever a file does.
fn stamp(found: &fs::Metadata) -> (u64, u64, i64, i64, i64, i64) {
    (found.ino(), found.len(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec())
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_COPY).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The image after SQLite has played the journal back, in files that are overwritten afterwards.
fn play_back(image: &[u8], journal: &[u8], scratch: &Path) -> io::Result<Vec<u8>> {
    static COPIES: AtomicU64 = AtomicU64::new(0);
    let number = COPIES.fetch_add(1, Ordering::Relaxed);
    let path = scratch.join(format!("reading-{}-{number}.db", std::process::id()));
    let files = [(path.clone(), image), (with_suffix(&path, "-journal"), journal)];
    let played = (|| {
        for (path, bytes) in &files {
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)?;
        }
        let connection = Connection::open(&path).map_err(io::Error::other)?;
        journal::before_reading(&connection, &path)
            .and_then(|()| journal::keep(&connection))
            .map_err(io::Error::other)?;
        drop(connection);
        fs::read(&path)
    })();
    for (path, _) in &files {
        let _ = journal::erase_file(path);
    }
    played
}
