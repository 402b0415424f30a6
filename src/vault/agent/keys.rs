//! The private keys that an agent has opened. They stay in its memory, where the data key is too, until it ends.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustls::SignatureScheme;
use rustls::sign::SigningKey;

use crate::certificate::Certificate;
use crate::certificate::private_key::SignDigest;
use crate::certificate::rsa_pss::for_rsa_encryption;
use crate::crypto::digest_for;
use crate::error::Error;
use crate::vault::{KeyRow, SealedKey, Vault, sign_with};

/// Keys that are kept. Opening one of RSA takes longer than signing with it.
const KEPT: usize = 32;

/// The keys that were used last, the latest at the end. aws-lc-rs overwrites a key when it is dropped; ring does not. The command wipes
/// everything that its Rust code frees on the heap.
#[derive(Default)]
pub(super) struct Keys(Mutex<Vec<Arc<Opened>>>);

/// A key, with everything that it was opened with. In another row or for another certificate it is opened anew, or refused.
pub(super) struct Opened {
    sealed: SealedKey,
    certificate: Certificate,
    key: Arc<dyn SigningKey>,
    /// The same key, loaded when the first digest is signed: for rustls, it may be in a library that signs none.
    for_digests: OnceLock<Box<SignDigest>>,
}

impl Opened {
    /// The row that the key was opened in.
    pub(super) fn row(&self) -> &KeyRow {
        &self.sealed.row
    }

    pub(super) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// One signature.
    ///
    /// # Errors
    /// [`Error::UnusableKey`].
    pub(super) fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, Error> {
        sign_with(&*self.key, &self.certificate, scheme, message)
    }

    /// One signature of a digest, by one of the schemes of the certificate.
    ///
    /// # Errors
    /// [`Error::UnusableKey`], also for a digest that the scheme does not have; and those of [`Vault::open`].
    pub(super) fn sign_digest(&self, vault: &Vault, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, Error> {
        let unusable =
            |detail: &str| Error::UnusableKey { key: self.certificate.key().to_string(), detail: detail.to_owned() };
        if !self.certificate.schemes().any(|known| known == scheme) {
            return Err(unusable(&format!("it makes no {scheme:?}")));
        }
        let scheme = for_rsa_encryption(scheme).unwrap_or(scheme);
        let digest = digest_for(scheme, digest)
            .ok_or_else(|| unusable(&format!("it signs no digest of {} bytes by {scheme:?}", digest.len())))?;
        let sign = match self.for_digests.get() {
            Some(sign) => sign,
            None => {
                let loaded = vault.open(&self.sealed)?.load_for_digests();
                let loaded = loaded.ok_or_else(|| unusable("no library here signs digests with it"))?;
                self.for_digests.get_or_init(|| loaded)
            }
        };
        sign(scheme, &digest).ok_or_else(|| unusable("signing failed"))
    }
}

impl Keys {
    /// The key of this certificate, opened.
    ///
    /// # Errors
    /// Those of [`Vault::open`] and of [`PrivateKey::signing_key`](crate::certificate::private_key::PrivateKey::signing_key).
    pub(super) fn open(&self, vault: &Vault, sealed: SealedKey, certificate: &[u8]) -> Result<Arc<Opened>, Error> {
        let opened = match self.take(&sealed, certificate) {
            Some(opened) => opened,
            None => {
                let certificate = Certificate::from_der(certificate)?;
                let key = vault.open(&sealed)?.signing_key(&certificate)?;
                Arc::new(Opened { sealed, certificate, key, for_digests: OnceLock::new() })
            }
        };
        self.keep(opened.clone());
        Ok(opened)
    }

    pub(super) fn forget(&self) {
        self.opened().clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.opened().len()
    }

    fn take(&self, sealed: &SealedKey, certificate: &[u8]) -> Option<Arc<Opened>> {
        let mut opened = self.opened();
        let is_it = |one: &Arc<Opened>| one.sealed == *sealed && one.certificate.der() == certificate;
        let at = opened.iter().rposition(is_it)?;
        Some(opened.remove(at))
    }

    fn keep(&self, key: Arc<Opened>) {
        let mut opened = self.opened();
        // Another request may have opened it at the same time
        opened.retain(|one| one.sealed != key.sealed);
        if opened.len() >= KEPT {
            opened.remove(0);
        }
        opened.push(key);
    }

    fn opened(&self) -> MutexGuard<'_, Vec<Arc<Opened>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
