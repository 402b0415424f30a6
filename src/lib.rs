//! A browser's client-certificate store for everything that is not a browser.
//!
//! cardcase keeps personal certificates in a SQLite database with their private keys encrypted. When a TLS server asks for a
//! client certificate, a [`Selector`] answers as Firefox or Chrome would: from what is remembered for that host, by a rule,
//! or by asking a person once. Connectors bring the answer into rustls, tokio, hyper, reqwest, ureq and OpenSSL.
//!
//! # Start
//!
//! ```no_run
//! use std::{io::Write, net::TcpStream, sync::Arc};
//!
//! use cardcase::connect::blocking::Connector;
//! use cardcase::{Destination, Selector};
//! use rustls::ClientConfig;
//!
//! # #[cfg(feature = "ask")]
//! fn open() -> Result<(), Box<dyn std::error::Error>> {
//!     let selector = Selector::for_user()?;
//!     let config = selector.client_config(ClientConfig::builder())?;
//!     let connector = Connector::new(Arc::new(selector), config);
//!     let destination: Destination = "intranet.example.com".parse()?;
//!     let mut connection = connector.connect(&destination, || TcpStream::connect("intranet.example.com:443"))?;
//!     connection.stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
//!     Ok(())
//! }
//! ```
//!
//! `Selector::for_user` needs the feature `ask`. It has the user's store and the user's dialogs: where nothing is
//! [remembered](Store::remember) for the host and no [rule](manage::Rule) selects, it asks on the terminal, or with a program that the
//! user has chosen. `config` may be any rustls configuration without a client certificate.
//!
//! A selector that is made with [`Selector::new`] asks nobody. Where it would have to ask, it fails with [`Error::NobodyToAsk`]. Give
//! it a dialog of your own with [`Selector::with_chooser`], and a prompt for the primary password with [`Selector::with_unlocker`].
//!
//! # Where to find what
//!
//! | module | for |
//! |---|---|
//! | the root | every program: [`Store`], [`Selector`], [`Identity`], [`Destination`], [`Target`], [`Chooser`], [`Unlocker`], [`Error`] |
//! | [`connect`] | your client: a connector for each library |
//! | [`ask`] | dialogs: those of the user; for your own, what a [`Chooser`] is asked, and what it answers |
//! | [`manage`] | programs with a window of their own: decisions, rules, settings, history, certificates |
//! | [`mod@file`] | reading certificate files |
//! | [`raw`] | programs that make their TLS connections themselves: the four calls |
//!
//! | feature | adds |
//! |---|---|
//! | `files` (default) | `file::read` and `Store::export`: PKCS#12, PEM and DER, with every old cipher they need |
//! | `aws-lc-rs` (default) | signing and encryption by aws-lc-rs |
//! | `ring` | signing and encryption by ring; with `aws-lc-rs` too, ring signs with the keys that it can use, and `aws-lc-rs` does the rest |
//! | `tokio` | `connect::tokio`, for tokio-tungstenite and others |
//! | `hyper` | `connect::hyper`: a client over hyper-util, and a connector for tonic |
//! | `reqwest` | `connect::reqwest`: a client over reqwest |
//! | `reqwest-blocking` | `connect::reqwest::blocking`: the same client without a runtime |
//! | `ureq` | `connect::ureq`: a connector for ureq 3 |
//! | `openssl` | `connect::openssl`: the system's OpenSSL, for servers that ask in the middle of a connection |
//! | `ask` | `Selector::for_user` and `ask::Dialogs`: questions on the terminal, or in programs of the user's |
//! | `keyring` | `manage::Keyring`: the desktop's keyring keeps the primary password |
//!
//! [`connect::blocking`] needs no feature, but every build needs `aws-lc-rs` or `ring`. Neither of them turns on a provider of rustls:
//! the application chooses its own, and every provider works with either. ring signs with RSA keys of 2048, 3072 and 4096 bits, P-256, P-384
//! and Ed25519, and makes no RSA keys.
//!
//! # Words
//!
//! - An *identity* is a personal certificate with its private key. An *authority* is a CA certificate; a *trusted* authority
//!   also verifies servers.
//! - A *destination* is a host and a port; a *target* adds the path of a request and whether it carries credentials.
//! - A *decision* is what was answered for a destination: an identity, or none; for once, for the session, or permanently. A
//!   *rule* is an answer given in advance for a pattern of destinations.
//! - A *candidate* is an identity that fits a certificate request. Every other identity has a named reason why it does not.
//! - The *vault* encrypts the private keys in the store; the primary password opens it.
//!
//! # How data flows
//!
//! ```text
//! identity.p12 + password
//!   -> file        bytes to certificates and keys
//!   -> certificate key fits certificate: an identity is always whole
//!   -> vault       private key to encrypted PKCS#8
//!   -> store       SQLite: identities, authorities, settings, rules, decisions, history
//!
//! the server's certificate request + destination
//!   -> select      look (the store at one moment), match, decide; ask once when nothing else answers
//!   -> connect     the handshake, for one kind of client each
//! ```
//!
//! The library never prints or exits, and it talks to people only through [`Chooser`] and [`Unlocker`]. With the feature `ask` it brings an
//! implementation of both, which draws on the terminal itself and never on stdout or stderr. Without it, no prompt is compiled.

