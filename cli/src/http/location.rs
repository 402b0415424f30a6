//! URLs: which of them can be fetched, and where a response redirects to.

use cardcase::Destination;
use hyper::header;
use hyper::http::response::Parts;
use url::Url;

use crate::ui::failure::{Code, Failure};

/// Parses a URL that can be fetched: http or https, without user name and password. One without a scheme is https.
pub(crate) fn parse(text: &str) -> Result<Url, Failure> {
    // The scheme comes before anything else (RFC 3986 section 3.1); "://" may stand later, in a query
    let is_scheme = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let url = match text.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => Url::parse(text),
        _ => Url::parse(&format!("https://{text}")),
    };
    check(text, url.map_err(|error| not_a_url(text, error))?)
}

fn check(text: &str, url: Url) -> Result<Url, Failure> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::usage(
            "the URL must not contain a user name or password: other users of this machine could see them",
        )
        .hint("to log in: -u USER"));
    }
    match (url.scheme(), url.host_str()) {
        ("https" | "http", Some(host)) if !host.is_empty() => Ok(url),
        (scheme, _) => Err(Failure::usage(format_args!("{text}: '{scheme}' is not supported; use https or http"))),
    }
}

fn not_a_url(text: &str, error: url::ParseError) -> Failure {
    let zone =
        text.split_once("://[").and_then(|(_, rest)| rest.split_once(']')).is_some_and(|(host, _)| host.contains('%'));
    if error == url::ParseError::InvalidIpv6Address && zone {
        let failure = Failure::usage(format_args!(
            "{text}: an IPv6 address in a URL has no zone, here as in browsers (URL standard, section 3.1)"
        ));
        return failure.hint("remove the zone from the URL, and add: --connect-to '::[fe80::1%eth0]:'");
    }
    Failure::usage(format_args!("{text}: {error}"))
}

/// The server that a URL names.
pub(crate) fn destination(url: &Url) -> Result<Destination, Failure> {
    let port = url.port_or_known_default().unwrap_or(Destination::DEFAULT_PORT);
    Ok(Destination::new(url.host_str().unwrap_or_default(), port)?)
}

/// Where a response redirects to, if it does.
pub(crate) fn redirect(url: &Url, response: &Parts) -> Result<Option<Url>, Failure> {
    let redirects = matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response.headers.get(header::LOCATION).filter(|_| redirects) else { return Ok(None) };
    let text = String::from_utf8_lossy(location.as_bytes());
    let next = url.join(&text).map_err(|error| {
        Failure::new(Code::Failed, format_args!("{url} redirects to {text:?}, which is not a URL: {error}"))
    })?;
    let checked = check(&text, next).and_then(|next| destination(&next).map(|_| next));
    checked.map(Some).map_err(|failure| {
        Failure::new(Code::Failed, format_args!("{url} redirects to a URL that cannot be fetched: {}", failure.message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_scheme_is_https() {
        for (text, expected) in [
            ("a.example", Some("https://a.example/")),
            ("a.example:8443/x", Some("https://a.example:8443/x")),
            ("http://a.example/", Some("http://a.example/")),
            ("HTTPS://a.example/", Some("https://a.example/")),
            ("a.example:1/?next=http://b.example/", Some("https://a.example:1/?next=http://b.example/")),
            ("a.example/#x://y", Some("https://a.example/#x://y")),
            ("[::1]:1/?http://b.example/", Some("https://[::1]:1/?http://b.example/")),
            ("ftp://a.example/", None),
            ("://a.example/", None),
            ("", None),
        ] {
            assert_eq!(parse(text).ok().map(String::from).as_deref(), expected, "{text}");
        }
    }
}
