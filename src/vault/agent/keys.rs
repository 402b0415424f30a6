//! The private keys that an agent has opened. They stay in its memory, where the data key is too, until it ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::SignatureScheme;
use rustls::sign::SigningKey;

use crate::certificate::Certificate;
use crate::error::Error;
use crate::vault::{SealedKey, Vault, sign_with};

/// Keys that are kept. Opening one of RSA takes longer than signing with it.
const KEPT: usize = 32;

/// The keys that were used last, the latest at the end. aws-lc-rs overwrites a key when it is dropped; ring does not. The command wipes
/// everything that its Rust code frees on the heap.
#[derive(Default)]
pub(super) struct Keys(Mutex<Vec<Arc<Opened>>>);

/// A key, with everything that it was opened with. In another row or for another certificate it is opened anew, or refused.
struct Opened {
    sealed: SealedKey,
    certificate: Certificate,
    key: Arc<dyn SigningKey>,
}

impl Keys {
    /// One signature with the key of this certificate.
    ///
    /// # Errors
    /// Those of [`Vault::sign`].
    pub(super) fn sign(
        &self,
        vault: &Vault,
        sealed: SealedKey,
        certificate: &[u8],
        scheme: SignatureScheme,
        message: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let opened = match self.take(&sealed, certificate) {
            Some(opened) => opened,
            None => {
                let certificate = Certificate::from_der(certificate)?;
                let key = vault.open(&sealed)?.signing_key(&certificate)?;
                Arc::new(Opened { sealed, certificate, key })
            }
        };
        self.keep(opened.clone());
        sign_with(&*opened.key, &opened.certificate, scheme, message)
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
