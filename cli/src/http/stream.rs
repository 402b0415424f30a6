//! Byte streams, whatever they run over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use cardcase::connect::Opened;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Any byte stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A byte stream of some kind.
pub(crate) type BoxStream = Box<dyn Stream>;

/// A connection to a destination, or to the proxy that forwards requests to it: what a request of plain HTTP goes over, or TLS.
pub(crate) struct Dialled {
    stream: TokioIo<BoxStream>,
    is_proxy: bool,
    /// The TLS connection to the proxy, if there is one.
    proxy: Option<Opened>,
}

impl Dialled {
    /// To the destination, directly or by a tunnel.
    pub(crate) fn to_destination(stream: BoxStream) -> Self {
        Self { stream: TokioIo::new(stream), is_proxy: false, proxy: None }
    }

    /// To a proxy.
    pub(crate) fn to_proxy(stream: BoxStream, proxy: Option<Opened>) -> Self {
        Self { stream: TokioIo::new(stream), is_proxy: true, proxy }
    }

    /// Wraps its stream in another.
    pub(crate) fn around(self, wrap: impl FnOnce(BoxStream) -> BoxStream) -> Self {
        Self { stream: TokioIo::new(wrap(self.stream.into_inner())), ..self }
    }

    pub(crate) fn into_parts(self) -> (BoxStream, Option<Opened>) {
        (self.stream.into_inner(), self.proxy)
    }
}

/// A response of a proxy, and an error, carry the connection to the proxy as they would carry one to a server.
impl Connection for Dialled {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.is_proxy);
        match &self.proxy {
            Some(opened) => connected.extra(opened.clone()),
            None => connected,
        }
    }
}

impl Read for Dialled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Dialled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }
}
