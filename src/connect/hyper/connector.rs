//! The connector below a pool of hyper-util.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::hyper::Uri;
use ::hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::connections::Connections;
use super::stream::Stream;
use crate::answer::decision::Outcome;
use crate::connect::drive::Start;
use crate::connect::error::Error;
use crate::connect::opened::{Connection, Opened};
#[cfg(feature = "openssl")]
use crate::connect::openssl;
use crate::connect::tokio::Connector as TlsConnector;
use crate::error;
use crate::request::Destination;
use crate::select::selection::Source;
use crate::select::selector::Selector;

/// The errors of services.
pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// Opens connections for a client of hyper-util: TLS for `https`, by the connector of tokio, over what `H` opens. Clones share
/// what they know of their connections.
///
/// # Example
///
/// ```no_run
/// # use std::sync::Arc;
/// # use cardcase::connect::{hyper, tokio};
/// # async fn example(tls: tokio::Connector) -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = tonic::transport::Endpoint::from_static("http://grpc.example.com:443");
/// let connector = hyper::Connector::new(Arc::new(tls)).always_tls();
/// let channel = endpoint.connect_with_connector(connector.clone()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Connector<H = HttpConnector> {
    tls: Arc<TlsConnector>,
    #[cfg(feature = "openssl")]
    openssl: Option<(Arc<openssl::Connector>, Arc<Chosen>)>,
    below: H,
    always_tls: bool,
    writes_history: bool,
    /// What the connections are for, if they serve one request alone.
    start: Option<Start>,
    connections: Connections,
}

/// Chooses destinations.
#[cfg(feature = "openssl")]
type Chosen = dyn Fn(&Destination) -> bool + Send + Sync;

impl Connector {
    /// Over TCP connections of hyper-util.
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
        Self {
            tls,
            #[cfg(feature = "openssl")]
            openssl: None,
            below,
            always_tls: false,
            writes_history: true,
            start: None,
            connections: Connections::default(),
        }
    }

    /// Speaks TLS for `http` too: for clients that do not pass `https` on to their connector.
    #[must_use]
    pub fn always_tls(self) -> Self {
        Self { always_tls: true, ..self }
    }

    /// Connects with OpenSSL to the destinations that `chosen` returns `true` for: to servers that ask in the middle of a
    /// connection. Each of these connections serves one request. Once the body of its response was read, call
    /// [`Opened::finished`].
    #[cfg(feature = "openssl")]
    #[must_use]
    pub fn with_openssl(
        self,
        connector: Arc<openssl::Connector>,
        chosen: impl Fn(&Destination) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { openssl: Some((connector, Arc::new(chosen))), ..self }
    }

    /// Writes no outcomes to the history; the caller does, with [`Opened::record`].
    #[must_use]
    pub fn without_history(self) -> Self {
        Self { writes_history: false, ..self }
    }

    /// Whether every connection that was opened through this connector, or its clones, would be opened with the same answer
    /// now. If not, send no more requests over them: make a new channel, with a [renewed](Self::renewed) connector. Reads the
    /// store, on tokio's blocking threads.
    ///
    /// # Errors
    /// Those of [reading](crate::Store#errors).
    pub async fn may_be_reused(&self) -> Result<bool, error::Error> {
        self.connections.forget_ended();
        self.connections.may_be_reused(self.selector()).await
    }

    /// Records that servers accepted what they were sent, once for each connection that was opened through this connector, or its
    /// clones, and from which something was read. The history is written [in the background](crate::Store::flush).
    pub fn record_successes(&self) {
        if self.writes_history {
            for opened in self.connections.take_successes() {
                // A history that cannot be written does not make a request fail
                let _ = opened.record(self.selector(), Outcome::Accepted, None);
            }
        }
    }

    /// The same connector, for a pool that has no connections yet.
    #[must_use]
    pub fn renewed(&self) -> Self
    where
        H: Clone,
    {
        Self { connections: Connections::default(), ..self.clone() }
    }

    /// The connection that an alert or a refusal ended last after its handshake, since [`Self::may_be_reused`] was called. HTTP
    /// libraries lose how it ended; [`Opened::refusal`] knows.
    pub fn ended(&self) -> Option<Opened> {
        self.connections.ended().pop()
    }

    pub(super) fn selector(&self) -> &Arc<Selector> {
        self.tls.selector()
    }

    pub(super) fn writes_history(&self) -> bool {
        self.writes_history
    }

    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// For one request alone.
    pub(super) fn starting_with(self, start: Start) -> Self {
        Self { start: Some(start), ..self }
    }

    /// Whether a connection for this URI speaks TLS.
    pub(super) fn speaks_tls(&self, uri: &Uri) -> bool {
        self.always_tls || uri.scheme_str() != Some("http")
    }
}

