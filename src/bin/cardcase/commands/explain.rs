//! `cardcase explain`

use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use cardcase::connect::server_name;
use cardcase::decisions::Answer;
use cardcase::matching::{Matcher, Reason, Warning};
use cardcase::request::{CertificateRequest, Destination, split_port};
use cardcase::resolver::{Resolver, Wish, wish};
use cardcase::selector::{Foreseen, Selector};
use cardcase::trace::Traced;
use rustls::{ClientConnection, ProtocolVersion};
use serde::Serialize;

use crate::app::App;
use crate::cli::Explain;
use crate::dial::TIMEOUT;
use crate::output::{plain, print, print_json};
use crate::report::{Code, Failure};
use crate::server;

/// Authorities of a request that people are shown.
const SHOWN: usize = 20;

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
struct DestinationJson {
    host: String,
    port: u16,
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
    source: &'static str,
    identity: Option<String>,
}

/// What one handshake, ended before anything of ours was sent, tells of a server.
struct Seen {
    request: Option<CertificateRequest>,
    version: Option<ProtocolVersion>,
    unverified: Option<Failure>,
}

pub(crate) fn run(app: &App, args: &Explain) -> Result<(), Failure> {
    let destination: Destination = args.destination.parse()?;
    let selector = app.selector()?;
    let seen = look(app, args, &destination, &selector)?;
    let assessed = match &seen.request {
        Some(request) => assess(&selector, request)?,
        None => Vec::new(),
    };
    let foreseen = match &seen.request {
        Some(request) => Some(selector.foresee(&destination, request)?),
        None => None,
    };
    if let Some(failure) = &seen.unverified {
        app.warn(&format!("{}; no certificate would be sent to it", failure.message));
        for hint in &failure.hints {
            app.note(&format!("hint: {hint}"));
        }
    }
    if app.common.json {
        return print_json(&json(&destination, &seen, &assessed, foreseen.as_ref()));
    }
    print(&text(&destination, &seen, &assessed, foreseen.as_ref()))
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

fn dial(args: &Explain, destination: &Destination) -> io::Result<TcpStream> {
    let (host, port) = match &args.connect {
        None => (destination.host().to_owned(), destination.port()),
        Some(address) => match split_port(address) {
            Ok((host, Some(port))) => (host.trim_matches(['[', ']']).to_owned(), port),
            _ => {
                return Err(io::Error::new(
                    ErrorKind::InvalidInput,
                    format!("--connect {address}: it has the form ADDR:PORT"),
                ));
            }
        },
    };
    let mut last = io::Error::new(ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host.as_str(), port).to_socket_addrs()? {
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

/// An identity held against the request.
struct Assessed {
    fingerprint: String,
    name: String,
    reasons: Vec<Reason>,
    warnings: Vec<Warning>,
    missing: Option<String>,
}

fn assess(selector: &Selector, request: &CertificateRequest) -> Result<Vec<Assessed>, Failure> {
    let authorities = selector.store().authorities()?;
    let matcher = Matcher::new(request, &authorities, selector.now());
    let assess = |identity: cardcase::identity::Identity| {
        let certificate = identity.certificate();
        let reasons = matcher.reasons(certificate);
        let chain = authorities.chain(certificate, matcher.requested());
        let top = chain.authorities.last().map_or(certificate, |authority| &authority.certificate);
        Assessed {
            fingerprint: certificate.fingerprint().to_string(),
            name: identity.name().to_owned(),
            warnings: if reasons.is_empty() { matcher.warnings(certificate) } else { Vec::new() },
            missing: (!chain.complete).then(|| top.issuer().to_string()),
            reasons,
        }
    };
    Ok(selector.store().identities()?.into_iter().map(assess).collect())
}

/// The source and the identity of the answer to come.
fn answer(foreseen: Option<&Foreseen>) -> (&'static str, Option<&Answer>) {
    match foreseen {
        None => ("not_requested", None),
        Some(Foreseen::Decision(answer)) => ("decision", Some(answer)),
        Some(Foreseen::NoCandidate) => ("no_candidate", None),
        Some(_) => ("ask", None),
    }
}

fn json(destination: &Destination, seen: &Seen, assessed: &[Assessed], foreseen: Option<&Foreseen>) -> ExplainJson {
    let (source, answer) = answer(foreseen);
    let request = seen.request.as_ref();
    ExplainJson {
        destination: DestinationJson { host: destination.host().to_owned(), port: destination.port() },
        server_verified: seen.unverified.is_none(),
        tls_version: seen.version.map(server::version_name),
        requested: request.is_some(),
        authorities: request
            .map_or(Vec::new(), |request| request.authorities.iter().map(ToString::to_string).collect()),
        signature_schemes: request.map_or(Vec::new(), scheme_names),
        identities: assessed
            .iter()
            .map(|identity| AssessedJson {
                fingerprint: identity.fingerprint.clone(),
                name: identity.name.clone(),
                candidate: identity.reasons.is_empty(),
                reasons: identity.reasons.iter().map(ToString::to_string).collect(),
                warnings: identity.warnings.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        answer: AnswerJson {
            source,
            identity: answer.and_then(Answer::fingerprint).map(|fingerprint| fingerprint.to_string()),
        },
    }
}

/// The names of IANA's TLS SignatureScheme registry.
fn scheme_names(request: &CertificateRequest) -> Vec<String> {
    let name = |scheme: &rustls::SignatureScheme| match *scheme {
        rustls::SignatureScheme::ECDSA_NISTP256_SHA256 => "ecdsa_secp256r1_sha256".to_owned(),
        rustls::SignatureScheme::ECDSA_NISTP384_SHA384 => "ecdsa_secp384r1_sha384".to_owned(),
        rustls::SignatureScheme::ECDSA_NISTP521_SHA512 => "ecdsa_secp521r1_sha512".to_owned(),
        rustls::SignatureScheme::RSA_PSS_SHA256 => "rsa_pss_rsae_sha256".to_owned(),
        rustls::SignatureScheme::RSA_PSS_SHA384 => "rsa_pss_rsae_sha384".to_owned(),
        rustls::SignatureScheme::RSA_PSS_SHA512 => "rsa_pss_rsae_sha512".to_owned(),
        rustls::SignatureScheme::ECDSA_SHA1_Legacy => "ecdsa_sha1".to_owned(),
        other => match (other.as_str(), u16::from(other)) {
            (Some(name), _) => name.to_ascii_lowercase(),
            (None, 0x0809) => "rsa_pss_pss_sha256".to_owned(),
            (None, 0x080a) => "rsa_pss_pss_sha384".to_owned(),
            (None, 0x080b) => "rsa_pss_pss_sha512".to_owned(),
            (None, number) => format!("0x{number:04x}"),
        },
    };
    request.schemes.iter().map(name).collect()
}

fn text(destination: &Destination, seen: &Seen, assessed: &[Assessed], foreseen: Option<&Foreseen>) -> String {
    let version = seen.version.map_or(String::new(), |version| format!(" in {}", server::version_name(version)));
    let Some(request) = &seen.request else {
        return format!("{destination} does not ask for a client certificate{version}.\n");
    };
    let mut out = format!("{destination} asks for a client certificate{version}.\n");
    if request.authorities.is_empty() {
        out.push_str("It takes certificates of any issuer.\n");
    } else {
        out.push_str("It takes certificates issued under:\n");
        for authority in request.authorities.iter().take(SHOWN) {
            out.push_str(&format!("  {}\n", plain(&authority.to_string())));
        }
        if request.authorities.len() > SHOWN {
            out.push_str(&format!("  and {} more (--json shows all)\n", request.authorities.len() - SHOWN));
        }
    }
    out.push_str(&format!("It takes signatures by {}.\n\n", scheme_names(request).join(", ")));
    for identity in assessed {
        out.push_str(&line(identity));
    }
    if assessed.is_empty() {
        out.push_str("The store has no identities: cardcase import FILE.p12\n");
    }
    out.push_str(&format!("\n{}\n", verdict(destination, assessed, foreseen)));
    out
}

fn line(identity: &Assessed) -> String {
    let mark = if identity.reasons.is_empty() { "fits   " } else { "does not" };
    let mut clauses: Vec<String> = identity.reasons.iter().map(|reason| reason.text().to_owned()).collect();
    clauses.extend(identity.warnings.iter().map(|warning| warning.text().to_owned()));
    if let Some(missing) = &identity.missing
        && (identity.reasons.contains(&Reason::IssuerNotRequested) || identity.reasons.is_empty())
    {
        clauses.push(format!("the store lacks the certificate of {}", plain(missing)));
    }
    let clauses = if clauses.is_empty() { String::new() } else { format!(": {}", clauses.join("; ")) };
    format!("  {mark}  {}{clauses}\n", plain(&identity.name))
}

fn verdict(destination: &Destination, assessed: &[Assessed], foreseen: Option<&Foreseen>) -> String {
    match foreseen {
        Some(Foreseen::Decision(Answer::Identity(identity))) => {
            format!("Remembered: {} goes out. To be asked again: cardcase forget {destination}", plain(identity.name()))
        }
        Some(Foreseen::Decision(Answer::None)) => {
            format!("Remembered: no certificate goes out. To be asked again: cardcase forget {destination}")
        }
        Some(Foreseen::NoCandidate) => "No identity fits: none goes out.".to_owned(),
        _ => {
            let first = assessed.iter().find(|identity| identity.reasons.is_empty());
            let id = first.map_or("ID".to_owned(), |identity| identity.fingerprint.chars().take(8).collect());
            format!("Nothing is remembered: you would be asked. To decide now: cardcase remember {destination} {id}")
        }
    }
}
