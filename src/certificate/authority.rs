//! Authorities: the CA certificates in the store, and the paths between them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::certificate::Certificate;
use crate::certificate::name::{Name, NameKey};

/// The maximum length of a path, as in Chrome. Firefox stops at six intermediates.
const MAX_PATH: usize = 20;

/// A CA certificate, root or intermediate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authority {
    /// The certificate.
    pub certificate: Certificate,
    /// Whether it verifies servers.
    pub trusted: bool,
}

impl Authority {
    /// An authority from a CA certificate.
    pub fn new(certificate: Certificate, trusted: bool) -> Self {
        Self { certificate, trusted }
    }
}

/// Every authority of a store, by subject and by issuer.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    by_subject: HashMap<NameKey, Vec<Arc<Authority>>>,
    by_issuer: HashMap<NameKey, Vec<NameKey>>,
}

/// The names that a server requested, and every name from which a path leads to one of them.
#[derive(Debug)]
pub(crate) struct Requested {
    names: HashSet<NameKey>,
    /// With the length of the path.
    leading: HashMap<NameKey, usize>,
}

/// The CA certificates above a certificate, its issuer first.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub(crate) struct Chain {
    /// The issuer, its issuer, and so on, up to a self-issued certificate if it is known.
    pub(crate) authorities: Vec<Arc<Authority>>,
    /// Whether it ends with a self-issued certificate, or below a name that the server requested.
    pub(crate) complete: bool,
}

impl Chain {
    /// What is sent after the certificate itself: every intermediate, but not a self-issued root (RFC 8446 section 4.4.2).
    pub(crate) fn intermediates(&self) -> impl Iterator<Item = &Certificate> {
        self.authorities.iter().map(|authority| &authority.certificate).filter(|ca| !ca.is_self_issued())
    }
}

impl Authorities {
    /// Indexes authorities by subject and issuer.
    pub(crate) fn new(all: impl IntoIterator<Item = Authority>) -> Self {
        let mut sorted = Self::default();
        for authority in all {
            let (subject, issuer) = (authority.certificate.subject_key(), authority.certificate.issuer_key());
            sorted.by_issuer.entry(issuer).or_default().push(subject);
            sorted.by_subject.entry(subject).or_default().push(Arc::new(authority));
        }
        sorted
    }

    /// Follows the requested names downwards. Like the browsers, it compares names and does not verify signatures.
    pub(crate) fn requested(&self, names: &[Name]) -> Requested {
        let names: HashSet<NameKey> = names.iter().map(Name::key).collect();
        let mut leading: HashMap<NameKey, usize> = names.iter().map(|name| (*name, 0)).collect();
        let mut level = names.clone();
        for steps in 1..=MAX_PATH {
            let below = level.iter().filter_map(|name| self.by_issuer.get(name)).flatten();
            level = below.filter(|name| !leading.contains_key(*name)).copied().collect();
            if level.is_empty() {
                break;
            }
            leading.extend(level.iter().map(|name| (*name, steps)));
        }
        Requested { names, leading }
    }

    /// The chain above a certificate. If several certificates could be the issuer, it prefers the shortest path to a requested
    /// name, then a trusted one, then a root, then the one that is valid longest.
    pub(crate) fn chain(&self, certificate: &Certificate, requested: Option<&Requested>) -> Chain {
        let mut authorities: Vec<Arc<Authority>> = Vec::new();
        let mut complete = certificate.is_self_issued();
        while !complete && authorities.len() < MAX_PATH {
            let top = authorities.last().map_or(certificate, |authority| &authority.certificate);
            let Some(issuer) = self.issuer_of(top, requested, &authorities) else {
                complete = requested.is_some_and(|requested| requested.names.contains(&top.issuer_key()));
                break;
            };
            complete = issuer.certificate.is_self_issued();
            authorities.push(issuer);
        }
        Chain { authorities, complete }
    }

    fn issuer_of(
        &self,
        certificate: &Certificate,
        requested: Option<&Requested>,
        seen: &[Arc<Authority>],
    ) -> Option<Arc<Authority>> {
        self.by_subject
            .get(&certificate.issuer_key())?
            .iter()
            .filter(|issuer| certificate.could_be_issued_by(&issuer.certificate) && !seen.contains(issuer))
            .max_by_key(|issuer| {
                let certificate = &issuer.certificate;
                let steps = requested.and_then(|requested| requested.steps_from(certificate));
                let nearer = steps.map(Reverse);
                (nearer, issuer.trusted, certificate.is_self_issued(), certificate.not_after())
            })
            .cloned()
    }
}

impl Requested {
    /// Whether a path from this certificate contains a requested name, as the issuer or subject of a certificate.
    pub(crate) fn leads_from(&self, certificate: &Certificate) -> bool {
        self.leading.contains_key(&certificate.issuer_key()) || self.names.contains(&certificate.subject_key())
    }

    /// The number of steps from this CA certificate to a requested name. From a root, only its own name is reached, even if
    /// others have certified that name.
    fn steps_from(&self, certificate: &Certificate) -> Option<usize> {
        if certificate.is_self_issued() {
            return self.names.contains(&certificate.subject_key()).then_some(0);
        }
        self.leading.get(&certificate.issuer_key()).map(|steps| steps + 1)
    }

    /// The issuers of the certificates that fit.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &NameKey> {
        self.leading.keys()
    }

    /// The requested names themselves; a certificate with one of them as its subject fits.
    pub(crate) fn names(&self) -> impl Iterator<Item = &NameKey> {
        self.names.iter()
    }
}

#[cfg(test)]
mod tests;
