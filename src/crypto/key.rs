//! A signing key for rustls, of either library.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{AlgorithmIdentifier, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{SignatureAlgorithm, SignatureScheme};

/// The schemes of RSA keys, in the order rustls prefers them.
pub(crate) const RSA_SCHEMES: [SignatureScheme; 6] = [
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// What is signed by a scheme for a digest that a program has made: with RSA, only the digest of that scheme; on a curve, a SHA-256,
/// SHA-384 or SHA-512, of which as many bits count as the curve has (FIPS 186-5 section 6.4.1). `None` if the scheme signs no such
/// digest.
pub(crate) fn digest_for(scheme: SignatureScheme, digest: &[u8]) -> Option<Cow<'_, [u8]>> {
    use SignatureScheme as S;
    let only = |length| (digest.len() == length).then_some(Cow::Borrowed(digest));
    let on_curve = |length: usize| match digest.len() {
        32 | 48 | 64 => Some(match digest.split_at_checked(length) {
            Some((leftmost, _)) => Cow::Borrowed(leftmost),
            None => Cow::Owned([vec![0; length - digest.len()], digest.to_vec()].concat()),
        }),
        _ => None,
    };
    match scheme {
        S::RSA_PKCS1_SHA256 | S::RSA_PSS_SHA256 => only(32),
        S::RSA_PKCS1_SHA384 | S::RSA_PSS_SHA384 => only(48),
        S::RSA_PKCS1_SHA512 | S::RSA_PSS_SHA512 => only(64),
        S::ECDSA_NISTP256_SHA256 => on_curve(32),
        S::ECDSA_NISTP384_SHA384 => on_curve(48),
        // All of its 521 bits are more than any digest has
        S::ECDSA_NISTP521_SHA512 => on_curve(64),
        _ => None,
    }
}

/// A curve, with the one scheme of TLS 1.3 for it, and the library's names for that.
pub(crate) struct Curve<S: 'static, V: 'static> {
    pub(crate) scheme: SignatureScheme,
    pub(crate) id: AlgorithmIdentifier,
    pub(crate) signing: &'static S,
    pub(crate) verification: &'static V,
}

/// A key pair of the library.
pub(crate) trait Pair: Send + Sync + 'static {
    /// The bits of its subjectPublicKey.
    fn public_key(&self) -> &[u8];
    /// Signs with one of the schemes of its [`Key`]; `None` if the library fails.
    fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Option<Vec<u8>>;
    /// Signs what a message was hashed to, of the length that the scheme has; `None` if the library fails, or has no such function.
    fn sign_digest(&self, _scheme: SignatureScheme, _digest: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// A key pair, and how TLS names it.
#[derive(Clone)]
pub(crate) struct Key {
    pair: Arc<dyn Pair>,
    id: AlgorithmIdentifier,
    algorithm: SignatureAlgorithm,
    schemes: &'static [SignatureScheme],
}

impl Key {
    pub(crate) fn new(
        pair: impl Pair,
        id: AlgorithmIdentifier,
        algorithm: SignatureAlgorithm,
        schemes: &'static [SignatureScheme],
    ) -> Self {
        Self { pair: Arc::new(pair), id, algorithm, schemes }
    }

    /// Signs a digest by one of its schemes, as [`digest_for`] has it; `None` if the library fails, or has no such function.
    pub(crate) fn sign_digest(&self, scheme: SignatureScheme, digest: &[u8]) -> Option<Vec<u8>> {
        self.schemes.contains(&scheme).then(|| self.pair.sign_digest(scheme, digest)).flatten()
    }
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.schemes.iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(KeySigner { pair: self.pair.clone(), scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(public_key_to_spki(&self.id, self.pair.public_key()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("schemes", &self.schemes).finish_non_exhaustive()
    }
}

/// One signature of a [`Key`].
struct KeySigner {
    pair: Arc<dyn Pair>,
    scheme: SignatureScheme,
}

impl Signer for KeySigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.pair.sign(self.scheme, message).ok_or_else(|| rustls::Error::General("signing failed".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl fmt::Debug for KeySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySigner").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}
