//! Writing a response to stdout or to a file.

use std::fs::File;
use std::io::{self, IoSlice, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::response::Parts;

use cardcase::manage::plain_lines;

use crate::ui::failure::Failure;
use crate::ui::stdout::print;

/// Where a response is written.
pub(crate) enum Output {
    Stdout {
        file: File,
        /// Whether its reader has closed it.
        closed: bool,
    },
    /// A terminal, which gets text only.
    Terminal(Lines),
    File {
        path: PathBuf,
        /// Opened for the first byte, so that a file stays as it is when there is nothing to write.
        file: Option<File>,
    },
    /// At most so many bytes of the start, in memory.
    Memory { start: Vec<u8>, most: usize },
}

/// Why a response was not written.
pub(crate) enum WriteError {
    /// It is not text, and the terminal is no place for it.
    NotText,
    Failed(Failure),
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Output {
    /// `-` is stdout, byte for byte, even where it is a terminal.
    pub(crate) fn open(path: Option<&Path>, headers: &HeaderMap) -> Result<Self, Failure> {
        match path {
            None if io::stdout().is_terminal() => Ok(Self::Terminal(Lines::new(headers))),
            Some(path) if path != Path::new("-") => Ok(Self::File { path: path.to_owned(), file: None }),
            // Without the buffer of the standard library, which looks for the ends of lines
            _ => match io::stdout().as_fd().try_clone_to_owned() {
                Ok(stdout) => Ok(Self::Stdout { file: stdout.into(), closed: false }),
                Err(error) => Err(Failure::io(Path::new("stdout"), &error)),
            },
        }
    }

    /// Whether nobody needs the rest: the reader of stdout has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Stdout { closed, .. } => *closed,
            Self::Memory { start, most } => start.len() >= *most,
            Self::Terminal(_) | Self::File { .. } => false,
        }
    }

    /// Writes the status line and the headers.
    pub(crate) fn write_head(&mut self, head: &Parts) -> Result<(), Failure> {
        let bytes = head_bytes(head.version, head.status, &head.headers);
        match self {
            Self::Terminal(_) => print(&plain_lines(&String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))),
            _ => self.write_bytes(&[bytes.into()]),
        }
    }

    /// Writes pieces of the body, unless the reader has closed stdout.
    pub(crate) fn write(&mut self, pieces: &[Bytes]) -> Result<(), WriteError> {
        match self {
            Self::Terminal(lines) => {
                for piece in pieces {
                    print(&plain_lines(&lines.next(piece).ok_or(WriteError::NotText)?))?;
                }
                Ok(())
            }
            _ => Ok(self.write_bytes(pieces)?),
        }
    }

    fn write_bytes(&mut self, pieces: &[Bytes]) -> Result<(), Failure> {
        match self {
            Self::File { path, file } => {
                let written = opened(path, file).and_then(|file| write_all(file, pieces));
                written.map_err(|error| Failure::io(path, &error))
            }
            Self::Memory { start, most } => {
                pieces.iter().for_each(|piece| start.extend_from_slice(piece));
                start.truncate(*most);
                Ok(())
            }
            Self::Stdout { closed: true, .. } | Self::Terminal(_) => Ok(()),
            Self::Stdout { file, closed } => match write_all(file, pieces) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    *closed = true;
                    Ok(())
                }
                written => written.map_err(|error| Failure::io(Path::new("stdout"), &error)),
            },
        }
    }

    /// Checks that all of it was written. An empty response makes an empty file.
    pub(crate) fn finish(&mut self) -> Result<(), WriteError> {
        match self {
            Self::Terminal(lines) if !lines.is_complete() => Err(WriteError::NotText),
            Self::File { path, file } => {
                opened(path, file).map_err(|error| Failure::io(path, &error))?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn opened<'f>(path: &Path, file: &'f mut Option<File>) -> io::Result<&'f mut File> {
    match file {
        Some(file) => Ok(file),
        None => Ok(file.insert(File::create(path)?)),
    }
}

/// Writes pieces with as few calls of the system as possible.
fn write_all(file: &mut File, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = slices.as_mut_slice();
    // Also skips what is empty
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A body as text, piece by piece.
pub(crate) struct Lines {
    /// Whether the server says that it is text. What is not UTF-8 in it is of another charset, and shown as U+FFFD.
    is_called_text: bool,
    /// The start of a character or of the end of a line, whose rest is in the next piece.
    begun: Vec<u8>,
}

impl Lines {
    fn new(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let content_type = String::from_utf8_lossy(content_type).to_ascii_lowercase();
        let is_called_text = content_type.starts_with("text/") || content_type.contains("charset=");
        Self { is_called_text, begun: Vec::new() }
    }

    /// The text of the next piece, with the ends of lines of Unix; `None` if it is not text. A page with escape sequences is
    /// text, but one with a NUL is none, as for curl.
    fn next(&mut self, piece: &[u8]) -> Option<String> {
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(piece);
        let begun = match bytes.utf8_chunks().last() {
            Some(last) if is_begun(last.invalid()) => last.invalid().len(),
            _ => usize::from(bytes.ends_with(b"\r")),
        };
        self.begun = bytes.split_off(bytes.len() - begun);
        let text = match self.is_called_text {
            true => String::from_utf8_lossy(&bytes),
            false => std::str::from_utf8(&bytes).ok()?.into(),
        };
        if text.contains('\0') { None } else { Some(text.replace("\r\n", "\n")) }
    }

    /// Whether the body was text to its end.
    fn is_complete(&self) -> bool {
        self.is_called_text || matches!(self.begun.as_slice(), b"" | b"\r")
    }
}

/// Whether these bytes are the start of a character.
fn is_begun(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// The status line and the headers, in the form of HTTP/1.1.
fn head_bytes(version: hyper::Version, status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut bytes = format!("{version:?} {}", status.as_u16()).into_bytes();
    if let Some(reason) = status.canonical_reason() {
        bytes.extend_from_slice(format!(" {reason}").as_bytes());
    }
    for (name, value) in headers {
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is shown of a body in one piece, which is the same as of it byte by byte.
    fn shown(content_type: &'static str, body: &[u8]) -> Option<String> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let read = |size: usize| {
            let mut lines = Lines::new(&headers);
            let text = body.chunks(size).map(|piece| lines.next(piece)).collect::<Option<String>>()?;
            lines.is_complete().then_some(text)
        };
        let whole = read(body.len().max(1));
        assert_eq!(read(1), whole, "{body:x?}");
        whole
    }

    #[test]
    fn only_text_is_shown_on_a_terminal() {
        for (content_type, body, expected) in [
            ("", &b""[..], Some("")),
            ("", "a\tb\r\nZo\u{eb} \u{20ac} \u{1f600}\n".as_bytes(), Some("a\tb\nZo\u{eb} \u{20ac} \u{1f600}\n")),
            ("", b"a\rb", Some("a\rb")),
            ("", b"\x1b[31m", Some("\x1b[31m")),
            ("text/html", b"M\xfcller\r\n", Some("M\u{fffd}ller\n")),
            ("application/xml; charset=latin1", b"M\xfc", Some("M\u{fffd}")),
            ("application/json", b"M\xfcller", None),
            ("text/html", b"a\0b", None),
            ("", b"a\0b", None),
            ("", b"\x89PNG\r\n\x1a\n", None),
            ("application/octet-stream", b"\x9b31m", None),
            ("", b"half of it \xe2\x82", None),
        ] {
            assert_eq!(shown(content_type, body).as_deref(), expected, "{content_type} {body:x?}");
        }
    }
}
