//! Finding out what a server asks for, without sending it anything.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use cardcase::Destination;
use cardcase::Selector;
use cardcase::ask::CertificateRequest;
use cardcase::manage::split_port;
use cardcase::raw::Guarded;
use cardcase::raw::server_name;
use cardcase::raw::{Needs, Resolver, needs};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};

use crate::http::dial::TIMEOUT;
use crate::http::tls_only::TlsOnly;
use crate::http::verify;
use crate::ui::failure::{Code, Failure};

/// What a handshake shows of a server before a certificate is sent to it.
pub(crate) struct Seen {
    pub(crate) request: Option<CertificateRequest>,
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) unverified: Option<Failure>,
}

/// Performs a handshake up to the signature that would prove an identity.
pub(crate) fn look(
    config: &ClientConfig,
    connect: Option<&str>,
    destination: &Destination,
    selector: &Selector,
) -> Result<Seen, Failure> {
    let resolver = Resolver::new(selector.undecided(destination)?);
    let mut tls = ClientConnection::new(Arc::new(resolver.config(config)), server_name(destination)?)
        .map_err(|error| Failure::new(Code::Failed, error))?;
    let mut socket = resolver
        .guard(dial(connect, destination).map_err(|error| verify::unreachable(destination, &error)).map(TlsOnly::new)?);
    let ended = handshake(&mut tls, &mut socket);
    let version = tls.protocol_version();
    let seen = |request: Option<CertificateRequest>, unverified| Seen {
        request: request.map(|request| request.with_version(version)),
        version,
        unverified,
    };
    let Err(error) = ended else { return Ok(seen(resolver.request(), None)) };
    if let Some(Needs::Select(request)) = needs(&error) {
        return Ok(seen(Some(request.clone()), None));
    }
    match verify::unverified(destination, &error) {
        Some(failure) => Ok(seen(resolver.request(), Some(failure))),
        None => Err(verify::failed(destination, &error)),
    }
}

/// Performs a handshake step by step under one deadline, so that a server that sends a byte now and then cannot delay it forever.
fn handshake(tls: &mut ClientConnection, socket: &mut Guarded<TlsOnly<TcpStream>>) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    while tls.is_handshaking() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "no TLS handshake within 30 s"));
        }
        socket.get_ref().get_ref().set_read_timeout(Some(left))?;
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
            Ok(socket) => {
                socket.set_write_timeout(Some(TIMEOUT))?;
                return Ok(socket);
            }
            Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(last)
}
