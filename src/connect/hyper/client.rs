//! A client whose connections do not outlive what was decided.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use ::hyper::body::{Body, Incoming};
use ::hyper::http::Extensions;
use ::hyper::rt::{Read, Write};
use ::hyper::{Request, Response, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tower_service::Service;

use super::connector::{BoxError, Connector, destination};
use super::stream::Stream;
use crate::answer::refusal::Refusal;
use crate::connect::alpn::offering_http;
use crate::connect::drive::Start;
use crate::connect::error::Error;
use crate::connect::opened::Opened;
use crate::connect::refusal::causes;
use crate::connect::tokio::Connector as TlsConnector;
use crate::request::Target;
use crate::select::prepared::Prepared;
use crate::select::selector::Selector;

/// The most headers that a response of HTTP/1 may have.
const MAX_HEADERS: usize = 1000;

/// Destinations whose pools are kept.
const MAX_DESTINATIONS: usize = 256;

/// A client of hyper-util, by HTTP/1.1 and HTTP/2, whose connections do not outlive what was decided. It follows no
/// redirects. [The module](super) says what requests, responses and errors carry.
///
/// Clones are cheap, and share the pools. A client, and a reference to one, is a [`Service`] of requests, which is always ready:
/// what takes such a service takes this client, below any layers of tower.
pub struct Client<B, H = HttpConnector> {
    shared: Arc<Shared<B, H>>,
}

/// What clones of a client share.
struct Shared<B, H> {
    connector: Connector<H>,
    /// What pools are built with.
    builder: legacy::Builder,
    pools: Mutex<HashMap<String, Pool<H, B>>>,
}

/// The connections to one destination, and the connector that opened them.
struct Pool<H, B> {
    connector: Connector<H>,
    client: legacy::Client<ClientConnector<H>, B>,
}

impl<B: Body + Unpin + Send + 'static> Client<B>
where
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// A client that takes everything but the client certificate from `base`: roots and versions. Without protocols (ALPN) in
    /// `base` it offers HTTP/2 and HTTP/1.1.
    pub fn new(selector: Arc<Selector>, base: ClientConfig) -> Self {
        Self::with_connector(Connector::new(Arc::new(TlsConnector::new(selector, offering_http(base)))))
    }
}

impl<B, H> Client<B, H>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    H: Service<Uri> + Clone + Send + Sync + 'static,
    H::Response: Read + Write + Connection + Unpin + Send + 'static,
    H::Error: Into<BoxError>,
    H::Future: Send,
{
    /// A client over this connector.
    pub fn with_connector(connector: Connector<H>) -> Self {
        Self::built(connector, builder())
    }

    /// With other settings for its pools, and for the HTTP spoken over their connections: how long an idle connection is kept,
    /// how many are, the pings that keep one of HTTP/2 alive. They come after those of this client and replace them: its
    /// timers are tokio's, and it accepts responses as browsers do, with folded headers, a space before the colon, and many
    /// headers; headers without a valid name are left out. The client that is returned shares no pools with this one.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use cardcase::connect::hyper::Client;
    /// # fn example(client: Client<String>) -> Client<String> {
    /// client.with_settings(|pool| {
    ///     pool.pool_idle_timeout(Duration::from_secs(20)).http2_keep_alive_interval(Duration::from_secs(5));
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn with_settings(self, settings: impl FnOnce(&mut legacy::Builder)) -> Self {
        let mut builder = self.shared.builder.clone();
        settings(&mut builder);
        Self::built(self.shared.connector.clone(), builder)
    }

    fn built(connector: Connector<H>, builder: legacy::Builder) -> Self {
        Self { shared: Arc::new(Shared { connector, builder, pools: Mutex::default() }) }
    }

    /// Sends a request with an absolute URI, over a connection that would be opened with the same answer now. If the request
    /// carries a [`Target`] or a [`Prepared`] in its extensions, it gets a connection of its own.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn request(&self, request: Request<B>) -> Result<Response<Incoming>, Error> {
        self.shared.request(request).await
    }
}

