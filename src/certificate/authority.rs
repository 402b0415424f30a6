//! Authorities: the CA certificates in the store, and the paths between them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::certificate::Certificate;
use crate::certificate::name::{Name, NameKey};

/// The maximum length of a path, as in Chrome. Firefox stops at six intermediates.
const MAX_PATH: usize = 20;

/// How many issuers are tried for one certificate. Somebody else may have filled the store.
const MAX_ISSUERS: usize = 8;

/// With how many keys of issuers that have the same name the signature of a certificate is verified.
const MAX_KEYS: usize = 64;

/// The lengths of chains that are kept.
const MAX_LENGTHS: usize = 4096;

/// How many certificates are looked at for one chain.
const MAX_STEPS: usize = 64;

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
    /// The length of the chain of the certificates with this issuer and this identifier of its key, if their signatures do not count.
    lengths: Mutex<HashMap<IssuerKey, usize>>,
}

/// The name of an issuer, and the identifier of its key (RFC 5280 section 4.2.1.1).
type IssuerKey = (NameKey, Option<Vec<u8>>);

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
    /// The issuer, its issuer, and so on, up to a root if it is known.
    pub(crate) authorities: Vec<Arc<Authority>>,
    /// Whether it ends with a root, or below a name that the server requested.
    pub(crate) complete: bool,
}

impl Chain {
    /// What is sent after the certificate itself: every intermediate, but not a root (RFC 8446 section 4.4.2).
    pub(crate) fn intermediates(&self) -> impl Iterator<Item = &Certificate> {
        self.authorities.iter().map(|authority| &authority.certificate).filter(|ca| !ca.is_self_signed())
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

    /// The certificates of the authorities that are trusted to verify servers.
    pub(crate) fn trusted(&self) -> impl Iterator<Item = &Certificate> {
        let all = self.by_subject.values().flatten();
        all.filter(|authority| authority.trusted).map(|authority| &authority.certificate)
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

    /// The chain above a certificate. If there are several, a complete one is preferred. At each step it prefers, in this order:
    /// the issuer whose key made the signature, if issuers with this name have several keys; the shortest path to a requested name;
    /// the issuer with the key identifier that the certificate names; a trusted one; a root; the one that is valid longest.
    pub(crate) fn chain(&self, certificate: &Certificate, requested: Option<&Requested>) -> Chain {
        let mut search = Search { all: self, requested, path: Vec::new(), dead_end: None, steps_left: MAX_STEPS };
        match search.completes(certificate) {
            true => Chain { authorities: search.path, complete: true },
            false => Chain { authorities: search.dead_end.unwrap_or_default(), complete: false },
        }
    }

    /// How many authorities are in the [chain](Self::chain) of a certificate, whatever a server requests.
    pub(crate) fn chain_length(&self, certificate: &Certificate) -> usize {
        let issuers = self.by_subject.get(&certificate.issuer_key()).map(Vec::as_slice).unwrap_or_default();
        let key = issuers.first().map(|issuer| issuer.certificate.public_key());
        let is_same_below =
            |issuer: &Arc<Authority>| issuer.certificate.may_issue() && Some(issuer.certificate.public_key()) == key;
        // Otherwise the signature decides
        if certificate.is_self_signed() || !issuers.iter().all(is_same_below) {
            return self.chain(certificate, None).authorities.len();
        }
        let issuer = (certificate.issuer_key(), certificate.authority_key_identifier().map(<[u8]>::to_vec));
        let mut known = self.lengths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(length) = known.get(&issuer) {
            return *length;
        }
        let length = self.chain(certificate, None).authorities.len();
        if known.len() < MAX_LENGTHS {
            known.insert(issuer, length);
        }
        length
    }

    /// The issuers to try for a certificate, best first.
    fn issuers(&self, certificate: &Certificate, requested: Option<&Requested>) -> Vec<Arc<Authority>> {
        let named = self.by_subject.get(&certificate.issuer_key()).map(Vec::as_slice).unwrap_or_default();
        // A server's own certificate may be trusted too, but issues nothing
        let may_issue = |issuer: &&Arc<Authority>| {
            issuer.certificate.may_issue() || certificate.is_signed_by(&issuer.certificate) != Some(false)
        };
        let mut issuers: Vec<&Arc<Authority>> = named.iter().filter(may_issue).collect();
        issuers.sort_by_cached_key(|issuer| {
            let authority = &issuer.certificate;
            let nearer = requested.and_then(|requested| requested.steps_from(authority)).map(Reverse);
            let named = certificate.names_key_of(authority);
            Reverse((nearer, rank(named), issuer.trusted, authority.is_self_signed(), authority.not_after()))
        });
        let keys: BTreeSet<&[u8]> = issuers.iter().map(|issuer| issuer.certificate.public_key()).collect();
        if keys.len() > 1 {
            let mut verified: HashMap<&[u8], Option<bool>> = HashMap::new();
            issuers.sort_by_cached_key(|issuer| {
                let (authority, count) = (&issuer.certificate, verified.len());
                let signed = verified.entry(authority.public_key()).or_insert_with(|| match count < MAX_KEYS {
                    true => certificate.is_signed_by(authority),
                    false => None,
                });
                match *signed {
                    Some(true) => 0,
                    None => 3 - rank(certificate.names_key_of(authority)),
                    Some(false) => 4,
                }
            });
        }
        issuers.into_iter().take(MAX_ISSUERS).cloned().collect()
    }
}

/// Ranks a comparison: a match is better than one that cannot be made, and that is better than a difference.
fn rank(fits: Option<bool>) -> u8 {
    match fits {
        Some(true) => 2,
        None => 1,
        Some(false) => 0,
    }
}

/// The search for a chain that is complete, depth first.
struct Search<'a> {
    all: &'a Authorities,
    requested: Option<&'a Requested>,
    path: Vec<Arc<Authority>>,
    /// The first path that led nowhere: that of the preferred issuers.
    dead_end: Option<Vec<Arc<Authority>>>,
    steps_left: usize,
}

impl Search<'_> {
    /// Extends the path from its last certificate. If that does not complete it, the path is as before.
    fn completes(&mut self, top: &Certificate) -> bool {
        if top.is_self_signed() {
            return true;
        }
        let mut issuers = match self.path.len() < MAX_PATH {
            true => self.all.issuers(top, self.requested),
            false => Vec::new(),
        };
        issuers.retain(|issuer| !self.path.contains(issuer));
        if issuers.is_empty() && self.requested.is_some_and(|requested| requested.names.contains(&top.issuer_key())) {
            return true;
        }
        for issuer in issuers {
            let Some(left) = self.steps_left.checked_sub(1) else { break };
            self.steps_left = left;
            self.path.push(issuer.clone());
            if self.completes(&issuer.certificate) {
                return true;
            }
            self.dead_end.get_or_insert_with(|| self.path.clone());
            self.path.pop();
        }
        false
    }
}

impl Requested {
    /// Whether a path from this certificate contains a requested name, as the issuer or subject of a certificate.
    pub(crate) fn leads_from(&self, certificate: &Certificate) -> bool {
        self.leads_from_names(&certificate.issuer_key(), || certificate.subject_key())
    }

    /// The same for a certificate with this issuer and subject.
    pub(crate) fn leads_from_names(&self, issuer: &NameKey, subject: impl FnOnce() -> NameKey) -> bool {
        self.leading.contains_key(issuer) || self.names.contains(&subject())
    }

    /// The number of steps from this CA certificate to a requested name. From a root, only its own name is reached, even if
    /// others have certified that name.
    fn steps_from(&self, certificate: &Certificate) -> Option<usize> {
        if certificate.is_self_signed() {
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
