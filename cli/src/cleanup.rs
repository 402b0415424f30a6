//! What has to be cleaned up however this process ends: sockets that it made.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Work = Box<dyn FnOnce() + Send>;

/// The work that is not done yet, by a number that grows.
static PENDING: Mutex<BTreeMap<u64, Work>> = Mutex::new(BTreeMap::new());

/// Work that runs once: when this is dropped, or earlier when a signal ends the process.
pub(crate) struct Cleanup(u64);

impl Cleanup {
    pub(crate) fn new(work: impl FnOnce() + Send + 'static) -> Self {
        let mut pending = pending();
        let number = pending.last_key_value().map_or(0, |(last, _)| last + 1);
        pending.insert(number, Box::new(work));
        Self(number)
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let work = pending().remove(&self.0);
        if let Some(work) = work {
            work();
        }
    }
}

/// Runs all pending work, the newest first, before the process ends. The lock is never released: a thread that drops a
/// [`Cleanup`] from here on blocks, so it cannot end the process in another way.
pub(crate) fn run_all() {
    let mut pending = pending();
    while let Some((_, work)) = pending.pop_last() {
        work();
    }
    std::mem::forget(pending);
}

fn pending() -> MutexGuard<'static, BTreeMap<u64, Work>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}
