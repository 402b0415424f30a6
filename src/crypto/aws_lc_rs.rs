//! Keys and ciphers of aws-lc-rs.

// `signing.rs` is also a module of `ring`, as rustls has it
#![allow(clippy::duplicate_mod)]

mod library;
#[path = "signing.rs"]
mod signing;

pub(crate) use library::{
    EXPONENT_BITS, EXPONENT_LIMIT, MISSING_CURVE, NAME, RSA_LIMIT, aead, digest, generate_rsa, public_point,
    signs_with_rsa,
};
pub(crate) use signing::{generate_ec, generate_ed25519, has_curve, load, load_rsa, verifies};
pub(crate) use signing::{load as load_for_digests, load_rsa as load_rsa_for_digests};
