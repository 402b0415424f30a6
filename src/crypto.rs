//! The library that signs, verifies signatures and encrypts: aws-lc-rs or ring, or both.
//!
//! rustls signs with keys from here, whatever `CryptoProvider` the application has. No provider of rustls is used, and none is turned
//! on: in a program with two of them, rustls cannot choose one, and `ClientConfig::builder()` panics.
//!
//! Both libraries have nearly the same interface, so both are called by the same code, `signing.rs`. The files `library.rs` contain
//! what differs.

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!(
    "cardcase needs a library that signs: turn on its feature `aws-lc-rs`, which is in `default`, or `ring`"
);

// Beside the other, only a part of each is used
#[cfg(feature = "aws-lc-rs")]
#[cfg_attr(feature = "ring", allow(dead_code, unused_imports))]
mod aws_lc_rs;
#[cfg(all(feature = "aws-lc-rs", feature = "ring"))]
mod both;
mod key;
#[cfg(feature = "ring")]
#[cfg_attr(feature = "aws-lc-rs", allow(dead_code, unused_imports))]
mod ring;

#[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
use self::aws_lc_rs as library;
#[cfg(all(feature = "aws-lc-rs", feature = "ring"))]
use self::both as library;
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
use self::ring as library;

pub(crate) use key::{Key, RSA_SCHEMES, digest_for};
pub(crate) use library::{
    EXPONENT_BITS, EXPONENT_LIMIT, MISSING_CURVE, NAME, RSA_LIMIT, aead, generate_ec, generate_ed25519, generate_rsa,
    has_curve, load, load_for_digests, load_rsa, load_rsa_for_digests, public_point, signs_with_rsa, verifies,
};

/// The SHA-256 of some bytes. A list computes one for each certificate, which takes RustCrypto twice as long.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(library::digest::digest(&library::digest::SHA256, bytes).as_ref());
    sha256
}

#[cfg(test)]
mod tests;
