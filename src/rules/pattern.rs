//! Patterns: where a rule holds. Those of Chrome's content settings, with a path behind them where one is wanted.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::error::Error;
use crate::request::Destination;

/// A pattern of URLs: `*`, `https://www.example.com`, `https://[*.]example.com:8443`, `[*.]example.com`, `https://*`,
/// `https://www.example.com/admin`.
///
/// A scheme or a port that is left out, or `*`, is any. `[*.]example.com` is the domain itself and everything below it. A
/// path (ours) is that path and everything below it, segment by segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    scheme: Scheme,
    host: Host,
    port: Option<u16>,
    path: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Any,
    Https,
    /// Valid in Chrome, and never over TLS.
    Http,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    Any,
    /// With everything below it.
    Domain(String),
    Exact(String),
}

/// Whether a pattern matches a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It does not.
    No,
    /// It does if the path is right, which is not known.
    Perhaps,
    /// It does.
    Yes,
}

/// How exactly a pattern says where it holds; more is more. Chrome's order: by host, then by port, then by scheme. The path,
/// which Chrome does not know, comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    exact_host: bool,
    labels: usize,
    port: bool,
    scheme: bool,
    path: usize,
}

impl Pattern {
    /// Whether it matches `https://host:port` and a path as [`normalised_path`] gives it.
    pub(super) fn matches(&self, destination: &Destination, path: Option<&str>) -> Match {
        let host = match &self.host {
            Host::Any => true,
            Host::Exact(host) => host == destination.host(),
            Host::Domain(domain) => is_below(destination.host(), domain),
        };
        let port = self.port.is_none_or(|port| port == destination.port());
        if !host || !port || self.scheme == Scheme::Http {
            return Match::No;
        }
        match (&self.path, path) {
            (None, _) => Match::Yes,
            (Some(_), None) => Match::Perhaps,
            (Some(ours), Some(path)) => {
                if is_under(path, ours) {
                    Match::Yes
                } else {
                    Match::No
                }
            }
        }
    }

    /// How exactly it says where it holds.
    pub fn specificity(&self) -> Specificity {
        let labels = |host: &str| host.split('.').count();
        let (exact_host, labels) = match &self.host {
            Host::Any => (false, 0),
            Host::Domain(domain) => (false, labels(domain)),
            Host::Exact(host) => (true, labels(host)),
        };
        Specificity {
            exact_host,
            labels,
            port: self.port.is_some(),
            scheme: self.scheme != Scheme::Any,
            path: self.path.as_ref().map_or(0, String::len),
        }
    }

    /// The host, or the domain with everything below it; `None` for any host.
    pub(super) fn host(&self) -> Option<&str> {
        match &self.host {
            Host::Any => None,
            Host::Domain(host) | Host::Exact(host) => Some(host),
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| Error::Rule { text: text.to_owned(), reason })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme {
            Scheme::Any => "",
            Scheme::Https => "https://",
            Scheme::Http => "http://",
        })?;
        match &self.host {
            Host::Any => f.write_str("*")?,
            Host::Domain(domain) => write!(f, "[*.]{domain}")?,
            Host::Exact(host) if host.contains(':') => write!(f, "[{host}]")?,
            Host::Exact(host) => f.write_str(host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.path.as_deref().unwrap_or_default())
    }
}

fn parse(text: &str) -> Result<Pattern, String> {
    let (scheme, rest) = match text.split_once("://") {
        None => (Scheme::Any, text),
        Some(("*", rest)) => (Scheme::Any, rest),
        Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
            "https" => (Scheme::Https, rest),
            "http" => (Scheme::Http, rest),
            _ => return Err(format!("{scheme:?} is no scheme that certificates are sent over; https is")),
        },
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (host, port) = parse_authority(authority)?;
    let path = Some(normalised_path(path)).filter(|path| path != "/");
    Ok(Pattern { scheme, host, port, path })
}

