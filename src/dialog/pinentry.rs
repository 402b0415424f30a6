//! Asks for passwords with the program that `$PINENTRY_PROGRAM` names, as GnuPG does. It may open a window, so no terminal
//! is needed.
//!
//! The crate `pinentry` waits for the program without a limit, reads lines of any length, and panics where a text, such as
//! a path, is longer than a line; hence `assuan`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::assuan::{Conversation, ConversationError};
use super::environment::variable;
use super::terminal::{self, Tty};
use crate::error::Error;
use crate::text::plain;

/// How long the program may take for anything but the person's answer.
const REPLY: Duration = Duration::from_secs(10);

/// How long the person may take to answer.
const ANSWER: Duration = Duration::from_secs(300);

/// The bits of libgpg-error's codes that say what happened. The bits above say which component reports it.
const WHAT: u32 = 0xffff;

/// "Operation cancelled", and "Operation fully cancelled".
const CANCELLED: [u32; 2] = [99, 198];

/// A program that asks for passwords.
#[derive(Clone, Debug)]
pub(crate) struct Pinentry {
    program: OsString,
    store: PathBuf,
}

impl Pinentry {
    /// The program that `$PINENTRY_PROGRAM` names, if it is set.
    pub(crate) fn from_environment(store: &Path) -> Option<Self> {
        let program = variable("PINENTRY_PROGRAM")?;
        Some(Self { program, store: store.to_owned() })
    }

    /// Asks for a password; `error` is what was wrong with the previous one.
    ///
    /// # Errors
    /// [`Error::Declined`] when the person cancels, [`Error::CannotAsk`] when the program fails.
    pub(crate) fn ask(&self, prompt: &str, error: Option<&str>) -> Result<Zeroizing<String>, Error> {
        let _lent = terminal::lend();
        let answer = self.converse(prompt, error).map_err(|error| match error {
            ConversationError::Refused { code, .. } if CANCELLED.contains(&(code & WHAT)) => Error::Declined,
            error => self.cannot(&error.to_string()),
        })?;
        match std::str::from_utf8(&answer) {
            Ok(password) => Ok(Zeroizing::new(password.to_owned())),
            Err(_) => Err(self.cannot("gave a password that is not UTF-8")),
        }
    }

    fn converse(&self, prompt: &str, error: Option<&str>) -> Result<Zeroizing<Vec<u8>>, ConversationError> {
        let mut conversation = Conversation::start(&self.program, REPLY)?;
        // Not every program supports all options, or a title
        let mut unimportant = |command: &str, value: &str| match conversation.request(command, value, REPLY) {
            Err(ConversationError::Refused { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        for (command, value) in terminal_options() {
            unimportant(command, &value)?;
        }
        unimportant("SETTIMEOUT ", &ANSWER.as_secs().to_string())?;
        unimportant("SETTITLE ", "cardcase")?;
        let description = format!("The certificate store {}", plain(&self.store.to_string_lossy()));
        conversation.request("SETDESC ", &description, REPLY)?;
        conversation.request("SETPROMPT ", &format!("{prompt}:"), REPLY)?;
        if let Some(error) = error {
            conversation.request("SETERROR ", error, REPLY)?;
        }
        conversation.request("GETPIN", "", ANSWER + REPLY)
    }

    fn cannot(&self, detail: &str) -> Error {
        let program = plain(&self.program.to_string_lossy());
        Error::CannotAsk { detail: format!("the pinentry program {program} {detail}") }
    }
}

/// Options for a program that draws on the terminal.
fn terminal_options() -> Vec<(&'static str, String)> {
    let variable = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let language = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(variable);
    let options =
        [("OPTION ttyname=", Tty::name()), ("OPTION ttytype=", variable(&"TERM")), ("OPTION lc-ctype=", language)];
    options.into_iter().filter_map(|(command, value)| value.map(|value| (command, value))).collect()
}
