//! URLs: which of them can be fetched, and where a response redirects to.

use cardcase::Destination;
use hyper::header;
use hyper::http::response::Parts;
use url::Url;

use crate::ui::failure::{Code, Failure};

/// Parses a URL that can be fetched: http or https, without user name and password. One without a scheme is https.
pub(crate) fn parse(text: &str) -> Result<Url, Failure> {
    let url = match text.contains("://") {
        true => Url::parse(text),
        false => Url::parse(&format!("https://{text}")),
    };
    check(text, url.map_err(|error| not_a_url(text, error))?)
}

fn check(text: &str, url: Url) -> Result<Url, Failure> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::usage(
            "the URL must not contain a user name or password: other users of this machine could see them",
        ));
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
