//! The list of identities to pick from: which of them are shown, and the search in it.

use std::time::{Duration, Instant};

use super::candidate::Searched;
use super::search::{Finder, Found, Query};
use crate::certificate::Fingerprint;
use crate::select::chooser::Question;

/// How long to search before looking for the next key.
const SLICE: Duration = Duration::from_millis(15);

/// How many identities are read at once.
const READ: usize = 32;

/// Identities by their fingerprints, in an order, and those among them that a search has found. The search reads their texts once, and
/// goes on between two keys: however many there are, no key has to wait for it.
pub(super) struct Listing {
    fingerprints: Vec<Fingerprint>,
    /// What was read of them so far; `None` for one that could not be read.
    texts: Vec<Option<Searched>>,
    query: Query,
    /// How many of them were compared with the query.
    searched: usize,
    found: Found,
}

impl Listing {
    pub(super) fn new(fingerprints: Vec<Fingerprint>) -> Self {
        let (texts, query, found) = Default::default();
        Self { fingerprints, texts, query, searched: 0, found }
    }

    /// How many there are in all.
    pub(super) fn total(&self) -> usize {
        self.fingerprints.len()
    }

    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    /// Starts a new search; an empty query shows every identity.
    pub(super) fn search(&mut self, query: &str) {
        self.query = Query::new(query);
        self.found = Found::default();
        self.searched = 0;
    }

    fn is_filtered(&self) -> bool {
        !self.query.words().is_empty()
    }

    /// How many of them were not searched yet.
    pub(super) fn unsearched(&self) -> usize {
        if self.is_filtered() { self.total() - self.searched } else { 0 }
    }

    /// Goes on with the search for a moment.
    pub(super) fn go_on(&mut self, question: &Question<'_>, finder: &mut Finder) {
        let end = Instant::now() + SLICE;
        let mut found = Vec::new();
        while self.unsearched() > 0 && Instant::now() < end {
            if self.searched == self.texts.len() {
                let next: Vec<_> = self.fingerprints.iter().skip(self.searched).take(READ).copied().collect();
                let read = question.candidates.read(&next);
                let texts = read.iter().map(|read| Some(Searched::new(read.as_ref()?, question)));
                self.texts.extend(texts);
                // If the store cannot be read
                self.texts.resize_with(self.searched + next.len(), || None);
            }
            let ends = self.texts.len().min(self.searched + READ);
            for index in self.searched..ends {
                let text = self.texts.get(index).and_then(Option::as_ref);
                if let Some(score) = text.and_then(|text| text.score(&self.query, finder)) {
                    found.push((score, index));
                }
            }
            self.searched = ends;
        }
        self.found.add(found);
    }

    /// How many are shown.
    pub(super) fn len(&self) -> usize {
        if self.is_filtered() { self.found.len() } else { self.total() }
    }

    /// Which one is shown in a place.
    pub(super) fn index(&self, place: usize) -> Option<usize> {
        if self.is_filtered() { self.found.get(place) } else { Some(place).filter(|place| *place < self.total()) }
    }

    /// In which place one is shown.
    pub(super) fn place(&self, index: usize) -> Option<usize> {
        if self.is_filtered() { self.found.place(index) } else { Some(index) }
    }

    pub(super) fn fingerprint(&self, index: usize) -> Option<Fingerprint> {
        self.fingerprints.get(index).copied()
    }
}

/// Those that fit, and all others.
pub(super) struct Lists {
    pub(super) fitting: Listing,
    /// Known from the first time that they are shown.
    others: Option<Listing>,
    pub(super) shows_others: bool,
}

impl Lists {
    pub(super) fn new(question: &Question<'_>) -> Self {
        Self { fitting: Listing::new(question.candidates.fingerprints().collect()), others: None, shows_others: false }
    }

    /// Shows those that fit, or the others.
    pub(super) fn switch(&mut self, question: &Question<'_>) {
        self.shows_others = !self.shows_others;
        if self.shows_others {
            self.others.get_or_insert_with(|| Listing::new(question.candidates.others()));
        }
    }

    /// Those that are shown.
    pub(super) fn shown(&self) -> &Listing {
        self.others.as_ref().filter(|_| self.shows_others).unwrap_or(&self.fitting)
    }

    pub(super) fn shown_mut(&mut self) -> &mut Listing {
        self.others.as_mut().filter(|_| self.shows_others).unwrap_or(&mut self.fitting)
    }
}
