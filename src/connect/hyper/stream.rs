//! A connection as hyper uses it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::lenient::Lenient;
use crate::connect::alpn::H2;
use crate::connect::opened::Opened;

/// What TLS goes over, of rustls or of OpenSSL.
pub(super) trait Tls: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Tls for S {}

/// A connection for hyper.
pub struct Stream<S>(Kind<S>);

enum Kind<S> {
    /// For an `http` URL.
    Plain(S),
    /// For an `https` URL.
    Tls {
        stream: TokioIo<Box<dyn Tls>>,
        opened: Opened,
        /// Whether it was opened for one request alone: a pool may not use it for another one that is waiting.
        is_single_use: bool,
    },
}

impl<S> Stream<S> {
    pub(super) fn plain(stream: S) -> Self {
        Self(Kind::Plain(stream))
    }

    pub(super) fn tls(stream: impl Tls + 'static, opened: Opened, is_single_use: bool) -> Self {
        let stream: Box<dyn Tls> = match is_single_use && opened.alpn() != Some(H2) {
            true => Box::new(Lenient::new(stream)),
            false => Box::new(stream),
        };
        Self(Kind::Tls { stream: TokioIo::new(stream), opened, is_single_use })
    }
}

impl<S: Connection> Connection for Stream<S> {
    fn connected(&self) -> Connected {
        match &self.0 {
            Kind::Plain(stream) => stream.connected(),
            Kind::Tls { opened, is_single_use, .. } => {
                let connected = Connected::new().extra(opened.clone());
                if *is_single_use {
                    connected.poison();
                }
                if opened.alpn() == Some(H2) { connected.negotiated_h2() } else { connected }
            }
        }
    }
}

impl<S: Read + Unpin> Read for Stream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Kind::Tls { stream, .. } => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl<S: Write + Unpin> Write for Stream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Kind::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Kind::Tls { stream, .. } => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Kind::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Kind::Tls { stream, .. } => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Plain(stream) => stream.is_write_vectored(),
            Kind::Tls { stream, .. } => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Kind::Tls { stream, .. } => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Tls { stream, .. } => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl<S> fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Plain(_) => f.write_str("Plain"),
            Kind::Tls { opened, .. } => f.debug_tuple("Tls").field(opened).finish(),
        }
    }
}