fn parse_authority(text: &str) -> Result<(Host, Option<u16>), String> {
    if let Some(below) = text.strip_prefix("[*.]") {
        let (host, port) = split_port(below)?;
        return match host {
            "" => Ok((Host::Any, port)),
            host => match normalised(host)? {
                host if is_address(&host) => Err("an address has nothing below it".to_owned()),
                domain => Ok((Host::Domain(domain), port)),
            },
        };
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address, split_port(port)?.1),
        None => split_port(text)?,
    };
    match host {
        "*" => Ok((Host::Any, port)),
        host if host.contains('*') => Err("a domain with everything below it is written [*.]example.com".to_owned()),
        host => Ok((Host::Exact(normalised(host)?), port)),
    }
}

/// What stands before the colon, and the port behind it; `None` where there is none or any.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((host, "*")) => Ok((host, None)),
        Some((host, port)) => match port.parse() {
            Ok(port) if port > 0 => Ok((host, Some(port))),
            _ => Err(format!("{port:?} is not a port (1 to 65535, or *)")),
        },
    }
}

fn normalised(host: &str) -> Result<String, String> {
    match Destination::new(host, Destination::DEFAULT_PORT) {
        Ok(destination) => Ok(destination.host().to_owned()),
        Err(Error::Destination { reason, .. }) => Err(format!("{host:?} is no host: {reason}")),
        Err(error) => Err(error.to_string()),
    }
}

fn is_address(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether a path is `above`, or below it.
fn is_under(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above.ends_with('/'))
}

/// The path of a URL in one form, so that no way of writing it dodges a rule: dots worked off, what needs no escape
/// unescaped, other escapes in upper case, without query and fragment (RFC 3986 section 6.2.2).
pub(super) fn normalised_path(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    // Unescaped first: what was an escaped dot is a dot
    let unescaped = unescape(path);
    match Url::parse("https://host/").map(|mut url| {
        url.set_path(&unescaped);
        url.path().to_owned()
    }) {
        Ok(normal) => normal,
        Err(_) => unescaped,
    }
}

