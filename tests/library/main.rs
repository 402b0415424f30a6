//! The library through its public functions: one file for each subject, certificates made by the tests, and a fixed
//! clock.
// A failed setup is a failed test
#![allow(missing_docs, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod people;
mod pki;
mod tls;
#[cfg(feature = "tokio")]
#[path = "../support/verdict.rs"]
mod verdict;

#[cfg(feature = "tokio")]
mod agent;
mod backup;
mod certificate;
#[cfg(feature = "tokio")]
mod connector;
mod decisions;
#[cfg(feature = "tokio")]
mod impostor;
mod live;
mod names;
#[cfg(feature = "tokio")]
mod refusal;
mod resolver;
mod secrets;
mod selector;
mod store;
