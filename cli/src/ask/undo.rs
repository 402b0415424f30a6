//! What has to be undone however this process ends: programs that it started, sockets that it made.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Work = Box<dyn FnOnce() + Send>;

/// For whoever has to leave in the middle; in the order in which it came about.
static OPEN: Mutex<BTreeMap<u64, Work>> = Mutex::new(BTreeMap::new());

/// Work that is done when this is dropped, or before that when a signal ends the process; once.
pub(crate) struct Undo(u64);

impl Undo {
    pub(crate) fn new(work: impl FnOnce() + Send + 'static) -> Self {
        let mut open = open();
        let number = open.last_key_value().map_or(0, |(last, _)| last + 1);
        open.insert(number, Box::new(work));
        Self(number)
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let work = open().remove(&self.0);
        if let Some(work) = work {
            work();
        }
    }
}

/// Undoes what is open, the last first: the process is about to end. Whoever else gets to where something is undone stays
/// there, and cannot end the process in another way before.
pub(crate) fn all() {
    let mut open = open();
    while let Some((_, work)) = open.pop_last() {
        work();
    }
    std::mem::forget(open);
}

fn open() -> MutexGuard<'static, BTreeMap<u64, Work>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}
