//! Patterns of URLs: those of Chrome's content settings, optionally followed by a path.

use std::fmt;
use std::str::FromStr;

use super::path::{Match, UrlPath};
use crate::error::Error;
use crate::request::{Destination, in_brackets, split_port};

/// A pattern of URLs: `*`, `https://www.example.com`, `https://[*.]example.com:8443`, `[*.]example.com`, `https://*`,
/// `https://www.example.com/admin`.
///
/// A missing scheme or port, or `*` in its place, matches any. `[*.]example.com` matches the domain and everything below it. A
/// path (cardcase adds it; Chrome ignores it) matches that path and everything below it, segment by segment; `/*` at its end
/// adds nothing. As in Chrome, `http` is valid and matches nothing: servers ask for certificates over https only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pattern {
    scheme: Scheme,
    host: Host,
    port: Option<u16>,
    path: Option<UrlPath>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Any,
    Https,
    /// Valid in Chrome, and matches nothing.
    Http,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    Any,
    /// This domain and everything below it.
    Domain(String),
    Exact(String),
}

/// How specific a pattern is; the greater value is the more specific one. Chrome's order: host, then port, then scheme. The
/// path, which Chrome does not know, comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Specificity {
    exact_host: bool,
    labels: usize,
    port: bool,
    scheme: bool,
    path: usize,
}

impl Pattern {
    /// Whether it certainly matches `https://host:port` and a path. A pattern with a path does not match a URL whose path is
    /// unknown.
    #[cfg(test)]
    pub(crate) fn matches(&self, destination: &Destination, path: Option<&str>) -> bool {
        self.compare(destination, path.map(UrlPath::new).as_ref()) == Match::Yes
    }

    pub(super) fn compare(&self, destination: &Destination, path: Option<&UrlPath>) -> Match {
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
            (Some(ours), Some(path)) => path.is_under(ours),
        }
    }

    /// Whether it is for `http://` only, where no server asks for a certificate.
    pub(crate) fn matches_nothing(&self) -> bool {
        self.scheme == Scheme::Http
    }

    /// How specific it is.
    pub(crate) fn specificity(&self) -> Specificity {
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
            path: self.path.as_ref().map_or(0, |path| path.as_str().len()),
        }
    }

    /// The host or the domain; `None` for any host.
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
            Host::Exact(host) => f.write_str(&in_brackets(host))?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.path.as_ref().map_or("", UrlPath::as_str))
    }
}

fn parse(text: &str) -> Result<Pattern, String> {
    // In a path, "://" does not end a scheme
    let (scheme, rest) = match text.split_once("://").filter(|(scheme, _)| !scheme.contains('/')) {
        None => (Scheme::Any, text),
        Some(("" | "*", rest)) => (Scheme::Any, rest),
        Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
            "https" => (Scheme::Https, rest),
            "http" => (Scheme::Http, rest),
            _ => return Err(format!("{scheme:?} is not a scheme over which certificates are sent; use https")),
        },
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (host, port) = parse_authority(authority)?;
    Ok(Pattern { scheme, host, port, path: parse_path(path)? })
}

fn parse_authority(text: &str) -> Result<(Host, Option<u16>), String> {
    let (is_domain, rest) = match text.strip_prefix("[*.]") {
        Some(domain) => (true, domain),
        None => (false, text),
    };
    let (host, port) = split_pattern_port(rest)?;
    let host = match (is_domain, host) {
        (true, "") | (false, "*") => Host::Any,
        (_, host) if host.contains('*') => {
            return Err("a domain and everything below it is written [*.]example.com".to_owned());
        }
        (true, host) => match normalised(host)? {
            host if is_address(&host) => return Err("an address has nothing below it".to_owned()),
            domain => Host::Domain(domain),
        },
        (false, host) => Host::Exact(normalised(host)?),
    };
    Ok((host, port))
}

/// The host, and the port; `None` for any port.
fn split_pattern_port(text: &str) -> Result<(&str, Option<u16>), String> {
    // Both mean any port
    let without_port = text.strip_suffix(":*").or_else(|| text.strip_suffix(':'));
    let (host, port) = split_port(without_port.unwrap_or(text)).map_err(reason)?;
    match port {
        Some(_) if without_port.is_some() => Err(format!("{text:?} has two ports")),
        _ if host.contains(':') && !host.starts_with('[') => Err("an IPv6 address is written in brackets".to_owned()),
        _ => Ok((host, port)),
    }
}

fn parse_path(text: &str) -> Result<Option<UrlPath>, String> {
    let above = text.strip_suffix('*').filter(|above| above.ends_with('/')).unwrap_or(text);
    if above.contains('*') {
        return Err("a path matches everything below it without *; the character * is written %2A".to_owned());
    }
    Ok(Some(UrlPath::new(above)).filter(|path| path.as_str() != "/"))
}

fn normalised(host: &str) -> Result<String, String> {
    let destination = Destination::new(host, Destination::DEFAULT_PORT);
    let destination = destination.map_err(|error| format!("{host:?} is not a host: {}", reason(error)))?;
    Ok(destination.host().to_owned())
}

/// Why a text is not a host or a port.
fn reason(error: Error) -> String {
    match error {
        Error::Destination { reason, .. } => reason,
        error => error.to_string(),
    }
}

