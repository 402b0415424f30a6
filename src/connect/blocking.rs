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
use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection};

use crate::connect::drive::{Drive, Resolvers, Start};
use crate::connect::error::Error;
use crate::connect::guarded::Guarded;
use crate::connect::needs::Needs;
use crate::connect::opened::Connection;
use crate::connect::stream::{Blocking, Patient, Session, Stream};
use crate::connect::unlocking::Unlocking;
use crate::error;
use crate::request::Target;
use crate::select::prepared::Prepared;
use crate::select::selector::Selector;

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

    /// The selector that answers.
    pub fn selector(&self) -> &Arc<Selector> {
        &self.selector
    }

    /// Connects to the destination of a target over the stream that `dial` returns. `dial` is called again when the server's
    /// request had to be answered first. Blocks while a person chooses; no connection is open meanwhile. To limit how long a
    /// server may take, set timeouts on the streams.
    ///
    /// # Errors
    /// [`Error`].
    pub fn connect<S: Read + Write>(
        &self,
        target: impl Into<Target>,
        dial: impl FnMut() -> io::Result<S>,
    ) -> Result<Connection<Stream<S>>, Error> {
        self.drive(Start::Target(target.into()), dial)
    }

    /// Like [`connect`](Self::connect), but begins with what was prepared before, such as an identity given for once. It
    /// connects to the destination that was prepared for.
    ///
    /// # Errors
    /// [`Error`].
    pub fn connect_prepared<S: Read + Write>(
        &self,
        prepared: Prepared,
        dial: impl FnMut() -> io::Result<S>,
    ) -> Result<Connection<Stream<S>>, Error> {
        self.drive(Start::Prepared(prepared), dial)
    }

    fn drive<S: Read + Write>(
        &self,
        start: Start,
        mut dial: impl FnMut() -> io::Result<S>,
    ) -> Result<Connection<Stream<S>>, Error> {
        let mut drive = Drive::new(start)?;
        loop {
            let dialled = dial().map_err(Error::Dial)?;
            let prepared = drive.look_up().run(&self.selector)?;
            let ready = self.resolvers.ready(prepared, &self.base, self.selector.now());
            let (attempt, guarded) = drive.attempt(ready, Patient::new(dialled));
            let tls = ClientConnection::new(attempt.ready.config.clone(), attempt.name.clone());
            let source = match tls.map_err(io::Error::other).and_then(|tls| handshake(tls, guarded)) {
                Ok(session) => {
                    let opened = attempt.succeeded(&session.tls);
                    return Ok(Connection { stream: Stream::new(Session::Blocking(session), opened.clone()), opened });
                }
                Err(source) => source,
            };
            let Some(needs) = drive.failed(&source)? else { return Err(attempt.failed(source)) };
            drive.again(self.grant(&attempt.ready.prepared, needs)?);
        }
    }

    /// A thread that waits for a person does not hold up the others. Only one thread at a time asks for the primary password.
    fn grant(&self, before: &Prepared, needs: &Needs) -> Result<Prepared, error::Error> {
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

/// Returns the session once the handshake is done, and drops the stream when the handshake fails.
fn handshake<S: Read + Write>(mut tls: ClientConnection, mut below: Guarded<Patient<S>>) -> io::Result<Blocking<S>> {
    while tls.is_handshaking() {
        tls.complete_io(&mut below)?;
    }
    Ok(Blocking { tls, below })
}
