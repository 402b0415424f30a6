//! Identities: a certificate whose private key is in the store.

mod json;

use crate::certificate::permission::{Confirmation, Permission, Permit};
use crate::certificate::tried::Tried;
use crate::certificate::{Certificate, Fingerprint};
use crate::clock::Timestamp;
use crate::error::Error;

/// Why an identity without a key cannot be used.
pub(crate) const LOST: &str =
    "its private key was lost with a forgotten primary password; import the identity again from its file";

/// Why an identity that is not for TLS clients is sent nowhere.
pub(crate) const NOT_FOR_CLIENTS: &str = "its extended key usage does not allow client authentication";

/// Why an identity whose key may not sign is sent nowhere.
pub(crate) const NOT_FOR_SIGNING: &str = "its key usage does not allow signatures";

/// An identity in the store. Its private key stays there, encrypted, until a handshake needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: String,
    certificate: Certificate,
    requires_tls13: bool,
    tried: Tried,
    permit: Permit,
}

impl Identity {
    pub(crate) fn new(
        name: String,
        certificate: Certificate,
        requires_tls13: bool,
        tried: Tried,
        permit: Permit,
    ) -> Self {
        Self { name, certificate, requires_tls13, tried, permit }
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

    /// What programs may have signed with its key through the PKCS#11 module.
    pub fn permission(&self) -> Permission {
        self.permit.permission
    }

    /// Whether a person is asked before that.
    pub fn confirmation(&self) -> Confirmation {
        self.permit.confirmation
    }

    /// Both.
    pub(crate) fn permit(&self) -> Permit {
        self.permit
    }

    /// Whether its private key is not there any more, because a primary password was forgotten and reset
    /// ([`Store::reset_primary_password`](crate::Store::reset_primary_password)). Importing the identity again brings the key back.
    pub fn has_lost_key(&self) -> bool {
        self.tried.is_lost
    }

    /// What signed with its key when it was imported.
    pub(crate) fn tried(&self) -> Tried {
        self.tried
    }

    /// Whether connections over rustls can use its key. That was tried when it was imported: aws-lc-rs or ring signs with it
    /// or, with the feature `openssl`, OpenSSL does. A program that signs with ring cannot use every key that another has imported.
    pub fn is_usable_by_rustls(&self) -> bool {
        self.tried.is_usable_by_rustls(self.certificate.algorithm())
    }

    /// Whether connections over OpenSSL can use its key; never without the feature `openssl`. A key that was imported without
    /// OpenSSL was not tried with it; then what aws-lc-rs or ring signs with counts, since OpenSSL reads more.
    pub fn is_usable_by_openssl(&self) -> bool {
        self.tried.is_usable_by_openssl(self.certificate.algorithm())
    }

    /// Whether only connections over OpenSSL ([`connect::openssl`](crate::connect)) can use its key.
    pub fn needs_openssl(&self) -> bool {
        !self.is_usable_by_rustls() && self.is_usable_by_openssl()
    }

    /// Why connections over rustls cannot use its key, and what can, as one clause for a person; `None` if they can.
    pub fn key_limit(&self) -> Option<String> {
        if self.is_usable_by_rustls() {
            return None;
        }
        if self.has_lost_key() {
            return Some(LOST.to_owned());
        }
        let limit = self.certificate.algorithm().limit().unwrap_or(
            "it made no signature when it was imported (if another program imported it, remove it and import it again)",
        );
        let limit = format!("rustls cannot sign with its key, {}: {limit}", self.certificate.key());
        Some(match self.tried.by_openssl {
            _ if self.is_usable_by_openssl() => format!("{limit}; OpenSSL can"),
            Some(false) => format!("{limit}; OpenSSL cannot either"),
            _ if cfg!(feature = "openssl") => {
                format!("{limit}; OpenSSL was not there when it was imported: remove it and import it again")
            }
            _ => format!("{limit}; OpenSSL might, but this program was built without it"),
        })
    }

    /// Why this identity cannot answer any server over rustls, one clause each for a person; empty when it can answer some.
    pub fn why_unusable(&self) -> Vec<String> {
        self.key_limit().into_iter().chain(self.missing_usages()).collect()
    }

    /// Why no server accepts this identity at this time, over any TLS library, one clause each for a person: it has expired or is not
    /// yet valid, is not for clients, or nothing signs with its key. Empty when there is no such reason.
    pub fn why_useless(&self, now: Timestamp) -> Vec<String> {
        let certificate = self.certificate();
        let (from, until) = (certificate.not_before(), certificate.not_after());
        let validity = match (now < from, until < now) {
            (true, _) => Some(format!("it is not valid before {} UTC ({})", from.date(), from.days_from(now))),
            (_, true) => Some(format!("it expired {} ({} UTC)", until.days_from(now), until.date())),
            (false, false) => None,
        };
        let key_limit = self.key_limit().filter(|_| !self.is_usable_by_openssl());
        validity.into_iter().chain(self.missing_usages()).chain(key_limit).collect()
    }

    fn missing_usages(&self) -> impl Iterator<Item = String> + use<> {
        let certificate = self.certificate();
        let checks =
            [(certificate.allows_client_auth(), NOT_FOR_CLIENTS), (certificate.allows_signing(), NOT_FOR_SIGNING)];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, why)| why.to_owned())
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
