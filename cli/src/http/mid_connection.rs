//! Servers that want to ask for a certificate in the middle of a connection, as Apache does for a directory. rustls does not let
//! them; OpenSSL does.

use std::error::Error as StdError;

use cardcase::raw::alert;
use hyper::StatusCode;
use rustls::{AlertDescription, HandshakeType, ProtocolVersion};

use crate::http::openssl;
use crate::ui::failure::Failure;

/// In which way a server wants to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// By renegotiating TLS 1.2.
    Renegotiation,
    /// By post-handshake authentication in TLS 1.3.
    PostHandshake,
    /// In one of these ways, over HTTP/1.1 alone.
    OverHttp11,
}

/// What Apache writes into the page with which it refuses a client that offers no post-handshake authentication.
const APACHE_PAGE: &str = "Cannot perform Post-Handshake Authentication";

impl Late {
    /// Of what ended a connection after its handshake.
    pub(crate) fn of_error(error: &(dyn StdError + 'static), version: Option<ProtocolVersion>) -> Option<Self> {
        if version == Some(ProtocolVersion::TLSv1_2) && alert(error) == Some(AlertDescription::HandshakeFailure) {
            return Some(Self::Renegotiation);
        }
        let mut next = Some(error);
        while let Some(error) = next {
            if error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) == Some(h2::Reason::HTTP_1_1_REQUIRED) {
                return Some(Self::OverHttp11);
            }
            if let Some(rustls::Error::InappropriateHandshakeMessage { got_type, .. }) = rustls_error(error)
                && *got_type == HandshakeType::CertificateRequest
            {
                return Some(Self::PostHandshake);
            }
            next = error.source();
        }
        None
    }

    /// Of a page, by what its body begins with.
    pub(crate) fn of_page(status: StatusCode, body: &str) -> Option<Self> {
        (status == StatusCode::FORBIDDEN && body.contains(APACHE_PAGE)).then_some(Self::PostHandshake)
    }

    /// Whether the server says by it that it did nothing of what was requested.
    pub(crate) fn is_unprocessed(self) -> bool {
        matches!(self, Self::PostHandshake | Self::OverHttp11)
    }

    /// What the server wants, one clause for a person.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Renegotiation => "it wants to ask for a certificate only now, by renegotiating TLS 1.2",
            Self::PostHandshake => "it wants to ask for a certificate only now, after the handshake of TLS 1.3",
            Self::OverHttp11 => "it wants HTTP/1.1, probably to ask for a certificate only now",
        }
    }

    /// What to do about it.
    pub(crate) fn hint(self) -> String {
        let next = match openssl::BUILT_IN {
            true => "with --tls openssl it can",
            false => "a cardcase built with `cargo install cardcase --features openssl` lets it",
        };
        format!("{}, which rustls does not let it; {next}", self.meaning())
    }

    /// The failure, with what is behind it.
    pub(crate) fn explain(self, failure: Failure) -> Failure {
        failure.hint(self.hint())
    }
}

/// I/O errors hide what they wrap from `source()`.
fn rustls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_wants_to_ask_later_is_known_by_how_it_fails() {
        let failed = |error: rustls::Error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        let handshake_failure = || failed(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure));
        let request = failed(rustls::Error::InappropriateHandshakeMessage {
            expect_types: Vec::new(),
            got_type: HandshakeType::CertificateRequest,
        });
        let (tls12, tls13) = (Some(ProtocolVersion::TLSv1_2), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(Late::of_error(&handshake_failure(), tls12), Some(Late::Renegotiation));
        assert_eq!(Late::of_error(&handshake_failure(), tls13), None);
        assert_eq!(Late::of_error(&request, tls13), Some(Late::PostHandshake));
        let http11 = h2::Error::from(h2::Reason::HTTP_1_1_REQUIRED);
        assert_eq!(Late::of_error(&http11, tls13), Some(Late::OverHttp11));
        assert_eq!(Late::of_error(&h2::Error::from(h2::Reason::CANCEL), tls13), None);
        let page = "Reason: Cannot perform Post-Handshake Authentication.<br />";
        assert_eq!(Late::of_page(StatusCode::FORBIDDEN, page), Some(Late::PostHandshake));
        assert_eq!(Late::of_page(StatusCode::FORBIDDEN, "no"), None);
    }
}
