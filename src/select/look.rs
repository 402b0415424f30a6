//! One moment of the store and of the administrator's rules, as plain values.

use std::sync::Arc;

use crate::answer::decision::Answer;
use crate::answer::policy::directory::PolicyFiles;
use crate::answer::rules::{InForce, Rules};
use crate::answer::settings::Settings;
use crate::certificate::Certificate;
use crate::certificate::authority::Authorities;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::request::{CertificateRequest, Target};
use crate::select::matching::Matcher;
use crate::store::{Remembered, Remembering};
use crate::vault::{Authenticated, Vault};

/// Everything that an answer depends on, all from the same moment.
pub(super) struct Moment {
    pub(super) remembered: Arc<Remembered>,
    /// The settings of the store and of the administrator.
    pub(super) settings: Settings,
    /// The rules of the store and of the administrator.
    pub(super) rules: Arc<Rules>,
    pub(super) now: Timestamp,
    /// Decrypts the private keys.
    pub(super) vault: Arc<Vault>,
    /// How often the selector had found an authority that was no longer trusted.
    pub(super) distrusted: u64,
}

impl Moment {
    /// Joins the rules and settings of the store with those of the administrator.
    ///
    /// # Errors
    /// [`Error::PolicyFile`].
    pub(super) fn new(
        remembered: Arc<Remembered>,
        distrusted: u64,
        policies: &PolicyFiles,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let (rules, prompt_on_multiple) = policies.join(remembered.rules.clone())?;
        let mut settings = remembered.settings;
        settings.prompt_on_multiple |= prompt_on_multiple;
        let vault = remembered.vault.clone();
        Ok(Self { remembered, settings, rules, now, vault, distrusted })
    }

    /// What of this moment concerns a target.
    pub(super) fn look<'a>(&'a self, target: &'a Target) -> Look<'a> {
        let Remembered { answer, authorities, .. } = &*self.remembered;
        Look {
            target,
            settings: self.settings,
            remembered: answer.as_ref().map(|(answer, _)| answer),
            authorities,
            in_force: self.rules.in_force(target.destination(), target.path()),
            now: self.now,
        }
    }

    /// The key of the remembered identity, and the decision for it.
    pub(super) fn remembering(&self) -> Option<&Remembering> {
        self.remembered.answer.as_ref()?.1.as_ref()
    }

    /// The decision for the remembered identity, which must be authentic.
    pub(super) fn decision(&self) -> Option<Authenticated> {
        self.remembering().map(|remembering| remembering.decision.clone())
    }
}

/// One moment, as far as it concerns one target.
pub(super) struct Look<'a> {
    pub(super) target: &'a Target,
    pub(super) settings: Settings,
    /// The remembered answer.
    pub(super) remembered: Option<&'a Answer>,
    pub(super) authorities: &'a Authorities,
    /// The rules for this target.
    pub(super) in_force: InForce,
    pub(super) now: Timestamp,
}

impl Look<'_> {
    /// Prepares a request to be compared with identities.
    pub(super) fn matcher<'a>(&'a self, request: &'a CertificateRequest) -> Matcher<'a> {
        Matcher::new(request, self.authorities, self.now).under(&self.in_force)
    }

    /// Whether this certificate is valid now, and no rule denies it.
    pub(super) fn permits(&self, certificate: &Certificate) -> bool {
        certificate.is_valid_at(self.now) && self.in_force.denied(certificate).is_none()
    }

    /// Checks that no rule denies an answer. A person may have thought for long, and the caller may have named any identity.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub(super) fn check_not_denied(&self, answer: &Answer) -> Result<(), Error> {
        let Answer::Identity(identity) = answer else { return Ok(()) };
        match self.in_force.denied(identity.certificate()) {
            None => Ok(()),
            Some(rule) => Err(Error::Denied {
                name: identity.name().to_owned(),
                destination: self.target.destination().to_string(),
                rule: rule.origin(),
            }),
        }
    }

    /// Whether an answer may be sent in TLS 1.3 only.
    pub(super) fn requires_tls13(&self, answer: &Answer) -> bool {
        let Answer::Identity(identity) = answer else { return false };
        identity.requires_tls13() || self.in_force.demands_tls13(identity.certificate()).is_some()
    }
}
