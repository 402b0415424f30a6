//! What a person is told of an answer, and what stands in the history, for connections that carry anything.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use cardcase::Destination;
use cardcase::Identity;
use cardcase::Selector;
use cardcase::ask::Refusal;
use cardcase::connect::{Selection, Source};
use cardcase::manage::Fingerprint;
use cardcase::manage::version_name;
use cardcase::manage::{Answer, Mode, Outcome};
use rustls::ProtocolVersion;

use crate::ui::failure::{Code, Failure};
use crate::ui::say;
use crate::ui::text::{days_from, expires_soon};

/// Keeps account of the answers of a selector.
pub(crate) struct Account {
    selector: Arc<Selector>,
    /// `--mode`, if it was given, for the suggested commands.
    mode_flag: String,
    /// Identities whose expiry was told.
    told: Mutex<HashSet<Fingerprint>>,
}

impl Account {
    pub(crate) fn new(selector: Arc<Selector>, mode_flag: String) -> Self {
        Self { selector, mode_flag, told: Mutex::default() }
    }

    /// Says what nobody decided just now, and what will not do for long.
    pub(crate) fn tell(&self, destination: &Destination, selection: &Selection) {
        match selection {
            Selection { source: Source::NoCandidate, .. } => {
                say::warn(format_args!(
                    "{destination} asks for a client certificate, and no identity fits; none was sent"
                ));
                say::hint(self.explain(destination));
            }
            Selection { source: Source::Rule, rule: Some(rule), answer: Answer::None, .. } => {
                say::warn(format_args!(
                    "{destination} asks for a client certificate, and {rule} denies it; none was sent"
                ));
            }
            Selection { answer: Answer::Identity(identity), .. } => self.tell_expiry(identity),
            _ => {}
        }
    }

    fn tell_expiry(&self, identity: &Identity) {
        let (now, until) = (self.selector.now(), identity.certificate().not_after());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if expires_soon(now, until) && told.insert(identity.fingerprint()) {
            say::warn(format_args!("{:?} expires {}", identity.name(), days_from(now, until)));
        }
    }

    /// Nothing was decided, and nothing sent.
    pub(crate) fn undecided(&self, destination: &Destination, error: &cardcase::Error) -> Failure {
        let mut failure = Failure::from(error);
        if let cardcase::Error::NobodyToAsk { .. } = error {
            let remember = format!("cardcase remember {} ID{}", self.scope(destination), self.mode_flag);
            failure.hints = vec![self.explain(destination), remember];
        }
        failure
    }

    /// The failure that says who refused what, and what to do.
    pub(crate) fn refusal(&self, destination: &Destination, selection: &Selection, why: Refusal) -> Failure {
        let (code, message) = match (&selection.answer, selection.source) {
            (Answer::Identity(identity), _) => {
                (Code::Refused, format!("{destination} refused the identity {:?}: {why}", identity.name()))
            }
            (Answer::None, Source::NoCandidate) => {
                (Code::NothingFits, format!("{destination} wants a client certificate, and no identity fits: {why}"))
            }
            (Answer::None, _) => (Code::Refused, format!("{destination} refused, as no certificate was sent: {why}")),
        };
        self.mending(destination, selection, Failure::new(code, message).hint(self.explain(destination)))
    }

    /// The failure of a connection that ended without a word after a server was answered: some refuse in no other way, the JDK's
    /// and asyncio's among them.
    pub(crate) fn cut_short(&self, destination: &Destination, selection: &Selection, failure: Failure) -> Failure {
        let sent = match &selection.answer {
            Answer::Identity(identity) => format!("was sent {:?}", identity.name()),
            Answer::None => "was sent none".to_owned(),
        };
        let explain = self.explain(destination);
        let asked = format!(
            "{destination} asks for a client certificate and {sent}; if it hangs up because of that: {explain}"
        );
        self.mending(destination, selection, failure.hint(asked))
    }

    /// Adds how to answer otherwise.
    fn mending(&self, destination: &Destination, selection: &Selection, failure: Failure) -> Failure {
        match selection.source {
            Source::Decision | Source::Ask => {
                let (scope, mode) = (self.scope(destination), &self.mode_flag);
                failure.hint(format_args!("to choose another: cardcase forget {scope}{mode}"))
            }
            Source::Rule => failure.hint("to see what answered: cardcase rules"),
            _ => failure,
        }
    }

    fn explain(&self, destination: &Destination) -> String {
        format!("cardcase explain {destination}{}", self.mode_flag)
    }

    /// What a decision for this destination is remembered under, as it is typed.
    fn scope(&self, destination: &Destination) -> String {
        match self.selector.mode() {
            Ok(Mode::Chrome) => destination.to_string(),
            _ => destination.host().to_owned(),
        }
    }

    /// History that cannot be written is no reason to fail what went well.
    pub(crate) fn record(
        &self,
        destination: &Destination,
        selection: &Selection,
        version: Option<ProtocolVersion>,
        outcome: Outcome,
        alert: Option<String>,
    ) {
        let written = self.selector.record(destination, selection, outcome, alert, version.map(version_name));
        if let Err(error) = written {
            say::warn(format_args!("this use is not in the history: {error}"));
        }
    }
}
