//! `cardcase explain`

use std::collections::BTreeSet;

use cardcase::ask::CertificateRequest;
use cardcase::ask::Reason;
use cardcase::connect::{Assessed, Foreseen, Selection, Source, WhyAsked};
use cardcase::manage::Answer;
use cardcase::manage::Timestamp;
use cardcase::manage::version_name;
use cardcase::{Destination, Target};
use serde::Serialize;

use crate::app::App;
use crate::cli::Explain;
use crate::http::probe::{Seen, look};
use crate::http::verify;
use crate::ui::failure::Failure;
use crate::ui::json::{DestinationJson, print_json, scheme_names};
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::table::table;
use crate::ui::text::{days_from, plain};

/// Authorities of a request that people are shown.
const SHOWN: usize = 20;

/// Commands of one kind that people are told.
const SUGGESTED: usize = 5;

#[derive(Serialize)]
struct ExplainJson {
    destination: DestinationJson,
    server_verified: bool,
    tls_version: Option<String>,
    requested: bool,
    authorities: Vec<String>,
    signature_schemes: Vec<String>,
    identities: Vec<AssessedJson>,
    answer: AnswerJson,
}

#[derive(Serialize)]
struct AssessedJson {
    fingerprint: String,
    name: String,
    candidate: bool,
    reasons: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct AnswerJson {
    source: String,
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// A server, what it asked for, and what would answer it.
struct Explained<'a> {
    destination: &'a Destination,
    seen: Seen,
    assessed: Vec<Assessed>,
    /// `None` when nothing was requested.
    foreseen: Option<Foreseen>,
    /// `--mode`, where it was given, for the commands that are suggested.
    mode_flag: String,
    now: Timestamp,
}

pub(crate) fn run(app: &App, args: &Explain) -> Result<(), Failure> {
    let target = target(&args.destination)?;
    let selector = app.selector()?;
    let config = verify::config(app, args.cacert.as_deref())?;
    let seen = look(&config, args.connect.as_deref(), target.destination(), &selector)?;
    let (assessed, foreseen) = match &seen.request {
        Some(request) => (selector.assess(&target, request)?, Some(selector.foresee(&target, request)?)),
        None => (Vec::new(), None),
    };
    if let Some(failure) = &seen.unverified {
        say::warn(format_args!("{}; no certificate would be sent to it", failure.message));
        failure.hints.iter().for_each(say::hint);
    }
    let (destination, mode_flag) = (target.destination(), app.mode_flag());
    let explained = Explained { destination, seen, assessed, foreseen, mode_flag, now: selector.now() };
    if app.common.json { print_json(&explained.json()) } else { print(&explained.text()) }
}

/// `HOST[:PORT]`, or more of a URL: rules may look at the path.
fn target(text: &str) -> Result<Target, Failure> {
    let text = text.strip_prefix("https://").unwrap_or(text);
    Ok(match text.split_once('/') {
        None => Target::new(text.parse()?),
        Some((authority, path)) => Target::new(authority.parse()?).with_path(format!("/{path}")),
    })
}

impl Explained<'_> {
    /// `None` when a person would be asked.
    fn answer(&self) -> Option<&Selection> {
        self.foreseen.as_ref().and_then(Foreseen::selection)
    }

    fn json(&self) -> ExplainJson {
        let request = self.seen.request.as_ref();
        let identity = |assessed: &Assessed| AssessedJson {
            fingerprint: assessed.identity.fingerprint().to_string(),
            name: assessed.identity.name().to_owned(),
            candidate: assessed.reasons.is_empty(),
            reasons: assessed.reasons.iter().map(ToString::to_string).collect(),
            warnings: assessed.warnings.iter().map(ToString::to_string).collect(),
        };
        let source = match (request, self.answer()) {
            (None, _) => "not_requested".to_owned(),
            (_, None) => "ask".to_owned(),
            (_, Some(selection)) => selection.source.to_string(),
        };
        let answer = self.answer();
        ExplainJson {
            destination: DestinationJson::new(self.destination),
            server_verified: self.seen.unverified.is_none(),
            tls_version: self.seen.version.map(version_name),
            requested: request.is_some(),
            authorities: request
                .map_or(Vec::new(), |request| request.authorities.iter().map(ToString::to_string).collect()),
            signature_schemes: request.map_or(Vec::new(), |request| scheme_names(&request.schemes)),
            identities: self.assessed.iter().map(identity).collect(),
            answer: AnswerJson {
                source,
                identity: answer.and_then(|selection| selection.answer.fingerprint()).map(|print| print.to_string()),
                rule: answer.and_then(|selection| selection.rule.clone()),
            },
        }
    }

    fn text(&self) -> String {
        let destination = self.destination;
        let version = self.seen.version.map_or(String::new(), |version| format!(" in {}", version_name(version)));
        let Some(request) = &self.seen.request else {
            return format!("{destination} does not ask for a client certificate{version}.\n");
        };
        let mut out = format!("{destination} asks for a client certificate{version}.\n");
        out.push_str(&authorities(request));
        out.push_str(&format!("It takes signatures by {}.\n\n", scheme_names(&request.schemes).join(", ")));
        if self.assessed.is_empty() {
            out.push_str("The store has no identities: cardcase import FILE.p12\n");
        } else {
            let (fit, rest): (Vec<_>, Vec<_>) = self.assessed.iter().partition(|assessed| assessed.reasons.is_empty());
            let rows = fit.into_iter().chain(rest).map(|assessed| self.row(assessed));
            out.push_str(&table(&["FITS", "IDENTITY", "SHA-256", "EXPIRES", "NOTE"], rows));
        }
        out.push_str(&format!("\n{}\n", plain(&self.verdict())));
        for command in self.commands() {
            out.push_str(&format!("  {}\n", plain(&command)));
        }
        out
    }

