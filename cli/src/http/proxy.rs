//! HTTP proxies: how they are named, and the tunnels that they open.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use cardcase::Destination;
use cardcase::manage::split_port;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;

use crate::http::dial::no_answer;
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
    /// `from` is the flag or the environment variable that names it.
    fn parse(text: &str, from: &str) -> Result<Self, Failure> {
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => {
                return Err(Failure::usage(format_args!(
                    "{from} {text}: '{scheme}' is not supported; use http or https"
                )));
            }
        };
        if rest.contains('@') {
            return Err(Failure::usage(format_args!(
                "{from}: a proxy that wants a user name and a password is not supported"
            )));
        }
        let (host, port) = split_port(rest.trim_end_matches('/'))?;
        let default = if tls { Destination::DEFAULT_PORT } else { 1080 };
        Ok(Self { destination: Destination::new(host, port.unwrap_or(default))?, tls })
    }
}

/// The proxies for each kind of URL, as curl takes them from the command line and the environment.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Named>,
    https: Option<Named>,
    /// The hosts that are reached without a proxy.
    none_for: NoProxy,
}

/// A proxy that the environment names. If it cannot be used, that is a failure only for a destination that would be reached through it.
type Named = Result<Proxy, Failure>;

impl Proxies {
    /// `--proxy` applies to all URLs; an empty one turns off the proxies of the environment. Without it, `https_proxy`,
    /// `http_proxy` and `all_proxy` apply, each also in upper case, except for `HTTP_PROXY`: a request to a CGI program could
    /// set that.
    pub(crate) fn new(given: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let none_for = ["no_proxy", "NO_PROXY"].into_iter().find_map(&variable).unwrap_or_default();
        let none_for = NoProxy::parse(&none_for);
        if let Some(given) = given {
            let proxy = if given.is_empty() { None } else { Some(Proxy::parse(given, "--proxy")?) };
            return Ok(Self { http: proxy.clone().map(Ok), https: proxy.map(Ok), none_for });
        }
        let from = |names: &[&str]| {
            let found = names.iter().find_map(|name| Some((*name, variable(name)?)));
            found.map(|(name, value)| Proxy::parse(&value, name))
        };
        Ok(Self {
            http: from(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            https: from(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            none_for,
        })
    }

    /// The proxy for a destination that is reached over plain HTTP (`is_http`) or over TLS.
    ///
    /// # Errors
    /// When that proxy cannot be used.
    pub(crate) fn for_destination(&self, destination: &Destination, is_http: bool) -> Result<Option<&Proxy>, Failure> {
        let named = if is_http { &self.http } else { &self.https };
        let named = named.as_ref().filter(|_| !self.none_for.contains(destination));
        named.map(Result::as_ref).transpose().map_err(Clone::clone)
    }
}

/// The value of an environment variable; an empty one counts as none, as in curl.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `no_proxy`: `*`, or names, addresses and networks, separated by commas or spaces.
#[derive(Clone, Debug, Default)]
struct NoProxy(Vec<String>);

impl NoProxy {
    fn parse(text: &str) -> Self {
        let entries = text.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        Self(entries.map(|entry| entry.trim_matches('.').to_ascii_lowercase()).collect())
    }

    fn contains(&self, destination: &Destination) -> bool {
        if let [only] = &self.0[..]
            && only == "*"
        {
            return true;
        }
        let host = destination.host_without_zone();
        match host.parse::<IpAddr>() {
            Ok(address) => self.0.iter().any(|entry| contains_address(entry, address)),
            // A domain contains the names below it
            Err(_) => self.0.iter().any(|entry| {
                host.strip_suffix(entry.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }),
        }
    }
}

/// Whether an entry is this address, or a network with it, `192.0.2.0/24`.
fn contains_address(entry: &str, address: IpAddr) -> bool {
    let (network, length) = match entry.split_once('/') {
        Some((network, length)) => (network, length.parse::<u32>().ok()),
        None => (entry, Some(128)),
    };
    let network = network.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match (network, address, length) {
        (Ok(IpAddr::V4(network)), IpAddr::V4(address), Some(length)) => {
            let differing = u32::from(network) ^ u32::from(address);
            differing.leading_zeros() >= length.min(32)
        }
        (Ok(IpAddr::V6(network)), IpAddr::V6(address), Some(length)) => {
            let differing = u128::from(network) ^ u128::from(address);
            differing.leading_zeros() >= length.min(128)
        }
        _ => false,
    }
}

/// Asks a proxy for a tunnel to `authority`, host and port (RFC 9110 section 9.3.6).
pub(crate) async fn tunnel(proxy: BoxStream, authority: &str, timeout: Duration) -> io::Result<BoxStream> {
    let answered = tokio::time::timeout(timeout, ask_for_tunnel(proxy, authority)).await;
    answered.unwrap_or_else(|_| Err(no_answer(timeout)))
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
            let proxy = Proxy::parse(text, "--proxy").unwrap();
            assert_eq!((proxy.tls, proxy.destination.to_string()), (tls, destination.to_owned()), "{text}");
        }
        for text in ["socks5://x", "http://u:p@x", "http://"] {
            assert_eq!(Proxy::parse(text, "--proxy").unwrap_err().code, Code::Usage, "{text}");
        }
    }

    /// `curl -v` (7.88) shows the same proxies, except that it does not match an address against an IPv6 network.
    #[test]
    fn proxies_of_the_environment_are_as_in_curl() {
        /// Variables, `--proxy`, the destination, and its proxies by http and https.
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>, &'a str, Option<&'a str>, Option<&'a str>);
        let cases: [Case<'_>; 17] = [
            (&[], None, "a.example:443", None, None),
            (&[("https_proxy", "p:1")], None, "a.example:443", None, Some("p:1")),
            (&[("HTTPS_PROXY", "p:1")], None, "a.example:443", None, Some("p:1")),
            (&[("https_proxy", "p:1"), ("HTTPS_PROXY", "p:2")], None, "a.example:443", None, Some("p:1")),
            (&[("http_proxy", "p:1")], None, "a.example:443", Some("p:1"), None),
            (&[("HTTP_PROXY", "p:1")], None, "a.example:443", None, None),
            (&[("all_proxy", "p:1"), ("https_proxy", "p:2")], None, "a.example:443", Some("p:1"), Some("p:2")),
            (&[("ALL_PROXY", "p:1")], None, "a.example:443", Some("p:1"), Some("p:1")),
            (&[("https_proxy", "p:1")], Some(""), "a.example:443", None, None),
            (&[("https_proxy", "p:1")], Some("q:2"), "a.example:443", Some("q:2"), Some("q:2")),
            (&[("no_proxy", "*")], Some("q:2"), "a.example:443", None, None),
            (&[("no_proxy", "b.example,.Example")], Some("q:2"), "a.example:443", None, None),
            (&[("no_proxy", "example")], Some("q:2"), "aexample:443", Some("q:2"), Some("q:2")),
            (&[("NO_PROXY", "b.example a.example.")], Some("q:2"), "a.example:443", None, None),
            (&[("no_proxy", "192.0.2.0/24")], Some("q:2"), "192.0.2.77:443", None, None),
            (&[("no_proxy", "192.0.2.7,2001:db8::/32")], Some("q:2"), "[2001:db8:1::1]:443", None, None),
            (&[("no_proxy", "192.0.2.7")], Some("q:2"), "192.0.2.77:443", Some("q:2"), Some("q:2")),
        ];
        for (variables, given, to, http, https) in cases {
            let variable =
                |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
            let proxies = Proxies::new(given, variable).unwrap();
            let destination: Destination = to.parse().unwrap();
            let named = |is_http| {
                let proxy = proxies.for_destination(&destination, is_http).unwrap();
                proxy.map(|proxy| proxy.destination.to_string())
            };
            let found = (named(true), named(false));
            assert_eq!(found, (http.map(str::to_owned), https.map(str::to_owned)), "{variables:?} {given:?} {to}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_matters_only_where_it_would_be() {
        let destination: Destination = "a.example:443".parse().unwrap();
        for (name, is_http) in [("http_proxy", true), ("https_proxy", false)] {
            for value in ["http://user:password@p:1", "socks5h://p:1"] {
                let of = |none_for: &str| {
                    let (value, none_for) = (value.to_owned(), none_for.to_owned());
                    let variable = move |asked: &str| match asked {
                        "no_proxy" => Some(none_for.clone()),
                        _ => (asked == name).then(|| value.clone()),
                    };
                    Proxies::new(None, variable).unwrap()
                };
                let failure = of("").for_destination(&destination, is_http).unwrap_err();
                assert_eq!(failure.code, Code::Usage, "{name} {value}");
                assert!(of("").for_destination(&destination, !is_http).unwrap().is_none(), "{name} {value}");
                assert!(of("example").for_destination(&destination, is_http).unwrap().is_none(), "{name} {value}");
            }
        }
    }
}
