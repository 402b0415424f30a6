//! JSON, as docs/cli.md describes it.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, BufWriter, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use cardcase::Destination;
use cardcase::manage::{
    Certificate, Decision, Enrollment, Fingerprint, Lifetime, Outcome, Renewal, Rule, Scope, Timestamp, Use, plain_json,
};
use serde::ser::{Error as _, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::ui::failure::Failure;
use crate::ui::stdout::print_with;

/// Prints one JSON document. What does not show in a terminal is escaped.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let printed = print_with(|stdout| {
        let mut buffered = BufWriter::with_capacity(1 << 16, Escaping(stdout));
        serde_json::to_writer_pretty(&mut buffered, value)?;
        buffered.write_all(b"\n")?;
        buffered.flush()
    });
    printed.map(drop)
}

/// A JSON array whose elements are made while it is written. An error of the iterator ends the document in the middle.
pub(crate) struct JsonRows<I>(RefCell<I>);

impl<I> JsonRows<I> {
    pub(crate) fn new(rows: I) -> Self {
        Self(RefCell::new(rows))
    }
}

impl<I: Iterator<Item = Result<T, E>>, T: Serialize, E: Display> Serialize for JsonRows<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(None)?;
        for row in &mut *self.0.borrow_mut() {
            array.serialize_element(&row.map_err(S::Error::custom)?)?;
        }
        array.end()
    }
}

