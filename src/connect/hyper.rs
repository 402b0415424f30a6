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
//! # Below and beside
//!
//! [`Connector::over`] dials through any `Service<Uri>`, such as one that asks a proxy for a tunnel or goes to another address.
//! What that service connects to may say by hyper-util's `Connected::proxy` that it is a proxy for plain HTTP. Its errors are
//! found in the chain of sources of the error.
//! `Connector::with_openssl` takes a connector of OpenSSL, and the destinations for which it is used: servers that ask in the
//! middle of a connection. Each of these connections serves one request; when its body was read, call `Opened::finished`.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use ::hyper::body::{Body, Incoming};
use ::hyper::rt::{Read, ReadBufCursor, Write};
use ::hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, ProtocolVersion};
use tower_service::Service;

use super::LateAlert;
use super::connection::{Heard, record_refusal, record_success};
use super::tokio::{ConnectError, Connection as TlsConnection, Connector as TlsConnector};
use crate::error::Error;
use crate::request::Destination;
use crate::select::selector::{Selection, Selector, Source, Standing};

/// What services fail with.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// HTTP/2's name in ALPN (RFC 9113).
const H2: &[u8] = b"h2";

/// Connections of one pool that are remembered at most; a client begins a new pool then.
const OPENED: usize = 1024;

/// Connections of one pool that alerts have ended, of those the last.
const ENDED: usize = 16;

/// Destinations whose pools are kept.
const KEPT: usize = 256;

/// Opens connections for a client of hyper-util: TLS for `https`, by the connector of tokio, over what `H` opens. Clones
/// share what they know of their connections.
#[derive(Clone, Debug)]
pub struct Connector<H = HttpConnector> {
    tls: Arc<TlsConnector>,
    below: H,
    always_tls: bool,
    opened: Opened,
}

/// The connections that were opened through one connector.
#[derive(Clone, Debug, Default)]
struct Opened(Arc<Mutex<Vec<One>>>);

/// What is known of one connection.
#[derive(Clone, Debug)]
struct One {
    standing: Standing,
    sent: Option<Selection>,
    version: Option<ProtocolVersion>,
    alert: LateAlert,
    heard: Heard,
}

impl Opened {
    /// Those that are open. Of the others those are kept that an alert has ended: somebody may be about to look for that.
    fn alive(&self) -> Vec<One> {
        let mut opened = self.locked();
        let mut old = opened.iter().filter(|one| one.is_ended()).count().saturating_sub(ENDED);
        opened.retain(|one| match one.is_ended() {
            true if old > 0 => {
                old -= 1;
                false
            }
            is_ended => is_ended || one.heard.is_shared(),
        });
        opened.iter().filter(|one| !one.is_ended()).cloned().collect()
    }

    /// Those whose servers went on, each once.
    fn heard(&self) -> Vec<One> {
        let went_on = |one: &&One| one.sent.is_some() && !one.is_ended() && one.heard.take();
        self.locked().iter().filter(went_on).cloned().collect()
    }

    /// Looks for no alert any more that came so far.
    fn forget_ended(&self) {
        self.locked().retain(|one| !one.is_ended());
    }

