//! ring. RustCrypto computes the public key of a private key on a curve, which ring cannot do.

use std::ops::RangeInclusive;

use p256::elliptic_curve::sec1::ToSec1Point;
use ring::rand::SystemRandom;
use rustls::SignatureScheme;
use rustls::pki_types::alg_id;
use zeroize::Zeroizing;

use crate::crypto::key::{self, Key};

pub(crate) use ring::{aead, digest, rand, signature};

use signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, RsaEncoding, RsaKeyPair};

/// Its name in messages.
pub(crate) const NAME: &str = "ring";

/// Whether it signs with RSA keys of this size: both primes have half of the bits, and those are a multiple of 512.
pub(crate) fn signs_with_rsa(bits: usize) -> bool {
    matches!(bits, 2048 | 3072 | 4096)
}

pub(crate) const RSA_LIMIT: &str = "ring signs with RSA keys of 2048, 3072 and 4096 bits; a program with cardcase's feature aws-lc-rs takes 2048 to 8192";

/// Bits of their public exponents.
pub(crate) const EXPONENT_BITS: RangeInclusive<usize> = 17..=33;
pub(crate) const EXPONENT_LIMIT: &str =
    "ring signs with public exponents of 17 to 33 bits; a program with cardcase's feature aws-lc-rs takes shorter ones";

pub(crate) const MISSING_CURVE: &str =
    "ring does not sign with this curve; a program with cardcase's feature aws-lc-rs does";

pub(crate) type Curve = key::Curve<EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm>;

/// The curves that it signs with.
pub(crate) static CURVES: [Curve; 2] = [
    Curve {
        scheme: SignatureScheme::ECDSA_NISTP256_SHA256,
        id: alg_id::ECDSA_P256,
        signing: &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        verification: &signature::ECDSA_P256_SHA256_ASN1,
    },
    Curve {
        scheme: SignatureScheme::ECDSA_NISTP384_SHA384,
        id: alg_id::ECDSA_P384,
        signing: &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        verification: &signature::ECDSA_P384_SHA384_ASN1,
    },
];

pub(crate) fn ec_key_pair(curve: &'static EcdsaSigningAlgorithm, pkcs8: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(curve, pkcs8, &SystemRandom::new()).ok()
}

/// The uncompressed public key of a private key on the curve of this scheme.
pub(crate) fn public_point(scheme: SignatureScheme, secret: &[u8]) -> Option<Vec<u8>> {
    match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => {
            let public = p256::SecretKey::from_slice(secret).ok()?.public_key();
            Some(public.to_sec1_point(false).as_bytes().to_vec())
        }
        SignatureScheme::ECDSA_NISTP384_SHA384 => {
            let public = p384::SecretKey::from_slice(secret).ok()?.public_key();
            Some(public.to_sec1_point(false).as_bytes().to_vec())
        }
        _ => None,
    }
}

pub(crate) fn signature_length(key: &RsaKeyPair) -> usize {
    key.public().modulus_len()
}

/// It signs no digests.
pub(crate) fn sign_rsa_digest(_: &RsaKeyPair, _: &'static dyn RsaEncoding, _digest: &[u8]) -> Option<Vec<u8>> {
    None
}

/// It signs no digests.
pub(crate) fn sign_ec_digest(_: &EcdsaKeyPair, _digest: &[u8]) -> Option<Vec<u8>> {
    None
}

/// It makes no RSA keys. The error is for a person.
pub(crate) fn generate_rsa(_bits: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    Err("ring makes no RSA keys; a program with cardcase's feature aws-lc-rs does".to_owned())
}

/// It has no other keys.
pub(crate) fn load_other(_pkcs8: &[u8]) -> Option<Key> {
    None
}
