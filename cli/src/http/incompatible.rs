//! Servers with which rustls has nothing in common: they use old cipher suites, RSA key exchange, or curves that it lacks.
//! OpenSSL supports more. In a handshake that ends like that nothing was decided or sent, so another one does no harm. Neither
//! library is used for versions of TLS before 1.2.

use std::error::Error as StdError;

use cardcase::connect::{self, Cause, Opened, cause};
use cardcase::manage::{Answer, Certificate, KeyKind};
use cardcase::raw::{alert, causes, invalid_certificate};
use cardcase::{Destination, Identity, Selector, Target};
use rustls::{AlertDescription, ProtocolVersion};

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

/// Why the identity that is given or remembered for a target needs a connection over OpenSSL, for a person; `None` if it does not.
pub(crate) fn limit_of_identity(
    selector: &Selector,
    target: impl Into<Target>,
    given: Option<&Identity>,
) -> Result<Option<String>, Failure> {
    let limit = |identity: &Identity| {
        let limit = identity.key_limit().filter(|_| identity.needs_openssl());
        limit.map(|limit| format!("{:?}: {limit}", identity.name()))
    };
    if let Some(given) = given {
        return Ok(limit(given));
    }
    let prepared = selector.prepare(target)?;
    Ok(prepared.selection().and_then(|selection| match &selection.answer {
        Answer::Identity(identity) => limit(identity),
        Answer::None => None,
    }))
}

/// The message for what a server does, a clause for a person, where only OpenSSL supports it.
pub(crate) fn unsupported(destination: &Destination, what: &str) -> String {
    format!("{destination}: {what}; rustls does not support that")
}

/// What a server uses, if it is not known which of these, as one clause for a person.
pub(crate) const NOTHING_IN_COMMON: &str = "it uses an unusual cipher suite, curve or other part of TLS";

/// Why OpenSSL may succeed where a handshake of rustls failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incompatible {
    /// The server ended the handshake before it asked, or rustls did not accept what it chose.
    Parameters,
    /// The server accepts the key of the identity only from a client that offers something that rustls lacks.
    Key(&'static str),
}

/// What a server on TLS 1.2 may miss in the ClientHello of rustls when it gets this certificate (RFC 8422 section 5.1): the curve of
/// its key among the groups, or the form of its key among the point formats. One clause for a person.
fn missed_for(certificate: &Certificate) -> Option<&'static str> {
    match certificate.key() {
        KeyKind::EcP521 => {
            Some("in TLS 1.2 it accepts this identity only if its curve, secp521r1, is offered for key exchange")
        }
        KeyKind::EcP256 | KeyKind::EcP384 if !certificate.public_key().starts_with(&[UNCOMPRESSED]) => {
            Some("in TLS 1.2 it accepts this identity only if compressed points are offered")
        }
        _ => None,
    }
}

/// How an uncompressed point begins (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

impl Incompatible {
    /// What the server does, as one clause for a person.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Parameters => NOTHING_IN_COMMON,
            Self::Key(missed) => missed,
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
        if matches!(cause(error), Some(Cause::Failed(_)))
            || invalid_certificate(error).is_some()
            || is_before_tls12(error)
        {
            return None;
        }
        match opened.and_then(Opened::selection).map(|selection| selection.answer) {
            None => is_by_parameters(error).then_some(Self::Parameters),
            Some(Answer::Identity(identity)) => {
                let is_old = opened.and_then(Opened::version) == Some(ProtocolVersion::TLSv1_2);
                missed_for(identity.certificate()).filter(|_| is_old && alert(error).is_some()).map(Self::Key)
            }
            Some(Answer::None) => None,
        }
    }
}

/// Whether a handshake ended because the server supports neither TLS 1.2 nor TLS 1.3: it says so with an alert (RFC 8446 section
/// 6.2), or chooses a version that was not offered.
pub(crate) fn is_before_tls12(error: &(dyn StdError + 'static)) -> bool {
    use rustls::PeerIncompatible as P;
    let chose_another = causes(error)
        .filter_map(|error| error.downcast_ref::<rustls::Error>())
        .any(|error| matches!(error, rustls::Error::PeerIncompatible(why) if *why == P::ServerDoesNotSupportTls12Or13));
    chose_another || alert(error) == Some(AlertDescription::ProtocolVersion)
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
