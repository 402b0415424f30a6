//! Writing a response to stdout or to a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hyper::StatusCode;
use hyper::header::HeaderMap;

use crate::ui::failure::{Code, Failure};

/// Where a response is written.
pub(crate) enum Output {
    Stdout {
        /// Whether its reader has closed it.
        closed: bool,
    },
    File(File, PathBuf),
}

impl Output {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            None => Ok(Self::Stdout { closed: false }),
            Some(path) if path == Path::new("-") => Ok(Self::Stdout { closed: false }),
            Some(path) => {
                let file = File::create(path).map_err(|error| Failure::io(path, &error))?;
                Ok(Self::File(file, path.to_owned()))
            }
        }
    }

    /// Whether the reader of stdout has closed it: it does not need the rest.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Stdout { closed: true })
    }

    /// Writes, unless the reader has closed stdout.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::File(file, path) => file.write_all(bytes).map_err(|error| Failure::io(path, &error)),
            Self::Stdout { closed: true } => Ok(()),
            Self::Stdout { closed } => match io::stdout().lock().write_all(bytes) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    *closed = true;
                    Ok(())
                }
                written => written.map_err(|error| Failure::new(Code::Failed, format_args!("stdout: {error}"))),
            },
        }
    }

    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::File(file, path) => file.flush().map_err(|error| Failure::io(path, &error)),
            Self::Stdout { closed: true } => Ok(()),
            Self::Stdout { .. } => match io::stdout().lock().flush() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Failure::new(Code::Failed, format_args!("stdout: {error}")))
                }
                _ => Ok(()),
            },
        }
    }
}

/// The status line and the headers, in the form of HTTP/1.1.
pub(crate) fn head_bytes(version: hyper::Version, status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
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
