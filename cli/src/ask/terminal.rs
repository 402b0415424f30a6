//! Questions of the command's own on the terminal: passwords of files, and confirmations.

use std::io::ErrorKind;

use cardcase::ask::terminal;
use cardcase::manage::plain;
use console::Term;
use dialoguer::Confirm;
use dialoguer::theme::SimpleTheme;
use zeroize::Zeroizing;

use crate::ui::failure::{Code, Failure};

/// Asks for a password, which is not shown.
pub(crate) fn password(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    terminal::password(prompt).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Failure::new(Code::Failed, "the password is not UTF-8, or too long"),
        kind => nobody(kind),
    })
}

/// Asks yes or no. There is no default, and keys that were typed before the question are discarded.
pub(crate) fn confirm(prompt: &str) -> Result<bool, Failure> {
    if terminal::is_plain() {
        loop {
            let typed = terminal::line(&format!("{prompt} Type yes or no")).map_err(|error| nobody(error.kind()))?;
            match typed.trim() {
                "yes" => return Ok(true),
                "no" => return Ok(false),
                _ => {}
            }
        }
    }
    let asked = Confirm::with_theme(&SimpleTheme).with_prompt(plain(prompt));
    let answer = terminal::question(|tty| {
        let term = Term::read_write_pair(tty.try_clone()?, tty);
        // The question is left without the end of its line
        asked.interact_on_opt(&term).inspect_err(|_| drop(term.write_line("")))
    });
    match answer {
        Some(Ok(answer)) => Ok(answer.unwrap_or(false)),
        Some(Err(dialoguer::Error::IO(error))) => Err(nobody(error.kind())),
        None => Err(nobody(ErrorKind::NotConnected)),
    }
}

fn nobody(error: ErrorKind) -> Failure {
    match error {
        ErrorKind::Interrupted => Failure::new(Code::Interrupted, "interrupted"),
        _ => Failure::new(Code::NobodyToAsk, "an answer is needed, and nobody can be asked"),
    }
}
