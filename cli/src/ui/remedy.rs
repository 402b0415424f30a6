//! What to do next after a failure, where possible a command to copy. This is the only place that composes a hint for an error of
//! the library, or for what a server made of an answer.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cardcase::ask::Refusal;
use cardcase::connect::{Selection, Source};
use cardcase::file;
use cardcase::manage::{Certificate, Damage, Mode, Scope, Timestamp};
use cardcase::{Destination, Error, Selector};
use rustls::CertificateError;

use crate::ui::text::{quoted, word};

/// What a file of the administrator's that cannot be read leads to.
pub(crate) const BROKEN_POLICY: &str = "no certificate is selected until the administrator's rules can be read";

/// For a store without identities.
pub(crate) const IMPORT: &str = "to add a certificate with its key: cardcase import FILE.p12";

/// What to do when nothing more can be written.
const EXHAUSTED: &str = "check whether the disk, a quota or a limit on file sizes is exhausted: df, quota, ulimit -f";

/// The hint for an error of the system.
pub(crate) fn for_io(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let is_exhausted = matches!(error.kind(), FileTooLarge | QuotaExceeded | StorageFull);
    is_exhausted.then_some(EXHAUSTED)
}

/// The hint for an error of the library.
pub(crate) fn for_error(error: &Error) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(match error {
        // The path is too long for a socket
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::InvalidFilename => {
            "use a runtime directory with a shorter path: XDG_RUNTIME_DIR=/run/user/$(id -u)"
        }
        Error::Io { source, .. } if for_io(source).is_some() => EXHAUSTED,
        Error::Io { path, .. } => {
            return Some(format!("check that it exists and that you may use it: ls -ld {}", quoted(path)).into());
        }
        Error::PolicyFile { .. } => BROKEN_POLICY,
        Error::Policy { .. } => {
            "give a managed policy of Chrome; to add a rule of your own: cardcase rules add PATTERN"
        }
        Error::RowDamaged(damage) => return Some(repair(damage).into()),
        Error::VaultReplaced { id, .. } => {
            let id = id.get(..16).unwrap_or(id);
            return Some(
                format!(
                    "to go on without this key: cardcase remove {id}; but if you had set a primary password, restore the file from a backup"
                )
                .into(),
            );
        }
        Error::SharedDirectory { directory, .. } => {
            return Some(
                format!(
                    "if the directory is yours: chmod go-w {}; otherwise use another place: --store FILE",
                    quoted(directory)
                )
                .into(),
            );
        }
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
        Error::StoreChanged => "to see what it says now: cardcase password --reset",
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
        Error::CertificateWithoutKey { .. } => "give the file with its private key too: cardcase import FILE KEY",
        Error::KeyWithoutCertificate { .. } => {
            "give the file with its certificate too: cardcase import FILE CERTIFICATE"
        }
        Error::NotPermitted { name, .. } => {
            return Some(format!("to allow it: cardcase pkcs11 allow {} any", word(name)).into());
        }
        Error::NotWithTls13 { name } => {
            let name = word(name);
            return Some(
                format!("to allow whole TLS messages: cardcase pkcs11 allow {name} tls; to allow every version of TLS: cardcase min-tls {name} 1.2").into(),
            );
        }
        Error::NotABackup => "to import certificates: cardcase import FILE",
        Error::NewerBackup { .. } => "update cardcase, then: cardcase restore FILE",
        Error::BackupTooLarge { .. } => {
            "leave out the history (without --with-history), or remove identities: cardcase remove ID"
        }
        Error::NewerStore { .. } => "update cardcase, or use another store: --store FILE",
        Error::StoreBusy { .. } => "try again when the other process is done",
        Error::NotYours { .. } => "use a file that you own, not a link to it: --store FILE",
        Error::StoreFull { .. } => "nothing was changed; free some space (df shows what is full), then try again",
        Error::StoreReadOnly { .. } => "make it writable (chmod u+w), or use another store: --store FILE",
        Error::Store { source, .. } if source.is::<io::Error>() => "use a place that you can write to: --store FILE",
        Error::Store { .. } => EXHAUSTED,
        Error::AskedInResponse { .. } => "firefox mode allows it: --mode firefox",
        Error::NoStore { .. } => "to make one: cardcase import FILE.p12; where the usual one is: cardcase where",
        Error::NotAStore { .. } => "use another file: --store FILE",
        _ => return None,
    }))
}

