//! TLS streams over tokio: for hyper, and for anything else that takes an `AsyncRead + AsyncWrite`.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use cardcase::{Destination, Selector};
//! use cardcase::connect::tokio::Connector;
//! use tokio::{io::AsyncWriteExt, net::TcpStream};
//!
//! # async fn example(selector: Arc<Selector>, config: rustls::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
//! let connector = Connector::new(selector, config);
//! let destination: Destination = "intranet.example.com".parse()?;
//! let dial = || TcpStream::connect("intranet.example.com:443");
//! let mut connection = connector.connect(&destination, dial).await?;
//! connection.stream.write_all(b"GET / HTTP/1.0\r\nhost: intranet.example.com\r\n\r\n").await?;
//! # Ok(()) }
//! ```

use std::fmt;
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::connect::asking::{Asking, in_time};
use crate::connect::drive::{Drive, LookUp, Ready, Resolvers, Start};
use crate::connect::error::Error;
use crate::connect::needs::Needs;
use crate::connect::opened::Connection;
use crate::connect::stream::{Patient, Session, Stream};
use crate::request::Target;
use crate::select::prepared::Prepared;
use crate::select::selector::Selector;

/// Makes TLS connections that answer certificate requests from a store.
pub struct Connector {
    asking: Asking,
    base: Arc<ClientConfig>,
    timeout: Option<Duration>,
    resolvers: Arc<Resolvers>,
    /// How many threads may read the store at once. More would only wait for each other.
    reading: Arc<Semaphore>,
}

impl Connector {
    /// A connector that takes everything but the client certificate from `base`: roots, versions, ALPN.
    pub fn new(selector: Arc<Selector>, base: ClientConfig) -> Self {
        let readers = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            asking: Asking::new(selector),
            base: Arc::new(base),
            timeout: None,
            resolvers: Arc::default(),
            reading: Arc::new(Semaphore::new(readers)),
        }
    }

    /// Limits how long a server may take for a TLS handshake; without a limit it may take forever. The time a person takes to
    /// choose does not count. The timer of the runtime must be enabled.
    #[must_use]
    pub fn with_handshake_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// The selector that answers.
    pub fn selector(&self) -> &Arc<Selector> {
        self.asking.selector()
    }

    /// Connects to the destination of a target over the stream that `dial` returns. `dial` is called again when the server's
    /// request had to be answered first. Asking, unlocking, and reading the store if it has changed, happen on tokio's blocking threads.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn connect<S, D, F>(&self, target: impl Into<Target>, dial: D) -> Result<Connection<Stream<S>>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<S>>,
    {
        self.drive(Start::Target(target.into()), dial).await
    }

    /// Like [`connect`](Self::connect), but begins with what was prepared before, such as an identity given for once. It
    /// connects to the destination that was prepared for.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn connect_prepared<S, D, F>(&self, prepared: Prepared, dial: D) -> Result<Connection<Stream<S>>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<S>>,
    {
        self.drive(Start::Prepared(prepared), dial).await
    }

    pub(super) async fn drive<S, D, F>(&self, start: Start, mut dial: D) -> Result<Connection<Stream<S>>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<S>>,
    {
        let mut drive = Drive::new(start)?;
        loop {
            let dialled = dial().await.map_err(Error::Dial)?;
            let ready = self.ready(drive.look_up()).await?;
            let (attempt, guarded) = drive.attempt(ready, Patient::new(dialled));
            let handshake = TlsConnector::from(attempt.ready.config.clone()).connect(attempt.name.clone(), guarded);
            let source = match in_time(self.timeout, handshake).await.flatten() {
                Ok(stream) => {
                    let opened = attempt.succeeded(stream.get_ref().1);
                    return Ok(Connection { stream: Stream::new(Session::Tokio(stream), opened.clone()), opened });
                }
                Err(source) => source,
            };
            let Some(needs) = drive.failed(&source)? else { return Err(attempt.failed(source)) };
            drive.again(self.grant(&attempt.ready.prepared, needs).await?);
        }
    }

    /// What the next handshake begins with, as it is decided now.
    pub(super) async fn ready(&self, look_up: LookUp) -> Result<Ready, Error> {
        let at_once = |look_up: &LookUp| -> Result<_, Error> {
            let selector = self.selector();
            let prepared = look_up.unchanged(selector)?;
            Ok(prepared.map(|prepared| self.resolvers.ready(prepared, &self.base, selector.now())))
        };
        if let Some(ready) = at_once(&look_up)? {
            return Ok(ready);
        }
        let permit = self.reading.clone().acquire_owned().await.map_err(Error::shut_down)?;
        // Another connection may have read it meanwhile
        if let Some(ready) = at_once(&look_up)? {
            return Ok(ready);
        }
        let (resolvers, base) = (self.resolvers.clone(), self.base.clone());
        let ready = move |selector: &Selector| {
            let prepared = look_up.run(selector)?;
            // The rest may wait for an agent
            drop(permit);
            Ok(resolvers.ready(prepared, &base, selector.now()))
        };
        self.asking.blocking(ready).await
    }

    /// Provides what a handshake needed.
    pub(super) async fn grant(&self, before: &Prepared, needs: &Needs) -> Result<Prepared, Error> {
        match needs {
            Needs::Select(request) => self.asking.select(before.target(), request).await,
            Needs::Unlock => self.asking.unlock(before, Selector::unlock).await,
        }
    }

    /// Runs what may block on a thread where it may.
    #[cfg(feature = "reqwest")]
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Selector) -> Result<T, crate::error::Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.asking.blocking(work).await
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("selector", self.selector()).finish_non_exhaustive()
    }
}
