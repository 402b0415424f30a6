//! TLS by the system's OpenSSL: for servers that ask in the middle of a connection, which rustls refuses.
//!
//! Apache with `SSLVerifyClient` for a directory asks once it has read the request: in TLS 1.2 by renegotiation (RFC 5246
//! section 7.4.1.1), in TLS 1.3 by post-handshake authentication (RFC 8446 section 4.6.2). OpenSSL does both. Its certificate callback
//! suspends the connection, in the first handshake or in the middle of reading; the selector answers, on the thread that
//! reads or writes (over tokio on one that may block), and the connection goes on.
//!
//! The server was verified before anybody is asked. No session is ever resumed on another connection, so none carries an
//! identity that was not decided for it. A private key is handed to OpenSSL in the clear once the answer is an identity, and taken
//! back, and wiped, when the handshake is over.
//!
//! Failures are told as rustls tells them, inside an [`io::Error`]: [`crate::raw::refusal`] finds a refusal,
//! [`crate::raw::invalid_certificate`] a server that cannot be verified, and [`crate::raw::failure`] an error of
//! this library, such as [`Error::NobodyToAsk`].
//!
//! # Example
//!
//! ```no_run
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//! use std::sync::Arc;
//!
//! use cardcase::connect::openssl::{Connector, SslConnector, SslMethod};
//! use cardcase::Destination;
//! use cardcase::Selector;
//! use cardcase::Store;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open_default()?;
//! let selector = Arc::new(Selector::new(Arc::new(store)));
//! let connector = Connector::new(selector, SslConnector::builder(SslMethod::tls_client())?)?;
//! let tcp = TcpStream::connect("intranet.example:443")?;
//! let mut stream = connector.connect(Destination::new("intranet.example", 443)?, tcp)?;
//! stream.write_all(b"GET /staff/ HTTP/1.1\r\nHost: intranet.example\r\nConnection: close\r\n\r\n")?;
//! let mut response = Vec::new();
//! stream.read_to_end(&mut response)?;
//! # Ok(())
//! # }
//! ```

mod answer;
mod callback;
mod http_position;
mod session;
#[cfg(feature = "tokio")]
pub mod tokio;

use std::io::{self, Read, Write};
use std::sync::Arc;

use ::openssl::error::ErrorStack;
use ::openssl::ssl::{Ssl, SslMode, SslOptions, SslSessionCacheMode, SslVersion};
use ::openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use rustls::ProtocolVersion;

use self::answer::Answering;
pub use self::answer::{Answered, Answers};
pub use self::http_position::HttpPosition;
use self::session::{Halt, Session};
use super::unlocking::Unlocking;
use crate::error::Error;
use crate::request::{Destination, Target};
use crate::select::selector::{Prepared, Selector};
pub use ::openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod};

/// Makes TLS connections that answer certificate requests from a store.
pub struct Connector {
    selector: Arc<Selector>,
    connector: SslConnector,
    unlocking: Arc<Unlocking>,
}

impl Connector {
    /// A connector that takes everything but the client certificate from `base`: roots, versions from TLS 1.2 on, ALPN. A
    /// verifier of its own has to leave X509_V_OK behind for servers that it accepts.
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn new(selector: Arc<Selector>, mut base: SslConnectorBuilder) -> Result<Self, ErrorStack> {
        if base.min_proto_version() != Some(SslVersion::TLS1_3) {
            base.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        }
        base.set_session_cache_mode(SslSessionCacheMode::OFF);
        base.set_options(SslOptions::NO_TICKET);
        // What is sent is what was selected; OpenSSL would complete it from the roots
        base.set_mode(SslMode::NO_AUTO_CHAIN);
        // As with rustls: whatever CA is trusted is the end of the way
        base.verify_param_mut().set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        callback::install(&mut base);
        Ok(Self { selector, connector: base.build(), unlocking: Arc::default() })
    }

    /// Who answers.
    pub fn selector(&self) -> &Arc<Selector> {
        &self.selector
    }

