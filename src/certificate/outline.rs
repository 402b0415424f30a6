//! Outlines of identities: as much of each as comparing all of them with a request takes. An identity takes ten times the memory.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::certificate::identity::Identity;
use crate::certificate::name::{Name, NameKey, Names};
use crate::certificate::public_key::Algorithm;
use crate::certificate::tried::Tried;
use crate::certificate::{Certificate, Fingerprint};
use crate::clock::Timestamp;
use crate::error::Damage;

/// An identity as far as matching compares it.
#[derive(Debug)]
pub(crate) struct Outline {
    /// The fingerprint of its certificate.
    pub(crate) fingerprint: Fingerprint,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) traits: Traits,
    /// The certificates below one issuer share its name.
    pub(crate) issuer: Arc<Name>,
    pub(crate) issuer_key: NameKey,
    pub(crate) subject: Name,
    pub(crate) subject_key: NameKey,
    /// How many authorities the store has above it.
    chain_length: usize,
}

/// What is the same for most of the identities in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) algorithm: Algorithm,
    pub(crate) tried: Tried,
    pub(crate) requires_tls13: bool,
    pub(crate) allows_client_auth: bool,
    pub(crate) allows_signing: bool,
}

impl Outline {
    /// An identity with this many authorities above it, and its issuer.
    pub(crate) fn new(identity: &Identity, issuer: Arc<Name>, chain_length: usize) -> Self {
        let certificate = identity.certificate();
        Self {
            fingerprint: certificate.fingerprint(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            traits: Traits::new(identity),
            issuer,
            issuer_key: certificate.issuer_key(),
            subject: certificate.subject().clone(),
            subject_key: certificate.subject_key(),
            chain_length,
        }
    }

    /// Whether its certificate is valid at this time.
    pub(crate) fn is_valid_at(&self, at: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&at)
    }

    /// Smaller is better, in Chrome's order: latest expiry, latest start, shortest chain. The fingerprint makes the order total, so that
    /// two runs show the same list.
    fn rank(&self) -> impl Ord + use<> {
        (Reverse(self.not_after), Reverse(self.not_before), self.chain_length, self.fingerprint)
    }
}

impl<'a> From<&'a Outline> for Names<'a> {
    fn from(outline: &'a Outline) -> Self {
        Self { issuer: &outline.issuer, subject: &outline.subject }
    }
}

impl Traits {
    /// The traits of an identity.
    pub(crate) fn new(identity: &Identity) -> Self {
        let certificate: &Certificate = identity.certificate();
        Self {
            algorithm: certificate.algorithm(),
            tried: identity.tried(),
            requires_tls13: identity.requires_tls13(),
            allows_client_auth: certificate.allows_client_auth(),
            allows_signing: certificate.allows_signing(),
        }
    }
}

/// The outlines of some identities, the best first among those that are valid at the same time.
#[derive(Debug, Default)]
pub(crate) struct Outlines {
    all: Vec<Arc<Outline>>,
    /// What every request looks at, in the same order, close together in memory: validity, and the position in `traits`.
    brief: Vec<(Timestamp, Timestamp, usize)>,
    /// Each once.
    traits: Vec<Traits>,
    /// One of the rows that cannot be read, of an identity that might be among them.
    damaged: Option<Damage>,
}

impl Outlines {
    pub(crate) fn new(mut all: Vec<Arc<Outline>>, damaged: Option<Damage>) -> Self {
        all.sort_by_cached_key(|outline| outline.rank());
        let mut traits: Vec<Traits> = Vec::new();
        let mut brief = Vec::with_capacity(all.len());
        for outline in &all {
            let known = traits.iter().position(|known| *known == outline.traits);
            let position = known.unwrap_or_else(|| {
                traits.push(outline.traits);
                traits.len() - 1
            });
            brief.push((outline.not_before, outline.not_after, position));
        }
        Self { all, brief, traits, damaged }
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Outline>> {
        self.all.iter()
    }

    pub(crate) fn get(&self, position: usize) -> Option<&Arc<Outline>> {
        self.all.get(position)
    }

    pub(crate) fn damaged(&self) -> Option<&Damage> {
        self.damaged.as_ref()
    }

    /// The positions of those with traits that fit, best first: those valid at this time, then the others. `fits` is called once for each
    /// kind of traits.
    pub(crate) fn fitting(&self, at: Timestamp, fits: impl Fn(&Traits) -> bool) -> Vec<usize> {
        let fit: Vec<bool> = self.traits.iter().map(fits).collect();
        let (mut valid, mut others) = (Vec::with_capacity(self.brief.len()), Vec::new());
        for (position, (not_before, not_after, traits)) in self.brief.iter().enumerate() {
            if fit.get(*traits) == Some(&true) {
                if (*not_before..=*not_after).contains(&at) { valid.push(position) } else { others.push(position) }
            }
        }
        valid.append(&mut others);
        valid
    }
}
