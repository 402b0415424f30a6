//! Whether there is a terminal to ask on, and its settings while a question is open.

use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use console::Term;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetpgrp, tcsetattr};

/// The settings to restore after the question that is open now.
static SAVED: Mutex<Option<Saved>> = Mutex::new(None);

struct Saved {
    settings: Termios,
    /// Whether to discard what was typed in the meantime.
    flush: bool,
}

/// Whether this process asked anything.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether a person can be asked: stderr is a terminal, there is one to read from, and this process is in its foreground.
pub(crate) fn is_there() -> bool {
    Term::stderr().features().is_attended() && current().is_ok() && !is_in_background()
}

/// Whether the shell runs this process in the background, where reading keys would stop it.
pub(crate) fn is_in_background() -> bool {
    // A terminal that does not belong to the session has no foreground
    let foreground = with_input(|input| tcgetattr(input).map(|_| tcgetpgrp(input)));
    matches!(foreground, Ok(Ok(group)) if group != getpgrp())
}

/// Whether this process asked anything on a terminal.
pub(crate) fn was_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Saves the settings of the terminal, and restores them when it is dropped or [`restore`] is called.
pub(super) struct SettingsGuard;

impl SettingsGuard {
    pub(super) fn save() -> Self {
        ASKED.store(true, Ordering::Relaxed);
        if let Ok(mut saved) = SAVED.lock() {
            *saved = current().ok().map(|settings| Saved { settings, flush: false });
        }
        Self
    }

    /// Enters raw mode, for a menu, and discards the keys that were typed before. The terminal stays raw until the end:
    /// `console` would leave raw mode between two keys, and then Ctrl-D is lost and typed keys are shown.
    pub(super) fn set_raw(&self) {
        if let Ok(mut raw) = current() {
            let output = raw.output_modes;
            raw.make_raw();
            raw.output_modes = output;
            let _ = with_input(|input| tcsetattr(input, OptionalActions::Flush, &raw));
        }
    }

    /// Discards what was typed so far.
    pub(super) fn discard_typed(&self) {
        let _ = with_input(|input| tcflush(input, QueueSelector::IFlush));
    }

    /// Turns off the echo until the saved settings are restored.
    pub(super) fn set_quiet(&self) {
        let saved = SAVED.lock().ok().and_then(|saved| saved.as_ref().map(|saved| saved.settings.clone()));
        if let Some(mut quiet) = saved {
            quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
            let _ = with_input(|input| tcsetattr(input, OptionalActions::Now, &quiet));
        }
    }

    /// Discards what was typed when the settings are restored: a password that was typed too early would be shown then.
    pub(super) fn flush_at_end(&self) {
        if let Ok(mut saved) = SAVED.lock()
            && let Some(saved) = &mut *saved
        {
            saved.flush = true;
        }
    }
}

impl Drop for SettingsGuard {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the settings that a question changed, and shows the cursor.
pub(crate) fn restore() {
    if let Some(saved) = SAVED.lock().ok().and_then(|mut saved| saved.take()) {
        let stderr = Term::stderr();
        if stderr.is_term() {
            let _ = stderr.show_cursor();
        }
        let when = if saved.flush { OptionalActions::Flush } else { OptionalActions::Now };
        let _ = with_input(|input| tcsetattr(input, when, &saved.settings));
    }
}

fn current() -> rustix::io::Result<Termios> {
    with_input(|input| tcgetattr(input))
}

/// The terminal that keys are read from: stdin, or the controlling terminal when stdin is none.
fn with_input<T>(work: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    work(io::stdin().as_fd()).or_else(|_| {
        let terminal = File::open("/dev/tty").map_err(|_| rustix::io::Errno::NOTTY)?;
        work(terminal.as_fd())
    })
}
