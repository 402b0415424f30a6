//! Finding out what a server asks for, without sending it anything.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cardcase::ask::CertificateRequest;
#[cfg(feature = "openssl")]
use cardcase::connect::{self, Opened};
use cardcase::connect::{Cause, cause};
use cardcase::manage::split_port;
use cardcase::raw::Guarded;
use cardcase::raw::server_name;
use cardcase::raw::{Needs, Resolver};
use cardcase::{Destination, Identity, Selector, Target};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};

use crate::cli::TlsLibrary;
use crate::http::dial::TIMEOUT;
use crate::http::incompatible::{self, Incompatible};
#[cfg(feature = "openssl")]
use crate::http::openssl;
use crate::http::tls_only::TlsOnly;
use crate::http::verify;
use crate::ui::failure::{Code, Failure};
use crate::ui::{remedy, say};

/// What a handshake shows of a server before a certificate is sent to it.
pub(crate) struct Seen {
    pub(crate) request: Option<CertificateRequest>,
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) unverified: Option<Failure>,
    /// Whether the server asked once it had read a request.
    pub(crate) mid_connection: bool,
}

/// A server to look at, and how.
pub(crate) struct Look<'a> {
    pub(crate) target: &'a Target,
    /// The address to connect to instead, `ADDR:PORT`.
    pub(crate) connect: Option<&'a str>,
    /// How rustls verifies servers.
    pub(crate) config: &'a ClientConfig,
    /// The certificates by which OpenSSL verifies servers.
    #[cfg_attr(not(feature = "openssl"), expect(dead_code, reason = "only connections of OpenSSL need it"))]
    pub(crate) roots: &'a dyn Fn() -> Result<Vec<CertificateDer<'static>>, Failure>,
    /// The TLS library, if one is given.
    pub(crate) tls: Option<TlsLibrary>,
    /// The identity, if one is given.
    pub(crate) given: Option<&'a Identity>,
}

impl Look<'_> {
    /// Performs a handshake up to the signature that would prove an identity. With rustls, nothing is sent to a server that
    /// asks; with OpenSSL, an empty Certificate message is sent.
    pub(crate) fn look(&self, selector: &Selector) -> Result<Seen, Failure> {
        if self.tls == Some(TlsLibrary::Openssl) {
            return self.by_openssl(selector).map(|(seen, _)| seen);
        }
        if self.tls.is_none()
            && let Some(limit) = incompatible::limit_of_identity(selector, self.target, self.given)?
        {
            say::note(format_args!("{limit}; connecting to {} with OpenSSL", self.target.destination()));
            return self.by_openssl(selector).map(|(seen, _)| seen);
        }
        let (error, failure) = match self.by_rustls(selector) {
            Ok(seen) => return Ok(seen),
            Err(ended) => ended,
        };
        let is_incompatible = error.is_some_and(|error| Incompatible::from_handshake(&error, None).is_some());
        if !is_incompatible || !cfg!(feature = "openssl") {
            return Err(failure);
        }
        let Ok((seen, what)) = self.by_openssl(selector) else { return Err(failure) };
        let message = incompatible::unsupported(self.target.destination(), &what);
        if self.tls.is_some() {
            return Err(Failure::new(Code::Failed, message).hint(remedy::use_openssl()));
        }
        say::note(format_args!("{message}; connecting again with OpenSSL"));
        Ok(seen)
    }

    /// Looks with rustls. If that fails: the error, if the handshake failed, and the failure to report.
    fn by_rustls(&self, selector: &Selector) -> Result<Seen, (Option<io::Error>, Failure)> {
        let Self { connect, config, .. } = self;
        let destination = self.target.destination();
        let failed = |failure| (None, failure);
        let undecided = selector.undecided(destination).map_err(|error| failed(error.into()))?;
        let resolver = Resolver::new(undecided);
        let name = server_name(destination).map_err(|error| failed(error.into()))?;
        let mut tls = ClientConnection::new(Arc::new(resolver.config(config)), name)
            .map_err(|error| failed(Failure::new(Code::Failed, error)))?;
        let dialled = dial(*connect, destination).map_err(|error| failed(verify::unreachable(destination, &error)))?;
        let mut socket = resolver.guard(TlsOnly::new(Limited::new(dialled)));
        let ended = handshake(&mut tls, &mut socket);
        let version = tls.protocol_version();
        let seen = |request: Option<CertificateRequest>, unverified| Seen {
            request: request.map(|request| request.with_version(version)),
            version,
            unverified,
            mid_connection: false,
        };
        let Err(error) = ended else { return Ok(seen(resolver.request(), None)) };
        if let Some(Cause::Needs(Needs::Select(request))) = cause(&error) {
            return Ok(seen(Some(request.clone()), None));
        }
        match verify::unverified(destination, &error) {
            Some(failure) => Ok(seen(resolver.request(), Some(failure))),
            None => {
                let failure = verify::failed(destination, &error);
                Err((Some(error), failure))
            }
        }
    }

    /// Looks with OpenSSL: what was seen, and what the server uses that rustls lacks.
    #[cfg(feature = "openssl")]
    pub(crate) fn by_openssl(&self, selector: &Selector) -> Result<(Seen, String), Failure> {
        let connector = openssl::with_roots(Arc::new(selector.clone()), (self.roots)()?, &[], TIMEOUT)?;
        let socket = dial(self.connect, self.target.destination());
        let socket = socket.map_err(|error| verify::unreachable(self.target.destination(), &error))?;
        let target = Target::new(self.target.destination().clone()).without_credentials();
        let seen = |opened: &Opened, unverified| {
            let request = opened.request();
            let version = opened.version().or(request.as_ref().and_then(|request| request.version));
            Seen { request, version, unverified, mid_connection: false }
        };
        match connector.connect(target, TlsOnly::new(Limited::new(socket))) {
            Ok(connection) => {
                let what = openssl::beyond_rustls(&connection.opened);
                Ok((seen(&connection.opened, None), what))
            }
            // A server that wants a certificate refuses the empty one
            Err(connect::Error::Handshake { opened, .. }) if opened.request().is_some() => {
                Ok((seen(&opened, None), openssl::beyond_rustls(&opened)))
            }
            Err(connect::Error::Handshake { source, opened }) => {
                match verify::unverified(self.target.destination(), &source) {
                    Some(failure) => Ok((seen(&opened, Some(failure)), openssl::beyond_rustls(&opened))),
                    None => Err(verify::failed(self.target.destination(), &source)),
                }
            }
            Err(connect::Error::Selection(error)) => Err(error.into()),
            Err(error) => Err(verify::unreachable(self.target.destination(), &error)),
        }
    }

    #[cfg(not(feature = "openssl"))]
    pub(crate) fn by_openssl(&self, _: &Selector) -> Result<(Seen, String), Failure> {
        use crate::http::incompatible::{NOTHING_IN_COMMON, check_built_in};
        check_built_in(Some(TlsLibrary::Openssl))?;
        Err(Failure::new(Code::Failed, NOTHING_IN_COMMON))
    }
}