/// The additional hint when `import` cannot read the file at `path`; `command` is the command as it was given.
pub(crate) fn for_import(error: &Error, path: &Path, command: &str) -> Option<String> {
    match error {
        Error::File(file::Error::NamesFiles { files }) => {
            let beside = path.parent().unwrap_or(Path::new(""));
            let files: Vec<String> = files.iter().map(|file| quoted(&beside.join(file))).collect();
            Some(format!("cardcase import {}", files.join(" ")))
        }
        Error::File(file::Error::TooCostly { what, value, .. }) if what.starts_with("rounds") && *value < u64::MAX => {
            Some(format!("if you trust the file: {command} --max-iterations {value}"))
        }
        _ => None,
    }
}

/// The hint for a row that cannot be read.
pub(crate) fn repair(damage: &Damage) -> String {
    let id = damage.id.get(..16).unwrap_or(&damage.id);
    match damage.table {
        "rules" => format!("to remove it: cardcase rules remove {}", damage.row),
        "decisions" => "to remove it, with every other decision: cardcase forget --all".to_owned(),
        _ if id.is_empty() => "restore the file from a backup, or use another store: --store FILE".to_owned(),
        "identities" => format!("to remove it: cardcase remove {id}; then import it again from its file"),
        "enrollments" => format!("to remove it: cardcase remove {id}; then: cardcase enroll"),
        _ => format!("import or trust it again from its file; or remove it: cardcase trust --remove {id}"),
    }
}

/// Composes commands for the mode that the command runs in.
pub(crate) struct Remedies {
    selector: Arc<Selector>,
    /// ` --mode MODE`, if it was given.
    mode_flag: String,
}

impl Remedies {
    pub(crate) fn new(selector: Arc<Selector>, mode_flag: String) -> Self {
        Self { selector, mode_flag }
    }

    /// Shows what the server asks for and which identities fit.
    pub(crate) fn explain(&self, destination: &Destination) -> String {
        format!("cardcase explain {destination}{}", self.mode_flag)
    }

    /// Decides in advance, when nobody can be asked.
    pub(crate) fn nobody_to_ask(&self, destination: &Destination) -> Vec<String> {
        let decide = format!("cardcase remember {} ID{}", self.scope(destination), self.mode_flag);
        vec![self.explain(destination), decide]
    }

    /// Changes an answer that the server refused; `None` when nothing that is stored gave it: then the next connection asks.
    pub(crate) fn change_answer(&self, destination: &Destination, selection: &Selection) -> Option<String> {
        match selection.source {
            Source::Decision | Source::Ask => {
                let scope = self.scope(destination);
                self.selector.store().decision(&scope).ok()??;
                Some(format!("to choose another: cardcase forget {scope}{}", self.mode_flag))
            }
            Source::Rule => Some("to see the rule that answered: cardcase rules".to_owned()),
            _ => None,
        }
    }

    /// The hints for a server that cannot be verified and has this certificate: if the store has its CA, with the command that trusts it.
    pub(crate) fn with_known_authority(&self, mut hints: Vec<String>, server: Option<&Certificate>) -> Vec<String> {
        let chain = server.and_then(|server| self.selector.store().chain(server).ok()).unwrap_or_default();
        let root = chain.last().filter(|root| !root.trusted);
        if let Some(root) = root
            && let Some(hint) = hints.iter_mut().find(|hint| *hint == TRUST_AUTHORITY)
        {
            let (subject, id) = (root.certificate.subject(), root.certificate.fingerprint().short());
            *hint = format!("the store has its CA, {subject}; if that may verify servers: cardcase trust {id}");
        }
        hints
    }