impl<B, H> Shared<B, H>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    H: Service<Uri> + Clone + Send + Sync + 'static,
    H::Response: Read + Write + Connection + Unpin + Send + 'static,
    H::Error: Into<BoxError>,
    H::Future: Send,
{
    async fn request(&self, mut request: Request<B>) -> Result<Response<Incoming>, Error> {
        let start = self.start(&mut request)?;
        let is_single = start.is_some();
        let pool = match start {
            Some(start) => Pool::single(self.connector.renewed().starting_with(start), &self.builder),
            None => self.pool(request.uri()).await?,
        };
        let connections = pool.connector.connections();
        let (known, before) = (connections.all(), connections.ended());
        let error = match pool.client.request(request).await {
            Ok(response) => {
                if !Refusal::may_come_with(response.status().as_u16()) {
                    pool.connector.record_successes();
                }
                return Ok(response);
            }
            Err(error) => error,
        };
        // What was opened meanwhile was opened for this request, even if the server hung up before it was written
        let is_new = |one: &&Opened| !known.iter().any(|old| old.is_same(one));
        connections.all().iter().filter(is_new).for_each(Opened::note_used);
        let mut ended = connections.ended();
        // This request did not end those
        ended.retain(|one| !before.iter().any(|old| old.is_same(one)));
        // hyper-util does not say which connection it was when that ended before the request was sent
        let opened = opened_of(&error).or_else(|| ended.last().cloned());
        let opened = opened.or_else(|| connections.last().filter(|_| is_single));
        if !ended.is_empty() {
            self.forget(&pool.connector);
            self.record_refusals(ended).await;
        }
        Err(match (opened.as_ref().and_then(Opened::alert), not_connected(error)) {
            (_, Ok(error)) => error,
            (Some(alert), Err(_)) => Error::Request { source: rustls::Error::AlertReceived(alert).into(), opened },
            (None, Err(source)) => Error::Request { source: source.into(), opened },
        })
    }

    /// What the connection of a request begins with, if the request says that.
    fn start(&self, request: &mut Request<B>) -> Result<Option<Start>, Error> {
        let (target, prepared) =
            (request.extensions_mut().remove::<Target>(), request.extensions_mut().remove::<Prepared>());
        let start = match (prepared, target) {
            (Some(prepared), _) => Start::Prepared(prepared),
            (None, Some(target)) => Start::Target(target),
            (None, None) => return Ok(None),
        };
        let uri = request.uri();
        let prepared_for = start.target().destination();
        if self.connector.speaks_tls(uri) && *prepared_for != destination(uri)? {
            let source = format!("the request is for {uri}, but what it carries is for {prepared_for}").into();
            return Err(Error::Request { source, opened: None });
        }
        Ok(Some(start))
    }

    /// The pool of a destination, as long as its connections may be reused; else a new one.
    async fn pool(&self, uri: &Uri) -> Result<Pool<H, B>, Error> {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let destination = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        let before = self.locked().get(&destination).cloned();
        if let Some(pool) = before
            && pool.connector.connections().may_be_reused(self.connector.selector()).await?
        {
            return Ok(pool);
        }
        let pool = Pool::new(self.connector.renewed(), &self.builder);
        let mut pools = self.locked();
        if pools.len() >= MAX_DESTINATIONS {
            pools.clear();
        }
        pools.insert(destination, pool.clone());
        Ok(pool)
    }

    async fn record_refusals(&self, ended: Vec<Opened>) {
        if !self.connector.writes_history() {
            return;
        }
        let selector = self.connector.selector().clone();
        let record = move || ended.iter().for_each(|opened| opened.record_refusal(&selector));
        // A runtime that is being shut down writes nothing
        let _ = ::tokio::task::spawn_blocking(record).await;
    }

    fn forget(&self, connector: &Connector<H>) {
        self.locked().retain(|_, pool| !pool.connector.connections().is_same(connector.connections()));
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Pool<H, B>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B, H> Pool<H, B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    H: Service<Uri> + Clone + Send + Sync + 'static,
    H::Response: Read + Write + Connection + Unpin + Send + 'static,
    H::Error: Into<BoxError>,
    H::Future: Send,
{
    fn new(connector: Connector<H>, builder: &legacy::Builder) -> Self {
        let client = builder.build(ClientConnector(connector.clone()));
        Self { connector, client }
    }

    /// For one request.
    fn single(connector: Connector<H>, builder: &legacy::Builder) -> Self {
        let client = builder.clone().pool_max_idle_per_host(0).build(ClientConnector(connector.clone()));
        Self { connector, client }
    }
}

/// A client that accepts responses as browsers do: with folded headers, a space before the colon, and many headers. Headers
/// without a valid name are left out.
fn builder() -> legacy::Builder {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_max_headers(MAX_HEADERS);
    builder
}

impl<H: Clone, B> Clone for Pool<H, B> {
    fn clone(&self) -> Self {
        Self { connector: self.connector.clone(), client: self.client.clone() }
    }
}

impl<B, H> Service<Request<B>> for Client<B, H>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    H: Service<Uri> + Clone + Send + Sync + 'static,
    H::Response: Read + Write + Connection + Unpin + Send + 'static,
    H::Error: Into<BoxError>,
    H::Future: Send,
{
    type Response = Response<Incoming>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        (&*self).call(request)
    }
}

impl<B, H> Service<Request<B>> for &Client<B, H>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    H: Service<Uri> + Clone + Send + Sync + 'static,
    H::Response: Read + Write + Connection + Unpin + Send + 'static,
    H::Error: Into<BoxError>,
    H::Future: Send,
{
    type Response = Response<Incoming>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move { shared.request(request).await })
    }
}

impl<B, H> Clone for Client<B, H> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<B, H: fmt::Debug> fmt::Debug for Client<B, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connector", &self.shared.connector).finish_non_exhaustive()
    }
}

/// The connection that an error occurred on, where hyper-util knows it.
fn opened_of(error: &legacy::Error) -> Option<Opened> {
    let mut extras = Extensions::new();
    error.connect_info()?.get_extras(&mut extras);
    extras.remove()
}

/// The error of the connector that an error of hyper-util is about; else the error itself.
fn not_connected(error: legacy::Error) -> Result<Error, legacy::Error> {
    let connector_error = causes(&error).find_map(|error| error.downcast_ref::<Lent>()).map(|lent| lent.0.clone());
    let Some(lent) = connector_error else { return Err(error) };
    drop(error);
    // hyper-util had the only other reference
    Ok(Arc::into_inner(lent).unwrap_or_else(|| Error::shut_down("the error of the connector is in use")))
}

/// The connector as hyper-util uses it for a client.
#[derive(Clone)]
struct ClientConnector<H>(Connector<H>);

/// The error of a connector, of which hyper-util lends only a reference.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lent(Arc<Error>);

impl<H> Service<Uri> for ClientConnector<H>
where
    H: Service<Uri> + Clone + Send + Sync + 'static,
    H::Response: Read + Write + Unpin + Send,
    H::Error: Into<BoxError>,
    H::Future: Send,
{
    type Response = Stream<H::Response>;
    type Error = Lent;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Lent>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Lent>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.clone().connect(uri);
        Box::pin(async { connecting.await.map_err(|error| Lent(Arc::new(error))) })
    }
}
