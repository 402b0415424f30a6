//! Patterns: where a rule holds. Those of Chrome's content settings, with a path behind them where one is wanted.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXUPPER, HEXUPPER_PERMISSIVE};
use url::Url;

use crate::error::Error;
use crate::request::{Destination, in_brackets};

/// A pattern of URLs: `*`, `https://www.example.com`, `https://[*.]example.com:8443`, `[*.]example.com`, `https://*`,
/// `https://www.example.com/admin`.
///
/// A scheme or a port that is left out, or `*`, is any. `[*.]example.com` is the domain itself and everything below it. A
/// path (ours; Chrome passes over it) is that path and everything below it, segment by segment; `/*` at its end adds
/// nothing. As in Chrome, `http` is valid, and matches nothing: certificates travel over https only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    scheme: Scheme,
    host: Host,
    port: Option<u16>,
    path: Option<UrlPath>,
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
pub(super) enum Match {
    /// It does not.
    No,
    /// It does if the path is right, which is not known, or if the server reads it so.
    Perhaps,
    /// It does.
    Yes,
}

/// How exactly a pattern says where it holds; more is more. Chrome's order: by host, then by port, then by scheme. The path,
/// which Chrome does not know, comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Specificity {
    exact_host: bool,
    labels: usize,
    port: bool,
    scheme: bool,
    path: usize,
}

impl Pattern {
    /// Whether it surely matches `https://host:port` and a path. One that ends in a path does not where the path of the URL
    /// is not known.
    pub fn matches(&self, destination: &Destination, path: Option<&str>) -> bool {
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

    /// Whether it is for `http://` alone, over which no certificate is asked for.
    pub fn matches_nothing(&self) -> bool {
        self.scheme == Scheme::Http
    }

    /// How exactly it says where it holds.
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
            path: self.path.as_ref().map_or(0, |path| path.written.len()),
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
            Host::Exact(host) => f.write_str(&in_brackets(host))?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.path.as_ref().map_or("", |path| &path.written))
    }
}

fn parse(text: &str) -> Result<Pattern, String> {
    let (scheme, rest) = match text.split_once("://") {
        None => (Scheme::Any, text),
        Some(("" | "*", rest)) => (Scheme::Any, rest),
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
    Ok(Pattern { scheme, host, port, path: parse_path(path)? })
}

fn parse_authority(text: &str) -> Result<(Host, Option<u16>), String> {
    let (is_domain, rest) = match text.strip_prefix("[*.]") {
        Some(domain) => (true, domain),
        None => (false, text),
    };
    let (host, port) = split_port(rest)?;
    let host = match (is_domain, host) {
        (true, "") | (false, "*") => Host::Any,
        (_, host) if host.contains('*') => {
            return Err("a domain with everything below it is written [*.]example.com".to_owned());
        }
        (true, host) => match normalised(host)? {
            host if is_address(&host) => return Err("an address has nothing below it".to_owned()),
            domain => Host::Domain(domain),
        },
        (false, host) => Host::Exact(normalised(host)?),
    };
    Ok((host, port))
}

/// What stands before the colon, and the port behind it; `None` where there is none or any.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    // An IPv6 address has colons of its own
    let end = match text.starts_with('[') {
        true => text.find(']').map(|at| at + 1),
        false => text.find(':'),
    };
    let (host, rest) = text.split_at(end.unwrap_or(text.len()));
    let port = match rest.strip_prefix(':') {
        None if !rest.is_empty() => return Err(format!("{rest:?} follows the address")),
        None | Some("" | "*") => None,
        Some(port) => Some(parse_port(port)?),
    };
    Ok((host, port))
}

fn parse_port(text: &str) -> Result<u16, String> {
    // Rust takes a sign too
    let port = text.parse().ok().filter(|&port| port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()));
    port.ok_or_else(|| format!("{text:?} is not a port (1 to 65535, or *)"))
}

fn parse_path(text: &str) -> Result<Option<UrlPath>, String> {
    let above = text.strip_suffix('*').filter(|above| above.ends_with('/')).unwrap_or(text);
    if above.contains('*') {
        return Err("a path is that path and all below it; * has no meaning in it (%2A is the character)".to_owned());
    }
    Ok(Some(UrlPath::new(above)).filter(|path| path.written != "/"))
}

fn normalised(host: &str) -> Result<String, String> {
    match Destination::new(host, Destination::DEFAULT_PORT) {
        Ok(destination) => Ok(destination.host().to_owned()),
        Err(Error::Destination { reason, .. }) => Err(format!("{host:?} is no host: {reason}")),
        Err(error) => Err(error.to_string()),
    }
}

