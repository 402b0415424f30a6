//! TLS by the system's OpenSSL: for servers that ask in the middle of a connection, which rustls refuses.
//!
//! Apache with `SSLVerifyClient` for a directory asks once it has read the request: in TLS 1.2 by renegotiation (RFC 5246
//! section 7.4.1.1), in TLS 1.3 by post-handshake authentication (RFC 8446 section 4.6.2). OpenSSL does both. Its certificate callback
//! suspends the connection, in the first handshake or in the middle of reading; the selector answers, on the thread that
//! reads or writes (over tokio, on a thread that may block), and the connection goes on.
//!
//! The server is verified before anybody is asked. No session is ever resumed on another connection, so none carries an
//! identity that was not decided for it. OpenSSL gets the private key in the clear once the answer is an identity; the key is
//! taken back and wiped when the handshake is over.
//!
//! An [`io::Error`] of a stream holds the errors that rustls would give: [`crate::connect::cause`] finds a refusal, and an error of this
//! library, such as [`Error::NobodyToAsk`](crate::Error::NobodyToAsk); [`crate::raw::invalid_certificate`] finds why a server cannot be
//! verified.
//!
//! # Example
//!
//! ```no_run
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//! use std::sync::Arc;
//!
//! use cardcase::connect::openssl::{Connector, SslConnector, SslMethod};
//! use cardcase::{Destination, Selector, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open_default()?;
//! let selector = Arc::new(Selector::new(Arc::new(store)));
//! let connector = Connector::new(selector, SslConnector::builder(SslMethod::tls_client())?)?;
//! let tcp = TcpStream::connect("intranet.example:443")?;
//! let mut stream = connector.connect(Destination::new("intranet.example", 443)?, tcp)?.stream;
//! stream.write_all(b"GET /staff/ HTTP/1.1\r\nHost: intranet.example\r\nConnection: close\r\n\r\n")?;
//! let mut response = Vec::new();
//! stream.read_to_end(&mut response)?;
//! # Ok(())
//! # }
//! ```

mod answer;
#[cfg(feature = "tokio")]
mod answer_task;
#[cfg(feature = "tokio")]
mod asynchronous;
mod below;
mod callback;
mod session;

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::time::Duration;

use ::openssl::error::ErrorStack;
use ::openssl::ssl::{Ssl, SslMode, SslOptions, SslSessionCacheMode, SslVersion};
use ::openssl::x509::X509;
use ::openssl::x509::store::X509StoreBuilder;
use ::openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use rustls::pki_types::CertificateDer;

use self::answer::{Answering, io_error};
#[cfg(feature = "tokio")]
use self::answer_task::AnswerTask;
use self::below::Below;
use self::session::{Halt, Session};
#[cfg(feature = "tokio")]
use crate::connect::asking::Asking;
use crate::connect::drive::Start;
use crate::connect::error::Error;
use crate::connect::opened::{Connection, Open, Opened};
use crate::connect::unlocking::Unlocking;
use crate::request::{Destination, Target};
use crate::select::prepared::Prepared;
use crate::select::selector::Selector;
pub use ::openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod};

/// Makes TLS connections that answer certificate requests from a store: over blocking streams, and with the feature `tokio`
/// over streams of tokio. Threads and tasks may share it.
pub struct Connector {
    selector: Arc<Selector>,
    connector: SslConnector,
    /// The certificates that verify servers, in addition to those that the store trusts. `None`: those of `connector` do.
    roots: Option<Vec<X509>>,
    unlocking: Arc<Unlocking>,
    #[cfg(feature = "tokio")]
    asking: Arc<Asking>,
    #[cfg(feature = "tokio")]
    timeout: Option<Duration>,
}

