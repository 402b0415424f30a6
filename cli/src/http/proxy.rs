//! HTTP proxies: how they are named, and the tunnels that they open.

use std::io;

use cardcase::Destination;
use cardcase::manage::split_port;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;

use crate::http::dial::TIMEOUT;
use crate::http::stream::BoxStream;
use crate::ui::failure::Failure;

/// A proxy, `[http://|https://]HOST[:PORT]`. The default port is 1080, or 443 for https, as in curl.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) destination: Destination,
    /// Whether the client speaks TLS with the proxy itself.
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
                    "--proxy {text}: '{scheme}' is not supported; use http or https"
                )));
            }
        };
        if rest.contains('@') {
            return Err(Failure::usage(
                "--proxy: a user name and password are not allowed here; other users of this machine could see them",
            ));
        }
        let (host, port) = split_port(rest.trim_end_matches('/'))?;
        let default = if tls { Destination::DEFAULT_PORT } else { 1080 };
        Ok(Self { destination: Destination::new(host, port.unwrap_or(default))?, tls })
    }
}

/// Asks a proxy for a tunnel to `authority`, host and port (RFC 9110 section 9.3.6).
pub(crate) async fn tunnel(proxy: BoxStream, authority: &str) -> io::Result<BoxStream> {
    let answered = tokio::time::timeout(TIMEOUT, ask_for_tunnel(proxy, authority)).await;
    answered.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer from the proxy within 30 s")))
}

async fn ask_for_tunnel(proxy: BoxStream, authority: &str) -> io::Result<BoxStream> {
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(proxy)).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection.with_upgrades());
    let request = Request::builder().method(Method::CONNECT).uri(authority).header("host", authority);
    let request = request.body(Empty::new()).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    if !status.is_success() {
        driver.abort();
        return Err(io::Error::other(format!("the proxy answered {status} when asked for a tunnel to {authority}")));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(io::Error::other)?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::failure::Code;

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