    /// The scope of a decision for this destination, as a command takes it.
    fn scope(&self, destination: &Destination) -> Scope {
        self.selector.mode().unwrap_or(Mode::Firefox).scope(destination)
    }
}

/// What to do about a server whose certificate was not accepted for this reason.
pub(crate) fn for_unverified(
    destination: &Destination,
    kind: &CertificateError,
    certificate: Option<&Certificate>,
    now: Timestamp,
) -> Vec<String> {
    use CertificateError as E;
    match (kind, certificate) {
        (E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. }, _) => {
            vec!["check the clock of this machine: date; if it is right, the server needs a new certificate".to_owned()]
        }
        (E::NotValidForName | E::NotValidForNameContext { .. }, Some(certificate)) => {
            vec![use_its_name(destination, certificate)]
        }
        (E::BadSignature, Some(certificate)) if certificate.why_untrustable(now).is_some() => {
            vec![REPLACE.to_owned()]
        }
        (E::BadSignature, _) => {
            vec!["if you know the CA, trust its current certificate: cardcase trust CA.pem".to_owned()]
        }
        (_, Some(certificate)) if certificate.is_self_signed() => match certificate.why_untrustable(now) {
            None => trust_itself(destination, certificate),
            Some(why) => {
                vec![format!("the server needs another certificate; this one cannot be trusted: {why}")]
            }
        },
        (E::UnknownIssuer, _) => vec![TRUST_AUTHORITY.to_owned()],
        (_, Some(certificate)) if !certificate.may_issue() && certificate.why_untrustable(now).is_none() => {
            [vec![REPLACE.to_owned()], trust_itself(destination, certificate)].concat()
        }
        _ => vec![REPLACE.to_owned()],
    }
}

/// To reach a server by a name in its certificate.
fn use_its_name(destination: &Destination, certificate: &Certificate) -> String {
    let mut names = certificate.server_names().iter();
    let other = |name: &String| {
        let named = Destination::new(name, destination.port()).ok().filter(|_| !name.contains('*'))?;
        // Not the address of the destination itself as a dNSName, and not a name that ends with a dot
        (named != *destination && !name.ends_with('.')).then_some(named)
    };
    match names.find_map(other) {
        Some(named) => {
            format!("if this is the right server: cardcase fetch https://{named}/ --connect-to {named}:{destination}")
        }
        None => "the server needs a certificate with its name in the subjectAltName; browsers refuse this one too"
            .to_owned(),
    }
}

/// To trust a server's own certificate.
fn trust_itself(destination: &Destination, certificate: &Certificate) -> Vec<String> {
    vec![
        format!(
            "to save its certificate: openssl s_client -connect {destination} </dev/null | openssl x509 -out server.pem"
        ),
        format!(
            "if its administrator confirms the SHA-256 fingerprint {}: cardcase trust server.pem",
            certificate.fingerprint()
        ),
    ]
}

/// What a refusal means for each kind of server, if that is known.
pub(crate) fn meaning_by_server(refusal: Refusal) -> Option<String> {
    let servers = refusal.meaning_by_server();
    let meanings: Vec<_> = servers.iter().map(|(server, meaning)| format!("{server}: {meaning}")).collect();
    let what = refusal.alert_name().unwrap_or_else(|| "this".to_owned());
    (!servers.is_empty())
        .then(|| format!("{what} means, depending on the server's TLS library: {}", meanings.join("; ")))
}

/// For a server whose certificate nobody should accept.
const REPLACE: &str = "the server needs another certificate; browsers refuse this one too";

/// To trust the authority of a server that cannot be verified.
const TRUST_AUTHORITY: &str = "if you know the CA: cardcase trust CA.pem";

/// To use OpenSSL for what rustls does not support.
pub(crate) fn use_openssl() -> &'static str {
    match cfg!(feature = "openssl") {
        true => "use OpenSSL: --tls openssl",
        false => "use OpenSSL, with a cardcase that has it: cargo install cardcase-cli --features openssl",
    }
}