    /// Those that an alert ended.
    fn ended(&self) -> Vec<One> {
        self.locked().iter().filter(|one| one.is_ended()).cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<One>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl One {
    /// Whether an alert ended it.
    fn is_ended(&self) -> bool {
        self.alert.get().is_some()
    }

    fn is(&self, other: &Self) -> bool {
        self.heard.is(&other.heard)
    }
}

impl Connector {
    /// Over TCP connections of hyper-util's.
    pub fn new(tls: Arc<TlsConnector>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self::over(tls, tcp)
    }
}

impl<H> Connector<H> {
    /// Over the connections that another connector opens, such as one that goes through a proxy.
    pub fn over(tls: Arc<TlsConnector>, below: H) -> Self {
        Self { tls, below, always_tls: false, opened: Opened::default() }
    }

    /// Speaks TLS for `http` too: for clients that take `https` for their own affair.
    #[must_use]
    pub fn always_tls(self) -> Self {
        Self { always_tls: true, ..self }
    }

    /// Whether every connection that was opened through this connector, or its clones, would be opened with the same answer
    /// now. When it would not, no more requests may go out over them: make a new channel, with a [`Self::renewed`]
    /// connector. Reads the store, on tokio's blocking threads.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub async fn stands(&self) -> Result<bool, Error> {
        self.opened.forget_ended();
        self.all_stand().await
    }

    async fn all_stand(&self) -> Result<bool, Error> {
        let (selector, opened) = (self.tls.selector().clone(), self.opened.alive());
        if opened.is_empty() {
            return Ok(true);
        }
        let stand = move || {
            if opened.len() > OPENED {
                return Ok(false);
            }
            for One { standing, .. } in &opened {
                if !selector.stands(standing, standing.destination())? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        // A runtime that is being shut down answers nobody
        ::tokio::task::spawn_blocking(stand).await.unwrap_or(Ok(false))
    }

    /// Records that servers accepted what they were sent, once for each connection that was opened through this connector, or its
    /// clones, and from which something was read. Writes to the store, on tokio's blocking threads; that it cannot is passed over.
    pub async fn record_successes(&self) {
        let heard = self.opened.heard();
        if heard.is_empty() {
            return;
        }
        let selector = self.tls.selector().clone();
        let record = move || {
            for One { standing, sent, version, .. } in heard {
                record_success(&selector, standing.destination(), sent.as_ref(), version);
            }
        };
        // A runtime that is being shut down writes nothing any more
        let _ = ::tokio::task::spawn_blocking(record).await;
    }

    /// The same connector, for a pool that has no connections yet.
    #[must_use]
    pub fn renewed(&self) -> Self
    where
        H: Clone,
    {
        Self { opened: Opened::default(), ..self.clone() }
    }

    /// The alert that ended a connection after its handshake, as a refusal does in TLS 1.3, since [`Self::stands`] was asked last.
    /// HTTP libraries lose it.
    pub fn late_alert(&self) -> Option<LateAlert> {
        self.opened.ended().pop().map(|one| one.alert)
    }
}

impl<H> Service<Uri> for Connector<H>
where
    H: Service<Uri> + Clone + Send + 'static,
    H::Response: Read + Write + Unpin + Send,
    H::Error: Into<BoxError>,
    H::Future: Send,
{
    type Response = Stream<H::Response>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // The connector below is waited for when it is called, which may be twice
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { tls, below, always_tls, opened } = self.clone();
        Box::pin(async move {
            if !always_tls && uri.scheme_str() == Some("http") {
                return Ok(Stream::Plain(dial(below, uri).await?));
            }
            let destination = destination(&uri)?;
            let again = move || {
                let (below, uri) = (below.clone(), uri.clone());
                async { dial(below, uri).await.map(TokioIo::new).map_err(io::Error::other) }
            };
            let connected = match tls.connect(&destination, again).await {
                Ok(connected) => connected,
                Err(error) => return Err(refused(tls, destination, error).await),
            };
            let TlsConnection { stream, standing, selection: sent, version, alpn, alert, heard, .. } = connected;
            let once = match &sent {
                Some(sent) if sent.source == Source::Ask => !stands(&tls, standing.clone()).await?,
                _ => false,
            };
            opened.locked().push(One { standing, sent, version, alert, heard });
            let is_h2 = alpn.as_deref() == Some(H2);
            Ok(Stream::Tls { stream: TokioIo::new(Box::new(stream)), is_h2, once })
        })
    }
}

async fn stands(tls: &Arc<TlsConnector>, standing: Standing) -> Result<bool, BoxError> {
    let selector = tls.selector().clone();
    let stands = move || selector.stands(&standing, standing.destination());
    Ok(::tokio::task::spawn_blocking(stands).await??)
}

/// The error, and a refusal is recorded.
async fn refused(tls: Arc<TlsConnector>, to: Destination, error: ConnectError) -> BoxError {
    let record = move || {
        error.record_refusal(tls.selector(), &to);
        error
    };
    ::tokio::task::spawn_blocking(record).await.map_or_else(BoxError::from, BoxError::from)
}

async fn dial<H: Service<Uri>>(mut below: H, uri: Uri) -> Result<H::Response, BoxError>
where
    H::Error: Into<BoxError>,
{
    poll_fn(|cx| below.poll_ready(cx)).await.map_err(Into::into)?;
    below.call(uri).await.map_err(Into::into)
}

fn destination(uri: &Uri) -> Result<Destination, Error> {
    let port = uri.port_u16().unwrap_or(Destination::DEFAULT_PORT);
    Destination::new(uri.host().unwrap_or_default(), port)
}

/// A connection for hyper.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream<IO> {
    /// Of an `http` URL.
    Plain(IO),
    /// Of an `https` URL.
    #[non_exhaustive]
    Tls {
        /// What goes through it.
        stream: TokioIo<Box<TlsStream<IO>>>,
        /// Whether HTTP/2 was agreed on.
        is_h2: bool,
        /// Whether it was opened with what was chosen for one request: a pool that may be waiting for it must not have it for
        /// another.
        once: bool,
    },
}

/// The TLS session of a [`Stream`].
pub type TlsStream<IO> =
    super::Watched<tokio_rustls::client::TlsStream<crate::connect::guarded::Guarded<super::Patient<TokioIo<IO>>>>>;

impl<IO> Connection for Stream<IO> {
    fn connected(&self) -> Connected {
        let (is_h2, once) = match self {
            Self::Plain(_) => (false, false),
            Self::Tls { is_h2, once, .. } => (*is_h2, *once),
        };
        let connected = Connected::new();
        if once {
            connected.poison();
        }
        if is_h2 { connected.negotiated_h2() } else { connected }
    }
}

impl<IO: Read + Write + Unpin> Read for Stream<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls { stream, .. } => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl<IO: Read + Write + Unpin> Write for Stream<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls { stream, .. } => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls { stream, .. } => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls { stream, .. } => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A pool of connections to one destination, and the connector that opened them.
type Pool<H, B> = (Connector<H>, legacy::Client<Connector<H>, B>);

/// A client of hyper-util, by HTTP/1.1 and HTTP/2, whose connections do not outlive what was decided. It follows no
/// redirects.
pub struct Client<B, H = HttpConnector> {
    connector: Connector<H>,
    pools: Mutex<HashMap<String, Pool<H, B>>>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request failed. [`refusal`](crate::raw::refusal) tells whether the server refused the identity: then remember
    /// another for it. [`failure`](crate::raw::failure) finds an error of this library, which says what to do.
    #[error(transparent)]
    Request(#[from] legacy::Error),
    /// The server ended the connection by an alert, after the handshake. [`refusal`](crate::raw::refusal) tells whether
    /// it refused the identity: then remember another for it.
    #[error("{alert}")]
    Alert {
        /// The alert.
        #[source]
        alert: rustls::Error,
        /// What became of the request.
        request: legacy::Error,
    },
    /// The store cannot be read; each of its variants says what to do.
    #[error(transparent)]
    Store(#[from] Error),
}

impl<B: Body + Unpin + Send + 'static> Client<B>
where
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// A client that takes everything but the client certificate from `base`: roots and versions. Without protocols (ALPN)
    /// it has HTTP/2 and HTTP/1.1.
    pub fn new(selector: Arc<Selector>, mut base: ClientConfig) -> Self {
        if base.alpn_protocols.is_empty() {
            base.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        }
        Self::with_connector(Connector::new(Arc::new(TlsConnector::new(selector, base))))
    }
}

impl<B, H> Client<B, H>
where
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    H: Service<Uri> + Clone + Send + Sync + 'static,
    H::Response: Read + Write + Unpin + Send + 'static,
    H::Error: Into<BoxError>,
    H::Future: Send,
{
    /// A client over this connector.
    pub fn with_connector(connector: Connector<H>) -> Self {
        Self { connector, pools: Mutex::default() }
    }

    /// Sends a request with an absolute URI, over a connection that would be opened with the same answer now.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&self, request: Request<B>) -> Result<Response<Incoming>, RequestError> {
        let (connector, pool) = self.pool(request.uri()).await?;
        let before = connector.opened.ended();
        let request = match pool.request(request).await {
            Ok(response) => {
                // nginx refuses by a page with this status
                if response.status() != StatusCode::BAD_REQUEST {
                    connector.record_successes().await;
                }
                return Ok(response);
            }
            Err(error) => error,
        };
        let mut ended = connector.opened.ended();
        // It was not this request that those ended
        ended.retain(|one| !before.iter().any(|old| old.is(one)));
        let Some(alert) = ended.last().and_then(|one| one.alert.get()) else { return Err(request.into()) };
        self.forget(&connector);
        let selector = connector.tls.selector().clone();
        let record = move || {
            for One { standing, sent, version, alert, heard } in ended {
                let refusal = alert.refusal().filter(|_| heard.take_refusal());
                record_refusal(&selector, standing.destination(), sent.as_ref(), refusal, version);
            }
        };
        // A runtime that is being shut down writes nothing any more
        let _ = ::tokio::task::spawn_blocking(record).await;
        Err(RequestError::Alert { alert: rustls::Error::AlertReceived(alert), request })
    }

