//! Where a person is asked for passwords of the store: by pinentry, or on the terminal.

use std::path::Path;
use std::sync::Arc;

use cardcase::Unlocker;
use zeroize::Zeroizing;

use crate::ask::pinentry::Pinentry;
use crate::ask::terminal;
use crate::ask::tty::Tty;
use crate::ui::failure::Failure;

pub(crate) enum PasswordPrompt {
    Pinentry(Pinentry),
    Terminal,
}

impl PasswordPrompt {
    /// The program that `$PINENTRY_PROGRAM` names, else the terminal; `None` where there is neither. `store` is the path
    /// that the program shows.
    pub(crate) fn find(store: &Path) -> Option<Self> {
        match Pinentry::from_environment(store) {
            Some(pinentry) => Some(Self::Pinentry(pinentry)),
            // The terminal itself is asked, wherever stdin, stdout and stderr are redirected
            None => (Tty::open().is_some() && !terminal::is_in_background()).then_some(Self::Terminal),
        }
    }

    /// Asks for a password; `error` is what was wrong with the previous one.
    pub(crate) fn ask(&self, prompt: &str, error: Option<&str>) -> Result<Zeroizing<String>, Failure> {
        match (self, error) {
            (Self::Pinentry(pinentry), error) => Ok(pinentry.ask(prompt, error)?),
            (Self::Terminal, Some(error)) => terminal::password(&format!("{error}. {prompt}")),
            (Self::Terminal, None) => terminal::password(prompt),
        }
    }

    pub(crate) fn into_unlocker(self) -> Arc<dyn Unlocker> {
        match self {
            Self::Pinentry(pinentry) => Arc::new(pinentry),
            Self::Terminal => Arc::new(terminal::TerminalUnlocker),
        }
    }
}