impl Connector {
    /// A connector that takes everything but the client certificate from `base`: roots, versions from TLS 1.2 on, ALPN. HTTP/2
    /// does not let a server ask in the middle of a connection, so offer HTTP/1.1 alone. A verify callback of `base` has to leave
    /// X509_V_OK behind for servers that it accepts.
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn new(selector: Arc<Selector>, mut base: SslConnectorBuilder) -> Result<Self, ErrorStack> {
        if base.min_proto_version() != Some(SslVersion::TLS1_3) {
            base.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        }
        base.set_session_cache_mode(SslSessionCacheMode::OFF);
        base.set_options(SslOptions::NO_TICKET);
        // Only what was selected is sent; OpenSSL would complete the chain from the roots
        base.set_mode(SslMode::NO_AUTO_CHAIN);
        // As with rustls: a chain may end at any CA that is trusted
        base.verify_param_mut().set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        callback::install(&mut base);
        Ok(Self {
            #[cfg(feature = "tokio")]
            asking: Arc::new(Asking::new(selector.clone())),
            #[cfg(feature = "tokio")]
            timeout: None,
            selector,
            connector: base.build(),
            roots: None,
            unlocking: Arc::default(),
        })
    }

    /// Verifies servers with these certificates and with those that the store trusts at the time of the connection (see
    /// [`Selector::with_trusted_authorities`]), instead of those of `base`. A certificate that OpenSSL cannot read is ignored.
    #[must_use]
    pub fn verifying<'a>(self, roots: impl IntoIterator<Item = CertificateDer<'a>>) -> Self {
        Self { roots: Some(roots.into_iter().filter_map(|der| X509::from_der(&der).ok()).collect()), ..self }
    }

    /// Limits how long a server may take for each half of a TLS handshake over tokio; without a limit it may take forever. The
    /// time a person takes to choose does not count. The timer of the runtime must be enabled. Over blocking streams, set
    /// timeouts on the streams instead.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn with_handshake_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// The selector that answers.
    pub fn selector(&self) -> &Arc<Selector> {
        &self.selector
    }

    /// Connects to the destination of a target over a blocking stream. Blocks, also while a person chooses.
    ///
    /// # Errors
    /// [`Error`].
    pub fn connect<S: Read + Write>(
        &self,
        target: impl Into<Target>,
        stream: S,
    ) -> Result<Connection<Stream<S>>, Error> {
        self.connect_from(Start::Target(target.into()), stream)
    }

    /// Like [`connect`](Self::connect), but answers the first request with what was prepared before, or all of them with an
    /// identity that was given for once. It connects to the destination that was prepared for.
    ///
    /// # Errors
    /// [`Error`].
    pub fn connect_prepared<S: Read + Write>(
        &self,
        prepared: Prepared,
        stream: S,
    ) -> Result<Connection<Stream<S>>, Error> {
        self.connect_from(Start::Prepared(prepared), stream)
    }

    fn connect_from<S: Read + Write>(&self, start: Start, stream: S) -> Result<Connection<Stream<S>>, Error> {
        let looked = self.selector.undecided(start.target().destination())?;
        let mut stream = self.stream(start, &looked, Below::blocking(stream))?;
        let opened = stream.open.0.clone();
        match stream.run(Session::connect) {
            Ok(()) => Ok(Connection { stream, opened }),
            Err(ended) => Err(ended.into_error(opened)),
        }
    }

    /// A connection whose handshake has not begun. `looked` is the state of the store before it.
    fn stream<S>(&self, start: Start, looked: &Prepared, below: Below<S>) -> Result<Stream<S>, Error> {
        let (target, given) = match start {
            Start::Target(target) => (target, None),
            Start::Prepared(prepared) => (prepared.target().clone(), Some(prepared)),
        };
        let opened = Opened::unprepared(target, looked.distrusted);
        let session = self.ssl(opened.destination()).map_err(io::Error::from);
        let session = session.and_then(|ssl| Session::new(ssl, below, opened.clone()));
        let session = session.map_err(|source| Error::Handshake { source, opened: opened.clone() })?;
        let (selector, unlocking) = (self.selector.clone(), self.unlocking.clone());
        Ok(Stream {
            session,
            answering: Answering { selector, unlocking, given, opened: opened.clone() },
            open: Open(opened),
            #[cfg(feature = "tokio")]
            answer_task: AnswerTask::new(self.asking.clone()),
        })
    }

    fn ssl(&self, destination: &Destination) -> Result<Ssl, ErrorStack> {
        let mut ssl = self.connector.configure()?.into_ssl(destination.host_without_zone())?;
        // As with rustls: the names are in subjectAltName (RFC 6125 section 6.4.4)
        ssl.param_mut().set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT);
        if let Some(roots) = &self.roots {
            let mut trusted = X509StoreBuilder::new()?;
            let followed = self.selector.anchors().map(|anchors| anchors.certificates().1);
            let followed = followed
                .iter()
                .flat_map(|followed| followed.iter())
                .filter_map(|certificate| X509::from_der(certificate.der()).ok());
            roots.iter().cloned().chain(followed).try_for_each(|certificate| trusted.add_cert(certificate))?;
            ssl.set_verify_cert_store(trusted.build())?;
        }
        Ok(ssl)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("selector", &self.selector).finish_non_exhaustive()
    }
}

