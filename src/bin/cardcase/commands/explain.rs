//! `cardcase explain`

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use cardcase::clock::Timestamp;
use cardcase::connect::server_name;
use cardcase::decisions::Answer;
use cardcase::matching::Reason;
use cardcase::request::{CertificateRequest, Destination, Target, split_port};
use cardcase::resolver::{Resolver, Wish, wish};
use cardcase::selector::{Assessed, Foreseen, Selection, Selector, Source, WhyAsked};
use cardcase::trace::Traced;
use rustls::{ClientConnection, ProtocolVersion};
use serde::Serialize;

use crate::app::App;
use crate::cli::Explain;
use crate::dial::TIMEOUT;
use crate::output::{DestinationJson, days_from, plain, print, print_json, scheme_names, table};
use crate::report::{Code, Failure};
use crate::server;

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

/// What one handshake, ended before anything of ours was sent, tells of a server.
struct Seen {
    request: Option<CertificateRequest>,
    version: Option<ProtocolVersion>,
    unverified: Option<Failure>,
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
    let seen = look(app, args, target.destination(), &selector)?;
    let (assessed, foreseen) = match &seen.request {
        Some(request) => (selector.assess(&target, request)?, Some(selector.foresee(&target, request)?)),
        None => (Vec::new(), None),
    };
    if let Some(failure) = &seen.unverified {
        app.warn(&format!("{}; no certificate would be sent to it", failure.message));
        for hint in &failure.hints {
            app.note(&format!("hint: {hint}"));
        }
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

/// Goes through the handshake as far as the signature that would prove an identity.
fn look(app: &App, args: &Explain, destination: &Destination, selector: &Selector) -> Result<Seen, Failure> {
    let config = server::config(app, args.cacert.as_deref())?;
    let resolver = Resolver::new(selector.undecided(destination)?);
    let mut tls = ClientConnection::new(Arc::new(resolver.config(&config)), server_name(destination)?)
        .map_err(|error| Failure::new(Code::Failed, error))?;
    let mut socket = resolver.trace(dial(args, destination).map_err(|error| server::unreachable(destination, &error))?);
    let ended = handshake(&mut tls, &mut socket);
    let version = tls.protocol_version();
    let seen = |request: Option<CertificateRequest>, unverified| Seen {
        request: request.map(|request| CertificateRequest { version, ..request }),
        version,
        unverified,
    };
    let Err(error) = ended else { return Ok(seen(resolver.request(), None)) };
    if let Some(Wish::Select(request)) = wish(&error) {
        return Ok(seen(Some(request.clone()), None));
    }
    match server::unverified(destination, &error) {
        Some(failure) => Ok(seen(resolver.request(), Some(failure))),
        None => Err(server::unreachable(destination, &error)),
    }
}

/// One step at a time, so that a server which sends a byte now and then does not hold it up for ever.
fn handshake(tls: &mut ClientConnection, socket: &mut Traced<TcpStream>) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    while tls.is_handshaking() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "no TLS handshake within 30 s"));
        }
        socket.get_ref().set_read_timeout(Some(left))?;
        while tls.wants_write() {
            tls.write_tls(socket)?;
        }
        if tls.is_handshaking() && tls.read_tls(socket)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    }
    Ok(())
}

fn parse_address(text: &str) -> io::Result<Destination> {
    let wrong =
        |reason: &dyn fmt::Display| io::Error::new(ErrorKind::InvalidInput, format!("--connect {text}: {reason}"));
    match split_port(text) {
        Ok((host, Some(port))) => Destination::new(host, port).map_err(|error| wrong(&error)),
        _ => Err(wrong(&"it has the form ADDR:PORT")),
    }
}

fn dial(args: &Explain, destination: &Destination) -> io::Result<TcpStream> {
    let address = args.connect.as_deref().map(parse_address).transpose()?;
    let address = address.as_ref().unwrap_or(destination);
    let (host, port) = (address.host(), address.port());
    let mut last = io::Error::new(ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(socket) => {
                socket.set_write_timeout(Some(TIMEOUT))?;
                return Ok(socket);
            }
            Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(last)
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
            tls_version: self.seen.version.map(server::version_name),
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
        let version =
            self.seen.version.map_or(String::new(), |version| format!(" in {}", server::version_name(version)));
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
