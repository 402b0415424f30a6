//! What is printed: JSON as docs/cli.md has it, tables, and text that cannot harm a terminal.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use cardcase::Destination;
use cardcase::Identity;
use cardcase::manage;
use cardcase::manage::Authority;
use cardcase::manage::Certificate;
use cardcase::manage::Decision;
use cardcase::manage::Timestamp;
use cardcase::manage::Use;
use cardcase::manage::is_unprintable;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use rustls::SignatureScheme;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::ui::failure::{Code, Failure};

/// Writes to stdout. A reader that has gone is no error: it had enough.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Failed, format_args!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints one JSON document.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(Code::Failed, error))?;
    print(&format!("{text}\n"))
}

/// The title of a column of fingerprints, which are never broken over lines, so that they can be copied.
const FINGERPRINT: &str = "SHA-256";

/// Prints a table.
pub(crate) fn print_table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<(), Failure> {
    print(&table(header, rows))
}

/// A table, as wide as the terminal where there is one, of text that may come from anywhere.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let terminal = console::Term::stdout();
    arranged(header, rows, terminal.is_term().then(|| terminal.size().1))
}

fn arranged(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    if let Some(width) = width {
        table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
    }
    for (column, title) in table.column_iter_mut().zip(header) {
        column.set_padding((0, 2));
        if *title == FINGERPRINT {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.add_rows(rows.into_iter().map(|row| row.iter().map(|cell| plain(cell)).collect::<Vec<_>>()));
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Text from a certificate or a server, with what could move the cursor or reorder the line made visible.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = is_unprintable(c).then(|| c.escape_unicode());
            let itself = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(itself)
        })
        .collect()
}

/// RFC 7468. It may be a private key.
pub(crate) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(BASE64.encode(der));
    // Room for all of it, so that nothing is left where it was moved from
    let mut lines = Zeroizing::new(String::with_capacity(text.len() + text.len() / 64 + 2 * label.len() + 64));
    lines.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        lines.push_str(line);
        lines.push('\n');
        rest = after;
    }
    lines.push_str(&format!("-----END {label}-----\n"));
    lines
}

/// "in 12 days", "today", "3 days ago".
pub(crate) fn days_from(now: Timestamp, then: Timestamp) -> String {
    match now.days_until(then) {
        0 => "today".to_owned(),
        1 => "in 1 day".to_owned(),
        -1 => "1 day ago".to_owned(),
        days if days > 0 => format!("in {days} days"),
        days => format!("{} days ago", -days),
    }
}

/// Days before its end from which on an identity is warned about.
const SOON: i64 = 30;

/// Whether the end is near enough for a warning, and not past.
pub(crate) fn expires_soon(now: Timestamp, until: Timestamp) -> bool {
    until >= now && now.days_until(until) < SOON
}

/// IDENTITY of docs/cli.md.
#[derive(Serialize)]
pub(crate) struct IdentityJson {
    pub(crate) fingerprint: String,
    pub(crate) name: String,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) serial: String,
    pub(crate) not_before: String,
    pub(crate) not_after: String,
    pub(crate) expired: bool,
    pub(crate) key: String,
    pub(crate) chain_length: usize,
    pub(crate) key_usage: Vec<&'static str>,
    pub(crate) extended_key_usage: Vec<String>,
    pub(crate) emails: Vec<String>,
}

impl IdentityJson {
    /// `chain` is what the store has above the identity.
    pub(crate) fn new(identity: &Identity, chain: &[Arc<Authority>], now: Timestamp) -> Self {
        let certificate = identity.certificate();
        Self {
            fingerprint: certificate.fingerprint().to_string(),
            name: identity.name().to_owned(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: certificate.serial(),
            not_before: certificate.not_before().to_string(),
            not_after: certificate.not_after().to_string(),
            expired: certificate.not_after() < now,
            key: certificate.key().to_string(),
            chain_length: 1 + chain.len(),
            key_usage: certificate.key_usage().unwrap_or_default(),
            extended_key_usage: certificate.extended_key_usage().unwrap_or_default().to_vec(),
            emails: certificate.emails().to_vec(),
        }
    }
}

/// Where a certificate would go.
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

/// The names of IANA's TLS SignatureScheme registry.
pub(crate) fn scheme_names(schemes: &[SignatureScheme]) -> Vec<String> {
    let name = |scheme: &SignatureScheme| match *scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => "ecdsa_secp256r1_sha256".to_owned(),
        SignatureScheme::ECDSA_NISTP384_SHA384 => "ecdsa_secp384r1_sha384".to_owned(),
        SignatureScheme::ECDSA_NISTP521_SHA512 => "ecdsa_secp521r1_sha512".to_owned(),
        SignatureScheme::RSA_PSS_SHA256 => "rsa_pss_rsae_sha256".to_owned(),
        SignatureScheme::RSA_PSS_SHA384 => "rsa_pss_rsae_sha384".to_owned(),
        SignatureScheme::RSA_PSS_SHA512 => "rsa_pss_rsae_sha512".to_owned(),
        manage::RSA_PSS_PSS_SHA256 => "rsa_pss_pss_sha256".to_owned(),
        manage::RSA_PSS_PSS_SHA384 => "rsa_pss_pss_sha384".to_owned(),
        manage::RSA_PSS_PSS_SHA512 => "rsa_pss_pss_sha512".to_owned(),
        SignatureScheme::ECDSA_SHA1_Legacy => "ecdsa_sha1".to_owned(),
        other => match (other.as_str(), u16::from(other)) {
            (Some(name), _) => name.to_ascii_lowercase(),
            (None, number) => format!("0x{number:04x}"),
        },
    };
    schemes.iter().map(name).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_where_they_are_and_fingerprints_whole() {
        let row = |name: &str, note: &str| vec![name.to_owned(), "0123456789abcdef".to_owned(), note.to_owned()];
        let rows = [row("", "a long note, too long for what is left of the line"), row("alice", "")];
        let header = ["NAME", FINGERPRINT, "NOTE"];
        let lines = "NAME   SHA-256           NOTE\n       0123456789abcdef  a long note, too long for what is left of the line\n\
                     alice  0123456789abcdef\n";
        assert_eq!(arranged(&header, rows.clone(), None), lines);
        for width in [20, 30, 40, 60] {
            let table = arranged(&header, rows.clone(), Some(width));
            assert_eq!(table.matches("0123456789abcdef").count(), 2, "{table}");
        }
    }
}
