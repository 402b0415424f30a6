//! The user's terminal: questions of a program's own, under the rules of the dialogs.
//!
//! There is one question at a time on a terminal, among all threads and processes that ask through this module. A question
//! discards what was typed before it, so that no key typed ahead answers it. Afterwards the terminal is as it was before. Everything
//! is drawn on the terminal itself (`/dev/tty`), even if the program's streams are redirected.
//!
//! # Signals
//!
//! No signal handler is installed. While a question is open, no key sends a signal: Ctrl-C is read as a key and cancels the
//! question, Ctrl-Z does nothing. A program that may end during a question, by another signal or by itself, calls
//! [`Dialogs::close_all`](crate::ask::Dialogs::close_all) before it ends.

mod candidate;
mod chooser;
mod header;
mod keys;
mod line;
mod listing;
mod lock;
mod menu;
mod numbered;
mod picked;
mod screen;
mod search;
mod settings;
mod tty;
mod turn;

use std::fs::File;
use std::io::{self, ErrorKind};

use zeroize::Zeroizing;

use crate::text::plain;
pub(super) use chooser::{choose, note_waiting};
pub(super) use settings::close;
pub use settings::{is_in_background, is_plain, is_there, set_plain, was_asked};
pub(super) use tty::Tty;
use turn::{Quiet, Turn};
pub(super) use turn::{lend, unlocked, unlocking};

/// Asks for a password, which is not shown.
///
/// # Errors
/// `Interrupted` when the person presses Ctrl-C; `InvalidData` when the password is not UTF-8, or too long; another error when
/// nobody can be asked.
pub fn password(prompt: &str) -> io::Result<Zeroizing<String>> {
    let nobody = || io::Error::from(ErrorKind::NotConnected);
    let tty = Tty::open().ok_or_else(nobody)?;
    let turn = Turn::begin().ok_or_else(nobody)?;
    turn.flush_at_end();
    tty.password(&plain(prompt))
}

/// Asks for a line that is shown as it is typed, without the end of the line. It suits terminals that are [plain](is_plain).
///
/// # Errors
/// `Interrupted` when the person presses Ctrl-C; another error when nobody can be asked.
pub fn line(prompt: &str) -> io::Result<String> {
    let nobody = || io::Error::from(ErrorKind::NotConnected);
    let mut tty = Tty::open().ok_or_else(nobody)?;
    let _turn = Turn::begin().ok_or_else(nobody)?;
    tty.line(&plain(prompt))
}

/// Asks a question of the program's own: `ask` gets the terminal, in raw mode, to draw on it and to read the answer from it. `None`
/// when there is no terminal, or this process is in its background.
///
/// `ask` must not ask through this module, not by [`Dialogs`](crate::ask::Dialogs) either, nor wait for a thread that does: that
/// would wait for this question to end.
pub fn question<T>(ask: impl FnOnce(File) -> T) -> Option<T> {
    let tty = Tty::open()?;
    let turn = Turn::begin()?;
    turn.set_raw();
    Some(ask(tty.into_output()))
}

/// Keeps the echo off between the questions that `work` asks on this thread: a person may type the next password while a key is
/// still being derived from the previous one. The echo goes off with the first question, or with `at_once` before that, unless
/// another process is asking. From then on neither another thread nor another process asks until `work` is done, so `work` must
/// not wait for one that does.
///
/// Between the questions, Ctrl-C sends its signal as always.
pub fn quietly<T>(at_once: bool, work: impl FnOnce() -> T) -> T {
    let quiet = Quiet::new();
    if at_once {
        quiet.begin();
    }
    let done = work();
    drop(quiet);
    done
}
