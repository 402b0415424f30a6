//! The command, as a person or a script runs it.

// A failed setup is a failed test
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod as_curl;
mod backup;
mod bad_input;
mod browsers;
mod canary;
mod chooser;
mod completions;
mod contact;
mod contention;
mod crash;
mod credential;
mod damage;
mod decisions;
mod directory;
mod disk;
mod doctor;
mod enroll;
mod erasure;
mod export;
mod files;
mod fixtures;
mod foreground;
mod forgotten;
mod hardening;
mod harness;
mod http;
mod isolation;
mod json;
#[cfg(feature = "keyring")]
mod keyring;
mod keys;
mod kubeconfig;
mod menu;
mod names;
mod nss;
mod nss_back;
mod one_prompt;
mod pem;
mod people;
mod plain_prompt;
mod primary_password;
mod privacy;
mod profiles;
mod program_chooser;
mod programs;
mod progress;
mod randomness;
mod refusals;
mod renewal;
mod rsa_pss;
mod rules;
mod servers;
mod settings;
mod startup;
mod store_file;
mod taken_away;
mod tampering;
mod trust;
mod tunnel;
mod typed_ahead;
mod upload;
