//! Asks for passwords and for confirmations.

use std::io::ErrorKind;

use cardcase::Error;
use cardcase::Unlocker;
use console::Term;
use dialoguer::Confirm;
use dialoguer::theme::SimpleTheme;
use zeroize::Zeroizing;

use super::turn::{Turn, unlocked, unlocking};
use crate::ask::tty::Tty;
use crate::ui::failure::{Code, Failure};
use crate::ui::text::plain;

/// Asks for the primary password. What is typed stays invisible until no further attempt is needed.
pub(crate) struct TerminalUnlocker;

impl Unlocker for TerminalUnlocker {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        unlocking();
        let prompt = if attempt == 1 { "Primary password" } else { "Wrong. Primary password" };
        password(prompt).map_err(|failure| match failure.code {
            Code::Interrupted => Error::Declined,
            _ => Error::VaultLocked,
        })
    }

    fn finished(&self) {
        unlocked();
    }
}

/// Asks for a password, which is not shown.
pub(crate) fn password(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let tty = Tty::open().ok_or_else(nobody_there)?;
    let turn = Turn::begin().ok_or_else(nobody_there)?;
    turn.flush_at_end();
    tty.password(&plain(prompt)).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Failure::new(Code::Failed, "the password is not UTF-8, or too long"),
        kind => nobody(kind),
    })
}

/// Asks yes or no. There is no default, and keys that were typed before the question are discarded.
pub(crate) fn confirm(prompt: &str) -> Result<bool, Failure> {
    let turn = Turn::begin().ok_or_else(nobody_there)?;
    turn.set_raw();
    let asked = Confirm::with_theme(&SimpleTheme).with_prompt(plain(prompt));
    match asked.interact_on_opt(&Term::stderr()) {
        Ok(answer) => Ok(answer.unwrap_or(false)),
        Err(dialoguer::Error::IO(error)) => Err(nobody(error.kind())),
    }
}

fn nobody(error: ErrorKind) -> Failure {
    match error {
        ErrorKind::Interrupted => Failure::new(Code::Interrupted, "interrupted"),
        _ => nobody_there(),
    }
}

fn nobody_there() -> Failure {
    Failure::new(Code::NobodyToAsk, "an answer is needed, and nobody can be asked")
}