/// A socket for one handshake with one deadline, so that a server that sends only a byte now and then cannot delay it forever.
struct Limited {
    socket: TcpStream,
    deadline: Instant,
}

impl Limited {
    fn new(socket: TcpStream) -> Self {
        Self { socket, deadline: Instant::now() + TIMEOUT }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(late()) } else { Ok(left) }
    }
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(buffer).map_err(in_words)
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes).map_err(in_words)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

fn late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("no TLS handshake within {TIMEOUT:?}"))
}

/// Replaces the error of a system call that timed out, which Unix reports under other names.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => late(),
        _ => error,
    }
}

fn handshake(tls: &mut ClientConnection, socket: &mut Guarded<TlsOnly<Limited>>) -> io::Result<()> {
    while tls.is_handshaking() {
        while tls.wants_write() {
            tls.write_tls(socket)?;
        }
        if tls.is_handshaking() && tls.read_tls(socket)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    }
    Ok(())
}

fn parse_address(text: &str) -> io::Result<Destination> {
    let wrong =
        |reason: &dyn fmt::Display| io::Error::new(ErrorKind::InvalidInput, format!("--connect {text}: {reason}"));
    match split_port(text) {
        Ok((host, Some(port))) => Destination::new(host, port).map_err(|error| wrong(&error)),
        _ => Err(wrong(&"expected ADDR:PORT")),
    }
}

fn dial(connect: Option<&str>, destination: &Destination) -> io::Result<TcpStream> {
    let address = connect.map(parse_address).transpose()?;
    let address = address.as_ref().unwrap_or(destination);
    let (host, port) = (address.host(), address.port());
    let mut last = io::Error::new(ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that sends only a byte now and then, and one that reads nothing.
    #[test]
    fn a_handshake_has_one_deadline_however_the_server_delays_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let dripping = std::thread::spawn(move || {
            while server.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let within = |time| Limited { socket: client.try_clone().unwrap(), deadline: Instant::now() + time };
        let mut limited = within(Duration::from_millis(100));
        let late = limited.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(late.to_string(), "no TLS handshake within 30s");
        let late = within(Duration::from_millis(100)).write_all(&vec![0; 64 << 20]).unwrap_err();
        assert_eq!(late.to_string(), "no TLS handshake within 30s");
        client.shutdown(std::net::Shutdown::Both).unwrap();
        drop(limited);
        drop(client);
        dripping.join().unwrap();
    }
}
