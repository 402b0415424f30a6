//! A browser's client-certificate store for everything that is not a browser: a database of personal certificates, a
//! selector that answers a TLS server's request for one as Firefox or Chrome would, and plugs that put it into other
//! clients.
//!
//! # Start
//!
//! ```no_run
//! use std::{io::Write, net::TcpStream, sync::Arc};
//! use cardcase::{Destination, Selector, Store};
//! use cardcase::connect::blocking::Connector;
//!
//! fn open(config: rustls::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
//!     let store = Store::open_default()?;
//!     let connector = Connector::new(Arc::new(Selector::new(Arc::new(store))), config);
//!     let destination: Destination = "intranet.example.com".parse()?;
//!     let mut connection = connector.connect(&destination, || TcpStream::connect("intranet.example.com:443"))?;
//!     connection.stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
//!     Ok(())
//! }
//! ```
//!
//! `config` is any configuration of rustls without a client certificate. This asks nobody: it sends what is
//! [remembered](store::Store::remember) or what a [rule](rules) says, and else fails with [`Error::NobodyToAsk`].
//! [`Selector::with_chooser`] takes a dialog, [`Selector::with_unlocker`] what asks for the primary password.
//!
//! | feature | module | what comes with it |
//! |---|---|---|
//! | | [`connect::blocking`] | rustls over any stream that blocks |
//! | `tokio` | `connect::tokio` | tokio-rustls, for tokio-tungstenite and others |
//! | `hyper` | `connect::hyper` | a client over hyper-util, a connector for tonic |
//! | `reqwest` | `connect::reqwest` | a client over reqwest |
//! | `ureq` | `connect::ureq` | a connector for ureq 3 |
//! | `openssl` | `connect::openssl` | the system's OpenSSL, for servers that ask in the middle of a connection |
//! | `keyring` | `keyring` | the desktop's keyring keeps the primary password |
//! | `files` (default) | [`file`] | reading and writing PKCS#12, PEM and DER, with every old cipher |
//!
//! # The four calls
//!
//! A program that makes its TLS connections itself does what the connectors do. A handshake ends with an error while
//! nothing is decided, and
//!
//! 1. [`raw::needs`] finds in that error what the server asks for;
//! 2. [`raw::refusal`] finds that a server did not take what it was sent;
//! 3. [`raw::grant`] decides, on a thread that may block: it asks the person, or unlocks the vault;
//! 4. the program connects again, with a new [`resolver::Resolver`] of what that gave.
//!
//! [`connect`] has the whole sequence.
//!
//! # The way of the data
//!
//! ```text
//! identity.p12 + password
//!   -> pkcs12      bytes to plain certificates, keys and names
//!      pem         the same from PEM and DER
//!   -> identity    key fits certificate; an identity in hand is whole
//!      enrollment  a key made here, and the request for its certificate
//!   -> vault       private key to encrypted PKCS#8
//!      agent       another process that signs, so that the primary password is typed once
//!   -> store       SQLite: identities, authorities, settings, rules, decisions, history
//!                                       server's CertificateRequest + destination
//!   -> matching    request + identities + rules + now -> candidates, and a reason for each that is none
//!   -> decisions   what was remembered for this destination in this mode
//!   -> policy      rules: what was answered in advance
//!   -> chooser     ask, once, whoever waits
//!   -> selector    where these meet; a Selection and its reason
//!   -> resolver    rustls ResolvesClientCert for one destination
//!   -> connect     the handshake, for one kind of client each; by OpenSSL where a server asks later
//! ```
//!
//! A module uses only those above it. The library never prints, prompts or exits: it talks to people through
//! [`Chooser`] and [`Unlocker`] alone.
//!
//! [`Selector::with_chooser`]: selector::Selector::with_chooser
//! [`Selector::with_unlocker`]: selector::Selector::with_unlocker

// docs.rs shows which feature an item needs; stable Rust cannot
#![cfg_attr(docsrs, feature(doc_cfg))]

// The floors of the house: each uses only those above it. The empty lines keep rustfmt from sorting them by name

mod error;

mod clock;

mod session;

mod certificate;

pub mod file;

mod request;

mod answer;

mod vault;

mod store;

mod select;

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

/// What a dialog is asked, and what it answers.
pub mod ask {
    pub use crate::answer::refusal::Refusal;
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
    pub use crate::certificate::authority::{Authorities, Authority, Chain, Requested};
    pub use crate::certificate::enrollment::Enrollment;
    pub use crate::certificate::import::Import;
    pub use crate::certificate::name::{Name, NameKey, is_unprintable};
    pub use crate::certificate::{Certificate, Fingerprint, KeyKind};
    pub use crate::clock::Timestamp;
    pub use crate::error::{Damage, Source};
    pub use crate::request::split_port;
    pub use crate::session::Session;
    pub use crate::store::{Accepted, Imported, Renewal};
    pub use crate::vault::agent;
    #[cfg(feature = "keyring")]
    pub use crate::vault::keyring::Keyring;
}

/// The four calls: for programs that make their TLS connections themselves.
pub mod raw {
    pub use crate::answer::refusal::alert_name;
    pub use crate::connect::drive::server_name;
    pub use crate::connect::guarded::Guarded;
    pub use crate::connect::needs::{Needs, grant, needs};
    pub use crate::connect::refusal::{alert, failure, invalid_certificate, refusal};
    pub use crate::connect::resolver::Resolver;
    pub use crate::select::prepared::Prepared;
}
