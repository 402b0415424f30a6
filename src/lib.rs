//! A browser's client-certificate store for everything that is not a browser.
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
//! [`chooser::Chooser`] and [`vault::Unlocker`] alone, and takes the time from a [`clock::Clock`].

// In the order of the data; the empty lines keep rustfmt from sorting them by name

pub mod clock;

pub mod name;

pub mod pkcs12;

pub mod pem;

pub mod error;

pub mod rsa_pss;

pub mod certificate;

pub mod identity;

pub mod enrollment;

pub mod authority;

pub mod request;

pub mod rules;

pub mod session;

pub mod vault;

#[cfg(feature = "keyring")]
pub mod keyring;

pub mod agent;

pub mod store;

pub mod settings;

pub mod policy;

pub mod matching;

pub mod decisions;

pub mod renewal;

pub mod history;

pub mod refusal;

mod turn;

pub mod chooser;

pub mod selector;

pub mod trace;

pub mod resolver;

pub mod connect;

pub use error::Error;
