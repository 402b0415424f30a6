//! Streams that have to carry TLS: the error names what a server speaks instead.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use cardcase::Destination;
use cardcase::raw::causes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a server speaks instead of TLS, by the first bytes that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTls {
    Http,
    Ssh,
    /// SMTP or FTP: both greet with 220.
    Smtp,
    Imap,
    Pop3,
    Other,
}

impl NotTls {
    /// `None` for the first byte of a record of TLS (RFC 8446 section 5.1).
    fn from_start(bytes: &[u8]) -> Option<Self> {
        if matches!(bytes.first(), None | Some(20..=24)) {
            return None;
        }
        let starts: [(&[u8], Self); 6] = [
            (b"HTTP/", Self::Http),
            (b"<", Self::Http),
            (b"SSH-", Self::Ssh),
            (b"220", Self::Smtp),
            (b"* ", Self::Imap),
            (b"+OK", Self::Pop3),
        ];
        let found = starts.iter().find(|(start, _)| bytes.starts_with(start));
        Some(found.map_or(Self::Other, |(_, kind)| *kind))
    }

    /// Finds it in an error of a connection, or in any error around it.
    pub(crate) fn find(error: &(dyn StdError + 'static)) -> Option<Self> {
        causes(error).find_map(|error| error.downcast_ref()).copied()
    }

    /// The next step.
    pub(crate) fn hint(self, destination: &Destination) -> String {
        match self {
            Self::Http => format!(
                "give its port for HTTPS; without encryption and without a certificate: cardcase fetch http://{destination}/"
            ),
            Self::Smtp | Self::Imap | Self::Pop3 => {
                "give the port on which it speaks TLS from the start: 465 for SMTP, 993 for IMAP, 995 for POP3"
                    .to_owned()
            }
            Self::Ssh | Self::Other => "give its port for HTTPS, usually 443".to_owned(),
        }
    }
}

impl fmt::Display for NotTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "it speaks plain HTTP on this port, not TLS",
            Self::Ssh => "it speaks SSH on this port, not TLS",
            Self::Smtp => "it speaks SMTP or FTP on this port, not TLS",
            Self::Imap => "it speaks IMAP on this port, not TLS",
            Self::Pop3 => "it speaks POP3 on this port, not TLS",
            Self::Other => "it does not speak TLS on this port",
        })
    }
}

impl StdError for NotTls {}

/// A stream that fails with [`NotTls`] if the first bytes from the other side are not TLS.
pub(crate) struct TlsOnly<S> {
    stream: S,
    has_read: bool,
}

impl<S> TlsOnly<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, has_read: false }
    }

    fn check(&mut self, read: &[u8]) -> io::Result<()> {
        if self.has_read || read.is_empty() {
            return Ok(());
        }
        self.has_read = true;
        match NotTls::from_start(read) {
            Some(other) => Err(io::Error::new(ErrorKind::InvalidData, other)),
            None => Ok(()),
        }
    }
}

impl<S: Read> Read for TlsOnly<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.check(buffer.get(..length).unwrap_or_default())?;
        Ok(length)
    }
}

impl<S: Write> Write for TlsOnly<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TlsOnly<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        Poll::Ready(self.check(buffer.filled().get(before..).unwrap_or_default()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TlsOnly<S> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_speaks_shows_in_its_first_bytes() {
        for (bytes, expected) in [
            (&b"\x16\x03\x03"[..], None),
            (b"\x15\x03\x01\x00\x02", None),
            (b"", None),
            (b"HTTP/1.1 400 Bad Request", Some(NotTls::Http)),
            (b"<html>", Some(NotTls::Http)),
            (b"SSH-2.0-OpenSSH_9.2p1", Some(NotTls::Ssh)),
            (b"220 mail.example ESMTP", Some(NotTls::Smtp)),
            (b"* OK IMAP4rev1", Some(NotTls::Imap)),
            (b"+OK ready", Some(NotTls::Pop3)),
            (b"\x4a\x00\x00\x00\x0a8.0", Some(NotTls::Other)),
        ] {
            assert_eq!(NotTls::from_start(bytes), expected, "{bytes:?}");
        }
    }
}