    fn row(&self, assessed: &Assessed) -> Vec<String> {
        let certificate = assessed.identity.certificate();
        let fits = if assessed.reasons.is_empty() { "yes" } else { "no" };
        vec![
            fits.to_owned(),
            assessed.identity.name().to_owned(),
            certificate.fingerprint().short(),
            days_from(self.now, certificate.not_after()),
            notes(assessed).join("; "),
        ]
    }

    fn verdict(&self) -> String {
        let selection = match &self.foreseen {
            Some(Foreseen::Answered(selection)) => selection,
            Some(Foreseen::Asked(why)) => return asked(why),
            None => return String::new(),
        };
        let goes = match &selection.answer {
            Answer::Identity(identity) => format!("{} goes out", identity.name()),
            Answer::None => "no certificate goes out".to_owned(),
        };
        match (selection.source, &selection.rule) {
            (Source::Decision, _) => format!("Remembered: {goes}."),
            (Source::NoCandidate, _) => "No identity fits: none goes out.".to_owned(),
            (_, Some(rule)) => format!("By {rule}, {goes}."),
            _ => format!("{goes}."),
        }
    }

    /// Commands that would change the answer.
    fn commands(&self) -> Vec<String> {
        let (destination, mode) = (self.destination, &self.mode_flag);
        let mut commands = match self.answer().map(|selection| selection.source) {
            Some(Source::Decision) => vec![format!("to be asked again: cardcase forget {destination}{mode}")],
            Some(Source::Rule) => vec!["to see the rules and settings: cardcase rules; cardcase config".to_owned()],
            _ => Vec::new(),
        };
        let sent = self.answer().and_then(|selection| selection.answer.fingerprint());
        let mut candidates = self.assessed.iter().filter(|assessed| assessed.reasons.is_empty());
        if let Some(other) = candidates.find(|assessed| Some(assessed.identity.fingerprint()) != sent) {
            let id = other.identity.fingerprint().short();
            let what = if self.answer().is_none() { "decide now" } else { "send another" };
            commands.push(format!("to {what}: cardcase remember {destination} {id}{mode}"));
        }
        if self.answer().is_some_and(|selection| selection.source == Source::NoCandidate) {
            commands.extend(self.allowing());
            commands.extend(self.completing());
        }
        commands
    }

    /// Commands for identities that the server would take, and that only a rule or a demand for TLS 1.3 keeps back.
    fn allowing(&self) -> Vec<String> {
        let is_ours = |reason: &Reason| matches!(reason, Reason::DeniedByRule | Reason::RequiresTls13);
        let kept_back: Vec<&Assessed> =
            self.assessed.iter().filter(|assessed| assessed.reasons.iter().all(is_ours)).collect();
        let (by_rule, by_itself): (Vec<&Assessed>, Vec<&Assessed>) =
            kept_back.into_iter().partition(|assessed| assessed.rule.is_some());
        let rules =
            (!by_rule.is_empty()).then(|| "to see the rules that keep identities back: cardcase rules".to_owned());
        let own = by_itself.into_iter().take(SUGGESTED).map(|assessed| {
            let id = assessed.identity.fingerprint().short();
            format!("to send {} where others can read it: cardcase min-tls {id} 1.2", assessed.identity.name())
        });
        rules.into_iter().chain(own).collect()
    }

    /// Commands for identities that may fit once their chains are complete.
    fn completing(&self) -> Vec<String> {
        let lacking = self.assessed.iter().filter(|assessed| assessed.reasons.contains(&Reason::IssuerNotRequested));
        let missing: BTreeSet<String> =
            lacking.filter_map(|assessed| assessed.missing.as_ref()).map(ToString::to_string).collect();
        let command = |name| format!("if you have the certificate of {name}: cardcase import FILE");
        missing.into_iter().take(SUGGESTED).map(command).collect()
    }
}

fn asked(why: &WhyAsked) -> String {
    match why {
        WhyAsked::Unfit(unfit) => format!("What is remembered does not do ({unfit}): you would be asked."),
        WhyAsked::SeveralSelected(rule) => {
            format!("Nothing is remembered, and several identities are selected, one by {rule}: you would be asked.")
        }
        _ => "Nothing is remembered: you would be asked.".to_owned(),
    }
}

fn authorities(request: &CertificateRequest) -> String {
    if request.authorities.is_empty() {
        return "It takes certificates of any issuer.\n".to_owned();
    }
    let mut out = "It takes certificates issued under:\n".to_owned();
    for authority in request.authorities.iter().take(SHOWN) {
        out.push_str(&format!("  {}\n", plain(&authority.to_string())));
    }
    if request.authorities.len() > SHOWN {
        out.push_str(&format!("  and {} more (--json shows all)\n", request.authorities.len() - SHOWN));
    }
    out
}

/// Why an identity does not fit, or what should be known of it; and what is missing, where that may be the cause.
fn notes(assessed: &Assessed) -> Vec<String> {
    let mut notes: Vec<String> = assessed.reasons.iter().map(|reason| reason.text().to_owned()).collect();
    notes.extend(assessed.warnings.iter().map(|warning| warning.text().to_owned()));
    if let Some(missing) = &assessed.missing
        && (assessed.reasons.contains(&Reason::IssuerNotRequested) || assessed.reasons.is_empty())
    {
        notes.push(format!("the store lacks the certificate of {missing}"));
    }
    if let Some(rule) = &assessed.rule {
        notes.push(rule.clone());
    }
    notes
}
