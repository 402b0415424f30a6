//! How a command fails: what is printed, and the exit code.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use cardcase::Error;
use cardcase::file::pkcs12;
use cardcase::manage::Damage;

use crate::ui::say;
use crate::ui::text::quoted;

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

/// What follows from a file of the administrator's that cannot be used.
pub(crate) const BROKEN_POLICY: &str = "the administrator's rules; nothing is selected until it is repaired";

/// A failure: told in one place only, `main`; or by a command that goes on, such as `tunnel`.
#[derive(Debug)]
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

    /// The same, about this file.
    pub(crate) fn of_file(mut self, path: &Path) -> Self {
        let name = if path == Path::new("-") { "stdin".into() } else { path.display().to_string() };
        self.message = format!("{name}: {}", self.message);
        self
    }

    /// Says it to a person.
    pub(crate) fn tell(&self) {
        say::error(&self.message);
        self.hints.iter().for_each(say::hint);
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::new(Code::Failed, error).of_file(path)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let failure = Self::new(code(error), error);
        match hint(error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn code(error: &Error) -> Code {
    match error {
        Error::Pkcs12(pkcs12::Error::WrongPassword | pkcs12::Error::ContentPassword) | Error::WrongPrimaryPassword => {
            Code::WrongPassword
        }
        Error::Pem(error) if error.is_password() => Code::WrongPassword,
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

fn hint(error: &Error) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(match error {
        Error::Io { path, .. } => {
            return Some(format!("see whether it is there, and yours to use: ls -ld {}", quoted(path)).into());
        }
        Error::PolicyFile { .. } => BROKEN_POLICY,
        Error::Policy { .. } => "it takes a managed policy of Chrome; a rule of your own: cardcase rules add PATTERN",
        Error::RowDamaged(damage) => return Some(repair(damage).into()),
        Error::StoreDamaged { .. } | Error::VaultDamaged { .. } => {
            "restore its file from a backup, or begin another: --store FILE"
        }
        Error::UnknownIdentity { .. } | Error::Renamed { .. } => "cardcase list",
        Error::UnknownAuthority { .. } => "cardcase authorities",
        Error::UnknownDecision { .. } => "cardcase decisions",
        Error::UnknownRule { .. } | Error::Denied { .. } => "cardcase rules",
        Error::NotARenewal { .. } => "if it is meant all the same: cardcase remember HOST ID",
        Error::Ambiguous { .. } => "give more digits of the fingerprint",
        Error::NobodyToAsk { .. } => "decide beforehand: cardcase remember HOST ID",
        Error::ChooserFailed { .. } => "mend that program, or decide beforehand: cardcase remember HOST ID",
        Error::PasswordChanged => "if it is still to be changed: cardcase password",
        Error::VaultLocked | Error::CannotAsk { .. } => {
            "unlock it beforehand (cardcase unlock), or give the password in a file: --primary-password-file FILE"
        }
        Error::AgentKeepsKeys => "run it in a terminal, or give the password in a file: --primary-password-file FILE",
        Error::Agent { .. } => "cardcase lock, then: cardcase unlock",
        Error::KeyMismatch { .. } | Error::SealedKey { .. } => {
            "import the identity again from its file, after: cardcase remove ID"
        }
        Error::NotAuthentic { .. } => {
            "look at it (cardcase decisions, config, rules, authorities), mend what is not yours, then: cardcase accept"
        }
        Error::Subject { .. } => "write it as RFC 4514 does: --subject 'CN=Alice Example,O=Example Ltd,C=DE'",
        Error::CertificateWithoutKey { .. } => "export it again together with its private key",
        Error::KeyWithoutCertificate { .. } => "export it again together with its certificate",
        Error::NotAnAuthority { .. } => "trust the certificate of the CA that issued it",
        Error::NewerStore { .. } => "use the newer cardcase, or another store: --store FILE",
        Error::StoreBusy { .. } => "try again when the other process is done",
        Error::NotYours { .. } => "name a file of your own, and not a link to it: --store FILE",
        Error::StoreFull { .. } => "make room and try again: nothing was changed; df shows what is full",
        Error::StoreReadOnly { .. } => "let yourself write there (chmod u+w), or name another store: --store FILE",
        Error::Store { source, .. } if source.is::<std::io::Error>() => {
            "name a place where you may write: --store FILE"
        }
        Error::Store { .. } => {
            "see whether the disk, a quota or a limit on file sizes is at its end: df, quota, ulimit -f"
        }
        Error::AskedInResponse { .. } => "firefox mode lets it: --mode firefox",
        Error::NotAStore { .. } => "name another file: --store FILE",
        _ => return None,
    }))
}

/// What to do about a row that cannot be read.
pub(crate) fn repair(damage: &Damage) -> String {
    let id = damage.id.get(..16).unwrap_or(&damage.id);
    match damage.table {
        "identities" => format!("to be rid of it: cardcase remove {id}; then import it again from its file"),
        "enrollments" => format!("to be rid of it: cardcase remove {id}; then: cardcase enroll"),
        _ => format!("import or trust it again from its file; or, to be rid of it: cardcase trust --remove {id}"),
    }
}