    /// The pool of a destination, as long as its connections stand; else a new one.
    async fn pool(&self, uri: &Uri) -> Result<Pool<H, B>, Error> {
        let place =
            format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |to| to.as_str()));
        let before = self.locked().get(&place).cloned();
        if let Some((connector, pool)) = before
            && connector.all_stand().await?
        {
            return Ok((connector, pool));
        }
        let connector = self.connector.renewed();
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        let pool = builder.pool_timer(TokioTimer::new()).build(connector.clone());
        let mut pools = self.locked();
        if pools.len() >= KEPT {
            pools.clear();
        }
        pools.insert(place, (connector.clone(), pool.clone()));
        Ok((connector, pool))
    }

    fn forget(&self, connector: &Connector<H>) {
        self.locked().retain(|_, (known, _)| !Arc::ptr_eq(&known.opened.0, &connector.opened.0));
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Pool<H, B>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B, H: fmt::Debug> fmt::Debug for Client<B, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connector", &self.connector).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(opened: &Opened) -> One {
        let standing = Standing::new(Destination::new("a.example", 443).unwrap(), None);
        let (alert, heard) = (LateAlert::default(), Heard::default());
        let one = One { standing, sent: None, version: None, alert, heard };
        opened.locked().push(one.clone());
        one
    }

    #[test]
    fn what_is_closed_is_held_against_no_request_and_what_an_alert_ended_is_still_found() {
        let opened = Opened::default();
        let (one, other) = (open(&opened), open(&opened));
        assert_eq!(opened.alive().len(), 2);
        drop(one);
        assert_eq!((opened.alive().len(), opened.locked().len()), (1, 1));
        other.alert.note(&io::Error::other(rustls::Error::AlertReceived(rustls::AlertDescription::AccessDenied)));
        drop(other);
        assert_eq!((opened.alive().len(), opened.ended().len()), (0, 1));
        for _ in 0..2 * ENDED {
            open(&opened)
                .alert
                .note(&io::Error::other(rustls::Error::AlertReceived(rustls::AlertDescription::AccessDenied)));
        }
        assert_eq!((opened.alive().len(), opened.ended().len()), (0, ENDED));
        opened.forget_ended();
        assert!(opened.locked().is_empty());
    }
}
