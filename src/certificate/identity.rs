//! Identities: a certificate whose private key is in the store.

use crate::certificate::{Certificate, Fingerprint};
use crate::error::Error;

/// An identity in the store. Its private key stays there, encrypted, until a handshake needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: String,
    certificate: Certificate,
    requires_tls13: bool,
}

impl Identity {
    pub(crate) fn new(name: String, certificate: Certificate, requires_tls13: bool) -> Self {
        Self { name, certificate, requires_tls13 }
    }

    /// Its name, unique in its store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Whether it is sent only in TLS 1.3, which encrypts it.
    pub fn requires_tls13(&self) -> bool {
        self.requires_tls13
    }

    /// Checks that `new` renews this identity: it has the same subject, issuer and usages, and is valid longer.
    ///
    /// # Errors
    /// [`Error::NotARenewal`], with what differs.
    pub fn check_renewed_by(&self, new: &Identity) -> Result<(), Error> {
        let (before, after) = (&self.certificate, &new.certificate);
        let checks = [
            (before.fingerprint() != after.fingerprint(), "it is the same certificate"),
            (before.subject_key() == after.subject_key(), "they have different subjects"),
            (before.issuer_key() == after.issuer_key(), "they have different issuers"),
            (before.key_usage() == after.key_usage(), "they have different key usages"),
            (before.extended_key_usage() == after.extended_key_usage(), "they have different extended key usages"),
            (before.not_after() < after.not_after(), "it is not valid for longer"),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, reason)) => Err(Error::NotARenewal { new: new.name.clone(), old: self.name.clone(), reason }),
        }
    }

    /// The fingerprint of its certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }
}
