//! Errors of TLS and of connections, in words for a person: the texts of rustls use the names in its source code.

use std::error::Error as StdError;
use std::io;

use cardcase::raw::{alert_name, causes};
use rustls::{CertificateError, Error, OtherError};

/// What went wrong, with its causes, outermost first; for an error of TLS or of the system, that alone.
pub(crate) fn told(error: &(dyn StdError + 'static)) -> String {
    let mut all = Vec::new();
    for error in causes(error) {
        if let Some(rustls) = error.downcast_ref::<Error>() {
            return of_rustls(rustls);
        }
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof) {
            return "the server closed the connection".to_owned();
        }
        // The system's text for the time-out of a socket is "Resource temporarily unavailable"
        if io.is_some_and(is_system_timeout) {
            return "no answer in time".to_owned();
        }
        // An error of I/O that wraps another shows that one's text
        if io.and_then(io::Error::get_ref).is_none() {
            all.push(error.to_string());
        }
    }
    all.dedup_by(|next, before| before.contains(next.as_str()));
    all.join(": ")
}

fn is_system_timeout(error: &io::Error) -> bool {
    error.raw_os_error().is_some() && matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn of_rustls(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => format!("the server ended the connection with the alert {}", alert_name(*alert)),
        Error::InvalidMessage(_) => "what the server sent is not TLS".to_owned(),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the server sent an unexpected TLS message".to_owned()
        }
        Error::PeerIncompatible(_) => "the server and rustls have no TLS parameters in common".to_owned(),
        Error::PeerMisbehaved(_) | Error::PeerSentOversizedRecord => "the server violates the TLS protocol".to_owned(),
        Error::DecryptError => {
            "what the server sent cannot be decrypted; something on the way may have changed it".to_owned()
        }
        Error::NoApplicationProtocol => "the server supports none of the protocols that were offered (ALPN)".to_owned(),
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::Other(OtherError(error)) => told(&**error),
        Error::General(text) => text.clone(),
        Error::FailedToGetCurrentTime => "the clock of this machine is before 1970".to_owned(),
        Error::FailedToGetRandomBytes => "the system does not provide random numbers".to_owned(),
        Error::UnsupportedNameType => "a certificate cannot hold the server's name".to_owned(),
        Error::InvalidCertRevocationList(_) => "a revocation list cannot be read".to_owned(),
        _ => "the TLS handshake failed".to_owned(),
    }
}

