//! The base of the integration tests: a test CA, real TLS servers, the command in a clean
//! environment and in a pseudo-terminal. No test is skipped when a tool is missing: it fails and
//! names the package to install.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod apache;
pub mod backend;
pub mod ca;
pub mod command;
#[path = "../../../tests/support/executable.rs"]
pub mod executable;
pub mod gate;
pub mod gnutls;
pub mod log;
pub mod pinentry;
pub mod program;
pub mod pss;
pub mod question;
pub mod refusing;
pub mod renegotiating;
pub mod restconf;
pub mod scene;
pub mod screen;
pub mod server;
pub mod service;
pub mod terminal;
pub mod tunnel;
pub mod typed;
#[path = "../../../tests/support/verdict.rs"]
pub mod verdict;

use sha2::{Digest, Sha256};

/// The values of `--mode`.
pub const MODES: [&str; 2] = ["firefox", "chrome"];

/// SHA-256 as the command prints it: lower-case hex.
pub fn fingerprint(der: &[u8]) -> String {
    Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The message for a program that is not installed.
pub fn missing(program: &str, package: &str, error: &std::io::Error) -> String {
    format!("cannot run {program}: {error}; install it: apt-get install {package}")
}
