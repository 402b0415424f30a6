//! Limits for a server that is connected: how long it may keep `fetch` waiting, and how much it may send before its response. They end
//! the wait for a server that is silent, sends only a byte now and then, or sends headers without end.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

use crate::http::stream::BoxStream;

/// The period over which the speed of a response is measured: its average must reach [`SPEED_LIMIT`]. `--speed-time` changes it.
pub(crate) const SPEED_TIME: Duration = Duration::from_secs(60);

/// The least average speed of a response, in bytes per second. `--speed-limit` changes it.
pub(crate) const SPEED_LIMIT: u64 = 1;

/// Bytes that a server may send before its response, including those of the handshake and of interim responses (1xx), and between two
/// pieces of the body.
const MAX_HEAD: u64 = 4 << 20;

/// Bytes read from a connection at once. rustls reads 4 KiB at a time.
const BUFFER: usize = 64 << 10;

/// How often to check.
const TICK: Duration = Duration::from_millis(200);

/// The limits of one command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) speed_time: Duration,
    pub(crate) speed_limit: u64,
}

impl Patience {
    /// The given limits, or the defaults; `None` if a limit is 0, which means that there are none, as in curl.
    pub(crate) fn new(speed_time: Option<Duration>, speed_limit: Option<u64>) -> Option<Self> {
        let speed_time = speed_time.unwrap_or(SPEED_TIME);
        let speed_limit = speed_limit.unwrap_or(SPEED_LIMIT);
        (!speed_time.is_zero() && speed_limit > 0).then_some(Self { speed_time, speed_limit })
    }

    /// The bytes of a body that must arrive within [`Self::speed_time`].
    fn least(self) -> f64 {
        self.speed_limit as f64 * self.speed_time.as_secs_f64()
    }
}

/// Why the command stops waiting.
#[derive(Debug)]
pub(crate) enum Impatience {
    Head(Duration),
    LargeHead,
    NoBody,
    Body(Patience),
}

impl fmt::Display for Impatience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(limit) => write!(f, "no response within {limit:?}"),
            Self::LargeHead => f.write_str("the server sends headers without end"),
            Self::NoBody => f.write_str("the server sends what frames the body without end, and no body"),
            Self::Body(patience) => {
                let Patience { speed_time, speed_limit } = patience;
                write!(f, "the server sent less than {speed_limit} bytes per second for {speed_time:?}")
            }
        }
    }
}

impl std::error::Error for Impatience {}

/// How long the command has waited since the server last took a piece of the request, and how much it has received. The time that a
/// person takes to choose does not count, because nothing is read in the meantime.
#[derive(Clone, Default)]
pub(crate) struct Activity(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    /// Since when the command has been waiting for the server; `None` while it does not wait.
    since: Option<Instant>,
    /// How long it waited before that.
    waited: Duration,
    /// Bytes that the server has sent.
    received: u64,
    /// Whether the command itself has the next piece of the request to get, from a pipe for instance.
    has_to_read: bool,
}

impl Waiting {
    fn stop(&mut self) {
        self.waited += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// Begins to count anew.
    fn restart(&mut self) {
        self.waited = Duration::ZERO;
        self.since = self.since.map(|_| Instant::now());
    }
}

impl Activity {
    /// Wraps a stream to measure it, and forgets the measurements of the previous stream.
    pub(crate) fn watch(&self, stream: BoxStream) -> BoxStream {
        *self.waiting() = Waiting::default();
        Box::new(Watched { stream: BufReader::with_capacity(BUFFER, stream), activity: self.clone() })
    }

    /// A piece of the request is on its way, so the server has taken what came before; or it has to be read first.
    pub(crate) fn note_sending(&self, is_read: bool) {
        let mut waiting = self.waiting();
        waiting.has_to_read = !is_read;
        waiting.restart();
    }

