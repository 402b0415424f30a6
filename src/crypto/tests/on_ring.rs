//! The same code on ring, in a build that signs with aws-lc-rs.

#![allow(dead_code, unused_imports, clippy::duplicate_mod)]

#[path = "../library/ring.rs"]
mod library;
#[path = "../signing.rs"]
mod signing;

use crate::crypto::key;
pub(super) use library::{NAME, generate_rsa, public_point, signs_with_rsa};
pub(super) use signing::{generate_ec, generate_ed25519, has_curve, load, load_rsa, verifies};