fn is_address(host: &str) -> bool {
    // The dots in the zone of an IPv6 address separate no labels
    host.contains(':') || host.parse::<std::net::Ipv4Addr>().is_ok()
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')) && !is_address(host)
}

/// The path of a URL, in the ways servers read it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct UrlPath {
    /// By RFC 3986.
    written: String,
    /// By a server for which an escaped slash or a backslash is a slash too, and several slashes are one.
    lenient: String,
}

impl UrlPath {
    pub(super) fn new(path: &str) -> Self {
        let written = normalised_path(path);
        let slashes = written.replace("%2F", "/").replace("%5C", "/");
        let mut merged = String::with_capacity(slashes.len());
        for c in slashes.chars() {
            if c != '/' || !merged.ends_with('/') {
                merged.push(c);
            }
        }
        Self { lenient: normalised_path(&merged), written }
    }

    /// Whether it is `above`, or below it.
    fn is_under(&self, above: &Self) -> Match {
        match (is_under(&self.written, &above.written), is_under(&self.lenient, &above.lenient)) {
            (true, true) => Match::Yes,
            (false, false) => Match::No,
            _ => Match::Perhaps,
        }
    }
}

fn is_under(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above.ends_with('/'))
}

/// The path of a URL in one form, so that no way of writing it dodges a rule: dots worked off, what needs no escape
/// unescaped, other escapes in upper case, without query and fragment (RFC 3986 section 6.2.2).
fn normalised_path(path: &str) -> String {
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

/// Leaves escapes only where a character would mean something else, or nothing, without.
fn unescape(path: &str) -> String {
    // The URL standard passes over these, and what they separate must not become an escape afterwards
    let path = path.replace(['\t', '\n', '\r'], "");
    let mut out = String::with_capacity(path.len());
    let mut rest = path.as_str();
    while let Some(at) = rest.find(['%', '*']) {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (byte, length) = match escape.get(1..3).filter(|_| escape.starts_with('%')).and_then(hexadecimal_byte) {
            Some(byte) => (byte, 3),
            None => (escape.bytes().next().unwrap_or_default(), 1),
        };
        rest = escape.get(length..).unwrap_or_default();
        if is_plain_in_path(byte) {
            out.push(char::from(byte))
        } else {
            out.push('%');
            out.push_str(&HEXUPPER.encode(&[byte]))
        }
    }
    out + rest
}

fn hexadecimal_byte(digits: &str) -> Option<u8> {
    HEXUPPER_PERMISSIVE.decode(digits.as_bytes()).ok()?.first().copied()
}

/// The characters of a path (RFC 3986 section 3.3) but for `*`, which means something in a pattern.
fn is_plain_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&byte)
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
        // Servers differ in these: what sends certificates does not count on them, what keeps them back does
        for path in ["/admin%2Fx", "/x%2f..%2fadmin", "/admin/..%2Fx", "//admin", "/%5Cadmin", "/x/%2F../admin"] {
            assert_eq!(found(admin, "www.example.com", Some(path)), Match::Perhaps, "{path}");
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
                pattern.matches(&destination, Some(&path));
                prop_assert_eq!(pattern.to_string().parse::<Pattern>().unwrap(), pattern);
            }
        }

        #[test]
        fn specificity_orders_any_three(texts in proptest::array::uniform3("(https://)?(\\[\\*\\.\\])?[ab](\\.[ab]){0,2}(:44)?(/[ab]){0,2}")) {
            let [a, b, c] = texts.map(|text| text.parse::<Pattern>().unwrap().specificity());
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert!(!(a <= b && b <= c) || a <= c);
        }

        #[test]
        fn normalising_a_path_twice_changes_nothing(path in "(/[a-f%.0-9*\t/]{0,6}){0,5}") {
            let once = normalised_path(&path);
            prop_assert_eq!(normalised_path(&once), once);
        }

        #[test]
        fn a_destination_is_matched_by_its_own_pattern_and_by_no_other_port(host in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}", port in 1..u16::MAX) {
            let destination = Destination::new(&host, port).unwrap();
            let pattern: Pattern = format!("https://{destination}").parse().unwrap();
            prop_assert!(pattern.matches(&destination, None));
            let other = Destination::new(&host, port + 1).unwrap();
            prop_assert!(!pattern.matches(&other, Some("/")));
        }
    }
}