    fn waited(&self) -> Duration {
        let waiting = self.waiting();
        if waiting.has_to_read {
            return Duration::ZERO;
        }
        waiting.waited + waiting.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a response, at most as long as `handshake` and `patience` allow together.
    pub(crate) async fn head<T>(
        &self,
        patience: Option<Patience>,
        handshake: Duration,
        response: impl Future<Output = T>,
    ) -> Result<T, Impatience> {
        let mut response = std::pin::pin!(response);
        loop {
            if let Ok(response) = tokio::time::timeout(TICK, &mut response).await {
                return Ok(response);
            }
            if self.waiting().received > MAX_HEAD {
                return Err(Impatience::LargeHead);
            }
            // The handshake has a limit of its own
            let limit = patience.map(|patience| patience.speed_time + handshake);
            if let Some(limit) = limit.filter(|limit| self.waited() > *limit) {
                return Err(Impatience::Head(limit));
            }
        }
    }
}

/// Measures the speed of a body.
pub(crate) struct Speed {
    activity: Activity,
    patience: Option<Patience>,
    /// How long the command had waited when the current period began.
    begun: Duration,
    /// How long it had waited when it last stopped reading.
    seen: Duration,
    /// Bytes of the body in this period.
    received: u64,
    /// All bytes that had come with the last piece of the body.
    at_last_piece: u64,
}

impl Speed {
    pub(crate) fn new(activity: Activity, patience: Option<Patience>) -> Self {
        let (waited, at_last_piece) = (activity.waited(), activity.waiting().received);
        Self { activity, patience, begun: waited, seen: waited, received: 0, at_last_piece }
    }

    /// Waits for the next piece of the body, unless the body comes too slowly.
    pub(crate) async fn next<E>(
        &mut self,
        piece: impl Future<Output = Result<Option<Bytes>, E>>,
    ) -> Result<Result<Option<Bytes>, E>, Impatience> {
        let mut piece = std::pin::pin!(piece);
        // What is there already was not waited for
        if let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(piece.as_mut().poll(cx))).await {
            self.note(&read);
            return Ok(read);
        }
        // The time between two calls does not count
        self.begun += self.activity.waited().saturating_sub(self.seen);
        loop {
            let read = tokio::time::timeout(TICK, &mut piece).await;
            self.seen = self.activity.waited();
            if let Ok(read) = &read {
                self.note(read);
            }
            self.check()?;
            if let Ok(piece) = read {
                return Ok(piece);
            }
            if self.activity.waiting().received.saturating_sub(self.at_last_piece) > MAX_HEAD {
                return Err(Impatience::NoBody);
            }
        }
    }

    /// The next piece of a body, if it is there already.
    pub(crate) async fn ready(&mut self, body: &mut Incoming) -> Option<hyper::Result<Bytes>> {
        let mut piece = std::pin::pin!(next(body));
        let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(piece.as_mut().poll(cx))).await else { return None };
        self.note(&read);
        read.transpose()
    }

    fn note<E>(&mut self, read: &Result<Option<Bytes>, E>) {
        if let Ok(Some(bytes)) = read {
            self.received += bytes.len() as u64;
        }
        self.at_last_piece = self.activity.waiting().received;
    }

    fn check(&mut self) -> Result<(), Impatience> {
        let Some(patience) = self.patience else { return Ok(()) };
        if self.seen.saturating_sub(self.begun) <= patience.speed_time {
            return Ok(());
        }
        if (self.received as f64) < patience.least() {
            return Err(Impatience::Body(patience));
        }
        (self.begun, self.received) = (self.seen, 0);
        Ok(())
    }
}

/// A stream that measures how long the command waits for it, and how much it receives.
struct Watched {
    stream: BufReader<BoxStream>,
    activity: Activity,
}

/// The time in which no connection is open, while a person chooses, does not count.
impl Drop for Watched {
    fn drop(&mut self) {
        self.activity.waiting().stop();
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let mut waiting = self.activity.waiting();
        match polled {
            Poll::Pending => {
                waiting.since.get_or_insert_with(Instant::now);
            }
            Poll::Ready(_) => {
                waiting.stop();
                waiting.received += (buffer.filled().len() - before) as u64;
            }
        }
        drop(waiting);
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The next piece of a body; `None` at its end.
pub(crate) async fn next(body: &mut Incoming) -> hyper::Result<Option<Bytes>> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