fn unescape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        rest = after;
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            out.push('%');
            continue;
        };
        rest = after.get(2..).unwrap_or_default();
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(pattern: &str, destination: &str, path: Option<&str>) -> Match {
        let pattern: Pattern = pattern.parse().unwrap();
        pattern.matches(&destination.parse().unwrap(), path.map(normalised_path).as_deref())
    }

    #[test]
    fn patterns_match_as_in_chrome() {
        let cases = [
            ("*", "www.example.com:8443", true),
            ("https://*", "www.example.com", true),
            ("[*.]", "www.example.com", true),
            ("*://*:*", "www.example.com", true),
            ("https://www.example.com", "www.example.com", true),
            ("https://www.example.com", "www.example.com:8443", true),
            ("https://www.example.com:443", "www.example.com", true),
            ("https://www.example.com:443", "www.example.com:8443", false),
            ("https://www.example.com:*", "www.example.com:8443", true),
            ("www.example.com", "www.example.com", true),
            ("www.example.com:8443", "www.example.com:443", false),
            ("https://example.com", "www.example.com", false),
            ("https://[*.]example.com", "example.com", true),
            ("https://[*.]example.com", "www.example.com", true),
            ("https://[*.]example.com", "a.b.example.com", true),
            ("https://[*.]example.com", "badexample.com", false),
            ("https://[*.]example.com:8443", "www.example.com:8443", true),
            ("https://[*.]example.com:8443", "www.example.com", false),
            ("http://www.example.com", "www.example.com", false),
            ("*://www.example.com", "www.example.com", true),
            ("HTTPS://WWW.Example.COM.", "www.example.com", true),
            ("https://bücher.example", "xn--bcher-kva.example", true),
            ("https://[::1]:8443", "[0:0::1]:8443", true),
            ("[2001:DB8::1]", "[2001:db8:0::1]", true),
            ("https://127.0.0.1", "127.0.0.1:8443", true),
            ("https://www.example.com/", "www.example.com", true),
        ];
        for (pattern, destination, matches) in cases {
            let expected = if matches { Match::Yes } else { Match::No };
            assert_eq!(found(pattern, destination, Some("/")), expected, "{pattern} {destination}");
            assert_eq!(found(pattern, destination, None), expected, "{pattern} {destination}");
        }
    }

    #[test]
    fn paths_match_by_segment_however_they_are_written() {
        let admin = "https://www.example.com/admin";
        let cases = [
            (admin, "/admin", true),
            (admin, "/admin/", true),
            (admin, "/admin/x?y#z", true),
            (admin, "/admin?x", true),
            (admin, "/%61dmin/x", true),
            (admin, "/x/../admin", true),
            (admin, "/x/%2e%2e/admin", true),
            (admin, "/./admin", true),
            (admin, "/administrator", false),
            (admin, "/Admin", false),
            (admin, "/", false),
            (admin, "/admin/../x", false),
            (admin, "/admin%2Fx", false),
            ("https://www.example.com/%61dmin/", "/admin/x", true),
            ("https://www.example.com/admin/", "/admin", false),
            ("*/admin", "/admin", true),
        ];
        for (pattern, path, matches) in cases {
            let expected = if matches { Match::Yes } else { Match::No };
            assert_eq!(found(pattern, "www.example.com", Some(path)), expected, "{pattern} {path}");
        }
        assert_eq!(found(admin, "www.example.com", None), Match::Perhaps);
        assert_eq!(found(admin, "example.com", None), Match::No);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_text() {
        for text in [
            "",
            "https://",
            "ftp://x",
            "*.example.com",
            "https://*.com",
            "a b",
            "x:0",
            "x:65536",
            "x:y",
            "[*.]1.2.3.4",
            "a..b",
        ] {
            let Err(Error::Rule { text: named, .. }) = text.parse::<Pattern>() else { panic!("{text} was taken") };
            assert_eq!(named, text);
        }
    }

    #[test]
    fn the_most_specific_goes_first() {
        let descending = [
            "https://www.example.com:8443/admin/x",
            "https://www.example.com:8443/admin",
            "https://www.example.com:8443",
            "www.example.com:8443",
            "https://www.example.com/admin",
            "https://www.example.com",
            "www.example.com",
            "https://[*.]www.example.com",
            "https://[*.]example.com:8443",
            "[*.]example.com:8443",
            "https://[*.]example.com",
            "[*.]example.com",
            "[*.]com:443",
            "*:443",
            "https://*",
            "*",
        ];
        let patterns = descending.map(|text| text.parse::<Pattern>().unwrap());
        for (pair, texts) in patterns.windows(2).zip(descending.windows(2)) {
            assert!(pair[0].specificity() > pair[1].specificity(), "{texts:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(text in "(https://|http://|\\*://)?(\\[\\*\\.\\])?[a-z]{1,5}(\\.[a-z]{1,5}){0,2}(:[1-9][0-9]{0,3})?(/[a-z%.]{0,9}){0,3}") {
            let pattern: Pattern = text.parse().unwrap();
            prop_assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
        }

        #[test]
        fn no_text_panics(text in any::<String>(), path in any::<String>()) {
            let destination = "www.example.com".parse().unwrap();
            if let Ok(pattern) = text.parse::<Pattern>() {
                pattern.matches(&destination, Some(&normalised_path(&path)));
                prop_assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
            }
        }

        #[test]
        fn normalising_a_path_twice_changes_nothing(path in "(/[a-z%.0-9]{0,6}){0,5}") {
            let once = normalised_path(&path);
            prop_assert_eq!(normalised_path(&once), once);
        }

        #[test]
        fn a_destination_is_matched_by_its_own_pattern_and_by_no_other_port(host in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}", port in 1..u16::MAX) {
            let destination = Destination::new(&host, port).unwrap();
            let pattern: Pattern = format!("https://{destination}").parse().unwrap();
            prop_assert_eq!(pattern.matches(&destination, None), Match::Yes);
            let other = Destination::new(&host, port + 1).unwrap();
            prop_assert_eq!(pattern.matches(&other, None), Match::No);
        }
    }
}
