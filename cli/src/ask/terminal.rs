//! The terminal: choosing an identity, typing passwords, and restoring the terminal afterwards. Each file uses only those
//! before it.
//!
//! Menus and confirmations are drawn on stderr; keys are read from stdin or, when that is redirected, from the controlling
//! terminal. [`tty`](crate::ask::tty) asks for passwords.

mod settings;

mod lock;

mod turn;

mod menu;

mod chooser;

mod password;

pub(crate) use chooser::TerminalChooser;
pub(crate) use password::{TerminalUnlocker, confirm, password};
pub(crate) use settings::{is_in_background, is_there, restore, was_asked};
pub(crate) use turn::{Quiet, lend, unlocked, unlocking};
