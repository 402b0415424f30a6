//! An identity as JSON.

use std::fmt::Display;

use serde::{Serialize, Serializer};

use super::Identity;
use crate::certificate::name::Name;
use crate::certificate::{Fingerprint, KeyKind};
use crate::clock::Timestamp;

/// IDENTITY of docs/cli.md. Texts are made when it is written: a list of a hundred thousand is in memory until then.
#[derive(Serialize)]
struct IdentityJson {
    #[serde(serialize_with = "text")]
    fingerprint: Fingerprint,
    name: String,
    #[serde(serialize_with = "text")]
    subject: Name,
    #[serde(serialize_with = "text")]
    issuer: Name,
    serial: String,
    #[serde(serialize_with = "text")]
    not_before: Timestamp,
    #[serde(serialize_with = "text")]
    not_after: Timestamp,
    expired: bool,
    #[serde(serialize_with = "text")]
    key: KeyKind,
    usable: UsableJson,
    chain_length: usize,
    key_usage: Vec<&'static str>,
    extended_key_usage: Vec<String>,
    emails: Vec<String>,
}

fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
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
            fingerprint: certificate.fingerprint(),
            name: self.name().to_owned(),
            subject: certificate.subject().clone(),
            issuer: certificate.issuer().clone(),
            serial: certificate.serial(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            expired: certificate.not_after() < now,
            key: certificate.key().clone(),
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
