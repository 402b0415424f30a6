//! Rewrites responses of HTTP/1 that browsers and curl accept and hyper does not: with a status line of HTTP/2, or with chunks
//! whose lines end in LF alone. This is only for connections that carry one request, so nothing can be smuggled into another.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once.
const PIECE: usize = 16 << 10;

/// The bytes of a header line that are looked at.
const LINE: usize = 128;

/// A stream from which one response is read.
pub(super) struct Lenient<S> {
    stream: S,
    response: Response,
    /// What hyper has not read yet, from this position on.
    ready: Vec<u8>,
    read: usize,
}

impl<S> Lenient<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, response: Response::default(), ready: Vec::new(), read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, response, ready, read } = &mut *self;
        loop {
            let unread = ready.get(*read..).unwrap_or_default();
            if !unread.is_empty() {
                let length = unread.len().min(buffer.remaining());
                buffer.put_slice(unread.get(..length).unwrap_or_default());
                *read += length;
                return Poll::Ready(Ok(()));
            }
            ready.clear();
            *read = 0;
            // What passes unchanged is not copied
            match response.state {
                State::Rest => return Pin::new(stream).poll_read(cx, buffer),
                State::Chunk(left) => {
                    let length = usize::try_from(left).unwrap_or(PIECE).min(PIECE).min(buffer.remaining());
                    let mut data = ReadBuf::new(buffer.initialize_unfilled_to(length));
                    ready!(Pin::new(stream).poll_read(cx, &mut data))?;
                    let length = data.filled().len();
                    buffer.advance(length);
                    response.passed(length as u64, left);
                    return Poll::Ready(Ok(()));
                }
                _ => {}
            }
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut piece))?;
            match piece.filled() {
                [] => response.end(ready),
                bytes => response.push(bytes, ready),
            }
            if piece.filled().is_empty() && ready.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
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

/// Where in a response the next byte is.
#[derive(Default)]
struct Response {
    state: State,
    /// The start of the current line, or what is held back of it.
    line: Vec<u8>,
    /// The byte before.
    last: u8,
    is_interim: bool,
    is_chunked: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// In the first bytes of the status line, which are held back.
    #[default]
    Start,
    Head,
    ChunkSize,
    Chunk(u64),
    AfterChunk,
    Trailer,
    /// What comes now passes unchanged.
    Rest,
}

/// The start of a status line that hyper does not read, and what it reads instead.
const HTTP_2: &[u8] = b"HTTP/2 ";
const HTTP_1_1: &[u8] = b"HTTP/1.1 ";

impl Response {
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Rest => return out.extend_from_slice(bytes),
                State::Chunk(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (data, rest) = bytes.split_at(length);
                    out.extend_from_slice(data);
                    bytes = rest;
                    self.passed(length as u64, left);
                    continue;
                }
                State::Start => self.start(byte, out),
                _ if byte == b'\n' => self.end_line(out),
                State::AfterChunk if byte != b'\r' => {
                    out.push(byte);
                    self.state = State::Rest;
                }
                _ => {
                    out.push(byte);
                    if self.line.len() < LINE {
                        self.line.push(byte);
                    }
                }
            }
            self.last = byte;
            bytes = rest;
        }
    }

    /// So much of what was left of a chunk was passed on.
    fn passed(&mut self, length: u64, left: u64) {
        self.state = match left - length {
            0 => State::AfterChunk,
            left => State::Chunk(left),
        };
    }

    /// Passes on what is held back when the connection ends.
    fn end(&mut self, out: &mut Vec<u8>) {
        if self.state == State::Start {
            out.append(&mut self.line);
            self.state = State::Rest;
        }
    }

    fn start(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.line.push(byte);
        if self.line == HTTP_2 {
            self.line = HTTP_1_1.to_vec();
        } else if HTTP_2.starts_with(&self.line) {
            return;
        }
        // The end of a line is looked at in the next state
        let ended = self.line.pop_if(|last| *last == b'\n').is_some();
        out.extend_from_slice(&self.line);
        self.state = State::Head;
        if ended {
            self.end_line(out);
        }
    }

    /// A line feed: the line is complete. Lines around chunks get the carriage return that hyper wants.
    fn end_line(&mut self, out: &mut Vec<u8>) {
        if self.state != State::Head && self.last != b'\r' {
            out.push(b'\r');
        }
        out.push(b'\n');
        let line = std::mem::take(&mut self.line).trim_ascii().to_ascii_lowercase();
        self.state = match self.state {
            State::Head if line.is_empty() => self.after_head(),
            State::Head => {
                self.look_at(&line);
                State::Head
            }
            State::ChunkSize => match size(&line) {
                Some(0) => State::Trailer,
                Some(size) => State::Chunk(size),
                None => State::Rest,
            },
            State::AfterChunk => State::ChunkSize,
            State::Trailer if !line.is_empty() => State::Trailer,
            _ => State::Rest,
        };
    }

    fn look_at(&mut self, line: &[u8]) {
        if line.starts_with(b"http/") {
            let status = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            self.is_interim = status.starts_with(b"1") && status != b"101";
        } else if line.starts_with(b"transfer-encoding") && line.ends_with(b"chunked") {
            self.is_chunked = true;
        }
    }

    fn after_head(&mut self) -> State {
        match (std::mem::take(&mut self.is_interim), std::mem::take(&mut self.is_chunked)) {
            (true, _) => State::Start,
            (false, true) => State::ChunkSize,
            (false, false) => State::Rest,
        }
    }
}

/// The size of a chunk (RFC 9112 section 7.1), without its extensions.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_becomes_what_hyper_reads_however_it_arrives() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let with_chunks = |rest: &str| format!("{chunked}{rest}");
        let cases = [
            (
                "HTTP/2 200 OK\r\nA: b\r\n\r\nHTTP/2 \n".to_owned(),
                "HTTP/1.1 200 OK\r\nA: b\r\n\r\nHTTP/2 \n".to_owned(),
            ),
            (
                "HTTP/2 103 Early\r\n\r\nHTTP/2 200\r\n\r\nok".to_owned(),
                "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200\r\n\r\nok".to_owned(),
            ),
            (with_chunks("3\nok\n\n0\n\n"), with_chunks("3\r\nok\n\r\n0\r\n\r\n")),
            (
                with_chunks("A;x=y\n\n\n\n\n\n\n\n\n\n\n\n0\nT: x\n\n"),
                with_chunks("A;x=y\r\n\n\n\n\n\n\n\n\n\n\n\r\n0\r\nT: x\r\n\r\n"),
            ),
            (with_chunks("3\r\nok\n\r\n0\r\n\r\n"), with_chunks("3\r\nok\n\r\n0\r\n\r\n")),
            (with_chunks("zz\nok"), with_chunks("zz\r\nok")),
            (
                "HTTP/1.1 200 OK\nContent-Length: 3\n\na\nb".to_owned(),
                "HTTP/1.1 200 OK\nContent-Length: 3\n\na\nb".to_owned(),
            ),
            ("HTT".to_owned(), "HTT".to_owned()),
            ("\r\n<html>".to_owned(), "\r\n<html>".to_owned()),
        ];
        for (sent, expected) in cases {
            for piece in [1, 2, 7, 1000] {
                let (mut response, mut out) = (Response::default(), Vec::new());
                sent.as_bytes().chunks(piece).for_each(|bytes| response.push(bytes, &mut out));
                response.end(&mut out);
                assert_eq!(String::from_utf8_lossy(&out), expected, "{sent:?} by {piece}");
            }
        }
    }
}
