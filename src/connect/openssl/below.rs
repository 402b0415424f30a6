//! The caller's stream below a session of OpenSSL.

use std::io::{self, Read, Write};
#[cfg(feature = "tokio")]
use std::{
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

#[cfg(feature = "tokio")]
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connect::refusal::is_closed;

/// The caller's stream as OpenSSL reads and writes it: a blocking one, or one of tokio that reports when it would block.
///
/// A server that refuses sends its alert and hangs up, perhaps before everything is written that the client has to say. So a
/// write that fails because the server has closed the connection counts as written: the alert is read next, or the end.
pub(super) struct Below<S> {
    stream: S,
    read: fn(&mut Self, &mut [u8]) -> io::Result<usize>,
    write: fn(&mut Self, &[u8]) -> io::Result<usize>,
    flush: fn(&mut Self) -> io::Result<()>,
    /// How writing failed.
    unsent: Option<io::ErrorKind>,
    /// Of the task that drives the connection now.
    #[cfg(feature = "tokio")]
    waker: Option<Waker>,
    /// Whether something was written and not flushed. OpenSSL cannot wait for a stream to be flushed.
    #[cfg(feature = "tokio")]
    unflushed: bool,
}

impl<S> Below<S> {
    pub(super) fn blocking(stream: S) -> Self
    where
        S: Read + Write,
    {
        Self {
            stream,
            read: |below, buffer| below.stream.read(buffer),
            write: |below, bytes| below.stream.write(bytes),
            flush: |below| below.stream.flush(),
            unsent: None,
            #[cfg(feature = "tokio")]
            waker: None,
            #[cfg(feature = "tokio")]
            unflushed: false,
        }
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Flushes the caller's stream. An error is one, even if the server has closed the connection.
    pub(super) fn flush_below(&mut self) -> io::Result<()> {
        (self.flush)(self)
    }

    /// How writing failed because the server has closed the connection, if it did.
    pub(super) fn unsent(&self) -> Option<io::ErrorKind> {
        self.unsent
    }
}

impl<S> Read for Below<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.read)(self, buffer)
    }
}

impl<S> Write for Below<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unsent.is_some() {
            return Ok(bytes.len());
        }
        match (self.write)(self, bytes) {
            Err(error) if is_closed(error.kind()) => {
                self.unsent = Some(error.kind());
                Ok(bytes.len())
            }
            done => done,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match (self.flush)(self) {
            Err(error) if is_closed(error.kind()) => Ok(()),
            done => done,
        }
    }
}

#[cfg(feature = "tokio")]
impl<S: AsyncRead + AsyncWrite + Unpin> Below<S> {
    pub(super) fn asynchronous(stream: S) -> Self {
        Self {
            stream,
            read: Self::read_now,
            write: Self::write_now,
            flush: |_| Ok(()),
            unsent: None,
            waker: None,
            unflushed: false,
        }
    }

    /// Has this task woken when the stream is ready again.
    pub(super) fn wake(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.unflushed = false;
        Poll::Ready(flushed)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn now<T>(&mut self, poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
        let waker = self.waker.as_ref().map_or_else(|| Waker::noop().clone(), Waker::clone);
        match poll(Pin::new(&mut self.stream), &mut Context::from_waker(&waker)) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn read_now(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.unflushed {
            // If that takes longer, the next read tries again
            self.unflushed = self.now(|stream, cx| stream.poll_flush(cx)).is_err();
        }
        let mut buffer = ReadBuf::new(bytes);
        self.now(|stream, cx| stream.poll_read(cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }

    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unflushed = true;
        self.now(|stream, cx| stream.poll_write(cx, bytes))
    }
}
