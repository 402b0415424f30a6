//! The trusted authorities of a selector, kept up to date with the store.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::authorities::read_authorities;
use super::handle::Store;
use super::integrity::read_terms_anew;
use super::remembered::Remembered;
use crate::certificate::{Certificate, Fingerprint};
use crate::error::Error;

impl Store {
    /// The trusted authorities. If the vault is open, here or in an agent, their authentication code is checked now; otherwise the
    /// selector checks it when a key is used. Asks nobody.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`], and those of [reading](Self#errors).
    pub(crate) fn trust_anchors(&self) -> Result<TrustAnchors, Error> {
        let ((anchors, vault), _) = self.reading(|db, damaged| {
            let trusted = read_authorities(db, damaged)?.into_iter().filter(|authority| authority.trusted);
            let certificates = trusted.map(|authority| authority.certificate).collect::<Vec<_>>();
            Ok(((certificates, read_terms_anew(db)?, self.number()), self.usable_vault(db)?))
        })?;
        let (certificates, terms, number) = anchors;
        match vault.check(&terms) {
            Err(error @ Error::NotAuthentic { .. }) if !certificates.is_empty() => Err(error),
            // Without authorities the code does not matter, and while the vault is locked it cannot be checked
            _ => Ok(TrustAnchors::new(certificates, number)),
        }
    }
}

/// The trusted authorities with which the connections of a selector verify servers, as the store had them when it was last read.
///
/// Each authority is in the terms that were read last, which must be authentic before a key is used; or it was added when the terms
/// were read, and these were authentic. So no key is used for a server that only an authority of somebody else has verified.
#[derive(Debug)]
pub(crate) struct TrustAnchors(Mutex<Followed>);

#[derive(Debug)]
struct Followed {
    certificates: Arc<[Certificate]>,
    /// Increases with each change.
    version: u64,
    /// How often an authority was found to be no longer trusted.
    distrusted: u64,
    /// The number of the latest state of the store that was applied.
    number: u64,
    /// What was trusted then, if it was taken over completely; an identical set needs no work.
    known: Option<Arc<HashSet<Fingerprint>>>,
}

impl TrustAnchors {
    fn new(certificates: Vec<Certificate>, number: u64) -> Self {
        Self(Mutex::new(Followed { certificates: certificates.into(), version: 0, distrusted: 0, number, known: None }))
    }

    /// The certificates, with a number that changes when they do.
    pub(crate) fn certificates(&self) -> (u64, Arc<[Certificate]>) {
        let followed = self.locked();
        (followed.version, followed.certificates.clone())
    }

    /// Applies what was read from the store: drops the authorities that are no longer trusted, and adds the new ones if the terms of the
    /// store are authentic. Returns how often an authority was found to be no longer trusted so far.
    pub(crate) fn follow(&self, now: &Remembered) -> u64 {
        let mut followed = self.locked();
        let trusted = &now.terms.trusted;
        if !followed.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, trusted)) {
            followed.drop_all_but(trusted);
            // Another thread may have read a later state, and what is added here may have been removed in it
            if now.number >= followed.number {
                followed.number = now.number;
                followed.add(now);
            }
        }
        followed.distrusted
    }

    fn locked(&self) -> MutexGuard<'_, Followed> {
        // No change is left half done by a panic
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followed {
    fn drop_all_but(&mut self, trusted: &HashSet<Fingerprint>) {
        let is_trusted = |certificate: &&Certificate| trusted.contains(&certificate.fingerprint());
        let kept: Vec<Certificate> = self.certificates.iter().filter(is_trusted).cloned().collect();
        if kept.len() < self.certificates.len() {
            self.certificates = kept.into();
            self.version += 1;
            self.distrusted += 1;
            self.known = None;
        }
    }

    fn add(&mut self, now: &Remembered) {
        let before: HashSet<Fingerprint> = self.certificates.iter().map(Certificate::fingerprint).collect();
        let is_new = |certificate: &&Certificate| !before.contains(&certificate.fingerprint());
        let added: Vec<Certificate> = now.authorities.trusted().filter(is_new).cloned().collect();
        if !added.is_empty() {
            if now.vault.check(&now.terms.authenticated).is_err() {
                return;
            }
            self.certificates = self.certificates.iter().cloned().chain(added).collect();
            self.version += 1;
        }
        self.known = Some(now.terms.trusted.clone());
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use crate::error::Error;
    use crate::pki::{Ca, Home, NOW};
    use crate::request::Destination;
    use crate::vault::{NoUnlocker, Unlocker};

    struct Password;

    impl Unlocker for Password {
        fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
            Ok(Zeroizing::new("secret".to_owned()))
        }
    }

    #[test]
    fn an_authority_that_was_added_while_the_vault_was_locked_counts_once_it_is_open() {
        let home = Home::new();
        let owner = home.open();
        owner.set_primary_password(Some("secret"), &NoUnlocker).unwrap();
        let store = home.open();
        let anchors = store.trust_anchors().unwrap();
        let destination = Destination::new("a.example", 443).unwrap();
        let count = || {
            anchors.follow(&store.remembered(&destination, None).unwrap());
            anchors.certificates().1.len()
        };
        assert_eq!(count(), 0);
        owner.trust(&[Ca::root("Root").certificate], NOW).unwrap();
        assert_eq!((count(), count()), (0, 0));
        store.unlock_fully(&Password).unwrap();
        assert_eq!(count(), 1);
    }
}
