//! What a person is told of an answer, and what stands in the history, for connections that carry anything.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use cardcase::certificate::Fingerprint;
use cardcase::connect::tokio::ConnectError;
use cardcase::decisions::{Answer, Mode, Outcome};
use cardcase::identity::Identity;
use cardcase::refusal::{Refusal, alert, alert_name, refusal};
use cardcase::request::Destination;
use cardcase::resolver::failure;
use cardcase::selector::{Selection, Selector, Source};
use rustls::ProtocolVersion;

use crate::app::{note, warn};
use crate::output::{days_from, expires_soon};
use crate::report::{Code, Failure};
use crate::server;

/// Keeps account of the answers at one destination.
pub(crate) struct Account {
    selector: Arc<Selector>,
    destination: Destination,
    /// `--mode`, where it was given, for the commands that are suggested.
    mode_flag: String,
    /// Identities whose expiry was told.
    told: Mutex<HashSet<Fingerprint>>,
}

impl Account {
    pub(crate) fn new(selector: Arc<Selector>, destination: Destination, mode_flag: String) -> Self {
        Self { selector, destination, mode_flag, told: Mutex::default() }
    }

    pub(crate) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Says what nobody decided just now, and what will not do for long.
    pub(crate) fn tell(&self, selection: &Selection) {
        let destination = &self.destination;
        match selection {
            Selection { source: Source::NoCandidate, .. } => {
                warn(&format!("{destination} asks for a client certificate, and no identity fits; none was sent"));
                note(&format!("hint: {}", self.explain()));
            }
            Selection { source: Source::Rule, rule: Some(rule), answer: Answer::None } => {
                warn(&format!("{destination} asks for a client certificate, and {rule} denies it; none was sent"));
            }
            Selection { answer: Answer::Identity(identity), .. } => self.tell_expiry(identity),
            _ => {}
        }
    }

    fn tell_expiry(&self, identity: &Identity) {
        let (now, until) = (self.selector.now(), identity.certificate().not_after());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if expires_soon(now, until) && told.insert(identity.fingerprint()) {
            warn(&format!("{:?} expires {}", identity.name(), days_from(now, until)));
        }
    }

    /// The failure of a TLS connection that did not come about. A refusal is recorded.
    pub(crate) async fn unconnected(&self, error: ConnectError) -> Failure {
        let (source, sent, version) = match error {
            ConnectError::Selection(error) => return self.undecided(&error),
            ConnectError::Handshake { source, sent, version, .. } => (source, sent, version),
            other => return server::unreachable(&self.destination, &other),
        };
        if let Some(error) = failure(&source) {
            return Failure::from(error);
        }
        if let Some(selection) = sent {
            self.tell(&selection);
            if let Some(refusal) = refusal(&source) {
                return self.refused(&selection, version, refusal).await;
            }
            self.record(&selection, version, Outcome::Unknown, alert(&source).map(alert_name)).await;
        }
        let unverified = server::unverified(&self.destination, &source);
        unverified.unwrap_or_else(|| server::unreachable(&self.destination, &source))
    }

    /// Nothing was decided, and nothing sent.
    fn undecided(&self, error: &cardcase::Error) -> Failure {
        let mut failure = Failure::from(error);
        if let cardcase::Error::NobodyToAsk { .. } = error {
            failure.hints = vec![self.explain(), format!("cardcase remember {} ID{}", self.scope(), self.mode_flag)];
        }
        failure
    }

    /// Records a refusal, and gives the failure that says who refused what, and what to do.
    pub(crate) async fn refused(
        &self,
        selection: &Selection,
        version: Option<ProtocolVersion>,
        why: Refusal,
    ) -> Failure {
        self.record(selection, version, Outcome::Refused, why.alert_name()).await;
        let destination = &self.destination;
        let (code, message) = match (&selection.answer, selection.source) {
            (Answer::Identity(identity), _) => {
                (Code::Refused, format!("{destination} refused the identity {:?}: {why}", identity.name()))
            }
            (Answer::None, Source::NoCandidate) => {
                (Code::NothingFits, format!("{destination} wants a client certificate, and no identity fits: {why}"))
            }
            (Answer::None, _) => (Code::Refused, format!("{destination} refused, as no certificate was sent: {why}")),
        };
        let failure = Failure::new(code, message).hint(self.explain());
        match selection.source {
            Source::Decision | Source::Ask => {
                failure.hint(format_args!("to choose another: cardcase forget {}{}", self.scope(), self.mode_flag))
            }
            Source::Rule => failure.hint("to see what answered: cardcase rules"),
            _ => failure,
        }
    }

    fn explain(&self) -> String {
        format!("cardcase explain {}{}", self.destination, self.mode_flag)
    }

    /// What a decision is remembered under, as it is typed.
    fn scope(&self) -> String {
        match self.selector.mode() {
            Ok(Mode::Chrome) => self.destination.to_string(),
            _ => self.destination.host().to_owned(),
        }
    }

    /// History that cannot be written is no reason to fail what went well.
    pub(crate) async fn record(
        &self,
        selection: &Selection,
        version: Option<ProtocolVersion>,
        outcome: Outcome,
        alert: Option<String>,
    ) {
        let (selector, destination, selection) = (self.selector.clone(), self.destination.clone(), selection.clone());
        let version = version.map(cardcase::history::version_name);
        // Others may be writing, and other connections go on
        let written =
            tokio::task::spawn_blocking(move || selector.record(&destination, &selection, outcome, alert, version));
        if let Ok(Err(error)) = written.await {
            warn(&format!("this use is not in the history: {error}"));
        }
    }
}
