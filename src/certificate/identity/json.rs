//! An identity as JSON.

use serde::Serialize;

use super::Identity;
use crate::clock::Timestamp;

/// IDENTITY of docs/cli.md.
#[derive(Serialize)]
struct IdentityJson {
    fingerprint: String,
    name: String,
    subject: String,
    issuer: String,
    serial: String,
    not_before: String,
    not_after: String,
    expired: bool,
    key: String,
    usable: UsableJson,
    chain_length: usize,
    key_usage: Vec<&'static str>,
    extended_key_usage: Vec<String>,
    emails: Vec<String>,
}

/// Which TLS libraries can use the key of an identity.
#[derive(Serialize)]
struct UsableJson {
    rustls: bool,
    openssl: bool,
    /// Why rustls cannot, and what can.
    why: Option<String>,
}

impl Identity {
    /// The object that `cardcase list --json` prints for it, and that a chooser program reads: IDENTITY of docs/cli.md.
    /// `authorities` is how many authorities the store has above it.
    pub fn json(&self, authorities: usize, now: Timestamp) -> impl Serialize + use<> {
        let certificate = self.certificate();
        IdentityJson {
            fingerprint: certificate.fingerprint().to_string(),
            name: self.name().to_owned(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: certificate.serial(),
            not_before: certificate.not_before().to_string(),
            not_after: certificate.not_after().to_string(),
            expired: certificate.not_after() < now,
            key: certificate.key().to_string(),
            usable: UsableJson {
                rustls: self.is_usable_by_rustls(),
                openssl: self.is_usable_by_openssl(),
                why: self.key_limit(),
            },
            chain_length: 1 + authorities,
            key_usage: certificate.key_usage().unwrap_or_default(),
            extended_key_usage: certificate.extended_key_usage().unwrap_or_default().to_vec(),
            emails: certificate.emails().to_vec(),
        }
    }
}
