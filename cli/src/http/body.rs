//! Where `fetch` puts a response: stdout or a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hyper::StatusCode;
use hyper::header::HeaderMap;

use crate::ui::failure::{Code, Failure};

/// Where the body goes.
pub(crate) enum Sink {
    Stdout { gone: bool },
    File(File, PathBuf),
}

impl Sink {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            None => Ok(Self::Stdout { gone: false }),
            Some(path) if path == Path::new("-") => Ok(Self::Stdout { gone: false }),
            Some(path) => {
                let file = File::create(path).map_err(|error| Failure::io(path, &error))?;
                Ok(Self::File(file, path.to_owned()))
            }
        }
    }

    /// Whether whoever reads stdout has gone: it had enough.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Stdout { gone: true })
    }

    /// Writes, unless the reader has gone.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::File(file, path) => file.write_all(bytes).map_err(|error| Failure::io(path, &error)),
            Self::Stdout { gone: true } => Ok(()),
            Self::Stdout { gone } => match io::stdout().lock().write_all(bytes) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    *gone = true;
                    Ok(())
                }
                written => written.map_err(|error| Failure::new(Code::Failed, format_args!("stdout: {error}"))),
            },
        }
    }

    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::File(file, path) => file.flush().map_err(|error| Failure::io(path, &error)),
            Self::Stdout { gone: true } => Ok(()),
            Self::Stdout { .. } => match io::stdout().lock().flush() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Failure::new(Code::Failed, format_args!("stdout: {error}")))
                }
                _ => Ok(()),
            },
        }
    }
}

/// Status line and headers, as HTTP/1.1 has them.
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
