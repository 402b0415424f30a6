//! Getting a byte stream to a destination: directly, to another address, or through a proxy.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cardcase::Destination;
use cardcase::Selector;
use cardcase::connect::tokio::Connector;
use cardcase::manage::split_port;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::cli::Route;
use crate::http::exchange::Empty;
use crate::ui::failure::Failure;

/// How long a server may take for each step before the request: opening the connection, and the TLS handshake.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Any byte stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
pub(crate) type BoxStream = Box<dyn Stream>;

/// `--connect-to HOST1:PORT1:HOST2:PORT2` as in curl: an empty part of the first half stands for any, of the second for
/// the same.
#[derive(Clone, Debug)]
pub(crate) struct Detour {
    from: (Option<String>, Option<u16>),
    to: (Option<String>, Option<u16>),
}

impl Detour {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::usage(format_args!("--connect-to {text}: it has the form HOST1:PORT1:HOST2:PORT2"));
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

impl Route {
    pub(crate) fn detours(&self) -> Result<Vec<Detour>, Failure> {
        self.connect_to.iter().map(|text| Detour::parse(text)).collect()
    }

    pub(crate) fn proxy(&self) -> Result<Option<Proxy>, Failure> {
        self.proxy.as_deref().map(Proxy::parse).transpose()
    }
}

/// Makes TLS connections that offer these protocols by ALPN.
pub(crate) fn connector(selector: Arc<Selector>, config: &ClientConfig, alpn: &[&[u8]]) -> Connector {
    let mut config = config.clone();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Connector::new(selector, config).with_handshake_timeout(TIMEOUT)
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

/// A proxy, `[http://|https://]HOST[:PORT]`; where the port is left out it is 1080, for https 443, as in curl.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) destination: Destination,
    pub(crate) tls: bool,
}

impl Proxy {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => {
                return Err(Failure::usage(format_args!(
                    "--proxy {text}: '{scheme}' is not supported, http and https are"
                )));
            }
        };
        if rest.contains('@') {
            return Err(Failure::usage(
                "--proxy: give no user and password here; other users of the machine can see them",
            ));
        }
        let (host, port) = split_port(rest.trim_end_matches('/'))?;
        let default = if tls { Destination::DEFAULT_PORT } else { 1080 };
        Ok(Self { destination: Destination::new(host, port.unwrap_or(default))?, tls })
    }
}

/// Where a destination is looked for instead.
pub(crate) fn detour(destination: &Destination, detours: &[Detour]) -> Option<(String, u16)> {
    detours.iter().find(|detour| detour.applies(destination)).map(|detour| detour.address(destination))
}

/// Opens a TCP connection, trying every address of the host.
pub(crate) async fn tcp(destination: &Destination, detour: Option<(String, u16)>) -> io::Result<TcpStream> {
    let (host, port) = detour.clone().unwrap_or_else(|| (destination.host().to_owned(), destination.port()));
    let connected = tokio::time::timeout(TIMEOUT, TcpStream::connect((host.as_str(), port))).await;
    let stream = connected.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 30 s")));
    // The destination is named by whoever reports the error; where it was sent instead is not
    let stream = stream.map_err(|error| match detour {
        Some(_) => io::Error::new(error.kind(), format!("at {host}:{port}: {error}")),
        None => error,
    })?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks a proxy for a tunnel to `authority`, host and port (RFC 9110 section 9.3.6).
pub(crate) async fn tunnel(proxy: BoxStream, authority: &str) -> io::Result<BoxStream> {
    let answered = tokio::time::timeout(TIMEOUT, ask_for_tunnel(proxy, authority)).await;
    answered.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the proxy does not answer within 30 s")))
}

async fn ask_for_tunnel(proxy: BoxStream, authority: &str) -> io::Result<BoxStream> {
    let (mut sender, connection) = http1::handshake::<_, Empty>(TokioIo::new(proxy)).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection.with_upgrades());
    let request = Request::builder().method(Method::CONNECT).uri(authority).header("host", authority);
    let request = request.body(Empty::default()).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    if !status.is_success() {
        driver.abort();
        return Err(io::Error::other(format!("the proxy answers {status} to a tunnel to {authority}")));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(io::Error::other)?;
    Ok(Box::new(TokioIo::new(upgraded)))
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

    #[test]
    fn proxies_have_a_scheme_and_a_port() {
        let cases = [
            ("proxy.example", false, "proxy.example:1080"),
            ("http://proxy.example:3128/", false, "proxy.example:3128"),
            ("https://[::1]", true, "[::1]:443"),
        ];
        for (text, tls, destination) in cases {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!((proxy.tls, proxy.destination.to_string()), (tls, destination.to_owned()), "{text}");
        }
        for text in ["socks5://x", "http://u:p@x", "http://"] {
            assert_eq!(Proxy::parse(text).unwrap_err().code, Code::Usage, "{text}");
        }
    }
}
