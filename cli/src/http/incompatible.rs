//! Servers with which rustls has nothing in common: they use old cipher suites, RSA key exchange, or curves that it lacks.
//! OpenSSL supports more. In a handshake that ends like that nothing was decided or sent, so another one does no harm.

use std::error::Error as StdError;

use cardcase::connect::{self, Opened};
use cardcase::manage::{Answer, KeyKind};
use cardcase::raw::{alert, causes, failure, invalid_certificate};
use rustls::ProtocolVersion;

use crate::cli::TlsLibrary;
use crate::ui::failure::Failure;

/// Fails if `--tls openssl` is given, and OpenSSL is not built in.
pub(crate) fn check_built_in(given: Option<TlsLibrary>) -> Result<(), Failure> {
    match given {
        Some(TlsLibrary::Openssl) if !cfg!(feature = "openssl") => {
            let failure = Failure::usage("--tls openssl: this cardcase was built without OpenSSL");
            Err(failure.hint("to build it with OpenSSL: cargo install cardcase-cli --features openssl"))
        }
        _ => Ok(()),
    }
}

/// What a server uses, if it is not known which of these, as one clause for a person.
pub(crate) const NOTHING_IN_COMMON: &str = "it uses an unusual version of TLS, cipher suite or curve";

/// Why OpenSSL may succeed where a handshake of rustls failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incompatible {
    /// The server ended the handshake before it asked, or rustls did not accept what it chose.
    Parameters,
    /// The server wants the curve of the identity among the groups for the key exchange (RFC 8422 section 5.1), and rustls does
    /// not have it.
    Curve,
}

/// What [`Incompatible::Curve`] means, as one clause for a person.
pub(crate) const CURVE: &str =
    "in TLS 1.2 it accepts this identity only if its curve, secp521r1, is offered for key exchange";

impl Incompatible {
    /// What the server does, as one clause for a person.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Parameters => NOTHING_IN_COMMON,
            Self::Curve => CURVE,
        }
    }

    /// Recognises it by the error of a connector; `None` where OpenSSL would fail too.
    pub(crate) fn from_error(error: &connect::Error) -> Option<Self> {
        match error {
            connect::Error::Handshake { source, opened } => Self::from_handshake(source, Some(opened)),
            _ => None,
        }
    }

    /// Recognises it by the error of a handshake, and by what was sent to the server.
    pub(crate) fn from_handshake(error: &(dyn StdError + 'static), opened: Option<&Opened>) -> Option<Self> {
        if failure(error).is_some() || invalid_certificate(error).is_some() {
            return None;
        }
        match opened.and_then(Opened::selection).map(|selection| selection.answer) {
            None => is_by_parameters(error).then_some(Self::Parameters),
            Some(Answer::Identity(identity)) => {
                let is_old = opened.and_then(Opened::version) == Some(ProtocolVersion::TLSv1_2);
                let is_lacking = *identity.certificate().key() == KeyKind::EcP521;
                (is_old && is_lacking && alert(error).is_some()).then_some(Self::Curve)
            }
            Some(Answer::None) => None,
        }
    }
}

/// Whether a handshake ended because the two sides have nothing in common: with an alert, because rustls rejects what the
/// server chose, or without an alert, as with Schannel.
fn is_by_parameters(error: &(dyn StdError + 'static)) -> bool {
    use std::io::ErrorKind as K;
    let mut hung_up = false;
    for error in causes(error) {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            use rustls::Error as E;
            return matches!(error, E::AlertReceived(_) | E::PeerIncompatible(_) | E::PeerMisbehaved(_));
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            hung_up = matches!(io.kind(), K::UnexpectedEof | K::ConnectionReset | K::BrokenPipe | K::ConnectionAborted);
        }
    }
    hung_up
}
