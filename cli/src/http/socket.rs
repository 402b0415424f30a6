//! Sockets whose other end can be checked while nothing is read from them.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::net::{Shutdown, shutdown, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// The number of unanswered probes after which the other end counts as gone.
const PROBES: u32 = 4;

/// How often to check whether the other end has left.
const TICK: Duration = Duration::from_secs(1);

/// A connected socket.
pub(crate) struct Socket(Arc<Kind>);

enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Sends data without delay (RFC 9293 section 3.7.4), and keepalive probes (section 3.8.4) after this much silence. They end the
    /// connection if the other machine is gone, or if its process has closed the connection while nothing is sent to it.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn tcp(stream: TcpStream, silence: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, silence)?;
        sockopt::set_tcp_keepintvl(&stream, silence / PROBES)?;
        sockopt::set_tcp_keepcnt(&stream, PROBES)?;
        Ok(Self(Arc::new(Kind::Tcp(stream))))
    }

    pub(crate) fn unix(stream: UnixStream) -> Self {
        Self(Arc::new(Kind::Unix(stream)))
    }

    /// A handle to check the other end. It does not keep the socket open.
    pub(crate) fn peer(&self) -> Peer {
        Peer(Arc::downgrade(&self.0))
    }
}

/// The other end of a [`Socket`].
#[derive(Clone, Default)]
pub(crate) struct Peer(Weak<Kind>);

impl Peer {
    /// Whether it neither sends nor receives any more. An end that has closed only its sending direction still receives.
    pub(crate) fn is_gone(&self) -> bool {
        let Some(socket) = self.0.upgrade() else { return true };
        // Without any flags, only hang-ups and errors are reported
        let mut watched = [PollFd::new(&*socket, PollFlags::empty())];
        let polled = poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok_and(|ready| ready > 0)
    }

    /// Whether it is gone, and everything that it sent was read.
    pub(crate) fn has_left(&self) -> bool {
        let unread = |socket: Arc<Kind>| ioctl_fionread(&*socket).is_ok_and(|bytes| bytes > 0);
        self.is_gone() && !self.0.upgrade().is_some_and(unread)
    }

    /// The result of `work`, or `None` if the other end leaves in the meantime.
    pub(crate) async fn while_there<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(TICK, &mut work).await {
                Ok(done) => return Some(done),
                Err(_) if self.has_left() => return None,
                Err(_) => {}
            }
        }
    }
}

impl AsFd for Kind {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Kind {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
        }
    }

    fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(parts),
            Self::Unix(stream) => stream.try_write_vectored(parts),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write_vectored(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&*self.0, Shutdown::Write).map_err(io::Error::from))
    }
}