impl<H> Connector<H>
where
    H: Service<Uri> + Clone + Send + 'static,
    H::Response: Read + Write + Unpin + Send,
    H::Error: Into<BoxError>,
    H::Future: Send,
{
    pub(super) async fn connect(self, uri: Uri) -> Result<Stream<H::Response>, Error> {
        if !self.speaks_tls(&uri) {
            let dialled = dial(self.below, uri).await;
            return dialled.map(Stream::plain).map_err(Error::Dial);
        }
        let start = match &self.start {
            Some(start) => start.clone(),
            None => Start::Target(destination(&uri)?.into()),
        };
        let below = self.below.clone();
        let dial = move || {
            let (below, uri) = (below.clone(), uri.clone());
            async { dial(below, uri).await.map(TokioIo::new) }
        };
        #[cfg(feature = "openssl")]
        if let Some((openssl, _)) = self.openssl.as_ref().filter(|(_, chosen)| chosen(start.target().destination())) {
            let Connection { stream, opened } = self.or_record(openssl.drive(start, dial).await).await?;
            opened.note_used();
            self.connections.add(opened.clone());
            // Only its reader knows where the body of a response ends, and so where another request may begin
            return Ok(Stream::tls(stream, opened, true));
        }
        let Connection { stream, opened } = self.or_record(self.tls.drive(start, dial).await).await?;
        let is_chosen = opened.selection().is_some_and(|selection| selection.source == Source::Ask);
        let is_single_use = self.start.is_some() || is_chosen && !self.may_be_reused_once(&opened).await?;
        if is_single_use {
            opened.note_used();
        }
        self.connections.add(opened.clone());
        Ok(Stream::tls(stream, opened, is_single_use))
    }

    async fn may_be_reused_once(&self, opened: &Opened) -> Result<bool, Error> {
        let (selector, opened) = (self.selector().clone(), opened.clone());
        let may_be_reused = move || opened.may_be_reused(&selector, opened.destination());
        Ok(::tokio::task::spawn_blocking(may_be_reused).await.map_err(Error::shut_down)??)
    }

    /// Records the refusal that an error means.
    async fn or_record<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        let error = match result {
            Err(error) if self.writes_history => error,
            result => return result,
        };
        let selector = self.selector().clone();
        let record = move || {
            error.record_refusal(&selector);
            error
        };
        Err(::tokio::task::spawn_blocking(record).await.unwrap_or_else(Error::shut_down))
    }
}

impl<H> Service<Uri> for Connector<H>
where
    H: Service<Uri> + Clone + Send + Sync + 'static,
    H::Response: Read + Write + Unpin + Send,
    H::Error: Into<BoxError>,
    H::Future: Send,
{
    type Response = Stream<H::Response>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // The connector below is waited for when it is called, which may be twice
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

async fn dial<H: Service<Uri>>(mut below: H, uri: Uri) -> io::Result<H::Response>
where
    H::Error: Into<BoxError>,
{
    poll_fn(|cx| below.poll_ready(cx)).await.map_err(io::Error::other)?;
    below.call(uri).await.map_err(io::Error::other)
}

pub(super) fn destination(uri: &Uri) -> Result<Destination, error::Error> {
    let port = uri.port_u16().unwrap_or(Destination::DEFAULT_PORT);
    Destination::new(uri.host().unwrap_or_default(), port)
}

impl<H: fmt::Debug> fmt::Debug for Connector<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("tls", &self.tls).field("below", &self.below).finish_non_exhaustive()
    }
}
