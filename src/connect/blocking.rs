//! TLS streams over anything that is [`Read`] and [`Write`], for programs without an async runtime.
//!
//! # Example
//!
//! ```no_run
//! # use std::{io::{Read, Write}, net::TcpStream, sync::Arc};
//! # use cardcase::{Destination, Selector};
//! # use cardcase::connect::blocking::Connector;
//! # fn example(selector: Arc<Selector>, config: rustls::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
//! let connector = Connector::new(selector, config);
//! let destination: Destination = "intranet.example.com".parse()?;
//! let dial = || TcpStream::connect("intranet.example.com:443");
//! let mut connection = connector.connect(&destination, dial)?;
//! connection.stream.write_all(b"GET / HTTP/1.0\r\nhost: intranet.example.com\r\n\r\n")?;
//! connection.stream.read_to_end(&mut Vec::new())?;
//! # Ok(()) }
//! ```

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

pub use super::connection::ConnectError;
use super::connection::{ATTEMPTS, Kept, Patient, Resolvers, Watched, closed};
use super::server_name;
use super::unlocking::Unlocking;
use crate::connect::guarded::Guarded;
use crate::connect::resolver::{Needs, needs};
use crate::error::Error;
use crate::request::Target;
use crate::select::selector::{Prepared, Selection, Selector};

/// A TLS session over a blocking stream.
pub type TlsStream<IO> = StreamOwned<ClientConnection, Guarded<Patient<IO>>>;

/// An open connection over a blocking stream.
pub type Connection<IO> = super::connection::Connection<Watched<TlsStream<IO>>>;

/// Makes TLS connections that answer certificate requests from a store. Threads may share it.
pub struct Connector {
    selector: Arc<Selector>,
    base: ClientConfig,
    resolvers: Resolvers,
    unlocking: Unlocking,
}

impl Connector {
    /// A connector that takes everything but the client certificate from `base`: roots, versions, ALPN.
    pub fn new(selector: Arc<Selector>, base: ClientConfig) -> Self {
        Self { selector, base, resolvers: Resolvers::default(), unlocking: Unlocking::default() }
    }

    /// Who answers.
    pub fn selector(&self) -> &Arc<Selector> {
        &self.selector
    }

    /// Connects to a target's destination over what `dial` gives, which is called again when the server's request had to be
    /// answered first. Blocks for as long as a person thinks; no connection is open meanwhile. How long a server may take
    /// is for the streams to say, by timeouts of their own.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect<IO: Read + Write>(
        &self,
        target: impl Into<Target>,
        dial: impl FnMut() -> io::Result<IO>,
    ) -> Result<Connection<IO>, ConnectError> {
        self.go(&target.into(), None, dial)
    }

    /// Like [`connect`](Self::connect), beginning with what was prepared otherwise, such as an identity given for once.
    /// It goes where that was prepared for.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect_prepared<IO: Read + Write>(
        &self,
        prepared: Prepared,
        dial: impl FnMut() -> io::Result<IO>,
    ) -> Result<Connection<IO>, ConnectError> {
        let target = prepared.target().clone();
        self.go(&target, Some(prepared), dial)
    }

    fn go<IO: Read + Write>(
        &self,
        target: &Target,
        mut prepared: Option<Prepared>,
        mut dial: impl FnMut() -> io::Result<IO>,
    ) -> Result<Connection<IO>, ConnectError> {
        let name = server_name(target.destination())?;
        for attempt in 1..=ATTEMPTS {
            let io = dial().map_err(ConnectError::unsent)?;
            // Dialling may take long: what is decided is read after it
            let ready = match prepared.take() {
                Some(before) if before.selection().is_some_and(Selection::is_looked_up) => {
                    self.selector.refresh(&before)?
                }
                Some(prepared) => prepared,
                None => self.selector.prepare(target)?,
            };
            let begun = self.resolvers.kept(ready, &self.base, self.selector.now());
            let Kept { resolver, config, .. } = &begun;
            let io = resolver.guard(Patient::new(io));
            let trace = io.trace();
            let tls = ClientConnection::new(config.clone(), name.clone());
            let tls = tls.map_err(|error| ConnectError::unsent(io::Error::other(error)))?;
            let source = match shake_hands(StreamOwned::new(tls, io)) {
                Ok(stream) => return Ok(Connection::new(stream, |stream| &stream.conn, &begun, &trace)),
                Err(source) => source,
            };
            let Some(needs) = needs(&source) else { return Err(ConnectError::after(source, resolver, &trace)) };
            // Nobody is asked for what will not be used
            if attempt < ATTEMPTS {
                prepared = Some(self.grant(&begun.prepared, needs)?);
            }
        }
        let destination = target.destination().to_string();
        Err(Error::RequestKeepsChanging { destination, attempts: ATTEMPTS }.into())
    }

    /// Whoever chooses does not hold up those who need not.
    fn grant(&self, before: &Prepared, needs: &Needs) -> Result<Prepared, Error> {
        match needs {
            Needs::Select(request) => self.selector.select(before.target(), request),
            Needs::Unlock => self.unlocking.unlock(&self.selector, before, Selector::unlock),
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("selector", &self.selector).finish_non_exhaustive()
    }
}

/// Gives the stream back once the handshake is done; lets go of it when it fails.
fn shake_hands<IO: Read + Write>(mut stream: TlsStream<IO>) -> io::Result<TlsStream<IO>> {
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    stream.sock.get_mut().relax();
    Ok(stream)
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

impl<IO: Read + Write> Watched<TlsStream<IO>> {
    /// Reads without writing what is still to be written: that cannot be any more.
    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let TlsStream { conn, sock } = &mut self.stream;
        loop {
            match conn.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            conn.read_tls(sock)?;
            conn.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Reads on after a failed write, until the alert or the end.
    fn last_word(&mut self, kind: io::ErrorKind) -> io::Error {
        self.write_error = Some(kind);
        let mut scratch = [0; 1024];
        loop {
            match self.read_on(&mut scratch) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.alert.note(&error);
                    return error;
                }
                _ => return kind.into(),
            }
        }
    }

    fn watch<T>(&mut self, write: impl FnOnce(&mut TlsStream<IO>) -> io::Result<T>) -> io::Result<T> {
        let done = match self.write_error {
            Some(kind) => Err(kind.into()),
            None => write(&mut self.stream),
        };
        done.map_err(|error| if closed(error.kind()) { self.last_word(error.kind()) } else { error })
    }
}

impl<IO: Read + Write> Read for Watched<TlsStream<IO>> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Reading writes first what an earlier write has left
        let read = match self.write_error {
            Some(_) => self.read_on(buffer),
            None => self.stream.read(buffer),
        };
        let read = match read {
            Err(error) if closed(error.kind()) && self.write_error.is_none() => {
                self.write_error = Some(error.kind());
                self.read_on(buffer)
            }
            read => read,
        };
        if matches!(read, Ok(1..)) {
            self.heard.note();
        }
        read.inspect_err(|error| self.alert.note(error))
    }
}

impl<IO: Read + Write> Write for Watched<TlsStream<IO>> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.watch(|stream| stream.write(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.watch(Write::flush)
    }
}
