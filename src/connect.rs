//! Connectors carry out the two-phase handshake, each for one kind of client. With the four calls, any other program that uses
//! rustls does the same.
//!
//! | client | uses |
//! |---|---|
//! | blocking, over rustls | [`blocking::Connector`] |
//! | tokio, tokio-tungstenite | `tokio::Connector`, feature `tokio` |
//! | hyper-util | `hyper::Client`, feature `hyper` |
//! | tonic, and others that take a connector | `hyper::Connector`, feature `hyper` |
//! | kube, octocrab | `hyper::Client` as their service, feature `hyper` |
//! | reqwest | `reqwest::Client`, feature `reqwest`; `reqwest::blocking::Client`, feature `reqwest-blocking` |
//! | libraries that take a `reqwest::Client` | `reqwest::for_destination`, feature `reqwest` |
//! | ureq | `ureq::Connector`, feature `ureq` |
//! | any client that takes a `ClientConfig` | [`config`] |
//! | quinn, and any other client over rustls | the four calls |
//! | any client that needs renegotiation | `openssl::Connector`, feature `openssl` |
//!
//! # The four calls
//!
//! A program that makes its TLS connections itself gives rustls the configuration of a [`Resolver`]. When an error ends a
//! handshake, it asks:
//!
//! 1. Did the handshake need something, such as an answer to a certificate request? [`cause`] finds that in any error that
//!    wraps it: [`Cause::Needs`].
//! 2. Did the server refuse what it was sent? [`Cause::Refused`]; in TLS 1.3 that comes with the first read.
//! 3. Provide what is needed: [`grant`], on a thread that may block. It asks the person, or unlocks the vault.
//! 4. Connect again, with a new resolver for the result.
//!
//! ```no_run
//! use std::{io, net::TcpStream, sync::Arc};
//!
//! use cardcase::connect::{Cause, cause};
//! use cardcase::raw::{Resolver, grant, server_name};
//! use cardcase::{Destination, Selector};
//! use rustls::{ClientConfig, ClientConnection, StreamOwned};
//!
//! fn connect(selector: &Selector, base: &ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
//!     let destination: Destination = "intranet.example.com".parse()?;
//!     let mut resolver = Resolver::new(selector.prepare(&destination)?);
//!     for _ in 0..4 {
//!         let tls = ClientConnection::new(Arc::new(resolver.config(base)), server_name(&destination)?)?;
//!         // Below the session, a stream that writes nothing while nothing is decided
//!         let tcp = resolver.guard(TcpStream::connect("intranet.example.com:443")?);
//!         let mut stream = StreamOwned::new(tls, tcp);
//!         let Err(error) = stream.conn.complete_io(&mut stream.sock) else {
//!             return Ok(()); // the stream is ready
//!         };
//!         match cause(&error) {
//!             Some(Cause::Needs(needs)) => resolver = Resolver::new(grant(selector, resolver.prepared(), needs)?),
//!             Some(Cause::Refused(refusal)) => return Err(format!("the server refused: {refusal}").into()),
//!             _ => return Err(error.into()),
//!         }
//!     }
//!     Err(io::Error::other("the server keeps asking for something else").into())
//! }
//! ```
//!
//! A program that keeps the connection for another request asks [`Opened::may_be_reused`] of [`Resolver::opened`] first.
//!
//! [`Resolver`]: crate::raw::Resolver
//! [`Resolver::opened`]: crate::raw::Resolver::opened
//! [`grant`]: crate::raw::grant

// Each uses only those above it. The empty lines keep rustfmt from sorting them by name

mod unverified;

pub(crate) mod refusal;

pub(crate) mod trust;

mod roots;

pub(crate) mod needs;

#[cfg(feature = "openssl")]
mod http_position;

mod opened;

pub(crate) mod error;

pub(crate) mod guarded;

pub(crate) mod hosts;

pub(crate) mod resolver;

mod live;

pub(crate) mod drive;

mod stream;

mod unlocking;

#[cfg(feature = "tokio")]
mod joint;

#[cfg(feature = "tokio")]
mod asking;

pub mod blocking;

#[cfg(feature = "tokio")]
pub mod tokio;

#[cfg(feature = "openssl")]
pub mod openssl;

#[cfg(any(feature = "hyper", feature = "reqwest"))]
mod alpn;

#[cfg(feature = "hyper")]
pub mod hyper;

#[cfg(feature = "reqwest")]
pub mod reqwest;

#[cfg(feature = "ureq")]
pub mod ureq;

pub use self::error::{Cause, Error, cause};
pub use self::live::{ConfigBuilderExt, config, wait};
pub use self::opened::{Connection, Opened};
pub use self::stream::Stream;
pub use crate::select::decide::Explanation;
pub use crate::select::selection::{Selection, Source};

/// The examples of the documents, compiled.
#[cfg(all(doctest, feature = "hyper", feature = "openssl", feature = "reqwest-blocking", feature = "ureq"))]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/clients.md")]
struct Documents;
