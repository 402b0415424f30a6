//! How a command fails: the exit code, the message, and the hints. This is the only place that composes a hint for an error of
//! the library.

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

/// What a file of the administrator's that cannot be read leads to.
pub(crate) const BROKEN_POLICY: &str =
    "it has rules of the administrator; no certificate is selected until it is repaired";

/// A failure. `main` prints it, or a command that goes on, such as `tunnel`.
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

    /// Puts the name of a file in front of the message.
    pub(crate) fn of_file(mut self, path: &Path) -> Self {
        let name = if path == Path::new("-") { "stdin".into() } else { path.display().to_string() };
        self.message = format!("{name}: {}", self.message);
        self
    }

    /// Prints it to stderr.
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
            return Some(format!("check that it exists and that you may use it: ls -ld {}", quoted(path)).into());
        }
        Error::PolicyFile { .. } => BROKEN_POLICY,
        Error::Policy { .. } => {
            "give a managed policy of Chrome; to add a rule of your own: cardcase rules add PATTERN"
        }
        Error::RowDamaged(damage) => return Some(repair(damage).into()),
        Error::StoreDamaged { .. } | Error::VaultDamaged { .. } => {
            "restore the file from a backup, or use another store: --store FILE"
        }
        Error::UnknownIdentity { .. } | Error::Renamed { .. } => "cardcase list",
        Error::UnknownAuthority { .. } => "cardcase authorities",
        Error::UnknownDecision { .. } => "cardcase decisions",
        Error::UnknownRule { .. } | Error::Denied { .. } => "cardcase rules",
        Error::NotARenewal { .. } => "to use it anyway: cardcase remember HOST ID",
        Error::Ambiguous { .. } => "give more digits of the fingerprint",
        Error::NobodyToAsk { .. } => "decide in advance: cardcase remember HOST ID",
        Error::ChooserFailed { .. } => "fix that program, or decide in advance: cardcase remember HOST ID",
        Error::PasswordChanged => "to change it again: cardcase password",
        Error::VaultLocked | Error::CannotAsk { .. } => {
            "unlock the store first (cardcase unlock), or give the password in a file: --primary-password-file FILE"
        }
        Error::AgentKeepsKeys => "run it in a terminal, or give the password in a file: --primary-password-file FILE",
        Error::Agent { .. } => "restart the agent: cardcase lock; cardcase unlock",
        Error::KeyMismatch { .. } | Error::SealedKey { .. } => {
            "import the identity again from its file, after you removed it: cardcase remove ID"
        }
        Error::NotAuthentic { .. } => {
            "check it (cardcase decisions, config, rules, authorities), undo what you did not set, then: cardcase accept"
        }
        Error::Subject { .. } => "write it in the form of RFC 4514: --subject 'CN=Alice Example,O=Example Ltd,C=DE'",
        Error::CertificateWithoutKey { .. } => "export it again together with its private key",
        Error::KeyWithoutCertificate { .. } => "export it again together with its certificate",
        Error::NotAnAuthority { .. } => "trust the certificate of the CA that issued it",
        Error::NewerStore { .. } => "update cardcase, or use another store: --store FILE",
        Error::StoreBusy { .. } => "try again when the other process is done",
        Error::NotYours { .. } => "use a file that you own, not a link to it: --store FILE",
        Error::StoreFull { .. } => "nothing was changed; free some space (df shows what is full), then try again",
        Error::StoreReadOnly { .. } => "make it writable (chmod u+w), or use another store: --store FILE",
        Error::Store { source, .. } if source.is::<std::io::Error>() => {
            "use a place that you can write to: --store FILE"
        }
        Error::Store { .. } => {
            "check whether the disk, a quota or a limit on file sizes is exhausted: df, quota, ulimit -f"
        }
        Error::AskedInResponse { .. } => "firefox mode allows it: --mode firefox",
        Error::NotAStore { .. } => "use another file: --store FILE",
        _ => return None,
    }))
}

/// The hint for a row that cannot be read.
pub(crate) fn repair(damage: &Damage) -> String {
    let id = damage.id.get(..16).unwrap_or(&damage.id);
    match damage.table {
        "identities" => format!("to remove it: cardcase remove {id}; then import it again from its file"),
        "enrollments" => format!("to remove it: cardcase remove {id}; then: cardcase enroll"),
        _ => format!("import or trust it again from its file; or remove it: cardcase trust --remove {id}"),
    }
}
