//! Whether the file of a store has changed, found out without a lock.
//!
//! The header of a database has a file change counter (SQLite's file format, section 1.3.7), which every transaction that changes the
//! file increments. While it is the same, what was read from the file is still what is in it. Reading it takes none of SQLite's locks,
//! for which a reader sometimes has to wait.
//!
//! What this process writes to the history increments the counter too, but changes nothing of what answers a server.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::network;

/// The change counter of one file, and which of its changes are without effect.
pub(super) struct Changes {
    file: SharedFile,
    /// The counter before and after a run of changes without effect.
    without_effect: Mutex<Option<(u32, u32)>>,
}

impl Changes {
    /// Follows a file. To be called before SQLite opens it. `None` where a read without a lock may show an old state, as on a
    /// network file system, and when the file cannot be opened.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let file = network::is_local(path).then(|| SharedFile::open(path)).flatten()?;
        Some(Self { file, without_effect: Mutex::default() })
    }

    /// The counter; `None` for an empty file, and in a write-ahead log, where it does not count every transaction.
    pub(super) fn counter(&self) -> Option<u32> {
        let mut header = [0; 28];
        self.file.get()?.read_exact_at(&mut header, 0).ok()?;
        // At 18, the versions of the format for writing and for reading: 1 is a rollback journal
        let [.., 1, 1, _, _, _, _, a, b, c, d] = header else { return None };
        Some(u32::from_be_bytes([a, b, c, d]))
    }

    /// Whether this is the file that they are of, and not another one that was put in its place.
    pub(super) fn are_of(&self, path: &Path) -> bool {
        path.metadata().is_ok_and(|found| (found.dev(), found.ino()) == self.file.inode)
    }

    /// Whether nothing that matters has changed since the counter was `since`.
    pub(super) fn is_unchanged(&self, since: u32) -> bool {
        let Some(now) = self.counter() else { return false };
        now == since
            || self.locked().is_some_and(|(first, last)| {
                let run = first..=last;
                run.contains(&since) && run.contains(&now)
            })
    }

    /// Commits a transaction, which must hold the lock for writing, as a change without effect.
    pub(super) fn commit_without_effect<E>(&self, commit: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let Some(before) = self.counter() else { return commit() };
        let after = before.wrapping_add(1);
        // Before the commit: SQLite writes the counter first, and a reader who sees it must not have to wait for the rest
        {
            let mut run = self.locked();
            *run = match *run {
                Some((first, last)) if last == before && after != 0 => Some((first, after)),
                _ => Some((before, after)),
            };
        }
        let done = commit();
        if done.is_err() || self.counter() != Some(after) {
            *self.locked() = None;
        }
        done
    }

    fn locked(&self) -> MutexGuard<'_, Option<(u32, u32)>> {
        self.without_effect.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A descriptor that all stores of this process share that are open on one file, and that is closed with the last of them: when a process
/// closes a file, it loses all of its locks on that file, also those of its other descriptors (fcntl(2)).
struct SharedFile {
    inode: Inode,
    /// `None` only while it is dropped.
    file: Option<Arc<File>>,
}

/// The device and the number of a file.
type Inode = (u64, u64);

static OPEN: Mutex<Option<HashMap<Inode, Arc<File>>>> = Mutex::new(None);

impl SharedFile {
    fn open(path: &Path) -> Option<Self> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.get_or_insert_default();
        let found = path.metadata().ok()?;
        if let Some(file) = open.get(&(found.dev(), found.ino())) {
            return Some(Self { inode: (found.dev(), found.ino()), file: Some(file.clone()) });
        }
        let file = File::open(path).ok()?;
        let found = file.metadata().ok()?;
        let inode = (found.dev(), found.ino());
        match open.get(&inode) {
            None => drop(open.insert(inode, Arc::new(file))),
            // The path changed just now, to a file that is open here already. Closing this descriptor would lose its locks
            Some(_) => std::mem::forget(file),
        }
        Some(Self { inode, file: open.get(&inode).cloned() })
    }

    fn get(&self) -> Option<&File> {
        self.file.as_deref()
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        // Under the lock: another store may be opened on the file meanwhile, and must not lose what it locks
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        self.file = None;
        if let Some(open) = open.as_mut()
            && open.get(&self.inode).is_some_and(|file| Arc::strong_count(file) == 1)
        {
            open.remove(&self.inode);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use crate::answer::decision::{Lifetime, Scope};
    use crate::pki::{Home, NOW};

    #[test]
    fn a_change_shows_and_one_without_effect_does_not() {
        let home = Home::new();
        let (store, other) = (home.open(), home.open());
        let changes = store.changes().unwrap();
        let change =
            || other.remember(&Scope { host: "a.example".to_owned(), port: None }, None, Lifetime::Permanent, NOW);
        let before = changes.counter().unwrap();
        assert!(changes.is_unchanged(before));
        // A run of two, which is one state with what was before it
        for _ in 0..2 {
            changes.commit_without_effect(change).unwrap();
            assert!(changes.is_unchanged(before));
        }
        change().unwrap();
        assert!(!changes.is_unchanged(before));
        // The next run begins anew
        let between = changes.counter().unwrap();
        changes.commit_without_effect(change).unwrap();
        assert!(changes.is_unchanged(between) && !changes.is_unchanged(before));
        // A commit that failed: what comes next is not its change
        let last = changes.counter().unwrap();
        changes.commit_without_effect(|| Err(())).unwrap_err();
        change().unwrap();
        assert!(!changes.is_unchanged(last));
        // Nor is a commit that changed nothing
        let last = changes.counter().unwrap();
        changes.commit_without_effect(|| Ok::<_, Infallible>(())).unwrap();
        change().unwrap();
        assert!(!changes.is_unchanged(last));
    }

    #[test]
    fn a_write_ahead_log_has_no_counter() {
        let home = Home::new();
        let store = home.open();
        assert!(store.changes().unwrap().counter().is_some());
        home.database().pragma_update(None, "journal_mode", "WAL").unwrap();
        assert_eq!(store.changes().unwrap().counter(), None);
    }

    /// Another process asks whether the file is locked: a process does not see its own locks.
    #[test]
    fn closing_one_store_leaves_the_locks_of_another() {
        let home = Home::new();
        let (one, other) = (home.open(), home.open());
        let is_locked = || {
            let script =
                "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)";
            let asked = std::process::Command::new("python3").args(["-c", script]).arg(one.path()).output().unwrap();
            !asked.status.success()
        };
        assert!(!is_locked());
        other.transact(|_| Ok(is_locked())).map(|is_locked| assert!(is_locked)).unwrap();
        let third = home.open();
        one.transact(|_| {
            drop(third);
            Ok(is_locked())
        })
        .map(|is_locked| assert!(is_locked))
        .unwrap();
        drop(other);
        one.transact(|_| Ok(is_locked())).map(|is_locked| assert!(is_locked)).unwrap();
    }
}
