//! How a command fails: the exit code, the message, and the hints.

use std::fmt;
use std::path::Path;

use cardcase::Error;

use crate::ui::remedy;
use crate::ui::say;

/// The exit codes of docs/cli.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Failed = 1,
    Usage = 2,
    NothingFits = 3,
    NobodyToAsk = 4,
    Refused = 5,
    WrongPassword = 6,
    Interrupted = 130,
}

/// A failure. `main` prints it, or a command that goes on, such as `tunnel`.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), hints: Vec::new() }
    }

    /// Adds a next step, where possible a command to copy.
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// Puts the name of a file in front of the message.
    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        let name = if path == Path::new("-") { "stdin".into() } else { path.display().to_string() };
        self.message = format!("{name}: {}", self.message);
        self
    }

    /// Prints it to stderr.
    pub(crate) fn tell(&self) {
        say::error(&self.message);
        self.hints.iter().for_each(say::remedy);
    }

    /// Prints it to stderr as a warning: the command goes on without what failed.
    pub(crate) fn warn(&self) {
        say::warn(&self.message);
        self.hints.iter().for_each(say::remedy);
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        let failure = Self::new(Code::Failed, error).in_file(path);
        match remedy::for_io(error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let failure = match error {
            // A warning has said why, when it was asked
            Error::ChooserFailed { destination, .. } => Self::new(
                code(error),
                format_args!("the chooser gave no answer: nothing was remembered, and nothing sent to {destination}"),
            ),
            _ => Self::new(code(error), error),
        };
        match remedy::for_error(error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn code(error: &Error) -> Code {
    match error {
        Error::File(error) if error.is_password() => Code::WrongPassword,
        Error::WrongPrimaryPassword | Error::WrongBackupPassword => Code::WrongPassword,
        Error::UnknownIdentity { .. }
        | Error::UnknownAuthority { .. }
        | Error::UnknownDecision { .. }
        | Error::UnknownRule { .. }
        | Error::Denied { .. }
        | Error::DoesNotFit { .. } => Code::NothingFits,
        Error::Ambiguous { .. }
        | Error::Destination { .. }
        | Error::Mode { .. }
        | Error::Name { .. }
        | Error::Rule { .. }
        | Error::Subject { .. } => Code::Usage,
        Error::NobodyToAsk { .. }
        | Error::ChooserFailed { .. }
        | Error::VaultLocked
        | Error::AgentKeepsKeys
        | Error::CannotAsk { .. } => Code::NobodyToAsk,
        Error::Aborted { .. } | Error::Declined => Code::Interrupted,
        _ => Code::Failed,
    }
}
