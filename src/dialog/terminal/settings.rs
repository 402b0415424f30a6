//! Whether there is a terminal to ask on, and its settings while a question is open.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcgetpgrp, tcsetattr,
};

use super::super::environment::is_no;
use super::tty::{DISABLED, Tty};

/// The settings to restore after the question that is open now.
static SAVED: Mutex<Option<Saved>> = Mutex::new(None);

struct Saved {
    settings: Termios,
    /// Whether to discard what was typed in the meantime.
    flush: bool,
    /// Whether something may have hidden the cursor.
    draws: bool,
}

/// Whether this process asked anything.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether a person can be asked: there is a terminal, and this process is in its foreground.
pub fn is_there() -> bool {
    Tty::open().is_some() && current().is_ok() && !is_in_background()
}

/// Whether the shell runs this process in the background, where reading keys would stop it.
pub fn is_in_background() -> bool {
    // A terminal that does not belong to the session has no foreground
    let foreground = with_input(|input| tcgetattr(input).map(|_| tcgetpgrp(input)));
    matches!(foreground, Ok(Ok(group)) if group != getpgrp())
}

/// Whether this program asks line by line.
static PLAIN: AtomicBool = AtomicBool::new(false);

/// From now on this process asks line by line, with numbers instead of a menu, as [`is_plain`] describes.
pub fn set_plain() {
    PLAIN.store(true, Ordering::Relaxed);
}

/// Whether questions are asked line by line, without moving the cursor: after [`set_plain`], where the terminal cannot move its cursor
/// (`TERM=dumb`), with `CARDCASE_PLAIN=1` in the environment, and in Emacs except in its terminal emulators.
pub fn is_plain() -> bool {
    // Also in a set-user-ID program: these variables name nothing that would run with its rights
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let text = |name| set(name).map(|value| value.to_string_lossy().into_owned());
    let is_emulator =
        |emacs: &String| emacs.split(',').any(|part| ["term", "vterm", "eat"].iter().any(|it| part.starts_with(it)));
    PLAIN.load(Ordering::Relaxed)
        || text("CARDCASE_PLAIN").is_some_and(|value| !is_no(&value))
        || text("TERM").is_none_or(|terminal| terminal == "dumb")
        || text("INSIDE_EMACS").is_some_and(|emacs| !is_emulator(&emacs))
}

/// Whether this process asked anything on a terminal.
pub fn was_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Saves the settings of the terminal, and restores them when it is dropped or [`close`] is called.
pub(super) struct SettingsGuard;

impl SettingsGuard {
    pub(super) fn save() -> Self {
        ASKED.store(true, Ordering::Relaxed);
        *saved() = current().ok().map(|settings| Saved { settings, flush: false, draws: false });
        Self
    }

    /// Enters raw mode, for a menu, and discards the keys that were typed before. The terminal stays raw until the end:
    /// `console` would leave raw mode between two keys, and then Ctrl-D is lost and typed keys are shown.
    pub(super) fn set_raw(&self) {
        self.expect_drawing();
        if let Ok(mut raw) = current() {
            make_raw(&mut raw);
            change(|input| tcsetattr(input, OptionalActions::Flush, &raw));
        }
    }

    /// Shows the cursor again when the saved settings are restored.
    pub(super) fn expect_drawing(&self) {
        if let Some(saved) = &mut *saved() {
            saved.draws = true;
        }
    }

    /// Turns off the echo until the saved settings are restored, and Ctrl-Z: a stopped process would hold everybody else back.
    pub(super) fn set_quiet(&self) {
        let saved = saved().as_ref().map(|saved| saved.settings.clone());
        if let Some(mut quiet) = saved {
            quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
            quiet.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
            change(|input| tcsetattr(input, OptionalActions::Now, &quiet));
        }
    }

    /// Discards what was typed when the settings are restored: a password that was typed too early would be shown then.
    pub(super) fn flush_at_end(&self) {
        if let Some(saved) = &mut *saved() {
            saved.flush = true;
        }
    }
}

impl Drop for SettingsGuard {
    fn drop(&mut self) {
        restore(&mut saved());
    }
}

/// Restores the settings before this process ends. They are never unlocked: a question blocks from here on, so it can neither
/// change the terminal again nor end the process in another way.
pub(crate) fn close() {
    let mut saved = saved();
    restore(&mut saved);
    std::mem::forget(saved);
}

/// Restores the settings that a question changed, and shows the cursor.
fn restore(saved: &mut Option<Saved>) {
    if let Some(saved) = saved.take()
        && !is_in_background()
    {
        if let Some(tty) = Tty::open().filter(|_| saved.draws && !is_plain()) {
            let _ = tty.term().show_cursor();
        }
        let when = if saved.flush { OptionalActions::Flush } else { OptionalActions::Now };
        change(|input| tcsetattr(input, when, &saved.settings));
    }
}

fn saved() -> MutexGuard<'static, Option<Saved>> {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until a key can be read, for this long at most; whether one can.
pub(super) fn wait_for_key(within: Duration) -> io::Result<bool> {
    let within = Timespec::try_from(within).map_err(|_| rustix::io::Errno::INVAL)?;
    let wait = |input: BorrowedFd<'_>| {
        let mut settings = tcgetattr(input)?;
        // A shell that stopped this process may have left the terminal so
        if settings.local_modes.contains(LocalModes::ICANON) && !is_in_background() {
            make_raw(&mut settings);
            tcsetattr(input, OptionalActions::Now, &settings)?;
        }
        match poll(&mut [PollFd::from_borrowed_fd(input, PollFlags::IN)], Some(&within)) {
            Err(rustix::io::Errno::INTR) => Ok(0),
            ready => ready,
        }
    };
    Ok(with_input(wait)? > 0)
}

/// What was typed, at least one byte.
///
/// # Errors
/// `UnexpectedEof` when the terminal is gone.
pub(super) fn read_typed() -> io::Result<Vec<u8>> {
    let typed = with_input(|input| {
        tcgetattr(input)?;
        let mut bytes = vec![0; 1024];
        let length = rustix::io::retry_on_intr(|| rustix::io::read(input, &mut *bytes))?;
        bytes.truncate(length);
        Ok(bytes)
    })?;
    if typed.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(typed) }
}

/// Discards what was typed so far.
pub(super) fn discard_typed() {
    change(|input| tcflush(input, QueueSelector::IFlush));
}

fn make_raw(settings: &mut Termios) {
    let output = settings.output_modes;
    settings.make_raw();
    settings.output_modes = output;
}

/// Changes the terminal, but not from the background: that would stop this process and all others of its job.
fn change(work: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<()>) {
    if !is_in_background() {
        let _ = with_input(work);
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