    /// Connects over a stream to the destination of a target. Blocks, also for as long as somebody is asked.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect<S: Read + Write>(&self, target: impl Into<Target>, stream: S) -> Result<Stream<S>, ConnectError> {
        self.connect_by(target.into(), None, stream)
    }

    /// Like [`Self::connect`], answering the first request with what was prepared otherwise, or all of them with an identity that
    /// was given for once. It goes where that was prepared for.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect_prepared<S: Read + Write>(&self, prepared: Prepared, stream: S) -> Result<Stream<S>, ConnectError> {
        self.connect_by(prepared.target().clone(), Some(prepared), stream)
    }

    fn connect_by<S: Read + Write>(
        &self,
        target: Target,
        given: Option<Prepared>,
        stream: S,
    ) -> Result<Stream<S>, ConnectError> {
        let (session, answering) = self.session(target, given, stream).map_err(ConnectError::unsent)?;
        let mut stream = Stream { session, answering };
        match stream.run(Session::connect) {
            Ok(()) => Ok(stream),
            Err(Halt::Failed(source) | Halt::WouldBlock(source)) => {
                Err(ConnectError { source, answered: stream.session.answers().last().map(Box::new) })
            }
            Err(Halt::Closed | Halt::Asked(_)) => Err(ConnectError::unsent(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// A connection that has not begun, and what answers on it.
    fn session<S: Read + Write>(
        &self,
        target: Target,
        given: Option<Prepared>,
        stream: S,
    ) -> io::Result<(Session<S>, Answering)> {
        let ssl = self.ssl(target.destination())?;
        let position = HttpPosition::default();
        let session = Session::new(ssl, stream, Answers::default(), position.clone())?;
        let (selector, unlocking) = (self.selector.clone(), self.unlocking.clone());
        Ok((session, Answering { selector, unlocking, target, given, position }))
    }

    fn ssl(&self, destination: &Destination) -> Result<Ssl, ErrorStack> {
        let mut ssl = self.connector.configure()?.into_ssl(destination.host_without_zone())?;
        // As with rustls: the names are in subjectAltName (RFC 6125 section 6.4.4)
        ssl.param_mut().set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT);
        Ok(ssl)
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("selector", &self.selector).finish_non_exhaustive()
    }
}

/// Why there is no connection. [`Self::failure`] is an error of this library; [`refusal`](crate::raw::refusal) of
/// `source` tells whether the server refused what it was sent, [`invalid_certificate`](crate::raw::invalid_certificate)
/// whether it cannot be verified.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
#[non_exhaustive]
pub struct ConnectError {
    /// What went wrong.
    pub source: io::Error,
    /// What the server was answered, if it asked.
    pub answered: Option<Box<Answered>>,
}

impl ConnectError {
    fn unsent(source: io::Error) -> Self {
        Self { source, answered: None }
    }

    /// The error of this library that it is, if it is one: nothing was sent.
    pub fn failure(&self) -> Option<&Error> {
        crate::connect::resolver::failure(&self.source)
    }
}

/// A connection that blocks: to read from, and to write to. Either may ask somebody, when the server asks.
pub struct Stream<S> {
    session: Session<S>,
    answering: Answering,
}

impl<S: Read + Write> Stream<S> {
    /// What was answered on this connection. More may come as long as it lasts.
    pub fn answers(&self) -> Answers {
        self.session.answers().clone()
    }

    /// The HTTP/1.1 position on it, for whoever keeps it for another.
    pub fn position(&self) -> HttpPosition {
        self.session.position().clone()
    }

    /// The version of TLS.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.session.version()
    }

    /// The protocol agreed on by ALPN (RFC 7301).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.session.alpn()
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        self.session.stream()
    }

    /// Tells the server that nothing more is written.
    ///
    /// # Errors
    /// Those of [writing](crate::manage#errors).
    pub fn shut_down(&mut self) -> io::Result<()> {
        self.io(Session::shut_down)
    }

    /// Repeats what a request interrupts, once that is answered.
    fn run<T>(&mut self, mut work: impl FnMut(&mut Session<S>) -> Result<T, Halt>) -> Result<T, Halt> {
        loop {
            let request = match work(&mut self.session) {
                Err(Halt::Asked(request)) => request,
                Err(Halt::WouldBlock(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => return done,
            };
            match self.answering.answer(request, self.session.is_established()) {
                Ok(outcome) => {
                    self.session.go_on(outcome);
                    self.answering.answered();
                }
                Err(error) => {
                    self.session.give_up();
                    return Err(Halt::Failed(answer::io_error(error)));
                }
            }
        }
    }

    fn io<T: Default>(&mut self, work: impl FnMut(&mut Session<S>) -> Result<T, Halt>) -> io::Result<T> {
        match self.run(work) {
            Ok(done) => Ok(done),
            Err(Halt::Closed) => Ok(T::default()),
            Err(Halt::Failed(error) | Halt::WouldBlock(error)) => Err(error),
            Err(Halt::Asked(_)) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl<S: Read + Write> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io(|session| session.read(buffer))
    }
}

impl<S: Read + Write> Write for Stream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.io(|session| session.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.session.stream_mut().flush()
    }
}

impl<S> std::fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// Whether an error of a stream means that the other side has gone.
fn is_gone(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted)
}
