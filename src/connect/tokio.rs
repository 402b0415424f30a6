//! TLS streams over tokio: for hyper, and for whatever takes an `AsyncRead + AsyncWrite`.
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

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::asking::Asking;
pub use super::connection::ConnectError;
use super::connection::{ATTEMPTS, Kept, Patient, Resolvers, Watched, closed};
use super::server_name;
use crate::connect::guarded::Guarded;
use crate::connect::resolver::{Needs, needs};
use crate::error::Error;
use crate::request::Target;
use crate::select::selector::{Prepared, Selection, Selector};

/// An open connection over a stream of tokio.
pub type Connection<IO> = super::connection::Connection<Watched<TlsStream<Guarded<Patient<IO>>>>>;

/// Makes TLS connections that answer certificate requests from a store.
pub struct Connector {
    asking: Asking,
    base: ClientConfig,
    timeout: Option<Duration>,
    resolvers: Resolvers,
}

impl Connector {
    /// A connector that takes everything but the client certificate from `base`: roots, versions, ALPN.
    pub fn new(selector: Arc<Selector>, base: ClientConfig) -> Self {
        Self { asking: Asking::new(selector), base, timeout: None, resolvers: Resolvers::default() }
    }

    /// Gives a server this long for a TLS handshake; otherwise it may take forever. The time a person takes to choose does
    /// not count. The runtime must have its timer enabled.
    #[must_use]
    pub fn with_handshake_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Who answers.
    pub fn selector(&self) -> &Arc<Selector> {
        self.asking.selector()
    }

    /// Connects to a target's destination over what `dial` gives, which is called again when the server's request had to be
    /// answered first. Asking, unlocking and reading the store happen on tokio's blocking threads.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect<IO, D, F>(&self, target: impl Into<Target>, dial: D) -> Result<Connection<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<IO>>,
    {
        self.go(&target.into(), None, dial).await
    }

    /// Like [`connect`](Self::connect), beginning with what was prepared otherwise, such as an identity given for once.
    /// It goes where that was prepared for.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_prepared<IO, D, F>(&self, prepared: Prepared, dial: D) -> Result<Connection<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<IO>>,
    {
        let target = prepared.target().clone();
        self.go(&target, Some(prepared), dial).await
    }

    async fn go<IO, D, F>(
        &self,
        target: &Target,
        mut prepared: Option<Prepared>,
        mut dial: D,
    ) -> Result<Connection<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<IO>>,
    {
        let name = server_name(target.destination())?;
        for attempt in 1..=ATTEMPTS {
            let io = dial().await.map_err(ConnectError::unsent)?;
            // Dialling may take long: what is decided is read after it
            let begun = self.ready(target, prepared.take()).await?;
            let Kept { resolver, config, .. } = &begun;
            let io = resolver.guard(Patient::new(io));
            let trace = io.trace();
            let source = match self.in_time(TlsConnector::from(config.clone()).connect(name.clone(), io)).await {
                Ok(mut stream) => {
                    stream.get_mut().0.get_mut().relax();
                    return Ok(Connection::new(stream, |stream| stream.get_ref().1, &begun, &trace));
                }
                Err(source) => source,
            };
            let Some(needs) = needs(&source) else { return Err(ConnectError::after(source, resolver, &trace)) };
            // Nobody is asked for what will not be used
            if attempt < ATTEMPTS {
                prepared = Some(self.grant(&begun.prepared, needs).await?);
            }
        }
        let destination = target.destination().to_string();
        Err(Error::RequestKeepsChanging { destination, attempts: ATTEMPTS }.into())
    }

    /// What the next connection is made with, by what is decided now.
    pub(super) async fn ready(&self, target: &Target, prepared: Option<Prepared>) -> Result<Kept, ConnectError> {
        let ready = match prepared {
            Some(before) if before.selection().is_some_and(Selection::is_looked_up) => {
                self.blocking(target, move |selector, _| selector.refresh(&before)).await?
            }
            Some(prepared) => prepared,
            None => self.blocking(target, |selector, to| selector.prepare(to)).await?,
        };
        Ok(self.resolvers.kept(ready, &self.base, self.selector().now()))
    }

