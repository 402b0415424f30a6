//! Passwords asked for by the program that `$PINENTRY_PROGRAM` names, as GnuPG does. It may open a window, so that no terminal
//! is needed.
//!
//! The crate `pinentry` waits for such a program without end, reads lines of any length, and panics where a text is longer
//! than a line, as paths can be; hence `assuan`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cardcase::Error;
use cardcase::Unlocker;
use zeroize::Zeroizing;

use crate::ask::assuan::{Conversation, Trouble};
use crate::ask::terminal;
use crate::ask::tty::Tty;
use crate::ui::text::plain;

/// How long the program may take over anything but the person's answer.
const REPLY: Duration = Duration::from_secs(10);

/// How long the person may take.
const ANSWER: Duration = Duration::from_secs(300);

/// Where libgpg-error's codes say what happened; above it they say who reports it.
const WHAT: u32 = 0xffff;

/// "Operation cancelled", and "Operation fully cancelled".
const CANCELLED: [u32; 2] = [99, 198];

/// A program that asks for passwords.
pub(crate) struct Pinentry {
    program: OsString,
    store: PathBuf,
}

impl Pinentry {
    /// The program that `$PINENTRY_PROGRAM` names, if it does, to ask about this store.
    pub(crate) fn from_environment(store: &Path) -> Option<Self> {
        let program = std::env::var_os("PINENTRY_PROGRAM").filter(|program| !program.is_empty())?;
        Some(Self { program, store: store.to_owned() })
    }

    /// Asks for a password; `error` is what was wrong with the last one.
    ///
    /// # Errors
    /// [`Error::Declined`] when the person cancels, [`Error::CannotAsk`] when the program does not do its work.
    pub(crate) fn ask(&self, prompt: &str, error: Option<&str>) -> Result<Zeroizing<String>, Error> {
        let _lent = terminal::lend();
        let answer = self.converse(prompt, error).map_err(|trouble| match trouble {
            Trouble::Refused { code, .. } if CANCELLED.contains(&(code & WHAT)) => Error::Declined,
            trouble => self.cannot(&trouble.to_string()),
        })?;
        match std::str::from_utf8(&answer) {
            Ok(password) => Ok(Zeroizing::new(password.to_owned())),
            Err(_) => Err(self.cannot("gave a password that is not UTF-8")),
        }
    }

    fn converse(&self, prompt: &str, error: Option<&str>) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        let mut conversation = Conversation::start(&self.program, REPLY)?;
        // A program need not know every option, nor have a title
        let mut unimportant = |command: &str, value: &str| match conversation.request(command, value, REPLY) {
            Err(Trouble::Refused { .. }) | Ok(_) => Ok(()),
            Err(trouble) => Err(trouble),
        };
        for (command, value) in surroundings() {
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

impl Unlocker for Pinentry {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        let error = (attempt > 1).then(|| format!("That was wrong (try {attempt} of 3)"));
        self.ask("Primary password", error.as_deref())
    }
}

/// Where the program finds the person: it may be one that draws on the terminal.
fn surroundings() -> Vec<(&'static str, String)> {
    let variable = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let language = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(variable);
    let options =
        [("OPTION ttyname=", Tty::name()), ("OPTION ttytype=", variable(&"TERM")), ("OPTION lc-ctype=", language)];
    options.into_iter().filter_map(|(command, value)| value.map(|value| (command, value))).collect()
}
