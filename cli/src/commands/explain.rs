//! `cardcase explain`

use std::collections::BTreeSet;

use cardcase::ask::CertificateRequest;
use cardcase::ask::Considered;
use cardcase::ask::Reason;
use cardcase::connect::{Explanation, Selection, Source};
use cardcase::manage::Answer;
use cardcase::manage::Timestamp;
use cardcase::manage::plain;
use cardcase::manage::version_name;
use cardcase::{Destination, Target};
use serde::Serialize;

use crate::app::App;
use crate::cli::Explain;
use crate::http::asked;
use crate::http::incompatible;
use crate::http::probe::{Look, Seen};
use crate::http::verify;
use crate::pkcs11::Uris;
use crate::ui::failure::Failure;
use crate::ui::json::{DestinationJson, print_json};
use crate::ui::named_store::in_commands;
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::table::table;

/// How many authorities of a request are shown as text.
const SHOWN: usize = 20;

/// How many commands of one kind are suggested.
const SUGGESTED: usize = 5;

#[derive(Serialize)]
struct ExplainJson {
    destination: DestinationJson,
    server_verified: bool,
    tls_version: Option<String>,
    requested: bool,
    authorities: Vec<String>,
    signature_schemes: Vec<String>,
    identities: Vec<ConsideredJson>,
    answer: AnswerJson,
}

#[derive(Serialize)]
struct ConsideredJson {
    fingerprint: String,
    name: String,
    candidate: bool,
    reasons: Vec<String>,
    warnings: Vec<String>,
    /// How other programs name it, if they may use it.
    #[serde(flatten)]
    uris: Option<Uris>,
}

#[derive(Serialize)]
struct AnswerJson {
    source: String,
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// A server, its request, and what would answer it.
struct Explained<'a> {
    destination: &'a Destination,
    seen: Seen,
    /// `None` when the server did not ask for a certificate.
    explanation: Option<Explanation>,
    /// `--mode`, if it was given, for the suggested commands.
    mode_flag: String,
    now: Timestamp,
}

pub(crate) fn run(app: &App, args: &Explain) -> Result<(), Failure> {
    let target = target(&args.destination)?;
    let selector = app.selector()?;
    let config = verify::config(app, args.cacert.as_deref())?;
    incompatible::check_built_in(args.tls)?;
    let seen = match args.request {
        true => asked::ask(app, args, &target, &config)?,
        false => {
            let roots = || verify::roots(app, args.cacert.as_deref());
            let connect = args.connect.as_deref();
            Look { target: &target, connect, config: &config, roots: &roots, tls: args.tls, given: None }
                .look(&selector)?
        }
    };
    if let Some(version) = seen.version {
        say::detail(format_args!("connected to {}: {}", target.destination(), version_name(version)));
    }
    let explanation = seen.request.as_ref().map(|request| selector.explain(&target, request)).transpose()?;
    if let Some(failure) = &seen.unverified {
        say::warn(format_args!("{}; no certificate would be sent to it", failure.message));
        failure.hints.iter().for_each(say::hint);
    }
    let (destination, mode_flag) = (target.destination(), app.mode_flag());
    let explained = Explained { destination, seen, explanation, mode_flag, now: selector.now() };
    if app.common.json { print_json(&explained.json()) } else { print(&explained.text()) }
}