    pub(super) async fn grant(&self, before: &Prepared, needs: &Needs) -> Result<Prepared, ConnectError> {
        match needs {
            Needs::Select(request) => self.asking.select(before.target(), request).await,
            Needs::Unlock => self.asking.unlock(before, Selector::unlock).await,
        }
    }

    /// Runs what may block where it may.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        target: &Target,
        work: impl FnOnce(&Selector, &Target) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, ConnectError> {
        let target = target.clone();
        self.asking.blocking(move |selector| work(selector, &target)).await
    }

    async fn in_time<T>(&self, handshake: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let Some(timeout) = self.timeout else { return handshake.await };
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no TLS handshake within {timeout:?}"));
        ::tokio::time::timeout(timeout, handshake).await.unwrap_or_else(|_| Err(late()))
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("selector", self.selector()).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    /// Reads on after a failed write, until the alert or the end.
    fn poll_last_word(&mut self, cx: &mut Context<'_>, kind: io::ErrorKind) -> Poll<io::Error> {
        self.write_error = Some(kind);
        let mut scratch = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.alert.note(&error);
                    return Poll::Ready(error);
                }
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(kind.into()),
            }
        }
    }

    fn poll_watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Some(kind) = self.write_error {
            return self.poll_last_word(cx, kind).map(Err);
        }
        match ready!(write(Pin::new(&mut self.stream), cx)) {
            Err(error) if closed(error.kind()) => self.poll_last_word(cx, error.kind()).map(Err),
            done => Poll::Ready(done),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if read.is_ok() && buffer.filled().len() > before {
            self.heard.note();
        }
        Poll::Ready(read.inspect_err(|error| self.alert.note(error)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_watched(cx, |stream, cx| stream.poll_write(cx, data))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_watched(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        let is_over = read.is_err() || buffer.filled().len() == before;
        Poll::Ready(match self.unsent {
            Some(kind) if is_over => Err(kind.into()),
            _ => read,
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(&mut self.stream).poll_write(cx, data));
        Poll::Ready(self.written(done, data.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, data));
        Poll::Ready(self.written(done, data.iter().map(|part| part.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(self.written(done.map(|()| 0), 0).map(drop))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.reading(|stream| Pin::new(stream).poll_read(cx, buffer))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(self.writing()?).poll_write(cx, data));
        Poll::Ready(self.written(done, &[io::IoSlice::new(data)]))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(self.writing()?).poll_write_vectored(cx, data));
        Poll::Ready(self.written(done, data))
    }

    fn is_write_vectored(&self) -> bool {
        self.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.writing()?).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use ::tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// A server must not be able to hang up between two records of one flight.
    #[test]
    fn what_is_handed_over_together_is_written_together() {
        let parts = [io::IoSlice::new(b"Certificate"), io::IoSlice::new(b"Finished")];
        let whole = parts.iter().map(|part| part.len()).sum::<usize>();
        let runtime = ::tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (near, _far) = duplex(64);
        let mut traced = Guarded::new(near, 0);
        assert_eq!(runtime.block_on(traced.write_vectored(&parts)).unwrap(), whole);
        let mut traced = Guarded::new(Vec::new(), 0);
        assert_eq!(io::Write::write_vectored(&mut traced, &parts).unwrap(), whole);
    }

    /// Has said its last word and takes nothing more.
    struct HungUp(&'static [u8]);

    impl AsyncRead for HungUp {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for HungUp {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_handshake_reads_the_last_word_before_it_hears_of_a_broken_pipe() {
        let runtime = ::tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut stream = Patient::new(HungUp(b"alert"));
            stream.write_all(b"certificate").await.unwrap();
            let mut said = [0; 5];
            stream.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"alert");
            assert_eq!(stream.read(&mut said).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);

            let mut stream = Patient::new(HungUp(b""));
            stream.relax();
            assert_eq!(stream.write_all(b"request").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
    }
}
