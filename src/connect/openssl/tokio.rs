//! The same over tokio, for hyper and whatever takes an `AsyncRead + AsyncWrite`. HTTP/2 does not let a server ask later, so ALPN
//! should offer HTTP/1.1 alone.
//!
//! # Example
//!
//! ```no_run
//! use cardcase::Destination;
//! use cardcase::connect::openssl;
//! use tokio::{io::AsyncWriteExt, net::TcpStream};
//!
//! # async fn example(connector: openssl::Connector) -> Result<(), Box<dyn std::error::Error>> {
//! let connector = openssl::tokio::Connector::new(connector);
//! let destination: Destination = "intranet.example.com".parse()?;
//! let dial = || TcpStream::connect("intranet.example.com:443");
//! let mut connection = connector.connect(&destination, dial).await?;
//! connection.stream.write_all(b"GET / HTTP/1.1\r\nhost: intranet.example.com\r\n\r\n").await?;
//! # Ok(()) }
//! ```

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{JoinHandle, spawn};

use super::answer::{Answering, Outcome, Pending, STEPS, Step, io_error};
use super::session::{Halt, Session};
use super::{Answers, ConnectError, HttpPosition, is_gone};
use crate::connect::asking::Asking;
use crate::connect::connection as by_rustls;
use crate::request::{CertificateRequest, Target};
use crate::select::selector::{Prepared, Selector, Source};

/// Connections made for one call: the first, and one more where the server did not wait for a person.
const ATTEMPTS: usize = 2;

/// Makes TLS connections over tokio that answer certificate requests from a store. Asking, unlocking and reading the store happen on tokio's
/// blocking threads.
#[derive(Debug)]
pub struct Connector {
    connector: super::Connector,
    asking: Arc<Asking>,
    timeout: Option<Duration>,
}

/// An open connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection<IO> {
    /// The stream to speak through.
    pub stream: Stream<IO>,
    /// What was answered. More may come as long as the connection lasts.
    pub answers: Answers,
    /// The HTTP/1.1 position on it, for whoever keeps it for another.
    pub position: HttpPosition,
    /// The protocol agreed on by ALPN (RFC 7301).
    pub alpn: Option<Vec<u8>>,
    /// The version of TLS.
    pub version: Option<ProtocolVersion>,
}

impl Connector {
    /// Over tokio by this connector.
    pub fn new(connector: super::Connector) -> Self {
        let asking = Arc::new(Asking::new(connector.selector.clone()));
        Self { connector, asking, timeout: None }
    }

    /// Gives a server this long for each half of a TLS handshake; otherwise it may take forever. The time a person takes to choose does
    /// not count. The runtime must have its timer enabled.
    #[must_use]
    pub fn with_handshake_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Connects to a target's destination over what `dial` gives, which is called again when the server did not wait for an answer.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect<IO, D, F>(&self, target: impl Into<Target>, dial: D) -> Result<Connection<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<IO>>,
    {
        self.go(target.into(), None, dial).await
    }

    /// Like [`Self::connect`], answering the first request with what was prepared otherwise, or all of them with an identity that
    /// was given for once. It goes where that was prepared for.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_prepared<IO, D, F>(&self, prepared: Prepared, dial: D) -> Result<Connection<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<IO>>,
    {
        self.go(prepared.target().clone(), Some(prepared), dial).await
    }

