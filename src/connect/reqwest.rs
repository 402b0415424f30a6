//! reqwest: a client for all destinations, and reqwest's own client for one.
//!
//! A [`Client`] sends requests to any destination, each with the identity that is decided for it, also where redirects lead. Under
//! it there is one client of reqwest per destination, and a new one for every other answer, because such a client has one TLS
//! configuration. [`blocking::Client`](self::blocking) is its twin without a runtime.
//!
//! [`for_destination`] makes a `reqwest::Client` for one destination, for libraries that take nothing else.
//!
//! reqwest does not show the stream below its TLS session. So unlike with the other connectors, in TLS 1.2 a server that asks
//! while nothing is decided gets an empty Certificate before the first connection ends. An identity that requires TLS 1.3
//! needs a configuration without TLS 1.2 here. For a proxy that speaks TLS, use [`connect::hyper`](super::hyper).
//!
//! # Example
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use cardcase::Selector;
//! # use cardcase::connect::reqwest::Client;
//! # async fn example(selector: Arc<Selector>, config: rustls::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(selector, config);
//! let response = client.get("https://intranet.example.com/").header("accept", "text/plain").send().await?;
//! # Ok(()) }
//! ```

#[cfg(feature = "reqwest-blocking")]
pub mod blocking;
mod builder;
mod client;
mod one;
mod proxy;
mod redirect;
mod repeat;

pub use self::builder::RequestBuilder;
pub use self::client::Client;
pub use self::one::for_destination;
pub use ::reqwest;
pub use hyper_util::client::proxy::matcher::Matcher;
