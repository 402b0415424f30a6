//! What became of an answer to a certificate request: what a person is told, and what the history records.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cardcase::ask::Refusal;
use cardcase::connect::{self, Cause, Opened, Selection, Source, cause};
use cardcase::manage::plain;
use cardcase::manage::{Answer, Fingerprint, Outcome, version_name};
use cardcase::raw::{Prepared, alert, unverified_certificate};
use cardcase::{Destination, Identity, Selector};
use rustls::AlertDescription;

use crate::http::verify;
use crate::ui::failure::{Code, Failure};
use crate::ui::notices::tell_unrecorded;
use crate::ui::remedy::{self, IMPORT, Remedies};
use crate::ui::say;
use crate::ui::time::expires_soon;

/// A certificate request on one connection, and the answer that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) opened: Opened,
    pub(crate) selection: Selection,
}

impl Asked {
    /// The last request on a connection; `None` when its server did not ask.
    pub(crate) fn from_opened(opened: Opened) -> Option<Self> {
        Some(Self { selection: opened.selection()?, opened })
    }

    pub(crate) fn destination(&self) -> &Destination {
        self.opened.destination()
    }

    /// The answer for another connection of the same request, if a person chose it on this one.
    pub(crate) fn chosen(&self) -> Option<Prepared> {
        self.opened.again().filter(|_| self.selection.source == Source::Ask)
    }
}

/// Why there is no connection, or why it ended before the response.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The server refused its answer. This is not recorded yet: [`Outcomes::refused`].
    Refused(Box<Asked>, Refusal),
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(asked, refusal) => write!(f, "{}: {refusal}", asked.destination()),
            Self::Failed(failure) => f.write_str(&failure.message),
        }
    }
}

/// To pass through the error of a connector: [`Outcomes::unconnected`] takes it out again.
impl StdError for Ended {}

/// Why an answer was sent, in words.
fn why(selection: &Selection) -> String {
    if let Some(rule) = &selection.rule {
        return format!("{rule} says so");
    }
    let why = match selection.source {
        Source::Decision => "it is remembered",
        Source::Ask => "it was chosen now",
        Source::NoCandidate => "no identity fits",
        Source::Given => "--as names it",
        Source::Omitted => "--credentials omit",
        _ => "it was selected",
    };
    why.to_owned()
}

/// Says with `-v` how a connection is protected.
pub(crate) fn tell_connection(opened: &Opened, is_openssl: bool) {
    let version = opened.version().map_or("TLS".to_owned(), version_name);
    let protocol = opened.alpn().map(|name| format!(", {}", String::from_utf8_lossy(name))).unwrap_or_default();
    let cipher = opened.cipher().map(|cipher| format!(", {cipher}")).unwrap_or_default();
    let library = if is_openssl { "OpenSSL" } else { "rustls" };
    say::detail(format_args!("connected to {}: {version}{cipher}{protocol}, by {library}", opened.destination()));
}

/// Tells a person about the answers of a selector, and records what servers made of them.
pub(crate) struct Outcomes {
    selector: Arc<Selector>,
    remedies: Remedies,
    /// Identities whose expiry was already announced.
    expiring: Mutex<HashSet<Fingerprint>>,
}

impl Outcomes {
    pub(crate) fn new(selector: Arc<Selector>, mode_flag: String) -> Self {
        Self { remedies: Remedies::new(selector.clone(), mode_flag), selector, expiring: Mutex::default() }
    }

    pub(crate) fn selector(&self) -> &Arc<Selector> {
        &self.selector
    }

