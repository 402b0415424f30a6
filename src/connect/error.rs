//! Why there is no connection, or no response: the same for every connector.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::answer::refusal::Refusal;
use crate::connect::needs::{Needs, needs};
use crate::connect::opened::Opened;
use crate::connect::refusal::{alert, causes, failure, invalid_certificate};
use crate::error;
use crate::request::Destination;
use crate::select::selector::Selector;

/// Why there is no connection, or no response, as far as the client certificate is concerned. Found by [`cause`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause<'a> {
    /// The server, which was verified, asks for a certificate, and nothing is decided; or the vault must be unlocked. After an error
    /// of [`config`](crate::connect::config), a person is asked in the background: connect again. With the four calls, call
    /// [`grant`](crate::raw::grant), and connect again.
    Needs(&'a Needs),
    /// This library failed, so nothing was sent. [`Error::NobodyToAsk`](error::Error::NobodyToAsk): nothing is decided, and there is
    /// nobody to ask. [`Error::Aborted`](error::Error::Aborted): the person did not want to answer.
    Failed(&'a error::Error),
    /// The server refused what it was sent.
    Refused(Refusal),
}

/// Finds why there is no connection, or no response, in the error of a client: of a connector, of rustls, or in any error that
/// keeps it as its cause, such as those of hyper-util, reqwest and ureq. tonic loses refusals, and quinn loses every cause:
/// docs/clients.md has recipes. `None` if it has nothing to do with the client certificate.
///
/// # Example
///
/// ```
/// use cardcase::Error;
/// use cardcase::connect::{Cause, cause};
///
/// fn advice(error: &(dyn std::error::Error + 'static)) -> String {
///     match cause(error) {
///         Some(Cause::Needs(_)) => "a person is asked; try again".to_owned(),
///         Some(Cause::Failed(Error::NobodyToAsk { destination, .. })) => format!("decide for {destination} first"),
///         Some(Cause::Failed(error)) => error.to_string(),
///         Some(Cause::Refused(refusal)) => format!("the server refused the certificate: {refusal}"),
///         _ => "check the network".to_owned(),
///     }
/// }
///
/// let error = Error::NobodyToAsk { destination: "intranet.example.com:443".to_owned(), remembered: None };
/// assert_eq!(advice(&std::io::Error::other(error)), "decide for intranet.example.com:443 first");
/// ```
#[must_use]
pub fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<Cause<'a>> {
    if let Some(needs) = needs(error) {
        return Some(Cause::Needs(needs));
    }
    if let Some(error) = failure(error) {
        return Some(Cause::Failed(error));
    }
    refusal(error).map(Cause::Refused)
}

