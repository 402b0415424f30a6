//! A client of reqwest for one destination.
//!
//! It makes connections to wherever its URLs, redirects and proxies lead, all with one TLS configuration. What rustls tells that
//! configuration does not say which connection it is about. But a layer around reqwest's connector is polled while a connection is
//! made, on the same thread, and knows which one it is. So the layer leaves a mark with the thread, and the configuration presents
//! an identity only where it finds that mark.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use ::reqwest::ClientBuilder;
use hyper::Uri;
use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, NamedGroup, SignatureScheme};
use tower_layer::Layer;
use tower_service::Service;

use super::builder::failed;
use crate::connect::alpn::offering_http;
use crate::connect::error::Error;
use crate::connect::hosts::server_name;
use crate::connect::live::Live;
use crate::connect::resolver;
use crate::request::Destination;
use crate::select::selector::Selector;

/// The errors of reqwest's connector.
type BoxError = Box<dyn StdError + Send + Sync>;

/// A client of reqwest for one destination, made by `builder`, with the TLS configuration of
/// [`connect::config`](crate::connect::config): every handshake looks at what is decided now; if nothing is, the request
/// fails, a person is asked in the background, and the next request finds the answer.
///
/// The settings of the builder are kept: timeouts, headers, cookies, redirects, proxies. Only those for TLS are replaced. Without
/// protocols (ALPN) in `base` it offers HTTP/2 and HTTP/1.1.
///
/// Use the client for this destination. Any other host or port that a URL, a redirect or a proxy leads to gets no certificate, nor
/// is anybody asked for one. (A proxy that speaks TLS on the host of the destination itself cannot be told from it: do not use one
/// in chrome mode.) A connection that is open stays in the pool of the client when the decision changes; with
/// `pool_max_idle_per_host(0)` every request of HTTP/1.1 looks at what is decided now. [`Client`](super::Client) has none of these
/// limits, and records what was accepted and refused.
///
/// # Errors
/// [`Error::Selection`] when no certificate can hold the name of the destination; [`Error::Request`] when the builder fails.
///
/// # Example
///
/// ```no_run
/// # use std::{sync::Arc, time::Duration};
/// # use cardcase::Selector;
/// # use cardcase::connect::reqwest::{for_destination, reqwest};
/// # fn example(selector: Arc<Selector>, config: rustls::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
/// let builder = reqwest::Client::builder().timeout(Duration::from_secs(30));
/// let client = for_destination(selector, "intranet.example.com".parse()?, builder, &config)?;
/// # Ok(()) }
/// ```
pub fn for_destination(
    selector: Arc<Selector>,
    destination: Destination,
    builder: ClientBuilder,
    base: &ClientConfig,
) -> Result<::reqwest::Client, Error> {
    let place = Arc::new(Place { name: server_name(&destination)?, destination: destination.clone() });
    let base = offering_http(base.clone());
    let live = Live::new(selector, destination, &base);
    let only = Arc::new(Only { place: place.clone(), live, was_elsewhere: AtomicBool::new(false) });
    let config = resolver::config(&base, only.clone(), Resumption::store(only));
    builder.tls_backend_preconfigured(config).connector_layer(Marking { place, inner: () }).build().map_err(failed)
}

/// What one client is for.
#[derive(Debug)]
struct Place {
    destination: Destination,
    /// The name to verify the server by.
    name: ServerName<'static>,
}

thread_local! {
    /// The connection that is being made on this thread.
    static CURRENT: RefCell<Option<Mark>> = const { RefCell::new(None) };
}

/// A connection that is being made by a client.
#[derive(Clone)]
struct Mark {
    place: Arc<Place>,
    /// Whether it goes to the place of the client, directly or through a proxy.
    is_to_place: bool,
    /// Whether its last handshake is one with the host of that place, and not with a proxy.
    is_with_host: Arc<AtomicBool>,
}

impl Mark {
    /// Runs this with the mark.
    fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let _restored = Restored(CURRENT.replace(Some(self.clone())));
        work()
    }
}

/// Restores the mark before, when it is dropped.
struct Restored(Option<Mark>);

impl Drop for Restored {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// The layer around reqwest's connector.
#[derive(Clone, Debug)]
struct Marking<S = ()> {
    place: Arc<Place>,
    inner: S,
}

impl<S> Layer<S> for Marking {
    type Service = Marking<S>;

    fn layer(&self, inner: S) -> Marking<S> {
        Marking { place: self.place.clone(), inner }
    }
}

impl<S, R> Service<R> for Marking<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
    R: fmt::Debug,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let Some(uri) = uri(&request) else {
            let error = "this version of reqwest does not say where it connects to, so nothing was sent";
            return Box::pin(async { Err(error.into()) });
        };
        let is_to_place = destination(&uri).is_some_and(|destination| destination == self.place.destination);
        let mark = Mark { place: self.place.clone(), is_to_place, is_with_host: Arc::default() };
        let mut connecting = Box::pin(self.inner.call(request));
        Box::pin(std::future::poll_fn(move |cx| mark.during(|| connecting.as_mut().poll(cx))))
    }
}

/// Where a connection goes. reqwest keeps that from its layers, but for their messages.
fn uri(request: &impl fmt::Debug) -> Option<Uri> {
    format!("{request:?}").strip_prefix("Unnameable(")?.strip_suffix(')')?.parse().ok()
}

fn destination(uri: &Uri) -> Option<Destination> {
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https"))?;
    Destination::new(host, uri.port_u16().unwrap_or(Destination::DEFAULT_PORT)).ok()
}

/// The configuration of a destination, which follows the store, for connections that are marked as going there.
#[derive(Debug)]
struct Only {
    place: Arc<Place>,
    live: Arc<Live>,
    /// Whether it was used for another port of the host. Nothing tells from which connection a session comes, so none are
    /// resumed then.
    was_elsewhere: AtomicBool,
}

impl Only {
    fn mark(&self) -> Option<Mark> {
        CURRENT.with_borrow(Clone::clone).filter(|mark| Arc::ptr_eq(&mark.place, &self.place) && mark.is_to_place)
    }

    /// Notes that a handshake with this host begins. Returns whether it is with the destination.
    fn begins(&self, name: &ServerName<'_>) -> bool {
        let is_with_host = *name == self.place.name;
        match self.mark() {
            Some(mark) => mark.is_with_host.store(is_with_host, Ordering::Release),
            None if is_with_host => self.was_elsewhere.store(true, Ordering::Release),
            None => {}
        }
        self.is_with_destination()
    }

    /// Whether the handshake that goes on is with the destination.
    fn is_with_destination(&self) -> bool {
        self.mark().is_some_and(|mark| mark.is_with_host.load(Ordering::Acquire))
    }

    fn may_resume(&self) -> bool {
        !self.was_elsewhere.load(Ordering::Acquire)
    }
}

impl ResolvesClientCert for Only {
    fn resolve(&self, root_hint_subjects: &[&[u8]], sigschemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if self.is_with_destination() { self.live.resolve(root_hint_subjects, sigschemes) } else { None }
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ClientSessionStore for Only {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.live.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        if self.begins(name) { self.live.kx_hint(name) } else { None }
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        if self.may_resume() {
            self.live.set_tls12_session(name, session);
        }
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        if self.begins(name) { self.live.tls12_session(name).filter(|_| self.may_resume()) } else { None }
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.live.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        if self.may_resume() {
            self.live.insert_tls13_ticket(name, ticket);
        }
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        // The configuration also reads the store here
        if self.begins(name) { self.live.take_tls13_ticket(name).filter(|_| self.may_resume()) } else { None }
    }
}
