//! TCP connections: to a destination, or to the address that `--connect-to` names instead.

use std::io;
use std::time::Duration;

use cardcase::Destination;
use tokio::net::TcpStream;

use crate::http::socket::Socket;
use crate::ui::failure::Failure;

/// How long a server may take for each step before the request: opening the connection, and the TLS handshake.
/// `--connect-timeout` changes it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// After how much silence of a server the system sends keepalive probes.
const SILENCE: Duration = Duration::from_secs(60);

/// `--connect-to HOST1:PORT1:HOST2:PORT2`, as in curl. An empty HOST1 or PORT1 matches any; an empty HOST2 or PORT2 keeps the
/// original.
#[derive(Clone, Debug)]
pub(crate) struct Detour {
    from: (Option<String>, Option<u16>),
    to: (Option<String>, Option<u16>),
}

impl Detour {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::usage(format_args!("--connect-to {text}: expected HOST1:PORT1:HOST2:PORT2"));
        let parts = split_outside_brackets(text);
        let [from_host, from_port, to_host, to_port] = parts.as_slice() else { return Err(wrong()) };
        let host = |text: &str| match text {
            "" => Ok(None),
            text => Destination::new(text, 1).map(|normal| Some(normal.host().to_owned())).map_err(|_| wrong()),
        };
        let port = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| wrong()),
        };
        Ok(Self { from: (host(from_host)?, port(from_port)?), to: (host(to_host)?, port(to_port)?) })
    }

    fn applies(&self, destination: &Destination) -> bool {
        let (host, port) = &self.from;
        host.as_deref().is_none_or(|host| host == destination.host())
            && port.is_none_or(|port| port == destination.port())
    }

    fn address(&self, destination: &Destination) -> (String, u16) {
        let (host, port) = &self.to;
        (host.clone().unwrap_or_else(|| destination.host().to_owned()), port.unwrap_or(destination.port()))
    }
}

/// The address to connect to instead of the destination's own, if `--connect-to` names one.
pub(crate) fn detour(destination: &Destination, detours: &[Detour]) -> Option<(String, u16)> {
    detours.iter().find(|detour| detour.applies(destination)).map(|detour| detour.address(destination))
}

/// Opens a TCP connection, trying every address of the host.
pub(crate) async fn tcp(
    destination: &Destination,
    detour: Option<(String, u16)>,
    timeout: Duration,
) -> io::Result<Socket> {
    let (host, port) = detour.clone().unwrap_or_else(|| (destination.host().to_owned(), destination.port()));
    let connected = tokio::time::timeout(timeout, TcpStream::connect((host.as_str(), port))).await;
    let stream = connected.unwrap_or_else(|_| Err(no_answer(timeout)));
    // The caller's message names the destination, but not the address used in its place
    let stream = stream.map_err(|error| match detour {
        Some(_) => io::Error::new(error.kind(), format!("at {host}:{port}: {error}")),
        None => error,
    })?;
    Socket::tcp(stream, SILENCE)
}

/// The error of a step that took too long.
pub(crate) fn no_answer(timeout: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {timeout:?}"))
}

/// Splits at colons, but not inside the brackets of an IPv6 address.
fn split_outside_brackets(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut inside = false;
    for c in text.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ => {}
        }
        match parts.last_mut() {
            Some(part) if c != ':' || inside => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::failure::Code;

    #[test]
    fn detours_are_as_in_curl() {
        let cases = [
            ("a.example:443:127.0.0.1:8443", "a.example:443", Some(("127.0.0.1", 8443))),
            ("a.example:443:127.0.0.1:8443", "a.example:444", None),
            ("::127.0.0.1:8443", "b.example:1", Some(("127.0.0.1", 8443))),
            ("A.example::[::1]:", "a.example:99", Some(("::1", 99))),
            ("[::1]:443::8443", "[::1]:443", Some(("::1", 8443))),
            ("::[fe80::1%25eth0]:", "[fe80::1]:99", Some(("fe80::1%eth0", 99))),
            ("[fe80::1%eth0]::[::1]:", "[fe80::1%eth1]:99", None),
        ];
        for (text, to, expected) in cases {
            let destination: Destination = to.parse().unwrap();
            let detour = Detour::parse(text).unwrap();
            let found = detour.applies(&destination).then(|| detour.address(&destination));
            assert_eq!(found, expected.map(|(host, port)| (host.to_owned(), port)), "{text} {to}");
        }
        for text in ["", "a:1:b", "a:x:b:1", "a:1:b:2:c"] {
            assert_eq!(Detour::parse(text).unwrap_err().code, Code::Usage, "{text}");
        }
    }

    #[test]
    fn the_system_finds_the_link_of_a_zone() {
        use std::net::ToSocketAddrs;
        let look_up = |text: &str| (text.parse::<Destination>().unwrap().host(), 8443).to_socket_addrs();
        let found: Vec<_> = look_up("[fe80::1%25lo]").unwrap().collect();
        let [std::net::SocketAddr::V6(address)] = found[..] else { panic!("{found:?}") };
        assert_ne!(address.scope_id(), 0);
        assert!(look_up("fe80::1%no-such-link").is_err());
    }
}