fn is_address(host: &str) -> bool {
    // The dots in the zone of an IPv6 address do not separate labels
    host.contains(':') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')) && !is_address(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(pattern: &str, destination: &str, path: Option<&str>) -> Match {
        let pattern: Pattern = pattern.parse().unwrap();
        pattern.compare(&destination.parse().unwrap(), path.map(UrlPath::new).as_ref())
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
            ("https://www.example.com/*", "www.example.com", true),
            ("https://[*.]example.com/*", "www.example.com", true),
            ("https://www.example.com:/", "www.example.com:8443", true),
            ("://www.example.com", "www.example.com", true),
            ("[*.]example.com.", "www.example.com.", true),
            ("[*.]example.com", "example.com.", true),
            ("https://xn--bcher-kva.example", "BÜCHER.example", true),
            ("https://[::1]", "[::1]:8443", true),
            ("[*.]", "[::1]", true),
            ("https://[fe80::1%25eth0]:8443", "[fe80::1%eth0]:8443", true),
            ("[fe80::1%eth0]", "[fe80::1%eth1]", false),
            ("[fe80::1]", "[fe80::1%eth0]", false),
            ("[*.]vlan", "[fe80::1%eth0.vlan]", false),
            ("[*.]0.0.example", "127.0.0.1", false),
        ];
        for (pattern, destination, matches) in cases {
            let expected = if matches { Match::Yes } else { Match::No };
            assert_eq!(found(pattern, destination, Some("/")), expected, "{pattern} {destination}");
            assert_eq!(found(pattern, destination, None), expected, "{pattern} {destination}");
        }
    }

    #[test]
    fn paths_match_by_segment_in_every_spelling() {
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
            (admin, "/%2561dmin", false),
            (admin, "/%%361dmin", false),
            ("https://www.example.com/a(b)", "/a%28b%29", true),
            ("https://www.example.com/a%2Ab", "/a*b", true),
            ("https://www.example.com/admin/*", "/admin/x", true),
            ("https://www.example.com/%61dmin/", "/admin/x", true),
            ("https://www.example.com/admin/", "/admin", false),
            ("*/admin", "/admin", true),
        ];
        for (pattern, path, matches) in cases {
            let expected = if matches { Match::Yes } else { Match::No };
            assert_eq!(found(pattern, "www.example.com", Some(path)), expected, "{pattern} {path}");
        }
        // Servers differ in how they read these: rules that deny apply to them, rules that select do not
        for path in ["/admin%2Fx", "/x%2f..%2fadmin", "/admin/..%2Fx", "//admin", "/%5Cadmin", "/x/%2F../admin"] {
            assert_eq!(found(admin, "www.example.com", Some(path)), Match::Perhaps, "{path}");
        }
        assert_eq!(found(admin, "www.example.com", None), Match::Perhaps);
        assert_eq!(found(admin, "example.com", None), Match::No);
    }

    #[test]
    fn a_text_that_is_not_a_pattern_is_refused_with_its_text() {
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
            "x:+443",
            "[*]",
            "[*.]*.com",
            "[*.].example.com",
            "[example.com]",
            "[::1]x:443",
            "[::1",
            "::1",
            "[*.][::1]",
            "[*.][fe80::1%eth0]",
            "https://user@x",
            "https://x?y",
            "https://x/a*",
            " https://x",
        ] {
            let Err(Error::Rule { text: named, .. }) = text.parse::<Pattern>() else { panic!("{text} was accepted") };
            assert_eq!(named, text);
        }
    }

    #[test]
    fn a_scheme_stands_before_the_host_only() {
        for path in ["/a://b", "/https://www.example.com", r"/a:\\b"] {
            let pattern: Pattern = format!("www.example.com{path}").parse().unwrap();
            assert_eq!(pattern.host(), Some("www.example.com"));
            assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
        }
        assert!("www.example.com://a".parse::<Pattern>().is_err());
    }

    #[test]
    fn patterns_are_ordered_by_how_specific_they_are() {
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
        fn a_displayed_pattern_parses_to_the_same_pattern(text in "(https://|http://|\\*://)?(\\[\\*\\.\\])?[a-z]{1,5}(\\.[a-z]{1,5}){0,2}(:[1-9][0-9]{0,3})?(/[a-z%.:\\\\]{0,9}){0,3}") {
            let pattern: Pattern = text.parse().unwrap();
            prop_assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
        }

        #[test]
        fn no_text_panics(text in any::<String>(), path in any::<String>()) {
            let destination = "www.example.com".parse().unwrap();
            if let Ok(pattern) = text.parse::<Pattern>() {
                pattern.matches(&destination, Some(&path));
                prop_assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
            }
        }

        #[test]
        fn specificity_is_a_total_order(texts in proptest::array::uniform3("(https://)?(\\[\\*\\.\\])?[ab](\\.[ab]){0,2}(:44)?(/[ab]){0,2}")) {
            let [a, b, c] = texts.map(|text| text.parse::<Pattern>().unwrap().specificity());
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert!(!(a <= b && b <= c) || a <= c);
        }

        #[test]
        fn a_pattern_with_a_port_matches_only_that_port(host in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}", port in 1..u16::MAX) {
            let destination = Destination::new(&host, port).unwrap();
            let pattern: Pattern = format!("https://{destination}").parse().unwrap();
            prop_assert!(pattern.matches(&destination, None));
            let other = Destination::new(&host, port + 1).unwrap();
            prop_assert!(!pattern.matches(&other, Some("/")));
        }
    }
}