/// A TLS session of OpenSSL over a stream `S`: [`Read`] and [`Write`] over a blocking stream, `AsyncRead` and `AsyncWrite` over
/// one of tokio. When the server asks for a certificate, reading and writing wait until a person has answered. Over tokio, one
/// task at a time drives it, as any stream that reads in order to write.
pub struct Stream<S> {
    session: Session<S>,
    answering: Answering,
    open: Open,
    #[cfg(feature = "tokio")]
    answer_task: AnswerTask,
}

/// Why an operation on a stream did not succeed.
enum Ended {
    /// The server has closed the connection as it should.
    Closed,
    /// The connection failed.
    Failed(io::Error),
    /// The request of the server was not answered, and the connection ended.
    Unanswered(Error),
}

impl Ended {
    /// Of a handshake.
    fn into_error(self, opened: Opened) -> Error {
        match self {
            Self::Closed => Error::Handshake { source: io::ErrorKind::UnexpectedEof.into(), opened },
            Self::Failed(source) => Error::Handshake { source, opened },
            Self::Unanswered(error) => error,
        }
    }

    /// Of reading or writing.
    fn into_io<T: Default>(self) -> io::Result<T> {
        match self {
            Self::Closed => Ok(T::default()),
            Self::Failed(error) => Err(error),
            Self::Unanswered(Error::Selection(error)) => Err(io_error(error)),
            Self::Unanswered(error) => Err(io::Error::other(error)),
        }
    }
}

impl<S> Stream<S> {
    /// The caller's stream.
    pub fn get_ref(&self) -> &S {
        self.session.below().get_ref()
    }
}

impl<S: Read + Write> Stream<S> {
    /// Tells the server that nothing more will be written.
    ///
    /// # Errors
    /// Those of [writing](std::io::Write).
    pub fn shut_down(&mut self) -> io::Result<()> {
        self.run(Session::shut_down).or_else(Ended::into_io)
    }

    /// Performs an operation, and repeats it once a request that interrupted it is answered.
    fn run<T>(&mut self, mut work: impl FnMut(&mut Session<S>) -> Result<T, Halt>) -> Result<T, Ended> {
        loop {
            let request = match work(&mut self.session) {
                Ok(done) => return Ok(done),
                Err(Halt::Asked(request)) => request,
                Err(Halt::WouldBlock(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(Halt::Failed(error) | Halt::WouldBlock(error)) => return Err(Ended::Failed(error)),
                Err(Halt::Closed) => return Err(Ended::Closed),
            };
            match self.answering.answer(request, self.session.is_established()) {
                Ok(continuation) => {
                    self.session.go_on(continuation);
                    self.answering.answered();
                }
                Err(error) => {
                    self.session.give_up();
                    return Err(Ended::Unanswered(error.into()));
                }
            }
        }
    }
}

impl<S: Read + Write> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.run(|session| session.read(buffer)).or_else(Ended::into_io)
    }
}

impl<S: Read + Write> Write for Stream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.run(|session| session.write(bytes)).or_else(Ended::into_io)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.session.below_mut().flush_below()
    }
}

impl<S> fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("opened", &self.open.0).finish_non_exhaustive()
    }
}
