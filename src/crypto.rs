//! The library that signs, verifies signatures and encrypts: aws-lc-rs, or ring in a build without it.
//!
//! rustls signs with keys from here, whatever `CryptoProvider` the application has. No provider of rustls is used, and none is turned
//! on: in a program with two of them, rustls cannot choose one, and `ClientConfig::builder()` panics.
//!
//! Both libraries have nearly the same interface. The files named after them contain what differs.

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!(
    "cardcase needs a library that signs: turn on its feature `aws-lc-rs`, which is in `default`, or `ring`"
);

mod key;
mod library;
mod signing;

pub(crate) use library::{
    EXPONENT_BITS, EXPONENT_LIMIT, MISSING_CURVE, NAME, RSA_LIMIT, aead, generate_rsa, public_point, signs_with_rsa,
};
pub(crate) use signing::{RSA_SCHEMES, generate_ec, generate_ed25519, has_curve, load, load_rsa, verifies};

#[cfg(test)]
mod tests;
