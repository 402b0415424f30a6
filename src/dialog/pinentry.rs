//! Asks for passwords, and for a yes or no, with the program that `$PINENTRY_PROGRAM` names, as GnuPG does. It may open a window, so no terminal
//! is needed.
//!
//! The crate `pinentry` waits for the program without a limit, reads lines of any length, and panics where a text, such as
//! a path, is longer than a line; hence `assuan`.

use std::ffi::OsString;
use std::io::ErrorKind;
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

/// "Not confirmed", and "Timeout".
const NOT_CONFIRMED: [u32; 2] = [114, 62];

/// The program of the system, where no other is named.
const USUAL: &str = "pinentry";

/// A program that asks for passwords.
#[derive(Clone, Debug)]
pub(crate) struct Pinentry {
    program: OsString,
    store: PathBuf,
    /// Another program that needs the password.
    needed_by: Option<String>,
}

impl Pinentry {
    /// The program that `$PINENTRY_PROGRAM` names, if it is set.
    pub(crate) fn from_environment(store: &Path) -> Option<Self> {
        let program = variable("PINENTRY_PROGRAM")?;
        Some(Self { program, store: store.to_owned(), needed_by: None })
    }

    /// The same, or the usual program, for another program that needs the password.
    pub(crate) fn needed_by(store: &Path, program: &str) -> Self {
        let usual = || Self { program: USUAL.into(), store: store.to_owned(), needed_by: None };
        Self { needed_by: Some(program.to_owned()), ..Self::from_environment(store).unwrap_or_else(usual) }
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
        let store = format!("The certificate store {}", plain(&self.store.to_string_lossy()));
        let description = match &self.needed_by {
            Some(program) => format!("{store}\nis needed by {}", plain(program)),
            None => store,
        };
        let mut conversation = self.begin(&description, ANSWER)?;
        conversation.request("SETPROMPT ", &format!("{prompt}:"), REPLY)?;
        if let Some(error) = error {
            conversation.request("SETERROR ", error, REPLY)?;
        }
        conversation.request("GETPIN", "", ANSWER + REPLY)
    }

    /// Asks for a yes or no, within this time.
    ///
    /// # Errors
    /// [`Error::CannotAsk`] when the program fails.
    pub(crate) fn confirm(&self, question: &str, limit: Duration) -> Result<bool, Error> {
        let _lent = terminal::lend();
        let is_no = |code: u32| CANCELLED.contains(&(code & WHAT)) || NOT_CONFIRMED.contains(&(code & WHAT));
        match self.converse_about(question, limit) {
            Ok(()) => Ok(true),
            Err(ConversationError::Refused { code, .. }) if is_no(code) => Ok(false),
            Err(ConversationError::Io(error)) if error.kind() == ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(self.cannot(&error.to_string())),
        }
    }

    fn converse_about(&self, question: &str, limit: Duration) -> Result<(), ConversationError> {
        let mut conversation = self.begin(question, limit)?;
        conversation.request("SETOK ", "Allow", REPLY)?;
        conversation.request("SETCANCEL ", "Refuse", REPLY)?;
        conversation.request("CONFIRM", "", limit).map(drop)
    }

    /// Starts the program, and tells it everything but the question itself.
    fn begin(&self, description: &str, limit: Duration) -> Result<Conversation, ConversationError> {
        let mut conversation = Conversation::start(&self.program, REPLY)?;
        // Not every program supports all options, or a title
        let mut unimportant = |command: &str, value: &str| match conversation.request(command, value, REPLY) {
            Err(ConversationError::Refused { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        for (command, value) in terminal_options() {
            unimportant(command, &value)?;
        }
        unimportant("SETTIMEOUT ", &limit.as_secs().to_string())?;
        unimportant("SETTITLE ", "cardcase")?;
        conversation.request("SETDESC ", description, REPLY)?;
        Ok(conversation)
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
