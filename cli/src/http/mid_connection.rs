//! Servers that ask for a certificate in the middle of a connection, as Apache does for a directory. rustls does not support this;
//! OpenSSL does.

use std::error::Error as StdError;

use cardcase::Destination;
use cardcase::connect::Opened;
use cardcase::raw::causes;
use hyper::StatusCode;
use rustls::HandshakeType;

use crate::ui::failure::{Code, Failure};
use crate::ui::remedy;

/// How a server tries to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MidConnection {
    /// By renegotiating TLS 1.2.
    Renegotiation,
    /// By post-handshake authentication in TLS 1.3.
    PostHandshake,
    /// In one of these ways, which exist over HTTP/1.1 only.
    OverHttp11,
}

/// Apache's error page for a client that does not offer post-handshake authentication contains this.
const APACHE_PAGE: &str = "Cannot perform Post-Handshake Authentication";

impl MidConnection {
    /// Recognises it by the connection, and by the error that ended it after its handshake.
    pub(crate) fn from_error(error: &(dyn StdError + 'static), opened: Option<&Opened>) -> Option<Self> {
        if opened.is_some_and(Opened::renegotiates) {
            return Some(Self::Renegotiation);
        }
        for error in causes(error) {
            if error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) == Some(h2::Reason::HTTP_1_1_REQUIRED) {
                return Some(Self::OverHttp11);
            }
            if let Some(rustls::Error::InappropriateHandshakeMessage { got_type, .. }) = error.downcast_ref()
                && *got_type == HandshakeType::CertificateRequest
            {
                return Some(Self::PostHandshake);
            }
        }
        None
    }

    /// Recognises it by the start of an error page.
    pub(crate) fn from_page(status: StatusCode, body: &str) -> Option<Self> {
        (status == StatusCode::FORBIDDEN && body.contains(APACHE_PAGE)).then_some(Self::PostHandshake)
    }

    /// Whether the server says in this way that it did not process the request.
    pub(crate) fn is_unprocessed(self) -> bool {
        matches!(self, Self::PostHandshake | Self::OverHttp11)
    }

    /// What the server does, as one clause for a person.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Renegotiation => {
                "it asks for a certificate in the middle of the connection, by renegotiation in TLS 1.2"
            }
            Self::PostHandshake => {
                "it asks for a certificate in the middle of the connection, after the handshake in TLS 1.3"
            }
            Self::OverHttp11 => {
                "it requires HTTP/1.1, probably to ask for a certificate in the middle of the connection"
            }
        }
    }

    /// What the server does, why it fails, and what to do.
    pub(crate) fn hint(self) -> String {
        format!("{}, which rustls does not support; {}", self.meaning(), remedy::use_openssl())
    }

    /// The failure if OpenSSL cannot be used instead; `why` says why not.
    pub(crate) fn explain(self, destination: &Destination, why: Option<&str>) -> Failure {
        let message = format!("{destination}: {}, which rustls does not support", self.meaning());
        let failure = Failure::new(Code::Failed, message).hint(remedy::use_openssl());
        match why {
            Some(why) => failure.hint(why),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_asks_mid_connection_is_recognised_by_how_it_fails() {
        let error = rustls::Error::InappropriateHandshakeMessage {
            expect_types: Vec::new(),
            got_type: HandshakeType::CertificateRequest,
        };
        let request = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        assert_eq!(MidConnection::from_error(&request, None), Some(MidConnection::PostHandshake));
        let http11 = h2::Error::from(h2::Reason::HTTP_1_1_REQUIRED);
        assert_eq!(MidConnection::from_error(&http11, None), Some(MidConnection::OverHttp11));
        assert_eq!(MidConnection::from_error(&h2::Error::from(h2::Reason::CANCEL), None), None);
        let page = "Reason: Cannot perform Post-Handshake Authentication.<br />";
        assert_eq!(MidConnection::from_page(StatusCode::FORBIDDEN, page), Some(MidConnection::PostHandshake));
        assert_eq!(MidConnection::from_page(StatusCode::FORBIDDEN, "no"), None);
    }
}
