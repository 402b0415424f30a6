//! A selection, with everything the handshake needs.

use std::sync::Arc;

use rustls::sign::SigningKey;
use zeroize::Zeroizing;

use crate::answer::decision::Answer;
use crate::answer::rules::Rules;
use crate::answer::settings::Settings;
use crate::certificate::Certificate;
use crate::certificate::authority::Authorities;
use crate::certificate::private_key::PrivateKey;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::request::{CertificateRequest, Destination, Target};
use crate::select::selection::Selection;
use crate::vault::{Authenticated, SealedKey, Vault};

/// A selection with everything a handshake needs, so that nothing is read while the handshake runs.
#[derive(Clone, Debug)]
#[must_use = "it sends nothing until a resolver has it"]
pub struct Prepared {
    pub(crate) target: Target,
    pub(crate) selection: Option<Selection>,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) key: Option<GuardedKey>,
    /// Whether the identity may be sent in TLS 1.3 only.
    pub(crate) requires_tls13: bool,
    /// The only request it answers: what a rule selected for one, or that no identity fits it, says nothing about another.
    pub(crate) request: Option<CertificateRequest>,
    /// Whether that request might have another answer in another version of TLS. A resolver is not told the version.
    pub(super) only_this_version: bool,
    /// The settings and rules it was selected under.
    pub(super) terms: (Settings, Arc<Rules>),
    /// Decrypts the private key of an identity.
    pub(super) vault: Arc<Vault>,
    /// How often the selector had found by then that an authority was no longer trusted.
    pub(crate) distrusted: u64,
}

/// A private key, and what must be authentic before it is used.
#[derive(Clone, Debug)]
pub(crate) struct GuardedKey {
    pub(super) sealed: SealedKey,
    pub(super) vault: Arc<Vault>,
    /// The decision, and the terms of the store: under other terms another identity may be selected, or another server trusted.
    pub(super) conditions: Vec<Authenticated>,
}

impl GuardedKey {
    /// Whether the vault is still locked.
    pub(crate) fn is_locked(&self) -> bool {
        self.vault.is_locked()
    }

    /// Whether it can be read in this process.
    #[cfg(feature = "openssl")]
    pub(crate) fn is_open_here(&self) -> bool {
        self.vault.is_open_here()
    }

    /// Checks that the owner of the store decided to use this key.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`], [`Error::VaultLocked`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.conditions.iter().try_for_each(|condition| self.vault.check(condition))
    }

    /// The key, to sign with, if its public half is that of `certificate`.
    ///
    /// # Errors
    /// Those of [`Self::check`] and [`Vault::signing_key`].
    pub(crate) fn signing_key(&self, certificate: &Certificate) -> Result<Arc<dyn SigningKey>, Error> {
        self.check()?;
        self.vault.signing_key(&self.sealed, certificate)
    }

    /// Whether it serves instead of the key guarded `now`: it is the same key, and what selects it now is authentic too.
    fn serves(&self, now: &Self) -> bool {
        self.sealed == now.sealed && (self.conditions == now.conditions || now.check().is_ok())
    }

    /// Whether `vault`, the current vault of the store, is the one that decrypts the key, and is open. Resuming a session or reusing a
    /// connection uses an identity without a signature, so this makes the check of the vault that a signature would make.
    pub(crate) fn may_be_used(&self, vault: &Arc<Vault>) -> bool {
        Arc::ptr_eq(&self.vault, vault) && self.vault.is_open_now()
    }

    /// The key in the clear, if its public half is that of `certificate`.
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
    /// The only destination it may be sent to.
    pub fn destination(&self) -> &Destination {
        self.target.destination()
    }

    /// The target it was prepared for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What was selected; `None` when that depends on the server's request.
    pub fn selection(&self) -> Option<&Selection> {
        self.selection.as_ref()
    }

    /// The name of the selected identity, if it may be sent in TLS 1.3 only. A program whose stream is not from
    /// `Resolver::guard` ensures that by its TLS configuration.
    pub fn demands_tls13(&self) -> Option<&str> {
        match self.selection.as_ref().map(|selection| &selection.answer) {
            Some(Answer::Identity(identity)) if self.requires_tls13 => Some(identity.name()),
            _ => None,
        }
    }

    /// The private key of the selected identity, in the clear, for a program that makes the handshake itself; `None` when no
    /// identity is selected. It is checked as before a signature: what selected it is authentic, and its public half is that of
    /// the certificate. From here on no decision is looked at any more.
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

    /// What is sent of the selected identity: its certificate, then the intermediates above it; empty when no identity is
    /// selected.
    pub fn certificates(&self) -> Vec<Certificate> {
        let Some(Answer::Identity(identity)) = self.selection().map(|selected| &selected.answer) else {
            return Vec::new();
        };
        let chain = self.authorities.chain(identity.certificate(), None);
        std::iter::once(identity.certificate()).chain(chain.intermediates()).cloned().collect()
    }

    /// The same for another target with the same destination.
    pub(crate) fn toward(self, target: Target) -> Self {
        Self { target, ..self }
    }

    /// Whether a resolver that was made from this, with the TLS sessions it has, still serves for what was prepared `now`. The
    /// paths of the two targets may differ.
    ///
    /// It does if a handshake would send the same certificate with the same key and the same chain, and the vault of the key is open.
    /// If nothing was selected before the server asked, it does if the same would be selected again for the same request. It does not
    /// if an authority is no longer trusted, or if the primary password was changed. If an agent holds the data key, this asks the agent.
    pub fn serves(&self, now: &Self, at: Timestamp) -> bool {
        self.destination() == now.destination()
            && Arc::ptr_eq(&self.authorities, &now.authorities)
            && self.distrusted == now.distrusted
            && (self.sends_the_same(now) || self.is_selected_again(now, at))
            && self.key.as_ref().is_none_or(|key| key.may_be_used(&now.vault))
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
