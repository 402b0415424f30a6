//! What a selector gives: the answer, why, and what sending it takes.

use std::fmt;
use std::sync::Arc;

use rustls::sign::SigningKey;

use crate::answer::decision::Answer;
use crate::answer::rules::Rules;
use crate::answer::settings::Settings;
use crate::certificate::Certificate;
use crate::certificate::authority::Authorities;
use crate::certificate::private_key::PrivateKey;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::request::{CertificateRequest, Destination, Target};
use crate::select::matching::Considered;
use crate::vault::{Authenticated, SealedKey, Vault};
use zeroize::Zeroizing;

/// Why an answer is what it is. Displayed as in the JSON of `explain` and `history`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// It was remembered.
    Decision,
    /// A rule says so, or a setting that selects without asking.
    Rule,
    /// The chooser said so.
    Ask,
    /// No identity fits, so none is sent.
    NoCandidate,
    /// The caller gave this identity for this once.
    Given,
    /// The caller wants none sent.
    Omitted,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decision => "decision",
            Self::Rule => "rule",
            Self::Ask => "ask",
            Self::NoCandidate => "no_candidate",
            Self::Given => "given",
            Self::Omitted => "omitted",
        })
    }
}

/// The outcome of a selection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// What goes out.
    pub answer: Answer,
    /// Why.
    pub source: Source,
    /// The rule or the setting that said so, in words for a person, where one did.
    pub rule: Option<String>,
}

impl Selection {
    pub(super) fn new(answer: Answer, source: Source) -> Self {
        Self { answer, source, rule: None }
    }

    pub(super) fn by(rule: impl fmt::Display, answer: Answer) -> Self {
        Self { answer, source: Source::Rule, rule: Some(rule.to_string()) }
    }

    /// Whether it answers one request, and says nothing of another.
    pub(super) fn is_conditional(&self) -> bool {
        matches!(self.source, Source::Rule | Source::NoCandidate)
    }

    /// Whether the store gave it, and may give another by now.
    pub(crate) fn is_looked_up(&self) -> bool {
        self.source == Source::Decision || self.is_conditional()
    }
}

/// How a request would be answered, and why: what [`Selector::explain`](crate::Selector::explain) gives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// What would be sent; `None` when the chooser would be asked.
    pub selection: Option<Selection>,
    /// The remembered identity that no longer fits, when the chooser would be asked because of that.
    pub unfit: Option<Considered>,
    /// A rule, in words for a person, when the chooser would be asked because rules select several identities.
    pub ambiguous_rule: Option<String>,
    /// Every identity of the store, by name, compared with the request.
    pub identities: Vec<Considered>,
}

/// A selection with everything a handshake needs, so that none of it is read while the handshake runs.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent by it until a resolver has it"]
pub struct Prepared {
    pub(crate) target: Target,
    pub(crate) selection: Option<Selection>,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) key: Option<GuardedKey>,
    /// Whether the identity goes out in TLS 1.3 only.
    pub(crate) requires_tls13: bool,
    /// The only request it answers: what a rule said to one, or that nothing fits it, says nothing of another.
    pub(crate) request: Option<CertificateRequest>,
    /// Whether that request might have been answered otherwise in another version of TLS, of which a resolver is not told.
    pub(super) only_this_version: bool,
    /// What it was selected under.
    pub(super) terms: (Settings, Arc<Rules>),
}

/// A private key with what has to be authentic before it is used.
#[derive(Clone, Debug)]
pub(crate) struct GuardedKey {
    pub(super) sealed: SealedKey,
    pub(super) vault: Arc<Vault>,
    /// The decision that says so, and the terms of the store, which might have said otherwise or trusted another server.
    pub(super) conditions: Vec<Authenticated>,
}

impl GuardedKey {
    /// Whether it cannot be opened yet.
    pub(crate) fn is_locked(&self) -> bool {
        self.vault.is_locked()
    }

    /// Whether it can be had in the clear.
    #[cfg(feature = "openssl")]
    pub(crate) fn is_open_here(&self) -> bool {
        self.vault.is_open_here()
    }

