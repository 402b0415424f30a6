//! aws-lc-rs.

use std::ops::RangeInclusive;

use aws_lc_rs::agreement;
use aws_lc_rs::digest::Digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use rustls::pki_types::alg_id;
use rustls::{SignatureAlgorithm, SignatureScheme};
use zeroize::Zeroizing;

use crate::crypto::key::{self, Key, Pair};

pub(crate) use aws_lc_rs::{aead, digest, rand, signature};

use signature::{
    EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, PqdsaKeyPair, PqdsaSigningAlgorithm, RsaEncoding,
    RsaKeyPair,
};

/// Its name in messages.
pub(crate) const NAME: &str = "aws-lc-rs";

/// Whether it signs with RSA keys of this size.
pub(crate) fn signs_with_rsa(bits: usize) -> bool {
    (2048..=8192).contains(&bits)
}

pub(crate) const RSA_LIMIT: &str = "RSA keys need 2048 to 8192 bits";

/// Bits of their public exponents.
pub(crate) const EXPONENT_BITS: RangeInclusive<usize> = 2..=33;
pub(crate) const EXPONENT_LIMIT: &str = "its public exponent needs 2 to 33 bits";

pub(crate) const MISSING_CURVE: &str = "aws-lc-rs does not sign with this curve";

pub(crate) type Curve = key::Curve<EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm>;

/// The curves that it signs with.
pub(crate) static CURVES: [Curve; 3] = [
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
    Curve {
        scheme: SignatureScheme::ECDSA_NISTP521_SHA512,
        id: alg_id::ECDSA_P521,
        signing: &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
        verification: &signature::ECDSA_P521_SHA512_ASN1,
    },
];

pub(crate) fn ec_key_pair(curve: &'static EcdsaSigningAlgorithm, pkcs8: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(curve, pkcs8).ok()
}

/// The uncompressed public key of a private key on the curve of this scheme.
pub(crate) fn public_point(scheme: SignatureScheme, secret: &[u8]) -> Option<Vec<u8>> {
    let curve = match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => &agreement::ECDH_P256,
        SignatureScheme::ECDSA_NISTP384_SHA384 => &agreement::ECDH_P384,
        SignatureScheme::ECDSA_NISTP521_SHA512 => &agreement::ECDH_P521,
        _ => return None,
    };
    let key = agreement::PrivateKey::from_private_key(curve, secret).ok()?;
    Some(key.compute_public_key().ok()?.as_ref().to_vec())
}

pub(crate) fn signature_length(key: &RsaKeyPair) -> usize {
    key.public_modulus_len()
}

/// Signs a digest as this encoding has it.
pub(crate) fn sign_rsa_digest(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding, digest: &[u8]) -> Option<Vec<u8>> {
    let mut signature = vec![0; signature_length(key)];
    // The key refuses the digest of another algorithm
    let digest = digest_of_length(digest)?;
    key.sign_digest(encoding, &digest, &mut signature).ok()?;
    Some(signature)
}

/// Signs a digest as long as the one that belongs to the curve.
pub(crate) fn sign_ec_digest(key: &EcdsaKeyPair, digest: &[u8]) -> Option<Vec<u8>> {
    Some(key.sign_digest(&digest_of_length(digest)?).ok()?.as_ref().to_vec())
}

fn digest_of_length(bytes: &[u8]) -> Option<Digest> {
    let all = [&digest::SHA256, &digest::SHA384, &digest::SHA512];
    let algorithm = all.into_iter().find(|algorithm| algorithm.output_len() == bytes.len())?;
    Digest::import_less_safe(bytes, algorithm).ok()
}

/// Makes an RSA key, as a PrivateKeyInfo. The error is for a person.
pub(crate) fn generate_rsa(bits: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    let size = match bits {
        2048 => KeySize::Rsa2048,
        4096 => KeySize::Rsa4096,
        _ => return Err(format!("RSA keys are made with 2048 or 4096 bits, not {bits}")),
    };
    let der = RsaKeyPair::generate(size).and_then(|key| AsDer::<Pkcs8V1Der<'_>>::as_der(&key));
    der.map(|der| Zeroizing::new(der.as_ref().to_vec())).map_err(|_| format!("{NAME} failed"))
}

/// Loads a PrivateKeyInfo with a key that only this library has: ML-DSA (RFC 9881).
pub(crate) fn load_other(pkcs8: &[u8]) -> Option<Key> {
    let kinds: [(&'static PqdsaSigningAlgorithm, _, &'static [SignatureScheme]); 3] = [
        (&signature::ML_DSA_44_SIGNING, alg_id::ML_DSA_44, &[SignatureScheme::ML_DSA_44]),
        (&signature::ML_DSA_65_SIGNING, alg_id::ML_DSA_65, &[SignatureScheme::ML_DSA_65]),
        (&signature::ML_DSA_87_SIGNING, alg_id::ML_DSA_87, &[SignatureScheme::ML_DSA_87]),
    ];
    kinds.into_iter().find_map(|(kind, id, schemes)| {
        let pair = PqdsaKeyPair::from_pkcs8(kind, pkcs8).ok()?;
        // rustls has no name for the family
        Some(Key::new(pair, id, SignatureAlgorithm::Unknown(0), schemes))
    })
}

impl Pair for PqdsaKeyPair {
    fn public_key(&self) -> &[u8] {
        signature::KeyPair::public_key(self).as_ref()
    }

    fn sign(&self, _: SignatureScheme, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.algorithm().signature_len()];
        let length = PqdsaKeyPair::sign(self, message, &mut signature).ok()?;
        (length == signature.len()).then_some(signature)
    }
}
