//! Keeps `fork` away from work in the store.
//!
//! A process that forks has one thread afterwards, and whatever the other threads had locked stays locked in it. Locks of this
//! module do not matter: a child process has a state of its own, and never touches that of its parent. But SQLite and the library have
//! locks for the whole process, and SQLite relies on the file locks of a parent that are not its own. So whoever forks waits until no
//! thread works in the store, for which a handler of `pthread_atfork` is called.
//!
//! The wait is bounded: a thread may wait for a person inside the agent. If it ends too early, the child cannot use the module.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Threads that work in the store.
static WORKING: AtomicUsize = AtomicUsize::new(0);

/// Threads that want to fork.
static FORKING: AtomicUsize = AtomicUsize::new(0);

/// Whether this process was forked while a thread worked in the store.
static UNUSABLE: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether no thread works in the store while this one forks. Those that begin meanwhile see that, and do not count.
    static IS_CLEAN: Cell<bool> = const { Cell::new(true) };
}

/// How long a fork waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it looks.
const A_MOMENT: Duration = Duration::from_micros(100);

/// Works in the store, not during a fork.
pub(crate) fn apart<T>(work: impl FnOnce() -> T) -> T {
    let _working = Working::begin();
    work()
}

/// Whether the store can be used in this process.
pub(crate) fn is_usable() -> bool {
    !UNUSABLE.load(Ordering::SeqCst)
}

struct Working;

impl Working {
    fn begin() -> Self {
        loop {
            WORKING.fetch_add(1, Ordering::SeqCst);
            if FORKING.load(Ordering::SeqCst) == 0 {
                return Self;
            }
            WORKING.fetch_sub(1, Ordering::SeqCst);
            thread::sleep(A_MOMENT);
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        WORKING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Before a fork, in the thread that forks.
pub(crate) fn prepare() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    let until = Instant::now() + PATIENCE;
    let is_clean = loop {
        match WORKING.load(Ordering::SeqCst) {
            0 => break true,
            _ if Instant::now() >= until => break false,
            _ => thread::sleep(A_MOMENT),
        }
    };
    IS_CLEAN.set(is_clean);
}

/// After it, in the parent.
pub(crate) fn done_in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

/// After it, in the child, which has no thread but this one.
pub(crate) fn done_in_child() {
    if !IS_CLEAN.get() {
        UNUSABLE.store(true, Ordering::SeqCst);
    }
    WORKING.store(0, Ordering::SeqCst);
    FORKING.store(0, Ordering::SeqCst);
}
