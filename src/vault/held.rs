//! Using a data key that another process holds.

use std::fmt;
use std::sync::Arc;

use rustls::sign::{Signer, SigningKey};
use rustls::{OtherError, SignatureAlgorithm, SignatureScheme};

use super::data_key::{KeyRow, Message, SealedKey};
use crate::certificate::Certificate;
use crate::error::Error;

/// A process that holds the data key and uses it for this one without giving it away. Each function fails with
/// [`Error::VaultLocked`] once the data key is gone, and blocks for a few seconds at most.
pub(crate) trait Holder: Send + Sync {
    /// Checks that it still holds the data key.
    fn check_held(&self) -> Result<(), Error>;
    /// Encrypts a private key for a row.
    fn seal(&self, row: &KeyRow, pkcs8: &[u8]) -> Result<Vec<u8>, Error>;
    /// Whether a private key opens in its row.
    fn opens(&self, key: &SealedKey) -> Result<bool, Error>;
    /// The code of a message.
    fn authenticate(&self, message: &Message) -> Result<[u8; 32], Error>;
    /// Whether this is the code of a message.
    fn verify(&self, message: &Message, code: &[u8; 32]) -> Result<bool, Error>;
    /// One signature of a TLS client, with the key of this certificate.
    fn sign(
        &self,
        key: &SealedKey,
        certificate: &Certificate,
        scheme: SignatureScheme,
        message: &[u8],
    ) -> Result<Vec<u8>, Error>;
}

/// A key that asks the vault for each signature, so that it still signs when the data key moves to another process or to this one.
#[derive(Clone)]
pub(super) struct HeldKey(Arc<Held>);

struct Held {
    sign: Box<Sign>,
    certificate: Certificate,
}

/// Signs a message with a scheme.
type Sign = dyn Fn(SignatureScheme, &[u8]) -> Result<Vec<u8>, Error> + Send + Sync;

impl HeldKey {
    /// `sign` makes each signature with the private key of `certificate`.
    pub(super) fn new(
        certificate: Certificate,
        sign: impl Fn(SignatureScheme, &[u8]) -> Result<Vec<u8>, Error> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Held { sign: Box::new(sign), certificate }))
    }
}

impl SigningKey for HeldKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = self.0.certificate.schemes().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(HeldSigner { key: self.clone(), scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.certificate.key().algorithm()
    }
}

impl fmt::Debug for HeldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldKey({:?})", self.0.certificate)
    }
}

/// One signature of a [`HeldKey`].
#[derive(Debug)]
struct HeldSigner {
    key: HeldKey,
    scheme: SignatureScheme,
}

impl Signer for HeldSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature = (self.key.0.sign)(self.scheme, message);
        signature.map_err(|error| rustls::Error::Other(OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
