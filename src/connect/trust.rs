//! Verifying servers by certificates that a person trusts: those of CAs, and those of single servers.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use crate::certificate::Certificate;
use crate::clock::Timestamp;
use crate::connect::unverified::{Fault, Presented, Unverified, weak_key, weak_rsa};

/// A verifier for rustls that trusts these certificates. Each one that [may issue](Certificate::may_issue) others is an
/// authority, root or intermediate, and verifies what it issued. Each one also verifies the server that presents this very
/// certificate, as when a person trusts the self-signed certificate of a server: then no chain is checked, but the name, the
/// dates, the usages, and that the server has the private key. Certificates that cannot be used are left out;
/// [`Certificate::why_untrustable`] says why.
///
/// [`why_unverified`] finds the reason in an error, in words for a person. The server gets the alert certificate_unknown, as
/// from Chrome.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
///
/// use cardcase::raw::server_verifier;
/// use rustls::ClientConfig;
/// use rustls::crypto::aws_lc_rs::default_provider;
///
/// # fn example(selector: &cardcase::Selector) -> Result<ClientConfig, rustls::Error> {
/// let provider = Arc::new(default_provider());
/// let trusted = selector.trusted_authorities().iter().map(|trusted| trusted.der().to_vec().into());
/// let verifier = server_verifier(rustls_native_certs::load_native_certs().certs.into_iter().chain(trusted), &provider);
/// let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
/// Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
/// # }
/// ```
///
/// [`why_unverified`]: crate::raw::why_unverified
pub fn server_verifier(
    trusted: impl IntoIterator<Item = CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn ServerCertVerifier> {
    let (mut roots, mut own) = (RootCertStore::empty(), HashSet::new());
    for der in trusted {
        if Certificate::from_der(der.to_vec()).is_ok_and(|certificate| certificate.may_issue()) {
            // One that webpki cannot read cannot verify a server, but must not stop the others
            roots.add_parsable_certificates([der.clone()]);
        }
        own.insert(der);
    }
    let by_chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    // It fails only without roots
    Arc::new(Verifier { by_chain: by_chain.ok(), own, algorithms: provider.signature_verification_algorithms })
}

struct Verifier {
    by_chain: Option<Arc<WebPkiServerVerifier>>,
    own: HashSet<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = match &self.by_chain {
            _ if self.own.contains(end_entity) => verify_itself(end_entity, server_name, now),
            Some(by_chain) => by_chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        verified.map_err(|error| {
            let presented: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
            explained(error, &presented, timestamp(now))
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
            .map_err(|error| unproven(error, certificate))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
            .map_err(|error| unproven(error, certificate))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

/// Verifies a server whose own certificate is trusted.
fn verify_itself(
    der: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, rustls::Error> {
    let certificate = Certificate::from_der(der.to_vec()).map_err(|_| CertificateError::BadEncoding)?;
    let now = timestamp(now);
    if now > certificate.not_after() {
        return Err(CertificateError::Expired.into());
    }
    if now < certificate.not_before() {
        return Err(CertificateError::NotValidYet.into());
    }
    if !certificate.allows_server_auth() {
        return Err(CertificateError::InvalidPurpose.into());
    }
    verify_server_name(&ParsedCertificate::try_from(der)?, server_name)?;
    Ok(ServerCertVerified::assertion())
}

/// The same error, with what the certificates say about it.
fn explained(error: rustls::Error, presented: &[CertificateDer<'_>], now: Timestamp) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(error) => wrapped(Unverified::new(error, presented, now)),
        other => other,
    }
}

/// Why a server did not prove that it has the private key of its certificate.
fn unproven(error: rustls::Error, certificate: &CertificateDer<'_>) -> rustls::Error {
    let rustls::Error::InvalidCertificate(error) = error else { return error };
    let certificate = Certificate::from_der(certificate.to_vec()).ok();
    let why = match certificate.as_ref().and_then(weak_rsa) {
        Some(bits) => weak_key("its certificate", bits),
        None => "its signature in the handshake does not match the key of its certificate".to_owned(),
    };
    wrapped(Unverified { error, why, certificate })
}

fn wrapped(unverified: Unverified) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(unverified))))
}

fn timestamp(now: UnixTime) -> Timestamp {
    Timestamp(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

impl Certificate {
    /// Why this certificate verifies no server even if it is trusted, as one clause for a person; `None` if it can verify one.
    /// The libraries that will verify servers try it: rustls and, with the feature `openssl`, OpenSSL.
    pub fn why_untrustable(&self, now: Timestamp) -> Option<String> {
        let presented = Presented::alone(self.clone(), now);
        let fault = |fault| Some(presented.why(fault));
        if now > self.not_after() {
            return fault(Fault::Expired);
        }
        if now < self.not_before() {
            return fault(Fault::NotYetValid);
        }
        if let Some(bits) = weak_rsa(self) {
            return Some(weak_key("its certificate", bits));
        }
        if !self.has_supported_key() {
            return Some(format!("signatures by its key, {}, cannot be verified", self.key()));
        }
        match self.may_issue() {
            true => self.why_no_anchor(&presented),
            false => self.why_not_itself(&presented),
        }
        .or_else(|| self.refused_by_openssl(&presented))
    }

    fn why_no_anchor(&self, presented: &Presented) -> Option<String> {
        if self.extended_key_usage().is_some_and(|usages| !usages.iter().any(|usage| is_for_servers(usage))) {
            return Some(presented.why(Fault::Purpose));
        }
        objection(RootCertStore::empty().add(self.der().into()), presented)
    }

    /// The rules for a certificate that is trusted for itself.
    fn why_not_itself(&self, presented: &Presented) -> Option<String> {
        let lacks_cert_sign = self.key_usage().is_some_and(|usages| !usages.contains(&"keyCertSign"));
        if self.server_names().is_empty() {
            return Some(match (self.version(), self.is_ca()) {
                (1, _) => presented.why(Fault::Version1),
                (_, true) if lacks_cert_sign => "its key usage does not allow it to issue certificates".to_owned(),
                _ => "it is not a CA certificate, and names no server: it has no subjectAltName with a host or an address"
                    .to_owned(),
            });
        }
        // OpenSSL treats keyCertSign alone as a CA, which would verify other servers
        if !self.is_ca() && !lacks_cert_sign && self.key_usage().is_some() {
            return Some("its key usage allows it to issue certificates, but its basicConstraints do not".to_owned());
        }
        if !self.allows_server_auth() {
            return Some(presented.why(Fault::Purpose));
        }
        objection(ParsedCertificate::try_from(&CertificateDer::from(self.der())), presented)
    }

    #[cfg(feature = "openssl")]
    fn refused_by_openssl(&self, presented: &Presented) -> Option<String> {
        use openssl::stack::Stack;
        use openssl::x509::store::X509StoreBuilder;
        use openssl::x509::verify::X509VerifyFlags;
        use openssl::x509::{X509, X509StoreContext, X509VerifyResult};

        let verify = || {
            let certificate = X509::from_der(self.der())?;
            let mut trusted = X509StoreBuilder::new()?;
            trusted.add_cert(certificate.clone())?;
            trusted.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
            let (trusted, above) = (trusted.build(), Stack::new()?);
            X509StoreContext::new()?.init(&trusted, &certificate, &above, |context| {
                context.verify_cert()?;
                Ok(context.error())
            })
        };
        match verify() {
            Ok(X509VerifyResult::OK) => None,
            Ok(refused) => Some(presented.why(Fault::from_error(&Fault::error_from_openssl(refused)))),
            Err(_) => Some(presented.why(Fault::Damaged)),
        }
    }

    #[cfg(not(feature = "openssl"))]
    fn refused_by_openssl(&self, _: &Presented) -> Option<String> {
        None
    }
}

fn is_for_servers(usage: &str) -> bool {
    matches!(usage, "serverAuth" | "anyExtendedKeyUsage")
}

/// Why rustls does not accept a certificate.
fn objection<T>(taken: Result<T, rustls::Error>, presented: &Presented) -> Option<String> {
    match taken {
        Ok(_) => None,
        Err(rustls::Error::InvalidCertificate(error)) => Some(presented.why(Fault::from_error(&error))),
        Err(_) => Some(presented.why(Fault::Other)),
    }
}
