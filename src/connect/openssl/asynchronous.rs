//! Connections of OpenSSL over tokio.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn;

use super::answer_task::{AnswerTask, answer};
use super::below::Below;
use super::session::{Halt, Session};
use super::{Connector, Ended, Stream};
use crate::connect::asking::in_time;
use crate::connect::drive::Start;
use crate::connect::error::Error;
use crate::connect::opened::Connection;
use crate::connect::refusal::is_hang_up;
use crate::request::{CertificateRequest, Target};
use crate::select::prepared::Prepared;
use crate::select::selection::Source;

/// Connections made for one call: the first, and one more where the server did not wait for a person.
const ATTEMPTS: usize = 2;

impl Connector {
    /// Connects to the destination of a target over the stream of tokio that `dial` returns. `dial` is called again when the
    /// server closed the connection while a person chose. Asking, unlocking and reading the store happen on tokio's blocking
    /// threads.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use cardcase::Destination;
    /// use cardcase::connect::openssl::Connector;
    /// use tokio::{io::AsyncWriteExt, net::TcpStream};
    ///
    /// # async fn example(connector: Connector) -> Result<(), Box<dyn std::error::Error>> {
    /// let destination: Destination = "intranet.example.com".parse()?;
    /// let dial = || TcpStream::connect("intranet.example.com:443");
    /// let mut connection = connector.connect_async(&destination, dial).await?;
    /// connection.stream.write_all(b"GET / HTTP/1.1\r\nhost: intranet.example.com\r\n\r\n").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error`].
    pub async fn connect_async<S, D, F>(
        &self,
        target: impl Into<Target>,
        dial: D,
    ) -> Result<Connection<Stream<S>>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<S>>,
    {
        self.drive(Start::Target(target.into()), dial).await
    }

    /// Like [`connect_async`](Self::connect_async), but answers the first request with what was prepared before, or all of them
    /// with an identity that was given for once. It connects to the destination that was prepared for.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn connect_prepared_async<S, D, F>(
        &self,
        prepared: Prepared,
        dial: D,
    ) -> Result<Connection<Stream<S>>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<S>>,
    {
        self.drive(Start::Prepared(prepared), dial).await
    }

    pub(in crate::connect) async fn drive<S, D, F>(
        &self,
        mut start: Start,
        mut dial: D,
    ) -> Result<Connection<Stream<S>>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        D: FnMut() -> F,
        F: Future<Output = io::Result<S>>,
    {
        let mut attempt = 1;
        loop {
            let dialled = dial().await.map_err(Error::Dial)?;
            let destination = start.target().destination().clone();
            let looked = self.asking.blocking(move |selector| selector.undecided(&destination)).await?;
            let mut stream = self.stream(start, &looked, Below::asynchronous(dialled))?;
            let opened = stream.open.0.clone();
            let error = match stream.handshake(self.timeout).await {
                Ok(()) => return Ok(Connection { stream, opened }),
                Err(ended) => ended.into_error(opened),
            };
            // Servers wait for people only for so long
            match chosen_too_late(&error).filter(|_| attempt < ATTEMPTS) {
                Some(chosen) => start = Start::Prepared(chosen),
                None => return Err(error),
            }
            attempt += 1;
        }
    }
}

/// What a person chose for a connection that was lost meanwhile, without a word why.
fn chosen_too_late(error: &Error) -> Option<Prepared> {
    let Error::Handshake { source, opened } = error else { return None };
    let is_chosen = opened.selection().is_some_and(|selection| selection.source == Source::Ask);
    if is_hang_up(source) && is_chosen { opened.again() } else { None }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    async fn handshake(&mut self, timeout: Option<Duration>) -> Result<(), Ended> {
        loop {
            match in_time(timeout, poll_fn(|cx| self.step(cx, &mut Session::connect))).await.map_err(Ended::Failed)? {
                Ok(()) => break,
                Err(Halt::Asked(request)) => {
                    self.ask(request);
                    poll_fn(|cx| self.poll_answer(cx)).await?;
                }
                Err(Halt::Closed) => return Err(Ended::Closed),
                Err(Halt::Failed(error) | Halt::WouldBlock(error)) => return Err(Ended::Failed(error)),
            }
        }
        poll_fn(|cx| self.session.below_mut().poll_flush(cx)).await.map_err(Ended::Failed)
    }

    /// Performs an operation, as far as it goes.
    fn step<T>(
        &mut self,
        cx: &mut Context<'_>,
        work: &mut impl FnMut(&mut Session<S>) -> Result<T, Halt>,
    ) -> Poll<Result<T, Halt>> {
        loop {
            self.session.below_mut().wake(cx.waker().clone());
            match work(&mut self.session) {
                Err(Halt::WouldBlock(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(Halt::WouldBlock(_)) => return Poll::Pending,
                done => return Poll::Ready(done),
            }
        }
    }

    /// Performs an operation, and repeats it once a request that interrupted it is answered.
    fn poll_run<T: Default>(
        &mut self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Session<S>) -> Result<T, Halt>,
    ) -> Poll<io::Result<T>> {
        loop {
            if let Err(ended) = ready!(self.poll_answer(cx)) {
                return Poll::Ready(ended.into_io());
            }
            let ended = match ready!(self.step(cx, &mut work)) {
                Ok(done) => return Poll::Ready(Ok(done)),
                Err(Halt::Asked(request)) => {
                    self.ask(request);
                    continue;
                }
                Err(Halt::Closed) => Ended::Closed,
                Err(Halt::Failed(error) | Halt::WouldBlock(error)) => Ended::Failed(error),
            };
            return Poll::Ready(ended.into_io());
        }
    }

    fn ask(&mut self, request: CertificateRequest) {
        let pending = self.answering.pending(request, self.session.is_established());
        self.answer_task.answer = Some(spawn(answer(self.answer_task.asking.clone(), Arc::new(pending))));
    }

    /// Waits for an answer that is being given, if one is.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let AnswerTask { answer: being_given, waiting, .. } = &mut self.answer_task;
        let Some(answer) = being_given else { return Poll::Ready(Ok(())) };
        let Poll::Ready(answered) = Pin::new(answer).poll(cx) else {
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            return Poll::Pending;
        };
        *being_given = None;
        waiting.drain(..).for_each(Waker::wake);
        Poll::Ready(match answered.map_err(Error::shut_down).flatten() {
            Ok(continuation) => {
                self.session.go_on(continuation);
                self.answering.answered();
                Ok(())
            }
            Err(error) => {
                self.session.give_up();
                Err(Ended::Unanswered(error))
            }
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = ready!(self.poll_run(cx, |session| session.read(buffer.initialize_unfilled())))?;
        buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_run(cx, |session| session.write(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.below_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nobody waits for an answer any more
        if self.answer_task.answer.is_none() {
            ready!(self.poll_run(cx, Session::shut_down))?;
        }
        self.session.below_mut().poll_shutdown(cx)
    }
}
