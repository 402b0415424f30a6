//! One question at a time on a terminal, among all threads and processes that ask there.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use console::Term;
use rustix::fs::OFlags;
use signal_hook::consts::SIGTSTP;

use super::settings::is_in_background;

/// How long another process may hold the lock only to write a line.
const A_MOMENT: Duration = Duration::from_millis(50);

/// Whether Ctrl-Z may stop this process. While a question is open it may not: a stopped process would hold the lock.
static MAY_BE_STOPPED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
    let may = Arc::new(AtomicBool::new(true));
    // Without a handler, Ctrl-Z always stops the process
    let _ = signal_hook::flag::register_conditional_default(SIGTSTP, may.clone());
    may
});

/// The right to ask on this terminal. Questions of other threads and processes wait there until it is dropped.
pub(super) struct AskLock {
    _terminal: Option<File>,
}

impl AskLock {
    /// Waits for the lock; `None` when this process is in the background, where nobody can be asked.
    pub(super) fn acquire() -> Option<Self> {
        let lock = Self { _terminal: open_terminal() };
        MAY_BE_STOPPED.store(false, Ordering::SeqCst);
        if is_in_background() {
            return None;
        }
        if let Some(terminal) = &lock._terminal
            && is_locked(terminal)
        {
            std::thread::sleep(A_MOMENT);
            if is_locked(terminal) {
                note_below("cardcase: another cardcase is asking on this terminal; waiting");
                // Where locking fails, the question is asked without
                let _ = terminal.lock();
                let _ = Term::stderr().clear_to_end_of_screen();
            }
        }
        (!is_in_background()).then_some(lock)
    }
}

impl Drop for AskLock {
    fn drop(&mut self) {
        MAY_BE_STOPPED.store(true, Ordering::SeqCst);
    }
}

/// Whether another process asks on this terminal now.
pub(super) fn is_taken() -> bool {
    open_terminal().as_ref().is_some_and(is_locked)
}

/// The terminal as a file to lock.
fn open_terminal() -> Option<File> {
    let name = rustix::termios::ttyname(io::stderr(), Vec::new()).ok()?;
    // Opening a terminal must not make it the controlling one
    let flags = OFlags::NOCTTY.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(OsStr::from_bytes(name.as_bytes())).ok()
}

/// Whether another process holds the lock. A terminal that does not support locks is never locked.
fn is_locked(terminal: &File) -> bool {
    matches!(terminal.try_lock(), Err(TryLockError::WouldBlock))
}

/// Writes below the question of another process, and puts the cursor back: that process draws from there. The terminal cuts
/// what does not fit the line.
fn note_below(text: &str) {
    let _ = Term::stderr().write_str(&format!("\x1b7\x1b[?7l{text}\x1b[?7h\x1b8"));
}