    /// Whether it was the owner of the store who said that this key is used.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`], [`Error::VaultLocked`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.conditions.iter().try_for_each(|condition| self.vault.check(condition))
    }

    /// The key, to sign with; only if its public half is that of `certificate`.
    ///
    /// # Errors
    /// Those of [`Self::check`] and [`Vault::signing_key`].
    pub(crate) fn signing_key(&self, certificate: &Certificate) -> Result<Arc<dyn SigningKey>, Error> {
        self.check()?;
        self.vault.signing_key(&self.sealed, certificate)
    }

    /// Whether it does in place of a key guarded like this: the same one, and what selects it `now` is authentic too.
    fn serves(&self, now: &Self) -> bool {
        self.sealed == now.sealed && (self.conditions == now.conditions || now.check().is_ok())
    }

    /// The key in the clear; only if its public half is that of `certificate`.
    ///
    /// # Errors
    /// Those of [`Self::check`], [`Vault::open`] and [`PrivateKey::check_fits`].
    pub(crate) fn private_key(&self, certificate: &Certificate) -> Result<PrivateKey, Error> {
        self.check()?;
        let key = self.vault.open(&self.sealed)?;
        key.check_fits(certificate)?;
        Ok(key)
    }
}

impl Prepared {
    /// Where it may go, and nowhere else.
    pub fn destination(&self) -> &Destination {
        self.target.destination()
    }

    /// What it is for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What was selected; `None` while that waits for the server's request.
    pub fn selection(&self) -> Option<&Selection> {
        self.selection.as_ref()
    }

    /// The name of the identity that goes out in TLS 1.3 only, if it is such a one. Whoever gives rustls a stream that is not
    /// from [`crate::raw::Resolver::guard`] has to see to that by the configuration.
    pub fn demands_tls13(&self) -> Option<&str> {
        match self.selection.as_ref().map(|selection| &selection.answer) {
            Some(Answer::Identity(identity)) if self.requires_tls13 => Some(identity.name()),
            _ => None,
        }
    }

    /// The private key of the selected identity, in the clear, for a program that makes the handshake by itself; `None` where
    /// no identity is selected. It is checked as for a signature: what selected it is authentic, and its public half is that
    /// of the certificate. Where the key goes from here, no decision is looked at any more.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::NotAuthentic`], [`Error::SealedKey`], [`Error::KeyMismatch`], [`Error::UnusableKey`].
    pub fn private_key(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let (Some(Answer::Identity(identity)), Some(key)) =
            (self.selection().map(|selected| &selected.answer), &self.key)
        else {
            return Ok(None);
        };
        Ok(Some(key.private_key(identity.certificate())?.into_pkcs8()))
    }

    /// What goes out of the selected identity: its certificate, then the intermediates above it; nothing where none is
    /// selected.
    pub fn certificates(&self) -> Vec<Certificate> {
        let Some(Answer::Identity(identity)) = self.selection().map(|selected| &selected.answer) else {
            return Vec::new();
        };
        let chain = self.authorities.chain(identity.certificate(), None);
        std::iter::once(identity.certificate()).chain(chain.intermediates()).cloned().collect()
    }

    /// The same for another target of its destination, where it serves.
    pub(crate) fn toward(self, target: Target) -> Self {
        Self { target, ..self }
    }

    /// Whether what was prepared before does in place of what was prepared `now`: for whoever keeps a resolver with the
    /// sessions it made. What a handshake of that wishes is granted to `now`, whose path may be another.
    ///
    /// It does when a handshake would send the same, by the same key and the same chain; and where nothing is selected
    /// before the server asks, when the same would be selected again should it ask for the same.
    pub fn serves(&self, now: &Self, at: Timestamp) -> bool {
        self.destination() == now.destination()
            && Arc::ptr_eq(&self.authorities, &now.authorities)
            && (self.sends_the_same(now) || self.is_selected_again(now, at))
    }

    fn sends_the_same(&self, other: &Self) -> bool {
        let same_key = match (&self.key, &other.key) {
            (None, None) => true,
            (Some(kept), Some(now)) => kept.serves(now),
            _ => false,
        };
        self.selection == other.selection
            && self.requires_tls13 == other.requires_tls13
            && self.request == other.request
            && same_key
    }

    fn is_selected_again(&self, now: &Self, at: Timestamp) -> bool {
        let is_valid = match self.selection.as_ref().map(|selection| &selection.answer) {
            Some(Answer::Identity(identity)) => identity.certificate().is_valid_at(at),
            _ => true,
        };
        let ((settings, rules), (settings_now, rules_now)) = (&self.terms, &now.terms);
        let same_terms = settings == settings_now && Arc::ptr_eq(rules, rules_now);
        let is_kept = self.request.is_some() && !self.only_this_version;
        is_kept && now.selection.is_none() && self.target == now.target && same_terms && is_valid
    }
}