// docs.rs shows which feature an item needs; stable Rust cannot
#![cfg_attr(docsrs, feature(doc_cfg))]
// The streams and the end of the process belong to the program
#![warn(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

// The floors of the house: each uses only those above it. The empty lines keep rustfmt from sorting them by name

mod error;

mod text;

mod clock;

mod session;

mod crypto;

mod certificate;

pub mod file;

mod request;

mod answer;

mod vault;

mod store;

mod select;

#[cfg(feature = "ask")]
mod dialog;

pub mod connect;

// The tests inside the crate make certificates as those outside do, which call it by its name
#[cfg(test)]
extern crate self as cardcase;
#[cfg(test)]
#[path = "../tests/library/pki.rs"]
mod pki;

pub use certificate::identity::Identity;
pub use error::Error;
pub use request::{Destination, Target};
pub use select::chooser::Chooser;
pub use select::selector::Selector;
pub use store::Store;
pub use vault::Unlocker;

/// The version of rustls whose types are in the public API.
pub use rustls;

/// The dialogs of the user; for those of a program, what a dialog is asked, and what it answers.
pub mod ask {
    pub use crate::answer::refusal::Refusal;
    #[cfg(feature = "ask")]
    pub use crate::dialog::{dialogs::Dialogs, terminal};
    pub use crate::request::CertificateRequest;
    pub use crate::select::chooser::{Question, Refused, Reply};
    pub use crate::select::matching::{Considered, Reason, Warning};
}

/// Settings, rules, decisions and history: for programs with a window of their own.
pub mod manage {
    pub use crate::answer::decision::{Answer, Decision, Lifetime, Outcome, Scope};
    pub use crate::answer::history::{Use, version_name};
    pub use crate::answer::policy::Policy;
    pub use crate::answer::rules::Rule;
    pub use crate::answer::settings::{Mode, Settings};
    pub use crate::certificate::authority::Authority;
    pub use crate::certificate::enrollment::Enrollment;
    pub use crate::certificate::import::Import;
    pub use crate::certificate::name::Name;
    pub use crate::certificate::permission::{Confirmation, Permission};
    pub use crate::certificate::{Certificate, Fingerprint, KeyKind};
    pub use crate::clock::Timestamp;
    pub use crate::error::Damage;
    pub use crate::request::split_port;
    pub use crate::session::Session;
    pub use crate::store::{Backup, Imported, Renewal, Restored, Unverified};
    pub use crate::text::{is_unprintable, plain, plain_json, plain_lines};
    #[cfg(feature = "keyring")]
    pub use crate::vault::keyring::Keyring;
    pub use crate::vault::{ToSign, agent};
}

/// The four calls: for programs that make their TLS connections themselves.
pub mod raw {
    pub use crate::answer::refusal::alert_name;
    pub use crate::connect::guarded::Guarded;
    pub use crate::connect::hosts::server_name;
    pub use crate::connect::needs::{Needs, grant};
    pub use crate::connect::refusal::{alert, causes, invalid_certificate, unverified_certificate, why_unverified};
    pub use crate::connect::resolver::Resolver;
    pub use crate::connect::trust::server_verifier;
    pub use crate::select::prepared::Prepared;
}

/// What the fuzz targets in `fuzz/` use besides the public API. It exists only in their builds.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::answer::rules::fuzzing::apply_rules;
    #[cfg(feature = "ask")]
    pub use crate::dialog::fuzzing::read_replies;
    pub use crate::vault::agent::Agent;
}
