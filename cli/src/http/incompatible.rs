//! Servers with which rustls has nothing in common: old cipher suites, key exchange by RSA, curves that it lacks. OpenSSL has
//! more. Nothing is decided or sent in a handshake that ends like that, so there is no harm in another one.

use std::error::Error as StdError;

use cardcase::connect::{self, Opened};
use cardcase::manage::{Answer, KeyKind};
use cardcase::raw::{alert, causes, failure, invalid_certificate};
use rustls::ProtocolVersion;

use crate::cli::TlsLibrary;
use crate::ui::failure::Failure;

/// Fails when OpenSSL is demanded and not built in.
pub(crate) fn check_built_in(demanded: Option<TlsLibrary>) -> Result<(), Failure> {
    match demanded {
        Some(TlsLibrary::Openssl) if !cfg!(feature = "openssl") => {
            let failure = Failure::usage("--tls openssl: this cardcase was built without OpenSSL");
            Err(failure.hint("cargo install cardcase-cli --features openssl"))
        }
        _ => Ok(()),
    }
}

/// What a server uses, where it is not known which of these it is: one clause for a person.
pub(crate) const NOTHING_IN_COMMON: &str = "it uses a version of TLS, a cipher suite or a curve that rustls lacks";

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
pub(crate) const CURVE: &str = "it wants key exchange over the curve of the identity, secp521r1";

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

    /// Recognises it by the error of a handshake, and by what the server was sent in it.
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

/// Whether a handshake ended because the two sides agree on nothing: by an alert, or because rustls rejects what the server chose,
/// or without a word, as SChannel does.
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
