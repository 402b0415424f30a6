//! Loading and making private keys that sign for rustls, and verifying what they sign. `aws_lc_rs` and `ring` have an instance each.

use std::sync::Arc;

use rustls::pki_types::alg_id;
use rustls::{SignatureAlgorithm, SignatureScheme};
use zeroize::Zeroizing;

use super::library::rand::SystemRandom;
use super::library::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, RsaEncoding, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use super::library::{
    CURVES, Curve, MISSING_CURVE, NAME, ec_key_pair, load_other, sign_ec_digest, sign_rsa_digest, signature_length,
};
use crate::crypto::key::{Key, Pair, RSA_SCHEMES};

/// Loads a PrivateKeyInfo in the form that [`PrivateKey`](crate::certificate::private_key) has; `None` if the library rejects it.
pub(crate) fn load(pkcs8: &[u8]) -> Option<Arc<Key>> {
    let rsa = || RsaKeyPair::from_pkcs8(pkcs8).ok().map(rsa);
    let ec = |curve: &'static Curve| {
        let pair = ec_key_pair(curve.signing, pkcs8)?;
        Some(Key::new(pair, curve.id, SignatureAlgorithm::ECDSA, std::slice::from_ref(&curve.scheme)))
    };
    let ed25519 = || {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok()?;
        Some(Key::new(pair, alg_id::ED25519, SignatureAlgorithm::ED25519, &[SignatureScheme::ED25519]))
    };
    let key = rsa().or_else(|| CURVES.iter().find_map(ec)).or_else(ed25519).or_else(|| load_other(pkcs8))?;
    Some(Arc::new(key))
}

/// Loads an RSAPrivateKey (RFC 8017 appendix A.1.2); `None` if the library rejects it.
pub(crate) fn load_rsa(pkcs1: &[u8]) -> Option<Arc<Key>> {
    RsaKeyPair::from_der(pkcs1).ok().map(|pair| Arc::new(rsa(pair)))
}

fn rsa(pair: RsaKeyPair) -> Key {
    Key::new(pair, alg_id::RSA_ENCRYPTION, SignatureAlgorithm::RSA, &RSA_SCHEMES)
}

/// Whether the library signs with the curve of this scheme.
pub(crate) fn has_curve(scheme: SignatureScheme) -> bool {
    curve(scheme).is_some()
}

fn curve(scheme: SignatureScheme) -> Option<&'static Curve> {
    CURVES.iter().find(|curve| curve.scheme == scheme)
}

/// Makes a key on the curve of this scheme, as a PrivateKeyInfo. The error is for a person.
pub(crate) fn generate_ec(scheme: SignatureScheme) -> Result<Zeroizing<Vec<u8>>, String> {
    let curve = curve(scheme).ok_or(MISSING_CURVE)?;
    let made = EcdsaKeyPair::generate_pkcs8(curve.signing, &SystemRandom::new());
    made.map(|der| Zeroizing::new(der.as_ref().to_vec())).map_err(|_| format!("{NAME} failed"))
}

/// Makes an Ed25519 key, as a PrivateKeyInfo. The error is for a person.
pub(crate) fn generate_ed25519() -> Result<Zeroizing<Vec<u8>>, String> {
    let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    made.map(|der| Zeroizing::new(der.as_ref().to_vec())).map_err(|_| format!("{NAME} failed"))
}

/// Whether this is a signature of the message by the private key of `public_key`: the bits of its subjectPublicKey, a point
/// uncompressed.
pub(crate) fn verifies(scheme: SignatureScheme, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    verification(scheme)
        .is_some_and(|algorithm| UnparsedPublicKey::new(algorithm, public_key).verify(message, signature).is_ok())
}

fn verification(scheme: SignatureScheme) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match scheme {
        SignatureScheme::RSA_PSS_SHA256 => &signature::RSA_PSS_2048_8192_SHA256,
        SignatureScheme::RSA_PSS_SHA384 => &signature::RSA_PSS_2048_8192_SHA384,
        SignatureScheme::RSA_PSS_SHA512 => &signature::RSA_PSS_2048_8192_SHA512,
        SignatureScheme::RSA_PKCS1_SHA256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        SignatureScheme::RSA_PKCS1_SHA384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        SignatureScheme::RSA_PKCS1_SHA512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        SignatureScheme::ED25519 => &signature::ED25519,
        scheme => curve(scheme)?.verification,
    })
}

/// The padding and the digest of a scheme for RSA keys.
fn rsa_encoding(scheme: SignatureScheme) -> Option<&'static dyn RsaEncoding> {
    Some(match scheme {
        SignatureScheme::RSA_PSS_SHA256 => &signature::RSA_PSS_SHA256,
        SignatureScheme::RSA_PSS_SHA384 => &signature::RSA_PSS_SHA384,
        SignatureScheme::RSA_PSS_SHA512 => &signature::RSA_PSS_SHA512,
        SignatureScheme::RSA_PKCS1_SHA256 => &signature::RSA_PKCS1_SHA256,
        SignatureScheme::RSA_PKCS1_SHA384 => &signature::RSA_PKCS1_SHA384,
        SignatureScheme::RSA_PKCS1_SHA512 => &signature::RSA_PKCS1_SHA512,
        _ => return None,
    })
}

impl Pair for RsaKeyPair {
    fn public_key(&self) -> &[u8] {
        signature::KeyPair::public_key(self).as_ref()
    }

    fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; signature_length(self)];
        RsaKeyPair::sign(self, rsa_encoding(scheme)?, &SystemRandom::new(), message, &mut signature).ok()?;
        Some(signature)
    }

    fn sign_digest(&self, scheme: SignatureScheme, digest: &[u8]) -> Option<Vec<u8>> {
        sign_rsa_digest(self, rsa_encoding(scheme)?, digest)
    }
}

impl Pair for EcdsaKeyPair {
    fn public_key(&self) -> &[u8] {
        signature::KeyPair::public_key(self).as_ref()
    }

    fn sign(&self, _: SignatureScheme, message: &[u8]) -> Option<Vec<u8>> {
        EcdsaKeyPair::sign(self, &SystemRandom::new(), message).ok().map(|signature| signature.as_ref().to_vec())
    }

    fn sign_digest(&self, _: SignatureScheme, digest: &[u8]) -> Option<Vec<u8>> {
        sign_ec_digest(self, digest)
    }
}

impl Pair for Ed25519KeyPair {
    fn public_key(&self) -> &[u8] {
        signature::KeyPair::public_key(self).as_ref()
    }

    fn sign(&self, _: SignatureScheme, message: &[u8]) -> Option<Vec<u8>> {
        Some(Ed25519KeyPair::sign(self, message).as_ref().to_vec())
    }
}