/// Finds the refusal of a server in an error of a connector, of rustls, or in any error around it: of I/O, of an HTTP library, of
/// a client. An error of a connector knows the connection ([`Error::refusal`]). Any other shows an alert alone, which is a
/// refusal if it is always about a certificate; for the rest, see [`Opened::ended_by`].
pub(crate) fn refusal(error: &(dyn StdError + 'static)) -> Option<Refusal> {
    let ours = causes(error).find_map(|error| error.downcast_ref::<Error>()).and_then(Error::opened);
    match ours {
        Some(opened) => opened.refusal(),
        None => alert(error).and_then(Refusal::from_alert),
    }
}

/// Why a connector gave no connection, or a client no response.
///
/// Its methods look at all causes: whether the server [refused](Self::refusal) what it was sent, whether this library
/// [failed](Self::failure), whether the server [cannot be verified](Self::invalid_certificate), and what was
/// [sent and asked](Self::opened).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Dialling failed, so nothing was sent. Check the address, the network and the proxy. The error is the one that the
    /// dialling function returned.
    #[error("{0}")]
    Dial(#[source] io::Error),
    /// The TLS handshake failed. When the server refused the identity, choose another with
    /// [`Selector::select_again`]; when it cannot be verified, check the roots of the configuration.
    #[error("{source}")]
    Handshake {
        /// What went wrong.
        source: io::Error,
        /// What the server asked for, and what it was sent: nothing, unless the server was verified.
        opened: Opened,
    },
    /// The selection failed, so nothing was sent. Each variant of the error inside says what to do.
    #[error("{0}")]
    Selection(#[from] error::Error),
    /// The request failed on an open connection, or the HTTP library could not send it. When the server refused the identity,
    /// choose another with [`Selector::select_again`]; else treat it as any error of that library.
    #[error("{source}")]
    Request {
        /// What went wrong: the alert of the server, or the error of the HTTP library.
        source: Box<dyn StdError + Send + Sync>,
        /// The connection, where it is known which one it was.
        opened: Option<Opened>,
    },
    /// The answer to the server's certificate request is decided now, but the body of the HTTP request, a stream, is consumed.
    /// Send the request again.
    #[error("what to send to {destination} is decided now; send the request again")]
    SendAgain {
        /// The server that asked for a certificate.
        destination: Destination,
    },
    /// The proxy speaks TLS, and the HTTP library has one TLS configuration for the proxy and the destination, so the proxy would see
    /// the identity of the destination. Nothing was sent. Use a proxy that is spoken to without TLS, or `connect::hyper`.
    #[error(
        "the proxy {proxy} speaks TLS, and would see the identity of {destination}; nothing was sent. Use an http:// proxy"
    )]
    TlsProxy {
        /// The URL of the proxy.
        proxy: String,
        /// Where the request goes.
        destination: Destination,
    },
    /// The servers redirect without end. The fault is theirs.
    #[error("more than {limit} redirects")]
    TooManyRedirects {
        /// The redirects that were followed.
        limit: usize,
    },
}

impl Error {
    /// The connection that failed: what the server asked for and what it was sent. `None` where there was no connection yet, or
    /// where the HTTP library does not say which one it was.
    pub fn opened(&self) -> Option<&Opened> {
        match self {
            Self::Handshake { opened, .. } => Some(opened),
            Self::Request { source, opened } => opened
                .as_ref()
                .or_else(|| causes(&**source).find_map(|error| error.downcast_ref::<Self>()).and_then(Self::opened)),
            _ => None,
        }
    }

    /// The alert by which the server ended the connection.
    pub fn alert(&self) -> Option<AlertDescription> {
        self.opened().and_then(Opened::alert).or_else(|| alert(self))
    }

    /// How the server refused what it was sent, if it did ([`Opened::refusal`]).
    pub fn refusal(&self) -> Option<Refusal> {
        refusal(self)
    }

    /// The error of this library behind it, which says what to do; then nothing was sent.
    pub fn failure(&self) -> Option<&error::Error> {
        failure(self)
    }

    /// Why the server's own certificate was not accepted.
    pub fn invalid_certificate(&self) -> Option<&CertificateError> {
        invalid_certificate(self)
    }

    /// Records that the server refused what it was sent, if it did so in the handshake. In chrome mode a remembered answer is
    /// forgotten by that, so that the next request asks. Writes to the store; an error of that is ignored.
    pub fn record_refusal(&self, selector: &Selector) {
        if let Self::Handshake { opened, .. } = self {
            opened.record_refusal(selector);
        }
    }

    /// An error of a runtime that is shutting down, before anything was sent.
    #[cfg(feature = "tokio")]
    pub(super) fn shut_down(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Dial(io::Error::other(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_connection_only_an_alert_about_a_certificate_is_a_refusal() {
        let wrap =
            |alert| io::Error::other(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::AlertReceived(alert)));
        let unknown_ca = wrap(AlertDescription::UnknownCA);
        assert_eq!(refusal(&unknown_ca), Some(Refusal::Alert(AlertDescription::UnknownCA)));
        assert_eq!(refusal(&wrap(AlertDescription::InternalError)), None);
        assert_eq!(refusal(&io::Error::from(io::ErrorKind::BrokenPipe)), None);
    }
}
