//! ring and aws-lc-rs in one build: ring makes the signatures and the keys that it can make, and aws-lc-rs does the rest.
//!
//! What draws random bytes goes to ring, because it draws them from the kernel. aws-lc-rs, unless it was built otherwise, first
//! measures the jitter of the CPU for about 40 ms in every process: longer than a whole handshake.

use std::sync::Arc;

use rustls::SignatureScheme;
use zeroize::Zeroizing;

use super::key::Key;
use super::{aws_lc_rs, ring};

pub(crate) use aws_lc_rs::{
    EXPONENT_BITS, EXPONENT_LIMIT, MISSING_CURVE, NAME, RSA_LIMIT, aead, digest, generate_rsa, has_curve, public_point,
    signs_with_rsa, verifies,
};

/// Loads a PrivateKeyInfo in the form that [`PrivateKey`](crate::certificate::private_key) has; `None` if both libraries reject it.
pub(crate) fn load(pkcs8: &[u8]) -> Option<Arc<Key>> {
    ring::load(pkcs8).or_else(|| aws_lc_rs::load(pkcs8))
}

/// Loads an RSAPrivateKey (RFC 8017 appendix A.1.2); `None` if both libraries reject it.
pub(crate) fn load_rsa(pkcs1: &[u8]) -> Option<Arc<Key>> {
    ring::load_rsa(pkcs1).or_else(|| aws_lc_rs::load_rsa(pkcs1))
}

/// Loads a PrivateKeyInfo to sign digests, which ring does not; `None` if the library rejects it.
pub(crate) fn load_for_digests(pkcs8: &[u8]) -> Option<Arc<Key>> {
    aws_lc_rs::load(pkcs8)
}

/// Loads an RSAPrivateKey (RFC 8017 appendix A.1.2) to sign digests; `None` if the library rejects it.
pub(crate) fn load_rsa_for_digests(pkcs1: &[u8]) -> Option<Arc<Key>> {
    aws_lc_rs::load_rsa(pkcs1)
}

/// Makes a key on the curve of this scheme, as a PrivateKeyInfo. The error is for a person.
pub(crate) fn generate_ec(scheme: SignatureScheme) -> Result<Zeroizing<Vec<u8>>, String> {
    if ring::has_curve(scheme) { ring::generate_ec(scheme) } else { aws_lc_rs::generate_ec(scheme) }
}

/// Makes an Ed25519 key, as a PrivateKeyInfo. The error is for a person.
pub(crate) fn generate_ed25519() -> Result<Zeroizing<Vec<u8>>, String> {
    ring::generate_ed25519()
}
