//! hyper-util: a client, and the connector below it for tonic and other clients that take one.
//!
//! hyper-util's pool cannot be asked whether a connection may still be used. So a [`Client`] has a pool per destination, and
//! starts a new pool when one of its connections would be opened with another answer now. Requests that are under way on the
//! old connections finish undisturbed.
//!
//! # Example
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use cardcase::Selector;
//! # use cardcase::connect::hyper::Client;
//! # use http_body_util::Empty;
//! # use hyper::{Request, body::Bytes};
//! # async fn example(selector: Arc<Selector>, config: rustls::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(selector, config);
//! let request = Request::get("https://intranet.example.com/").body(Empty::<Bytes>::new())?;
//! let response = client.request(request).await?;
//! # Ok(()) }
//! ```
//!
//! # What a request may carry
//!
//! A request may carry in its [extensions](::hyper::http::Extensions)
//!
//! - a [`Target`](crate::Target): the path that rules look at, and whether the request carries credentials;
//! - a [`Prepared`](crate::raw::Prepared): an identity given for this request alone, or chosen again after a refusal.
//!
//! Such a request goes over a connection that is made for it and serves no other request. Its destination must be that of the
//! request's URI. Any other request goes over a connection of the pool, and is for its destination alone, without a path.
//!
//! # What a response and an error carry
//!
//! A response to an `https` request carries in its extensions the `connect::Opened` of its connection: what the server asked
//! for, what it was sent and why, the version of TLS, and the alert that may come while the body is read. An error has the
//! same from `connect::Error::opened`, also where the handshake failed. `connect::Error::refusal` says whether the server
//! refused what it was sent; `Opened::again` and `Selector::select_again` give the `Prepared` for another try.
//!
//! # Outcomes
//!
//! The client records what servers accepted and refused. A client made by `Client::without_history` records nothing: its caller
//! does, with `Opened::record`.
//!
//! # Above
//!
//! A [`Client`] is a `Service<Request<B>>`, so it goes below layers of tower, and into what takes such a service: kube
//! (`kube::Client::new`), octocrab (`OctocrabBuilder::with_service`). `Client::with_settings` sets what its pools keep, and how.
//! The crates whose types are public here are exported: [`hyper`], [`hyper_util`], [`tower_service`].
//!
//! # Below and beside
//!
//! [`Connector::over`] dials through any `Service<Uri>`, such as one that asks a proxy for a tunnel or goes to another address.
//! What that service connects to may say by hyper-util's `Connected::proxy` that it is a proxy for plain HTTP. Its errors are
//! found in the chain of sources of the error.
//! `Connector::with_openssl` takes a connector of OpenSSL, and the destinations for which it is used: servers that ask in the
//! middle of a connection. Each of these connections serves one request; when its body was read, call `Opened::finished`.

mod client;
mod connections;
mod connector;
mod lenient;
mod stream;

pub use self::client::Client;
pub use self::connector::Connector;
pub use ::hyper;
pub use hyper_util;
pub use tower_service;