/// Escapes what does not show in a terminal. What is written at once has to be whole characters: serde_json writes only such, and
/// `BufWriter` divides nothing.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_ascii() && !bytes.contains(&b'\x7f') {
            // serde_json has escaped the other control characters
            self.0.write_all(bytes)?;
        } else {
            let text = str::from_utf8(bytes).map_err(io::Error::other)?;
            self.0.write_all(plain_json(text).as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The destination of a certificate.
#[derive(Serialize)]
pub(crate) struct DestinationJson {
    host: String,
    port: u16,
}

impl DestinationJson {
    pub(crate) fn new(destination: &Destination) -> Self {
        Self { host: destination.host().to_owned(), port: destination.port() }
    }
}

/// A certificate of a chain, or an authority.
#[derive(Serialize)]
pub(crate) struct CertificateJson {
    pub(crate) fingerprint: String,
    pub(crate) subject: String,
    pub(crate) subject_der: String,
    pub(crate) issuer: String,
    pub(crate) issuer_der: String,
    pub(crate) not_before: String,
    pub(crate) not_after: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trusted: Option<bool>,
}

impl CertificateJson {
    pub(crate) fn new(certificate: &Certificate) -> Self {
        Self {
            fingerprint: certificate.fingerprint().to_string(),
            subject: certificate.subject().to_string(),
            subject_der: BASE64.encode(certificate.subject().der()),
            issuer: certificate.issuer().to_string(),
            issuer_der: BASE64.encode(certificate.issuer().der()),
            not_before: certificate.not_before().to_string(),
            not_after: certificate.not_after().to_string(),
            trusted: None,
        }
    }
}

/// A CA certificate that was stored.
#[derive(Serialize)]
pub(crate) struct AuthorityJson {
    fingerprint: String,
    subject: String,
}

impl AuthorityJson {
    pub(crate) fn new(authority: &Certificate) -> Self {
        Self { fingerprint: authority.fingerprint().to_string(), subject: authority.subject().to_string() }
    }
}

/// A decision as `decisions --json` has it.
#[derive(Serialize)]
pub(crate) struct DecisionJson {
    scope: &'static str,
    host: String,
    port: Option<u16>,
    #[serde(serialize_with = "text_or_null")]
    identity: Option<Fingerprint>,
    #[serde(serialize_with = "text")]
    lifetime: Lifetime,
    #[serde(serialize_with = "text")]
    decided_at: Timestamp,
    #[serde(serialize_with = "text_or_null")]
    last_used_at: Option<Timestamp>,
    #[serde(serialize_with = "text_or_null")]
    last_outcome: Option<Outcome>,
}

impl DecisionJson {
    pub(crate) fn new(decision: Decision) -> Self {
        Self {
            scope: if decision.scope.port.is_some() { "host_port" } else { "host" },
            host: decision.scope.host,
            port: decision.scope.port,
            identity: decision.identity,
            lifetime: decision.lifetime,
            decided_at: decision.decided_at,
            last_used_at: decision.last_used_at,
            last_outcome: decision.last_outcome,
        }
    }
}

impl DecisionJson {
    /// A permanent decision that was made just now, or would be.
    pub(crate) fn permanent(scope: Scope, identity: Option<Fingerprint>, decided_at: Timestamp) -> Self {
        Self {
            scope: if scope.port.is_some() { "host_port" } else { "host" },
            host: scope.host,
            port: scope.port,
            identity,
            lifetime: Lifetime::Permanent,
            decided_at,
            last_used_at: None,
            last_outcome: None,
        }
    }
}

/// A use as `history --json` has it.
#[derive(Serialize)]
pub(crate) struct UseJson {
    #[serde(serialize_with = "text")]
    at: Timestamp,
    host: Option<String>,
    port: Option<u16>,
    /// Another program, whose destination is not known.
    program: Option<String>,
    #[serde(serialize_with = "text_or_null")]
    identity: Option<Fingerprint>,
    source: String,
    #[serde(serialize_with = "text")]
    outcome: Outcome,
    alert: Option<String>,
    tls_version: Option<String>,
}

impl UseJson {
    pub(crate) fn new(used: Use) -> Self {
        let (host, port) = used.destination.unzip();
        Self {
            at: used.at,
            host,
            port,
            program: used.program,
            identity: used.identity,
            source: used.source,
            outcome: used.outcome,
            alert: used.alert,
            tls_version: used.tls_version,
        }
    }
}

/// What an identity took over.
#[derive(Serialize)]
pub(crate) struct RenewalJson {
    old: String,
    new: String,
    /// The scopes of the decisions that moved.
    scopes: Vec<ScopeJson>,
    /// Whether the new one is now sent in TLS 1.3 only, like the old one.
    restricted: bool,
}

#[derive(Serialize)]
struct ScopeJson {
    host: String,
    port: Option<u16>,
}

impl RenewalJson {
    pub(crate) fn new(renewal: &Renewal) -> Self {
        Self {
            old: renewal.old.fingerprint().to_string(),
            new: renewal.new.fingerprint().to_string(),
            scopes: renewal
                .scopes
                .iter()
                .map(|scope| ScopeJson { host: scope.host.clone(), port: scope.port })
                .collect(),
            restricted: renewal.restricted,
        }
    }
}

/// The name of an identity, and what identifies it.
#[derive(Serialize)]
pub(crate) struct NamedJson {
    fingerprint: String,
    name: String,
}

impl NamedJson {
    pub(crate) fn new(fingerprint: Fingerprint, name: &str) -> Self {
        Self { fingerprint: fingerprint.to_string(), name: name.to_owned() }
    }
}

/// The text of a value, written only when the whole document is: a long list of texts takes several times the memory of the values.
fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn text_or_null<S: Serializer>(value: &Option<impl Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// A key that waits for its certificate.
#[derive(Serialize)]
pub(crate) struct EnrollmentJson {
    /// SHA-256 of the request.
    fingerprint: String,
    subject: String,
    key: String,
    made_at: String,
}

impl EnrollmentJson {
    pub(crate) fn new(enrollment: &Enrollment) -> Self {
        Self {
            fingerprint: enrollment.fingerprint().to_string(),
            subject: enrollment.subject().to_string(),
            key: enrollment.key().to_string(),
            made_at: enrollment.made_at().to_string(),
        }
    }
}

/// A rule as `rules --json` and `show --json` have it.
#[derive(Serialize)]
pub(crate) struct RuleJson {
    /// Its number in the store; `None` for a rule in a file of the administrator's.
    number: Option<i64>,
    file: Option<String>,
    /// As an entry of AutoSelectCertificateForUrls.
    rule: Value,
}

impl RuleJson {
    pub(crate) fn new(rule: &Rule) -> Self {
        let file = rule.file().map(|path| path.display().to_string());
        // A rule is always valid JSON
        Self { number: rule.number(), file, rule: serde_json::from_str(&rule.to_json()).unwrap_or_default() }
    }

    /// A rule that had this number in the store.
    pub(crate) fn numbered(number: i64, rule: &Rule) -> Self {
        Self { number: Some(number), ..Self::new(rule) }
    }
}