    async fn go<IO, D, F>(
        &self,
        target: Target,
        mut given: Option<Prepared>,
        mut dial: D,
    ) -> Result<Connection<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<IO>>,
    {
        let mut attempt = 1;
        loop {
            let io = dial().await.map_err(ConnectError::unsent)?;
            let bridge = Bridge { stream: io, waker: None, unflushed: false };
            let (session, answering) =
                self.connector.session(target.clone(), given.take(), bridge).map_err(ConnectError::unsent)?;
            let asking = self.asking.clone();
            let mut stream = Stream { session, answering, asking, answer: None, waiting: Vec::new() };
            let Err(source) = stream.shake_hands(self.timeout).await else { return Ok(Connection::new(stream)) };
            let answered = stream.session.answers().last();
            // Servers do not wait for people as long as people think
            let chosen = answered.as_ref().filter(|answered| answered.selection.source == Source::Ask);
            match chosen.filter(|_| attempt < ATTEMPTS && is_lost(&source)) {
                Some(chosen) => given = Some(chosen.again()),
                None => return Err(ConnectError { source, answered: answered.map(Box::new) }),
            }
            attempt += 1;
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    fn new(stream: Stream<IO>) -> Self {
        let session = &stream.session;
        Self {
            answers: session.answers().clone(),
            position: session.position().clone(),
            alpn: session.alpn().map(<[u8]>::to_vec),
            version: session.version(),
            stream,
        }
    }
}

/// Whether a connection just ended, without a word why.
fn is_lost(error: &io::Error) -> bool {
    is_gone(error.kind()) || error.kind() == io::ErrorKind::UnexpectedEof
}

/// A stream that suspends while somebody is asked. One task at a time drives it, as with any that reads in order to write.
pub struct Stream<IO> {
    session: Session<Bridge<IO>>,
    answering: Answering,
    asking: Arc<Asking>,
    /// What is being answered, by a task of its own: others wait for it too, however seldom this stream is polled.
    answer: Option<JoinHandle<io::Result<Outcome>>>,
    /// Who waits for that.
    waiting: Vec<Waker>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Stream<IO> {
    /// The stream below.
    pub fn get_ref(&self) -> &IO {
        &self.session.stream().stream
    }

    async fn shake_hands(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        loop {
            match in_time(timeout, poll_fn(|cx| self.step(cx, &mut Session::connect))).await? {
                Ok(()) => break,
                Err(Halt::Asked(request)) => {
                    self.ask(request);
                    poll_fn(|cx| self.poll_answer(cx)).await?;
                }
                Err(halt) => return ended(halt),
            }
        }
        poll_fn(|cx| self.session.stream_mut().poll_flush(cx)).await
    }

    /// One operation, as far as it goes.
    fn step<T>(
        &mut self,
        cx: &mut Context<'_>,
        work: &mut impl FnMut(&mut Session<Bridge<IO>>) -> Result<T, Halt>,
    ) -> Poll<Result<T, Halt>> {
        loop {
            self.session.stream_mut().waker = Some(cx.waker().clone());
            match work(&mut self.session) {
                Err(Halt::WouldBlock(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(Halt::WouldBlock(_)) => return Poll::Pending,
                done => return Poll::Ready(done),
            }
        }
    }

    /// Repeats what a request interrupts, once that is answered.
    fn run<T: Default>(
        &mut self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Session<Bridge<IO>>) -> Result<T, Halt>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(self.poll_answer(cx))?;
            match ready!(self.step(cx, &mut work)) {
                Err(Halt::Asked(request)) => self.ask(request),
                Err(halt) => return Poll::Ready(ended(halt)),
                Ok(done) => return Poll::Ready(Ok(done)),
            }
        }
    }

    fn ask(&mut self, request: CertificateRequest) {
        let pending = self.answering.pending(request, self.session.is_established());
        self.answer = Some(spawn(answer(self.asking.clone(), Arc::new(pending))));
    }

    /// Waits for an answer that is being given, if one is.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Ok(())) };
        let Poll::Ready(answered) = Pin::new(answer).poll(cx) else {
            if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                self.waiting.push(cx.waker().clone());
            }
            return Poll::Pending;
        };
        self.answer = None;
        self.waiting.drain(..).for_each(Waker::wake);
        Poll::Ready(match answered.map_err(io::Error::other).flatten() {
            Ok(outcome) => {
                self.session.go_on(outcome);
                self.answering.answered();
                Ok(())
            }
            Err(error) => {
                self.session.give_up();
                Err(error)
            }
        })
    }
}

/// Nobody wants the answer any more. If a person is being asked for it, what they say is still taken.
impl<IO> Drop for Stream<IO> {
    fn drop(&mut self) {
        if let Some(answer) = &self.answer {
            answer.abort();
        }
    }
}

/// Answers a request without blocking, together with whoever else has the same question.
async fn answer(asking: Arc<Asking>, pending: Arc<Pending>) -> io::Result<Outcome> {
    let on = pending.clone();
    let mut step = asking.blocking(move |_| on.begin()).await.map_err(unanswered)?;
    for _ in 0..STEPS {
        let on = pending.clone();
        let next = match step {
            Step::Select => {
                let selected = asking.select(&pending.target, &pending.request).await.map_err(unanswered)?;
                asking.blocking(move |_| on.selected(selected)).await
            }
            Step::Unlock(before) => {
                let unlocked = asking.unlock(&before, Selector::unlock_fully).await.map_err(unanswered)?;
                asking.blocking(move |_| on.unlocked(unlocked)).await
            }
            Step::Done(outcome) => return Ok(outcome),
        };
        step = next.map_err(unanswered)?;
    }
    pending.end(step).map_err(io_error)
}

fn unanswered(error: by_rustls::ConnectError) -> io::Error {
    match error {
        by_rustls::ConnectError::Selection(error) => io_error(error),
        by_rustls::ConnectError::Handshake { source, .. } => source,
    }
}

fn ended<T: Default>(halt: Halt) -> io::Result<T> {
    match halt {
        Halt::Closed => Ok(T::default()),
        Halt::Failed(error) | Halt::WouldBlock(error) => Err(error),
        Halt::Asked(_) => Err(io::ErrorKind::NotConnected.into()),
    }
}

async fn in_time<T>(timeout: Option<Duration>, work: impl Future<Output = T>) -> io::Result<T> {
    let Some(timeout) = timeout else { return Ok(work.await) };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no TLS handshake within {timeout:?}"));
    ::tokio::time::timeout(timeout, work).await.map_err(late)
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = ready!(self.run(cx, |session| session.read(buffer.initialize_unfilled())))?;
        buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.run(cx, |session| session.write(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.stream_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nobody is waited for any more
        if self.answer.is_none() {
            ready!(self.run(cx, Session::shut_down))?;
        }
        Pin::new(&mut self.session.stream_mut().stream).poll_shutdown(cx)
    }
}

impl<IO> std::fmt::Debug for Stream<IO> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// What OpenSSL reads from and writes to: a stream of tokio's that would block.
struct Bridge<IO> {
    stream: IO,
    /// Of the task that drives it now.
    waker: Option<Waker>,
    /// OpenSSL cannot wait for a stream to be flushed.
    unflushed: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Bridge<IO> {
    fn poll<T>(&mut self, work: impl FnOnce(Pin<&mut IO>, &mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
        let waker = self.waker.as_ref().map_or_else(|| Waker::noop().clone(), Waker::clone);
        let polled = work(Pin::new(&mut self.stream), &mut Context::from_waker(&waker));
        match polled {
            Poll::Ready(done) => done,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.unflushed = false;
        Poll::Ready(flushed)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Read for Bridge<IO> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.unflushed {
            // Where it takes longer it is tried again with the next read
            self.unflushed = self.poll(|stream, cx| stream.poll_flush(cx)).is_err();
        }
        let mut buffer = ReadBuf::new(bytes);
        self.poll(|stream, cx| stream.poll_read(cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Write for Bridge<IO> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unflushed = true;
        self.poll(|stream, cx| stream.poll_write(cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
