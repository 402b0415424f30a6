//! A verifier that refuses every client, by the alert that a test wants.
// The library's tests use this file too
#![allow(clippy::unwrap_used, unreachable_pub)]

use std::sync::{Arc, Mutex};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};

type Make = fn() -> CertificateError;

/// Alerts, and the verdicts that rustls turns into them.
pub const VERDICTS: [(&str, Make); 9] = [
    ("bad_certificate", || CertificateError::BadEncoding),
    ("unsupported_certificate", || CertificateError::InvalidPurpose),
    ("certificate_revoked", || CertificateError::Revoked),
    ("certificate_expired", || CertificateError::Expired),
    ("certificate_unknown", || CertificateError::Other(OtherError(Arc::new(std::fmt::Error)))),
    ("unknown_ca", || CertificateError::UnknownIssuer),
    ("access_denied", || CertificateError::ApplicationVerificationFailure),
    // These two are not about a certificate wherever they come
    ("decrypt_error", || CertificateError::BadSignature),
    ("bad_certificate_status_response", || CertificateError::InvalidOcspResponse),
];

/// Asks for any certificate, and refuses what comes.
#[derive(Debug)]
pub struct Verdict {
    verdict: CertificateError,
    /// Every chain that came, as DER.
    pub seen: Arc<Mutex<Vec<Vec<Vec<u8>>>>>,
}

impl Verdict {
    pub fn new(verdict: CertificateError) -> Verdict {
        Verdict { verdict, seen: Arc::default() }
    }
}

impl ClientCertVerifier for Verdict {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain = std::iter::once(leaf).chain(above).map(|der| der.to_vec()).collect();
        self.seen.lock().unwrap().push(chain);
        Err(Error::InvalidCertificate(self.verdict.clone()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls12_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