    /// Runs on a thread that may block what records in the store, so that other connections go on meanwhile.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let outcomes = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&outcomes)).await;
        done.map_err(|error| Failure::new(Code::Failed, error))
    }

    /// Says what a person did not decide just now, and which identity expires soon.
    pub(crate) fn announce(&self, asked: &Asked) {
        let destination = asked.destination();
        let answer = &asked.selection.answer;
        let sent = match answer {
            Answer::Identity(identity) => format!("{:?} ({})", identity.name(), identity.fingerprint().short()),
            Answer::None => "no certificate".to_owned(),
        };
        say::detail(format_args!(
            "{destination} asked for a client certificate; sent {sent}: {}",
            why(&asked.selection)
        ));
        match &asked.selection {
            Selection { source: Source::NoCandidate, .. } if self.has_no_identities() => {
                say::warn(format_args!(
                    "{destination} asks for a client certificate, and the store has no identities; none was sent"
                ));
                say::hint(IMPORT);
            }
            Selection { source: Source::NoCandidate, .. } => {
                say::warn(format_args!(
                    "{destination} asks for a client certificate, and no identity fits; none was sent"
                ));
                say::hint(self.remedies.explain(destination));
            }
            Selection { source: Source::Rule, rule: Some(rule), answer: Answer::None, .. } => {
                say::warn(format_args!(
                    "{destination} asks for a client certificate, and {rule} denies it; none was sent"
                ));
            }
            Selection { answer: Answer::Identity(identity), .. } => self.announce_expiry(identity),
            _ => {}
        }
    }

    fn has_no_identities(&self) -> bool {
        self.selector.store().each_identity().is_ok_and(|mut all| all.next().is_none())
    }

    fn announce_expiry(&self, identity: &Identity) {
        let (now, until) = (self.selector.now(), identity.certificate().not_after());
        let mut announced = self.expiring.lock().unwrap_or_else(PoisonError::into_inner);
        if expires_soon(now, until) && announced.insert(identity.fingerprint()) {
            say::warn(format_args!("{:?} expires {}", identity.name(), until.days_from(now)));
        }
    }

    /// The failure of a selection: nothing was sent.
    pub(crate) fn undecided(&self, destination: &Destination, error: &cardcase::Error) -> Failure {
        let mut failure = Failure::from(error);
        if let cardcase::Error::NobodyToAsk { .. } = error {
            failure.hints = self.remedies.nobody_to_ask(destination);
        }
        failure
    }

    /// Why a connector gave no connection to a destination.
    pub(crate) fn unconnected(&self, destination: &Destination, error: connect::Error) -> Ended {
        match error {
            connect::Error::Selection(error) => self.undecided(destination, &error).into(),
            connect::Error::Dial(error) => match error.downcast::<Ended>() {
                Ok(ended) => ended,
                Err(error) => verify::unreachable(destination, &error).into(),
            },
            connect::Error::Handshake { source, opened } => {
                if let Some(Cause::Failed(error)) = cause(&source) {
                    return self.undecided(destination, error).into();
                }
                let asked = Asked::from_opened(opened);
                if let Some(asked) = &asked {
                    self.announce(asked);
                }
                let failure = verify::failed(destination, &source);
                let hints = self.remedies.with_known_authority(failure.hints, unverified_certificate(&source));
                let failure = Failure { hints, ..failure };
                self.broken(asked, &source, failure)
            }
            other => verify::failed(destination, &other).into(),
        }
    }

    /// Why a connection ended before the response: because of this error, of which `failure` tells a person.
    pub(crate) fn broken(&self, asked: Option<Asked>, error: &(dyn StdError + 'static), failure: Failure) -> Ended {
        let Some(asked) = asked else { return failure.into() };
        match self.end(&asked, Some(error)) {
            Err(refusal) => Ended::Refused(Box::new(asked), refusal),
            Ok(()) => failure.into(),
        }
    }

    /// Whether the server refused the answer, now that the connection has ended. If it did not, the outcome is recorded as
    /// unknown.
    pub(crate) fn end(&self, asked: &Asked, error: Option<&(dyn StdError + 'static)>) -> Result<(), Refusal> {
        // The connection was made for what has just failed, even if the server hung up before anything was written
        if let Some(error) = error {
            asked.opened.ended_by(error);
        }
        if let Some(refusal) = asked.opened.refusal() {
            return Err(refusal);
        }
        self.record(asked, Outcome::Unknown, asked.opened.alert().or_else(|| error.and_then(alert)));
        Ok(())
    }

    /// Records that the server accepted its answer.
    pub(crate) fn accepted(&self, asked: &Asked) {
        self.record(asked, Outcome::Accepted, None);
    }

    /// Records a refusal, and gives the failure that says who refused what, and what to do.
    pub(crate) fn refused(&self, asked: &Asked, refusal: Refusal) -> Failure {
        let alert = match refusal {
            Refusal::Alert(alert) => Some(alert),
            _ => None,
        };
        self.record(asked, Outcome::Refused, alert);
        let destination = asked.destination();
        if asked.selection.source == Source::NoCandidate && self.has_no_identities() {
            // The announcement has said what to do
            return Failure::new(
                Code::NothingFits,
                format_args!("{destination} wants a client certificate: {refusal}"),
            );
        }
        let (code, message) = match (&asked.selection.answer, asked.selection.source) {
            (Answer::Identity(identity), _) => {
                let known = self.known_against(asked, identity);
                (Code::Refused, format!("{destination} refused the identity {:?}: {refusal}{known}", identity.name()))
            }
            (Answer::None, Source::NoCandidate) => (
                Code::NothingFits,
                format!("{destination} wants a client certificate, and no identity fits: {refusal}"),
            ),
            (Answer::None, _) => {
                (Code::Refused, format!("{destination} refused, because no certificate was sent: {refusal}"))
            }
        };
        let failure = Failure::new(code, message);
        let failure = match remedy::meaning_by_server(refusal) {
            Some(meaning) => failure.hint(meaning),
            None => failure,
        };
        self.with_remedy(asked, failure.hint(self.remedies.explain(destination)))
    }

    /// What the store and the clock say against an identity that a server refused: `; it expired 3 days ago`.
    fn known_against(&self, asked: &Asked, identity: &Identity) -> String {
        let (now, certificate) = (self.selector.now(), identity.certificate());
        let mut known = Vec::new();
        if certificate.not_after() < now {
            known.push(format!("it expired {}", certificate.not_after().days_from(now)));
        }
        if certificate.not_before() > now {
            known.push(format!("it becomes valid {}", certificate.not_before().days_from(now)));
        }
        // Without the request, or the store, there is nothing more to say
        let explained =
            asked.opened.request().and_then(|request| self.selector.explain(asked.opened.target(), &request).ok());
        let considered = explained.and_then(|explained| {
            explained.identities.into_iter().find(|one| one.identity.fingerprint() == identity.fingerprint())
        });
        if let Some(considered) = considered {
            known.extend(considered.reasons.iter().map(|reason| reason.text().to_owned()));
            if let Some(missing) = &considered.missing_issuer {
                known.push(format!("the certificate of {} is not in the store", plain(&missing.to_string())));
            }
        }
        known.iter().map(|clause| format!("; {clause}")).collect()
    }

    /// The failure that [`Ended`] is. A refusal is recorded.
    pub(crate) fn failure(&self, ended: Ended) -> Failure {
        match ended {
            Ended::Refused(asked, refusal) => self.refused(&asked, refusal),
            Ended::Failed(failure) => failure,
        }
    }

    fn with_remedy(&self, asked: &Asked, failure: Failure) -> Failure {
        match self.remedies.change_answer(asked.destination(), &asked.selection) {
            Some(remedy) => failure.hint(remedy),
            None => failure,
        }
    }

    /// Waits until the history is written.
    pub(crate) fn flush(&self) {
        if let Err(error) = self.selector.store().flush() {
            tell_unrecorded(&error);
        }
    }

    /// A history that cannot be written does not make a request fail.
    fn record(&self, asked: &Asked, outcome: Outcome, alert: Option<AlertDescription>) {
        if let Err(error) = asked.opened.record(&self.selector, outcome, alert) {
            tell_unrecorded(&error);
        }
    }
}
