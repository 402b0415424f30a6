//! The TLS stream of a connection over rustls, on which the last words of the server are not lost.

#[cfg(feature = "tokio")]
mod asynchronous;

use std::fmt;
use std::io::{self, IoSlice, Read, Write};

use rustls::ClientConnection;

use crate::connect::guarded::Guarded;
use crate::connect::opened::{Open, Opened};
use crate::connect::refusal::is_closed;

/// A TLS session over a stream `S`: [`Read`] and [`Write`] over a blocking stream, `AsyncRead` and `AsyncWrite` over one of
/// tokio.
///
/// In TLS 1.3 a refusal arrives after the handshake, while the client already writes its request. If the server has closed the
/// connection by then, writing fails with a broken pipe, and the alert that says why waits unread. So after a failed write this
/// stream reads first, and reports the alert if there is one.
pub struct Stream<S> {
    session: Session<S>,
    /// How writing failed because the other side has closed.
    write_error: Option<io::ErrorKind>,
    open: Open,
}

/// A TLS session over the caller's stream. The caller's stream is blocking or of tokio, and so is the session over it.
pub(super) enum Session<S> {
    Blocking(Blocking<S>),
    #[cfg(feature = "tokio")]
    Tokio(tokio_rustls::client::TlsStream<Guarded<Patient<S>>>),
}

/// A session that blocks, for which rustls' own type demands bounds.
pub(super) struct Blocking<S> {
    pub(super) tls: ClientConnection,
    pub(super) below: Guarded<Patient<S>>,
}

impl<S: Read + Write> Blocking<S> {
    fn stream(&mut self) -> rustls::Stream<'_, ClientConnection, Guarded<Patient<S>>> {
        rustls::Stream::new(&mut self.tls, &mut self.below)
    }
}

impl<S> Stream<S> {
    /// Over a session whose handshake is done.
    pub(super) fn new(session: Session<S>, opened: Opened) -> Self {
        let mut stream = Self { session, write_error: None, open: Open(opened) };
        stream.patient_mut().is_handshaking = false;
        stream
    }

    /// The caller's stream.
    pub fn get_ref(&self) -> &S {
        let guarded = match &self.session {
            Session::Blocking(session) => &session.below,
            #[cfg(feature = "tokio")]
            Session::Tokio(stream) => stream.get_ref().0,
        };
        &guarded.get_ref().stream
    }

    /// The TLS session: its cipher suite, the certificates of the server.
    pub fn session(&self) -> &ClientConnection {
        match &self.session {
            Session::Blocking(session) => &session.tls,
            #[cfg(feature = "tokio")]
            Session::Tokio(stream) => stream.get_ref().1,
        }
    }

    /// The caller's stream, to be changed but neither read nor written.
    #[cfg(feature = "ureq")]
    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.patient_mut().stream
    }

    fn patient_mut(&mut self) -> &mut Patient<S> {
        match &mut self.session {
            Session::Blocking(session) => session.below.get_mut(),
            #[cfg(feature = "tokio")]
            Session::Tokio(stream) => stream.get_mut().0.get_mut(),
        }
    }
}

impl<S> fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("opened", &self.open.0).finish_non_exhaustive()
    }
}

/// The error of a stream of tokio that is used as a blocking one, or the other way round: that is possible only when the
/// caller's stream implements the traits of both.
#[cfg(feature = "tokio")]
fn unsupported() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "a blocking connection is not asynchronous, and an asynchronous one does not block",
    )
}

/// The caller's stream. During a handshake it reads what the server says before it reports that writing failed.
///
/// A server that refuses a certificate in TLS 1.2 sends its alert and hangs up, perhaps before the rest of the client's
/// flight is written. Until the handshake is done, a write that fails like that counts as written: the alert or the end is read
/// next, and then the failure is reported.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    is_handshaking: bool,
    /// How writing failed.
    unsent: Option<io::ErrorKind>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, is_handshaking: true, unsent: None }
    }

    fn written(&mut self, done: io::Result<usize>, whole: usize) -> io::Result<usize> {
        match done {
            Err(error) if self.is_handshaking && is_closed(error.kind()) => {
                self.unsent = Some(error.kind());
                Ok(whole)
            }
            done => done,
        }
    }
}

impl<S: Read> Read for Patient<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer);
        match self.unsent {
            Some(kind) if !matches!(read, Ok(1..)) => Err(kind.into()),
            _ => read,
        }
    }
}

impl<S: Write> Write for Patient<S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let done = self.stream.write(data);
        self.written(done, data.len())
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        let done = self.stream.write_vectored(data);
        self.written(done, data.iter().map(|part| part.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.stream.flush();
        self.written(done.map(|()| 0), 0).map(drop)
    }
}

impl<S: Read + Write> Stream<S> {
    fn blocking(&mut self) -> io::Result<&mut Blocking<S>> {
        match &mut self.session {
            Session::Blocking(session) => Ok(session),
            #[cfg(feature = "tokio")]
            Session::Tokio(_) => Err(unsupported()),
        }
    }

    /// Reads without writing what is still to be written: that is no longer possible.
    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Blocking { tls, below } = self.blocking()?;
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            tls.read_tls(below)?;
            tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Reads on after a failed write, until the alert or the end.
    fn last_words(&mut self, kind: io::ErrorKind) -> io::Error {
        self.write_error = Some(kind);
        let mut scratch = [0; 1024];
        loop {
            match self.read_on(&mut scratch) {
                Ok(1..) => self.open.0.note_read(),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.open.0.note_error(&error);
                    return error;
                }
                _ => {
                    self.open.0.note_hang_up();
                    return kind.into();
                }
            }
        }
    }

    fn write_or_read_on<T>(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> io::Result<T> {
        let done = match self.write_error {
            Some(kind) => Err(kind.into()),
            None => write(&mut self.blocking()?.stream()),
        };
        done.map_err(|error| if is_closed(error.kind()) { self.last_words(error.kind()) } else { error })
    }
}

impl<S: Read + Write> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Reading writes first what an earlier write has left
        let read = match self.write_error {
            Some(_) => self.read_on(buffer),
            None => self.blocking()?.stream().read(buffer),
        };
        let read = match read {
            Err(error) if is_closed(error.kind()) && self.write_error.is_none() => {
                self.write_error = Some(error.kind());
                self.read_on(buffer)
            }
            read => read,
        };
        match &read {
            Ok(1..) => self.open.0.note_read(),
            Ok(0) if buffer.is_empty() => {}
            Ok(0) => self.open.0.note_hang_up(),
            Err(error) => self.open.0.note_error(error),
        }
        read
    }
}

impl<S: Read + Write> Write for Stream<S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.open.0.note_written();
        self.write_or_read_on(|stream| stream.write(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_or_read_on(|stream| stream.flush())
    }
}
