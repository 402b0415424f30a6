//! Servers with which rustls has nothing in common: old cipher suites, key exchange by RSA, curves that it lacks. OpenSSL has
//! more. Nothing is decided or sent in a handshake that ends like that, so there is no harm in another one. Versions of TLS before
//! 1.2 are used with neither.

use std::error::Error as StdError;

use cardcase::connect::{self, Opened};
use cardcase::manage::{Answer, Certificate, KeyKind};
use cardcase::raw::{alert, causes, failure, invalid_certificate};
use cardcase::{Identity, Selector, Target};
use rustls::{AlertDescription, ProtocolVersion};

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

/// Why the identity that is given or remembered for a target takes a connection by OpenSSL, as one clause for a person; `None` if it
/// does not.
pub(crate) fn limit_of_identity(
    selector: &Selector,
    target: impl Into<Target>,
    given: Option<&Identity>,
) -> Result<Option<String>, Failure> {
    let limit = |identity: &Identity| identity.key_limit().filter(|_| identity.needs_openssl());
    if let Some(given) = given {
        return Ok(limit(given));
    }
    let prepared = selector.prepare(target)?;
    Ok(prepared.selection().and_then(|selection| match &selection.answer {
        Answer::Identity(identity) => limit(identity),
        Answer::None => None,
    }))
}

/// What a server uses, where it is not known which of these it is: one clause for a person.
pub(crate) const NOTHING_IN_COMMON: &str = "it uses a cipher suite, a curve or another part of TLS that rustls lacks";

/// Why OpenSSL may succeed where a handshake of rustls failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incompatible {
    /// The server ended the handshake before it asked, or rustls did not accept what it chose.
    Parameters,
    /// The server accepts the key of the identity only from a client that offers something that rustls lacks.
    Key(&'static str),
}

/// What a server on TLS 1.2 may miss in the ClientHello of rustls when it gets this certificate (RFC 8422 section 5.1): the curve of
/// its key among the groups, or its form among the point formats. One clause for a person.
fn missed_for(certificate: &Certificate) -> Option<&'static str> {
    match certificate.key() {
        KeyKind::EcP521 => Some("it wants key exchange over the curve of the identity, secp521r1"),
        KeyKind::EcP256 | KeyKind::EcP384 if !certificate.public_key().starts_with(&[UNCOMPRESSED]) => {
            Some("it wants a client that reads compressed points, as the certificate of the identity has one")
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

    /// Recognises it by the error of a handshake, and by what the server was sent in it.
    pub(crate) fn from_handshake(error: &(dyn StdError + 'static), opened: Option<&Opened>) -> Option<Self> {
        if failure(error).is_some() || invalid_certificate(error).is_some() || is_before_tls12(error) {
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

/// Whether a handshake ended because the server supports neither TLS 1.2 nor TLS 1.3: it says so by an alert (RFC 8446 section 6.2),
/// or chooses a version that was not offered.
pub(crate) fn is_before_tls12(error: &(dyn StdError + 'static)) -> bool {
    use rustls::PeerIncompatible as P;
    let chose_another = causes(error).any(|error| match error.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::PeerIncompatible(why)) => *why == P::ServerDoesNotSupportTls12Or13,
        Some(_) => false,
        None => chose_another_by_openssl(error),
    });
    chose_another || alert(error) == Some(AlertDescription::ProtocolVersion)
}

#[cfg(feature = "openssl")]
fn chose_another_by_openssl(error: &(dyn StdError + 'static)) -> bool {
    // SSL_R_UNSUPPORTED_PROTOCOL of sslerr.h, which the openssl crate has no name for
    const UNSUPPORTED_PROTOCOL: i32 = 258;
    let errors = error.downcast_ref::<::openssl::error::ErrorStack>().map_or(&[][..], |stack| stack.errors());
    errors.iter().any(|error| error.reason_code() == UNSUPPORTED_PROTOCOL)
}

#[cfg(not(feature = "openssl"))]
fn chose_another_by_openssl(_: &(dyn StdError + 'static)) -> bool {
    false
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
