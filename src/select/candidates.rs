//! The candidates of a question. Their number and order are known from outlines; each identity is read when it is looked at.

use std::collections::HashSet;
use std::sync::OnceLock;

use crate::certificate::Fingerprint;
use crate::error::Error;
use crate::select::matching::{Considered, Fit, Matcher};
use crate::store::Store;

/// The identities that fit a request, best first, and all others.
#[derive(Debug)]
pub(crate) struct Candidates<'a> {
    store: &'a Store,
    matcher: Matcher<'a>,
    fit: Fit,
    /// Why the store could not be read. The selection then fails, whatever is answered.
    failure: OnceLock<Error>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(store: &'a Store, matcher: Matcher<'a>, fit: Fit) -> Self {
        Self { store, matcher, fit, failure: OnceLock::new() }
    }

    /// How many identities fit.
    pub(crate) fn len(&self) -> usize {
        self.fit.len()
    }

    /// The fingerprints of those that fit, best first.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.fit.iter().map(|outline| outline.fingerprint)
    }

    /// The fingerprints of all others, by name.
    pub(crate) fn others(&self) -> Vec<Fingerprint> {
        let fit: HashSet<Fingerprint> = self.fingerprints().collect();
        let mut all = self.noting(self.store.fingerprints()).unwrap_or_default();
        all.retain(|fingerprint| !fit.contains(fingerprint));
        all
    }

    /// Identities as the store has them now; `None` for one that was removed, or cannot be read.
    #[cfg(feature = "ask")]
    pub(crate) fn read(&self, fingerprints: &[Fingerprint]) -> Vec<Option<Considered>> {
        let read = self.noting(self.store.identities_with(fingerprints)).unwrap_or_default();
        read.into_iter().map(|identity| Some(self.matcher.consider(identity?))).collect()
    }

    /// The same for many, read a few hundred at a time. Those that are gone are left out.
    pub(super) fn each(&self, fingerprints: Vec<Fingerprint>) -> impl Iterator<Item = Considered> {
        let read = self.store.each_with(fingerprints).map_while(|identity| self.noting(identity));
        read.map(|identity| self.matcher.consider(identity))
    }

    /// Whether the store could not be read: then every answer is in vain.
    #[cfg(feature = "ask")]
    pub(crate) fn have_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Whether this identity was offered.
    pub(super) fn contains(&self, identity: Fingerprint) -> bool {
        self.fingerprints().any(|fingerprint| fingerprint == identity)
    }

    /// Checks that everything could be read.
    ///
    /// # Errors
    /// Those of [reading](Store#errors).
    pub(super) fn check_read(self) -> Result<(), Error> {
        self.failure.into_inner().map_or(Ok(()), Err)
    }

    /// What was read, or else notes why it was not.
    fn noting<T>(&self, read: Result<T, Error>) -> Option<T> {
        // The first failure is the one that is told
        read.map_err(|error| drop(self.failure.set(error))).ok()
    }
}
