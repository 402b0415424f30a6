//! JSON, as docs/cli.md describes it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use cardcase::Destination;
use cardcase::manage::Certificate;
use cardcase::manage::Decision;
use cardcase::manage::Rule;
use cardcase::manage::Use;
use cardcase::manage::plain_json;
use serde::Serialize;
use serde_json::Value;

use crate::ui::failure::{Code, Failure};
use crate::ui::stdout::print;

/// Prints one JSON document. What does not show in a terminal is escaped.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(Code::Failed, error))?;
    print(&format!("{}\n", plain_json(&text)))
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

/// A decision as `decisions --json` has it.
#[derive(Serialize)]
pub(crate) struct DecisionJson {
    scope: &'static str,
    host: String,
    port: Option<u16>,
    identity: Option<String>,
    lifetime: String,
    decided_at: String,
    last_used_at: Option<String>,
    last_outcome: Option<String>,
}

impl DecisionJson {
    pub(crate) fn new(decision: &Decision) -> Self {
        Self {
            scope: if decision.scope.port.is_some() { "host_port" } else { "host" },
            host: decision.scope.host.clone(),
            port: decision.scope.port,
            identity: decision.identity.map(|fingerprint| fingerprint.to_string()),
            lifetime: decision.lifetime.to_string(),
            decided_at: decision.decided_at.to_string(),
            last_used_at: decision.last_used_at.map(|at| at.to_string()),
            last_outcome: decision.last_outcome.map(|outcome| outcome.to_string()),
        }
    }
}

/// A use as `history --json` has it.
#[derive(Serialize)]
pub(crate) struct UseJson {
    at: String,
    host: String,
    port: u16,
    identity: Option<String>,
    source: String,
    outcome: String,
    alert: Option<String>,
    tls_version: Option<String>,
}

impl UseJson {
    pub(crate) fn new(used: &Use) -> Self {
        Self {
            at: used.at.to_string(),
            host: used.host.clone(),
            port: used.port,
            identity: used.identity.map(|fingerprint| fingerprint.to_string()),
            source: used.source.clone(),
            outcome: used.outcome.to_string(),
            alert: used.alert.clone(),
            tls_version: used.tls_version.clone(),
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
}