/// Why a server's certificate is not accepted, in one clause.
fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::BadEncoding => "its certificate is damaged",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not yet valid"
        }
        CertificateError::Revoked => "its certificate was revoked",
        CertificateError::UnhandledCriticalExtension => {
            "its certificate has a critical extension that is not supported"
        }
        CertificateError::UnknownIssuer => "its certificate was issued by an unknown authority",
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "it is not known whether its certificate was revoked"
        }
        CertificateError::NotValidForName => "its certificate is for another name",
        CertificateError::NotValidForNameContext { presented, .. } => {
            return match presented.is_empty() {
                true => "its certificate names no server".to_owned(),
                false => format!("its certificate is for another name: {}", presented.join(", ")),
            };
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for servers"
        }
        CertificateError::InvalidOcspResponse => "its OCSP response is not valid",
        CertificateError::ApplicationVerificationFailure => "its certificate is not accepted",
        CertificateError::Other(OtherError(error)) => return told(&**error),
        // A signature that is wrong, or made by an algorithm that is not supported
        _ => "the signature on its certificate, or by its key, cannot be verified",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{AlertDescription, ContentType, HandshakeType, InvalidMessage, PeerIncompatible, PeerMisbehaved};

    use super::*;

    /// Finds what only Rust's `Debug` writes: names of variants, byte arrays, `Some(..)`, object identifiers.
    fn rust_in(text: &str) -> Option<String> {
        let words = text.split(|c: char| !(c.is_alphanumeric() || "_(){}[].".contains(c)));
        let is_name = |word: &str| {
            // A name in CamelCase, such as HandshakeFailure, that is not the name of a product
            let humps =
                word.chars().zip(word.chars().skip(1)).filter(|(a, b)| a.is_lowercase() && b.is_uppercase()).count();
            let known = ["OpenSSL", "GnuTLS", "HelloRequest"];
            humps > 0 && !known.iter().any(|known| word.contains(known))
        };
        let is_debug = |word: &str| {
            ["Some(", "None)", "Ok(", "Err(", "Error(", "Unknown(", "[0", "{ "].iter().any(|sign| word.contains(sign))
        };
        let is_oid = |word: &str| {
            let word = word.trim_matches(|c: char| !c.is_ascii_digit());
            word.split('.').count() > 4 && word.split('.').all(|arc| arc.chars().all(|c| c.is_ascii_digit()))
        };
        words.map(str::trim).find(|word| is_name(word) || is_debug(word) || is_oid(word)).map(str::to_owned)
    }

    #[track_caller]
    fn assert_plain(text: &str) {
        assert_eq!(rust_in(text), None, "in: {text}");
        assert!(!text.is_empty());
    }

    #[test]
    fn the_names_of_rust_are_found() {
        for text in [
            "received fatal alert: HandshakeFailure",
            "invalid peer certificate: Other(OtherError(x))",
            "peer is incompatible: NoCipherSuitesInCommon",
            "extended key usage [1.3.6.1.5.5.7.3.2]",
            "bytes [0, 1]",
        ] {
            assert!(rust_in(text).is_some(), "{text}");
        }
        assert_plain(
            "localhost:1: the server ended the connection with the alert handshake_failure (OpenSSL, 127.0.0.1)",
        );
    }

    fn every_certificate_error() -> Vec<CertificateError> {
        use CertificateError as E;
        let (now, name) = (UnixTime::now(), ServerName::try_from("a.example").unwrap());
        vec![
            E::BadEncoding,
            E::Expired,
            E::ExpiredContext { time: now, not_after: now },
            E::NotValidYet,
            E::NotValidYetContext { time: now, not_before: now },
            E::Revoked,
            E::UnhandledCriticalExtension,
            E::UnknownIssuer,
            E::UnknownRevocationStatus,
            E::ExpiredRevocationList,
            E::ExpiredRevocationListContext { time: now, next_update: now },
            E::BadSignature,
            E::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![1, 2],
                supported_algorithms: Vec::new(),
            },
            E::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: vec![1, 2],
                public_key_algorithm_id: vec![3],
            },
            E::NotValidForName,
            E::NotValidForNameContext { expected: name, presented: vec!["b.example".to_owned()] },
            E::InvalidPurpose,
            E::InvalidPurposeContext {
                required: rustls::ExtendedKeyPurpose::ServerAuth,
                presented: vec![rustls::ExtendedKeyPurpose::Other(vec![1, 3, 6, 1])],
            },
            E::InvalidOcspResponse,
            E::ApplicationVerificationFailure,
            E::Other(OtherError(Arc::new(io::Error::other("CA certificate key too small")))),
        ]
    }

    fn every_rustls_error() -> Vec<Error> {
        let mut all: Vec<Error> =
            (0..=u8::MAX).map(|number| Error::AlertReceived(AlertDescription::from(number))).collect();
        all.extend(every_certificate_error().into_iter().map(Error::InvalidCertificate));
        all.extend([
            Error::InappropriateMessage {
                expect_types: vec![ContentType::Handshake],
                got_type: ContentType::ApplicationData,
            },
            Error::InappropriateHandshakeMessage {
                expect_types: vec![HandshakeType::Finished],
                got_type: HandshakeType::HelloRequest,
            },
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::NoCertificatesPresented,
            Error::UnsupportedNameType,
            Error::DecryptError,
            Error::EncryptError,
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite),
            Error::General("the key makes no signature".to_owned()),
            Error::FailedToGetCurrentTime,
            Error::FailedToGetRandomBytes,
            Error::HandshakeNotComplete,
            Error::PeerSentOversizedRecord,
            Error::NoApplicationProtocol,
            Error::BadMaxFragmentSize,
            Error::Other(OtherError(Arc::new(cardcase::Error::VaultLocked))),
        ]);
        all
    }

    #[test]
    fn no_error_of_tls_shows_names_of_rust() {
        for error in every_rustls_error() {
            assert_plain(&told(&error));
            assert_plain(&told(&io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        for number in 1..134 {
            assert_plain(&told(&io::Error::from_raw_os_error(number)));
        }
        assert_plain(&told(&io::Error::new(io::ErrorKind::UnexpectedEof, "UnexpectedEof")));
    }

    fn every_error_of_files() -> Vec<cardcase::file::Error> {
        use cardcase::file::Error as E;
        let text = || "x".to_owned();
        vec![
            E::Unrecognised { found: Some(text()) },
            E::NamesFiles { files: vec![text(), text()] },
            E::NothingUseful { found: text() },
            E::Truncated { at: 1, missing: 2 },
            E::UnterminatedBlock { label: "CERTIFICATE".to_owned(), line: 1 },
            E::Block { label: "CERTIFICATE".to_owned(), line: 1, what: text() },
            E::TrailingBytes { count: 2 },
            E::Damaged { what: "x" },
            E::Certificate { detail: text() },
            E::WrongPassword,
            E::ContentPassword,
            E::SeveralPasswords,
            E::Unsupported { what: "cipher", name: text(), advice: "x" },
            E::TooCostly { what: "rounds", value: u64::MAX, limit: 1 },
            E::Writing { detail: text() },
        ]
    }

    fn every_error_of_the_library() -> Vec<cardcase::Error> {
        use cardcase::Error as E;
        let text = || "x".to_owned();
        let path = || std::path::PathBuf::from("/x");
        let source = || Box::new(io::Error::from(io::ErrorKind::PermissionDenied));
        let mut all = vec![
            E::Certificate { detail: text() },
            E::EmptyFile,
            E::KeyWithoutCertificate { name: Some(text()), file: 0 },
            E::CertificateWithoutKey { subject: text(), file: 0 },
            E::Subject { subject: text(), reason: text() },
            E::KeyNotMade { detail: text() },
            E::KeyMismatch { subject: text() },
            E::UnusableKey { key: text(), detail: text() },
            E::InFile { error: cardcase::file::Error::WrongPassword, file: 0 },
            E::SealedKey { name: text() },
            E::VaultReplaced { name: text(), id: text() },
            E::SharedDirectory { directory: path(), reason: text() },
            E::NotAuthentic { what: text() },
            E::VaultDamaged { detail: text() },
            E::VaultLocked,
            E::AgentKeepsKeys,
            E::CannotAsk { detail: text() },
            E::Declined,
            E::Keyring { detail: text() },
            E::WrongPrimaryPassword,
            E::PasswordChanged,
            E::StoreChanged,
            E::Agent { detail: text() },
            E::Sealing { detail: text() },
            E::Io { path: path(), source: *source() },
            E::Store { path: path(), source: source() },
            E::StoreBusy { path: path() },
            E::StoreFull { path: path() },
            E::StoreReadOnly { path: path(), place: path() },
            E::NotAStore { path: path(), detail: text() },
            E::NotYours { path: path(), reason: text() },
            E::NewerStore { path: path(), found: 2, known: 1 },
            E::NoDataDirectory,
            E::StoreDamaged { detail: text() },
            E::Name { name: text(), reason: text() },
            E::UnknownIdentity { id: text() },
            E::Renamed { name: text() },
            E::UnknownAuthority { id: text() },
            E::Ambiguous { id: text() },
            E::UnknownDecision { scope: text() },
            E::Destination { text: text(), reason: text() },
            E::Mode { text: text() },
            E::Rule { text: text(), reason: text() },
            E::Policy { detail: text() },
            E::PolicyFile { path: path(), source: source() },
            E::UnknownRule { number: 1 },
            E::TooManyRules { most: 1 },
            E::Denied { name: text(), destination: text(), rule: text() },
            E::NotARenewal { new: text(), old: text(), reason: "x" },
            E::Aborted { destination: text() },
            E::ChooserFailed { destination: text(), reason: text() },
            E::NobodyToAsk { destination: text(), remembered: Some(text()) },
            E::DoesNotFit { name: text(), reason: "x" },
            E::RequestKeepsChanging { destination: text(), attempts: 1 },
            E::AskedInResponse { destination: text() },
        ];
        all.extend(every_error_of_files().into_iter().map(E::File));
        all
    }

    /// With their hints, and as the errors of connectors.
    #[test]
    fn no_error_of_the_library_shows_names_of_rust() {
        use cardcase::connect::Error as E;
        for error in every_error_of_the_library() {
            let failure = crate::ui::failure::Failure::from(&error);
            std::iter::once(&failure.message).chain(&failure.hints).for_each(|text| assert_plain(text));
            assert_plain(&told(&E::Selection(error)));
        }
        for error in every_rustls_error() {
            assert_plain(&told(&E::Dial(io::Error::other(error.clone()))));
            assert_plain(&told(&E::Request { source: error.into(), opened: None }));
        }
        let destination: cardcase::Destination = "a.example".parse().unwrap();
        assert_plain(&told(&E::SendAgain { destination: destination.clone() }));
        assert_plain(&told(&E::TooManyRedirects { limit: 10 }));
        for error in every_rustls_error() {
            let failure = crate::http::verify::failed(&destination, &error);
            std::iter::once(&failure.message).chain(&failure.hints).for_each(|text| assert_plain(text));
        }
    }
}
