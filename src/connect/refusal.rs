//! What an error says about a connection: the alert and the refusal of the server, why the server is not trusted, and what
//! failed on our side.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, OtherError};

use crate::certificate::Certificate;
use crate::connect::unverified::Unverified;
use crate::error::Error;

/// Finds the alert that the other side sent, in an error of rustls or in any error around it.
#[must_use]
pub fn alert(error: &(dyn StdError + 'static)) -> Option<AlertDescription> {
    let found = find(error, |rustls| match rustls {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    });
    found.or_else(|| causes(error).filter_map(<dyn StdError>::downcast_ref).find_map(alert_in_text))
}

/// The alert that an error of I/O tells of by its text, which is all that HTTP/2 (h2) keeps of an error.
fn alert_in_text(error: &io::Error) -> Option<AlertDescription> {
    let text = (error.kind() == io::ErrorKind::InvalidData).then(|| error.to_string())?;
    (0..=u8::MAX).map(AlertDescription::from).find(|alert| rustls::Error::AlertReceived(*alert).to_string() == text)
}

/// Finds an error of this library, in any error around it.
pub(crate) fn failure<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// Finds why the server's own certificate was not accepted, in an error of rustls or in any error around it.
#[must_use]
pub fn invalid_certificate<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a CertificateError> {
    let found = find(error, |rustls| match rustls {
        rustls::Error::InvalidCertificate(error) => Some(error),
        _ => None,
    })?;
    Some(unverified(found).map_or(found, |unverified| &unverified.error))
}

/// Finds why the server's own certificate was not accepted, as one clause for a person. Only errors of
/// [`server_verifier`](crate::raw::server_verifier) and of the connector of OpenSSL have it.
#[must_use]
pub fn why_unverified<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a str> {
    find_unverified(error).map(|unverified| unverified.why.as_str())
}

/// Finds the server's own certificate that was not accepted, in the errors that have [`why_unverified`].
#[must_use]
pub fn unverified_certificate<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Certificate> {
    find_unverified(error)?.certificate.as_ref()
}

fn find_unverified<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Unverified> {
    find(error, |rustls| match rustls {
        rustls::Error::InvalidCertificate(error) => unverified(error),
        _ => None,
    })
}

fn unverified(error: &CertificateError) -> Option<&Unverified> {
    match error {
        CertificateError::Other(OtherError(other)) => other.downcast_ref(),
        _ => None,
    }
}

/// Whether an error means that the other side ended the connection, without an alert.
pub(crate) fn is_hang_up(error: &(dyn StdError + 'static)) -> bool {
    // Of all errors of I/O, only the innermost says what happened
    let innermost = causes(error).filter_map(|error| error.downcast_ref::<io::Error>()).last();
    let is_other_error = causes(error).any(|error| error.is::<rustls::Error>());
    #[cfg(feature = "reqwest")]
    if causes(error).any(|error| error.downcast_ref().is_some_and(::hyper::Error::is_incomplete_message)) {
        return true;
    }
    !is_other_error
        && innermost.is_some_and(|error| is_closed(error.kind()) || error.kind() == io::ErrorKind::UnexpectedEof)
}

/// Whether reading or writing failed because the other side has closed.
pub(crate) fn is_closed(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted)
}

/// The status of a response of HTTP/1, from its first bytes.
#[cfg(feature = "ureq")]
pub(crate) fn http1_status(response: &[u8]) -> Option<u16> {
    let status = response.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

/// Looks for an error of rustls in an error and all its causes.
pub(crate) fn find<'a, T>(
    error: &'a (dyn StdError + 'static),
    look: impl Fn(&'a rustls::Error) -> Option<T>,
) -> Option<T> {
    causes(error).find_map(|error| error.downcast_ref().and_then(&look))
}

/// An error and all its causes, outermost first. `source()` does not show what errors of I/O, of rustls and of ureq wrap, nor what
/// is shared.
#[must_use = "iterators are lazy"]
pub fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| hidden(error).or_else(|| error.source()))
}

/// The cause that an error does not give as its `source()`.
fn hidden<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.get_ref().map(|inner| inner as _);
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return match error {
            rustls::Error::Other(OtherError(inner))
            | rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => Some(&**inner),
            _ => None,
        };
    }
    #[cfg(feature = "ureq")]
    match error.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::Io(inner)) => return Some(inner),
        Some(ureq::Error::Other(inner)) => return Some(&**inner),
        _ => {}
    }
    shared::<io::Error>(error).or_else(|| shared::<rustls::Error>(error)).or_else(|| shared::<Error>(error))
}

/// What `Arc` shares: its `source()` is that of the error inside.
fn shared<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    error.downcast_ref::<Arc<E>>().map(|inner| &**inner as _)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_found_however_deep() {
        let error = rustls::Error::AlertReceived(AlertDescription::InternalError);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(alert(&wrapped), Some(AlertDescription::InternalError));
        assert!(!is_hang_up(&wrapped));
        assert!(crate::connect::needs::needs(&wrapped).is_none());
    }

    #[test]
    fn an_alert_is_found_where_only_its_text_is_left() {
        for alert in [AlertDescription::CertificateRequired, AlertDescription::UnknownCA, AlertDescription::Unknown(77)]
        {
            let text = rustls::Error::AlertReceived(alert).to_string();
            assert_eq!(super::alert(&io::Error::new(io::ErrorKind::InvalidData, text.clone())), Some(alert));
            assert_eq!(super::alert(&io::Error::other(text)), None);
        }
        assert_eq!(alert(&io::Error::new(io::ErrorKind::InvalidData, "received nothing")), None);
    }

    #[test]
    fn only_the_other_side_hangs_up() {
        use io::ErrorKind as K;
        for (kind, expected) in [
            (K::ConnectionReset, true),
            (K::BrokenPipe, true),
            (K::ConnectionAborted, true),
            (K::UnexpectedEof, true),
            (K::TimedOut, false),
            (K::WouldBlock, false),
            (K::NetworkUnreachable, false),
            (K::ConnectionRefused, false),
            (K::Other, false),
        ] {
            assert_eq!(is_hang_up(&io::Error::from(kind)), expected, "{kind}");
            assert_eq!(is_hang_up(&io::Error::other(io::Error::from(kind))), expected, "{kind}");
            // An error of our own is one, whatever kind is put around it
            assert!(!is_hang_up(&io::Error::new(kind, rustls::Error::DecryptError)), "{kind}");
        }
    }

    #[test]
    #[cfg(feature = "ureq")]
    fn the_status_of_a_response_is_read_from_its_first_line() {
        assert_eq!(http1_status(b"HTTP/1.1 400 Bad Request\r\n"), Some(400));
        assert_eq!(http1_status(b"HTTP/1.0 200"), Some(200));
        assert_eq!(http1_status(b"<html>"), None);
        assert_eq!(http1_status(b"HTTP/1.1"), None);
    }
}
