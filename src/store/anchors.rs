//! The trusted authorities as a program takes them for verifying servers: before it connects, and before anybody looks whether the
//! terms that they belong to are authentic.

use std::sync::Arc;

use super::authentic::{Terms, read_anew};
use super::{Store, read_authorities};
use crate::certificate::Certificate;
use crate::certificate::authority::Authority;
use crate::error::Error;
use crate::vault::Authenticated;

/// The trusted authorities of a store as they were at one moment. Whoever verifies servers by them gives them to
/// [`Selector::with_trusted_authorities`], so that no key is used for a server that somebody else than the owner vouched for.
///
/// [`Selector::with_trusted_authorities`]: crate::Selector::with_trusted_authorities
#[derive(Clone, Debug)]
pub(crate) struct TrustAnchors {
    certificates: Vec<Certificate>,
    terms: Authenticated,
}

impl TrustAnchors {
    /// The CA certificates.
    pub(crate) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// What has to be authentic besides the terms of `now` before a key is used. Nothing, where those say that all of
    /// these are trusted: also after the data key has become another, with which the terms of then are not authentic.
    pub(crate) fn condition(&self, now: &Terms) -> Option<&Authenticated> {
        let are_trusted = self.certificates.iter().all(|certificate| now.trusted.contains(&certificate.fingerprint()));
        (!are_trusted).then_some(&self.terms)
    }
}

impl Store {
    /// The CA certificates above this one that the store has, its issuer first, up to a self-issued one where it is known.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn chain(&self, certificate: &Certificate) -> Result<Vec<Arc<Authority>>, Error> {
        Ok(self.authorities()?.chain(certificate, None).authorities)
    }

    /// [`Self::chain`] of each of these certificates.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn chains<'a>(
        &self,
        certificates: impl IntoIterator<Item = &'a Certificate>,
    ) -> Result<Vec<Vec<Arc<Authority>>>, Error> {
        let authorities = self.authorities()?;
        Ok(certificates.into_iter().map(|certificate| authorities.chain(certificate, None).authorities).collect())
    }

    /// The authorities that verify servers. Where the vault is open, or an agent has it, they are looked at at once; else when a
    /// key is used, if the selector knows of them. Asks nobody.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`], and those of [reading](crate::manage#errors).
    pub(crate) fn trust_anchors(&self) -> Result<TrustAnchors, Error> {
        let ((anchors, vault), _) = self.reading(|db, aside| {
            let moment = db.unchecked_transaction()?;
            let trusted = read_authorities(db, aside)?.into_iter().filter(|authority| authority.trusted);
            let certificates = trusted.map(|authority| authority.certificate).collect();
            let read = (TrustAnchors { certificates, terms: read_anew(db)? }, self.current_vault(db)?);
            moment.commit()?;
            Ok(read)
        })?;
        match vault.check(&anchors.terms) {
            Err(error @ Error::NotAuthentic { .. }) if !anchors.certificates.is_empty() => Err(error),
            // Of no consequence without any, or it cannot be known yet
            _ => Ok(anchors),
        }
    }
}
