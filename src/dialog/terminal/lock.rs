//! One question at a time on a terminal, among all threads and processes that ask there.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::termios::ttyname;

use super::settings::{is_in_background, is_plain};
use super::tty::Tty;

/// How long another process may hold the lock only to write a line.
const A_MOMENT: Duration = Duration::from_millis(50);

/// Held by the thread of this process that asks: a terminal whose name is not known has no file to lock.
static ASKING: Mutex<()> = Mutex::new(());

/// The right to ask on this terminal. Questions of other threads and processes wait there until it is dropped.
pub(super) struct AskLock {
    _terminal: Option<File>,
    _thread: MutexGuard<'static, ()>,
}

impl AskLock {
    /// Waits for the lock; `None` when this process is in the background, where nobody can be asked.
    pub(super) fn acquire() -> Option<Self> {
        let terminal = open_terminal();
        if is_in_background() {
            return None;
        }
        if let Some(terminal) = &terminal
            && is_locked(terminal)
        {
            std::thread::sleep(A_MOMENT);
            if is_locked(terminal) {
                note_below("cardcase: another cardcase is asking on this terminal; waiting");
                // Where locking fails, the question is asked without
                let _ = terminal.lock();
                if let Some(tty) = Tty::open().filter(|_| !is_plain()) {
                    let _ = tty.term().clear_to_end_of_screen();
                }
            }
        }
        let thread = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
        (!is_in_background()).then_some(Self { _terminal: terminal, _thread: thread })
    }
}

/// Whether another process asks on this terminal now.
pub(super) fn is_taken() -> bool {
    open_terminal().as_ref().is_some_and(is_locked)
}

/// The terminal as a file to lock. `/dev/tty` would be the same file on every terminal.
fn open_terminal() -> Option<File> {
    let name = ttyname(io::stderr(), Vec::new());
    let name =
        name.or_else(|_| ttyname(io::stdin(), Vec::new())).or_else(|_| ttyname(io::stdout(), Vec::new())).ok()?;
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
    let Some(mut tty) = Tty::open() else { return };
    if is_plain() {
        let _ = tty.say(text);
    } else {
        let _ = tty.term().write_str(&format!("\x1b7\x1b[?7l{text}\x1b[?7h\x1b8"));
    }
}
