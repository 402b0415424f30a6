//! The user's dialogs.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::environment::variable;
use super::pinentry::Pinentry;
use super::program::ProgramChooser;
use super::{running, terminal};
use crate::error::Error;
use crate::request::Destination;
use crate::select::chooser::{Chooser, Question, Reply};
use crate::store::Store;
use crate::vault::Unlocker;

/// The program that is asked which identity to send.
const CHOOSER: &str = "CARDCASE_CHOOSER";

/// The user's dialogs: a list on the terminal, or in a program of the user's, to choose an identity; a prompt on the terminal, or of
/// a pinentry program, for the primary password.
///
/// [`Selector::for_user`](crate::Selector::for_user) has them. To give them to another selector, pass them to
/// [`Selector::with_chooser`](crate::Selector::with_chooser) and [`Selector::with_unlocker`](crate::Selector::with_unlocker).
///
/// Everything is drawn on the terminal itself (`/dev/tty`), and nothing on stdout or stderr. Where no program is named, and there is no
/// terminal or the process is in its background, nobody is asked, and the selector fails at once with [`Error::NobodyToAsk`] or
/// [`Error::VaultLocked`]. A program that is named is asked also in the background. [`terminal`](crate::ask::terminal) describes
/// the rules for questions on the terminal, and what happens on signals.
#[derive(Clone, Debug)]
pub struct Dialogs {
    program: Option<ProgramChooser>,
    pinentry: Option<Pinentry>,
}

impl Dialogs {
    /// The dialogs of the user who runs this program, for this store. In the environment, `CARDCASE_CHOOSER` names a program that is
    /// asked which identity to send (docs/chooser.md), and `PINENTRY_PROGRAM` one that is asked for passwords, as with GnuPG. What
    /// is not named, or with an empty name, is asked for on the terminal. A set-user-ID or set-group-ID program ignores both.
    pub fn for_user(store: &Store) -> Self {
        let program = variable(CHOOSER).map(PathBuf::from);
        let pinentry = Pinentry::from_environment(store.path());
        Self { program: None, pinentry }.with_program(program)
    }

    /// Asks this program which identity to send, or with `None` or an empty name at the terminal. No shell reads the name, and the
    /// program gets no arguments.
    #[must_use]
    pub fn with_program(self, program: Option<PathBuf>) -> Self {
        Self { program: program.filter(|name| !name.as_os_str().is_empty()).map(ProgramChooser::new), ..self }
    }

    /// Asks for passwords in a window, because another program needs the store of these dialogs: with the pinentry program that the
    /// environment names, or else the one of the system, called `pinentry`. It shows the name of that other program.
    #[must_use]
    pub fn needed_by(self, store: &Store, program: &str) -> Self {
        Self { pinentry: Some(Pinentry::needed_by(store.path(), program)), ..self }
    }

    /// Asks for a yes or no in a window, with the pinentry program. No answer within `limit` counts as no.
    ///
    /// # Errors
    /// [`Error::CannotAsk`] when there is no pinentry program, or it fails.
    pub fn confirm(&self, question: &str, limit: Duration) -> Result<bool, Error> {
        match &self.pinentry {
            Some(pinentry) => pinentry.confirm(question, limit),
            None => Err(Error::CannotAsk { detail: "no pinentry program is named".to_owned() }),
        }
    }

    /// Whether somebody can be asked for a password.
    pub fn can_ask_for_password(&self) -> bool {
        self.pinentry.is_some() || (terminal::Tty::open().is_some() && !terminal::is_in_background())
    }

    /// Asks for a password of the store, such as a new primary password. `error` is what was wrong with the previous one.
    ///
    /// # Errors
    /// [`Error::Declined`] when the person cancels, [`Error::CannotAsk`] when nobody can be asked.
    pub fn password(&self, prompt: &str, error: Option<&str>) -> Result<Zeroizing<String>, Error> {
        if let Some(pinentry) = &self.pinentry {
            return pinentry.ask(prompt, error);
        }
        let prompt = error.map_or(prompt.to_owned(), |error| format!("{error}. {prompt}"));
        terminal::password(&prompt).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => Error::Declined,
            ErrorKind::InvalidData => {
                Error::CannotAsk { detail: "what was typed is not UTF-8, or too long".to_owned() }
            }
            _ => Error::CannotAsk { detail: "nobody can be asked for it".to_owned() },
        })
    }

    /// Closes every open dialog of this process: restores the terminal, and ends the programs that are asking. Call it before the
    /// process ends, by a signal or by itself, while a dialog may be open: also at the end of `main`, if another thread may be asking, as
    /// [`connect::config`](crate::connect::config) does. Otherwise the terminal stays raw.
    ///
    /// Call it on a thread that may block, not in a signal handler itself. From here on dialogs block, so that they cannot end the
    /// process in another way: end it with [`std::process::exit`], or return from `main`.
    pub fn close_all() {
        running::end_all();
        terminal::close();
    }
}

impl Chooser for Dialogs {
    fn can_ask(&self) -> bool {
        self.program.is_some() || terminal::is_there()
    }

    fn waiting(&self, destination: &Destination) {
        terminal::note_waiting(destination);
    }

    fn choose(&self, question: &Question<'_>) -> Reply {
        match &self.program {
            Some(program) => program.choose(question),
            None => terminal::choose(question),
        }
    }
}

/// On the terminal, what is typed stays invisible until no further attempt is needed.
impl Unlocker for Dialogs {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        if !self.can_ask_for_password() {
            return Err(Error::VaultLocked);
        }
        terminal::unlocking();
        let error = match (attempt, &self.pinentry) {
            (1, _) => None,
            (_, Some(_)) => Some(format!("Wrong password (attempt {attempt} of {})", self.tries())),
            (_, None) => Some("Wrong".to_owned()),
        };
        self.password("Primary password", error.as_deref())
    }

    fn finished(&self) {
        terminal::unlocked();
    }
}