/// Parses `HOST[:PORT]`, or a longer URL: rules may look at the path.
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
        self.explanation.as_ref()?.selection.as_ref()
    }

    fn identities(&self) -> &[Considered] {
        self.explanation.as_ref().map_or(&[], |explanation| &explanation.identities)
    }

    fn json(&self) -> ExplainJson {
        let request = self.seen.request.as_ref();
        let identity = |considered: &Considered| ConsideredJson {
            fingerprint: considered.identity.fingerprint().to_string(),
            name: considered.identity.name().to_owned(),
            candidate: considered.is_candidate(),
            reasons: considered.reasons.iter().map(ToString::to_string).collect(),
            warnings: considered.warnings.iter().map(ToString::to_string).collect(),
            uris: Uris::new(&considered.identity),
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
            signature_schemes: request.map_or(Vec::new(), CertificateRequest::scheme_names),
            identities: self.identities().iter().map(identity).collect(),
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
        let when = if self.seen.mid_connection { ", once it has read the request" } else { "" };
        let mut out = format!("{destination} asks for a client certificate{version}{when}.\n");
        out.push_str(&authorities(request));
        out.push_str(&format!(
            "It accepts these signature schemes: {}.

",
            request.scheme_names().join(", ")
        ));
        if self.identities().is_empty() {
            out.push_str("The store has no identities: cardcase import FILE.p12\n");
        } else {
            let (fit, rest): (Vec<_>, Vec<_>) =
                self.identities().iter().partition(|considered| considered.is_candidate());
            let rows = fit.into_iter().chain(rest).map(|considered| self.row(considered));
            out.push_str(&table(&["FITS", "IDENTITY", "SHA-256", "EXPIRES", "NOTE"], rows));
        }
        out.push_str(&format!("\n{}\n", plain(&self.verdict())));
        for command in self.commands() {
            out.push_str(&format!("  {}\n", plain(&in_commands(&command))));
        }
        out
    }

    fn row(&self, considered: &Considered) -> Vec<String> {
        let certificate = considered.identity.certificate();
        let fits = if considered.is_candidate() { "yes" } else { "no" };
        vec![
            fits.to_owned(),
            considered.identity.name().to_owned(),
            certificate.fingerprint().short(),
            certificate.not_after().days_from(self.now),
            considered.notes().join("; "),
        ]
    }

    fn verdict(&self) -> String {
        let Some(explanation) = &self.explanation else { return String::new() };
        let Some(selection) = &explanation.selection else { return why_asked(explanation) };
        let goes = match &selection.answer {
            Answer::Identity(identity) => format!("{} is sent", identity.name()),
            Answer::None => "no certificate is sent".to_owned(),
        };
        match (selection.source, &selection.rule) {
            (Source::Decision, _) => format!("Remembered: {goes}."),
            (Source::NoCandidate, _) => "No identity fits: no certificate is sent.".to_owned(),
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
        let mut candidates = self.identities().iter().filter(|considered| considered.is_candidate());
        if let Some(other) = candidates.find(|considered| Some(considered.identity.fingerprint()) != sent) {
            let id = other.identity.fingerprint().short();
            let what = if self.answer().is_none() { "decide now" } else { "send another" };
            commands.push(format!("to {what}: cardcase remember {destination} {id}{mode}"));
        }
        if self.answer().is_some_and(|selection| selection.source == Source::NoCandidate) {
            commands.extend(self.allowing());
            commands.extend(self.completing());
        }
        commands.extend(self.uris());
        commands
    }

    /// Commands for identities that the server would accept, and that only a rule or a demand for TLS 1.3 holds back.
    fn allowing(&self) -> Vec<String> {
        let is_ours = |reason: &Reason| matches!(reason, Reason::DeniedByRule | Reason::RequiresTls13);
        let kept_back: Vec<&Considered> =
            self.identities().iter().filter(|considered| considered.reasons.iter().all(is_ours)).collect();
        let (by_rule, by_itself): (Vec<&Considered>, Vec<&Considered>) =
            kept_back.into_iter().partition(|considered| considered.rule.is_some());
        let rules =
            (!by_rule.is_empty()).then(|| "to see the rules that hold identities back: cardcase rules".to_owned());
        let own = by_itself.into_iter().take(SUGGESTED).map(|considered| {
            let id = considered.identity.fingerprint().short();
            format!(
                "to send {} below TLS 1.3, where others can read it: cardcase min-tls {id} 1.2",
                considered.identity.name()
            )
        });
        rules.into_iter().chain(own).collect()
    }

    /// How other programs name the identities that fit and that they may use.
    fn uris(&self) -> impl Iterator<Item = String> {
        let fit = self.identities().iter().filter(|considered| considered.is_candidate());
        let uris =
            fit.filter_map(|considered| Some((considered.identity.name(), Uris::new(&considered.identity)?.uri)));
        uris.take(SUGGESTED).map(|(name, uri)| format!("to use {name} in a program with the PKCS#11 module: {uri}"))
    }

    /// Commands for identities that may fit when their chains are complete.
    fn completing(&self) -> Vec<String> {
        let lacking =
            self.identities().iter().filter(|considered| considered.reasons.contains(&Reason::IssuerNotRequested));
        let missing: BTreeSet<String> =
            lacking.filter_map(|considered| considered.missing_issuer.as_ref()).map(ToString::to_string).collect();
        let command = |name| format!("if you have the certificate of {name}: cardcase import FILE");
        missing.into_iter().take(SUGGESTED).map(command).collect()
    }
}

fn why_asked(explanation: &Explanation) -> String {
    match (&explanation.unfit, &explanation.ambiguous_rule) {
        (Some(unfit), _) => format!("The remembered certificate no longer fits ({unfit}): you would be asked."),
        (None, Some(rule)) => {
            format!(
                "Nothing is remembered, and rules select several identities, one of them by {rule}: you would be asked."
            )
        }
        (None, None) => "Nothing is remembered: you would be asked.".to_owned(),
    }
}

fn authorities(request: &CertificateRequest) -> String {
    if request.authorities.is_empty() {
        return "It accepts certificates from any issuer.\n".to_owned();
    }
    let mut out = "It accepts certificates issued by:\n".to_owned();
    for authority in request.authorities.iter().take(SHOWN) {
        out.push_str(&format!("  {}\n", plain(&authority.to_string())));
    }
    if request.authorities.len() > SHOWN {
        out.push_str(&format!("  and {} more (--json shows all)\n", request.authorities.len() - SHOWN));
    }
    out
}
