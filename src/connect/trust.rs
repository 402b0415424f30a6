//! Verifying servers by certificates that a person trusts: those of CAs, and those of single servers.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use crate::certificate::Certificate;
use crate::clock::Timestamp;
use crate::connect::unverified::{Fault, Presented, Unverified, weak_key, weak_rsa};
use crate::select::selector::Selector;
use crate::store::TrustAnchors;

/// A verifier for rustls that trusts these certificates. Each one that [may issue](Certificate::may_issue) others is an
/// authority, root or intermediate, and verifies what it issued while it is valid itself. Each one also verifies the server that
/// presents this very certificate, as when a person trusts the self-signed certificate of a server: then no chain is checked, but
/// the name, the dates, the usages, and that the server has the private key. Certificates that cannot be used are left out;
/// [`Certificate::why_untrustable`] says why.
///
/// [`why_unverified`] finds the reason in an error, in words for a person. The server gets the alert certificate_unknown, as
/// from Chrome.
///
/// [`Selector::server_verifier`] also uses the certificates that the store trusts.
///
/// [`Selector::server_verifier`]: crate::Selector::server_verifier
/// [`why_unverified`]: crate::raw::why_unverified
pub fn server_verifier(
    trusted: impl IntoIterator<Item = CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier::new(trusted, provider))
}

struct Verifier {
    anchors: Anchors,
    own: HashSet<CertificateDer<'static>>,
}

impl Verifier {
    fn new(trusted: impl IntoIterator<Item = CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> Self {
        let (mut anchors, mut own) = (Vec::new(), HashSet::new());
        for der in trusted {
            // One that webpki cannot read cannot verify a server, but must not stop the others
            anchors.extend(Anchor::new(&der));
            own.insert(der);
        }
        Self { anchors: Anchors { all: anchors, valid: Mutex::default(), provider: provider.clone() }, own }
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.anchors.provider.signature_verification_algorithms
    }
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
        let by_chain = |roots: Option<Arc<WebPkiServerVerifier>>| match roots {
            Some(roots) => roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        let at = timestamp(now);
        let verified = match self.own.contains(end_entity) {
            true => verify_itself(end_entity, server_name, at),
            false => by_chain(self.anchors.valid_at(at)),
        };
        verified.map_err(|error| {
            let mut presented: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
            if error != rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) {
                return explained(error, &presented, at);
            }
            // The issuer may be a trusted certificate that is not valid now
            match self.anchors.outdated_at(at).find(|anchor| by_chain(self.anchors.verifier([*anchor])).is_ok()) {
                Some(outdated) => {
                    presented.push(outdated.der.clone());
                    explained(outdated.fault_at(at).unwrap_or(CertificateError::UnknownIssuer).into(), &presented, at)
                }
                None => explained(error, &presented, at),
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, self.algorithms())
            .map_err(|error| unproven(error, certificate))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, self.algorithms())
            .map_err(|error| unproven(error, certificate))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

/// A CA certificate that verifies servers only while it is valid, as with OpenSSL. rustls and webpki do not check the validity of a
/// trust anchor.
struct Anchor {
    der: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Anchor {
    /// `None` if it may not issue certificates, or cannot be read.
    fn new(der: &CertificateDer<'static>) -> Option<Self> {
        let certificate = Certificate::from_der(der.to_vec()).ok().filter(Certificate::may_issue)?;
        let anchor = webpki::anchor_from_trusted_cert(der).ok()?.to_owned();
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        Some(Self { der: der.clone(), anchor, not_before, not_after })
    }

    fn fault_at(&self, now: Timestamp) -> Option<CertificateError> {
        out_of_dates(now, self.not_before, self.not_after)
    }
}

/// Why a certificate with this validity is not valid now; `None` if it is.
fn out_of_dates(now: Timestamp, not_before: Timestamp, not_after: Timestamp) -> Option<CertificateError> {
    match now {
        now if now > not_after => Some(CertificateError::Expired),
        now if now < not_before => Some(CertificateError::NotValidYet),
        _ => None,
    }
}

struct Anchors {
    all: Vec<Anchor>,
    valid: Mutex<Option<Valid>>,
    provider: Arc<CryptoProvider>,
}

/// A verifier, and the period in which the anchors that it uses are exactly the valid ones.
struct Valid {
    when: RangeInclusive<Timestamp>,
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl Anchors {
    /// A verifier with the anchors that are valid now; `None` if there are none.
    fn valid_at(&self, now: Timestamp) -> Option<Arc<WebPkiServerVerifier>> {
        let mut valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(valid) = valid.as_ref().filter(|valid| valid.when.contains(&now)) {
            return valid.verifier.clone();
        }
        let verifier = self.verifier(self.all.iter().filter(|anchor| anchor.fault_at(now).is_none()));
        *valid = Some(Valid { when: self.unchanged_around(now), verifier: verifier.clone() });
        verifier
    }

    /// The period around `now` in which the same anchors are valid.
    fn unchanged_around(&self, now: Timestamp) -> RangeInclusive<Timestamp> {
        // Each is the first second after a change
        let changes = self.all.iter().flat_map(|anchor| [anchor.not_before.0, anchor.not_after.0.saturating_add(1)]);
        let (past, future): (Vec<i64>, Vec<i64>) = changes.partition(|change| *change <= now.0);
        let from = past.into_iter().max().unwrap_or(i64::MIN);
        let until = future.into_iter().min().map_or(i64::MAX, |change| change - 1);
        Timestamp(from)..=Timestamp(until)
    }

    fn outdated_at(&self, now: Timestamp) -> impl Iterator<Item = &Anchor> {
        self.all.iter().filter(move |anchor| anchor.fault_at(now).is_some())
    }

    fn verifier<'a>(&self, anchors: impl IntoIterator<Item = &'a Anchor>) -> Option<Arc<WebPkiServerVerifier>> {
        let roots = RootCertStore { roots: anchors.into_iter().map(|anchor| anchor.anchor.clone()).collect() };
        // It fails only without roots
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build().ok()
    }
}

impl Selector {
    /// A verifier for rustls like that of [`raw::server_verifier`](crate::raw::server_verifier). It trusts these certificates and those
    /// that the store trusts (see [`Self::with_trusted_authorities`]). The connectors read the store again before each handshake, and
    /// so does [`Self::prepare`]. A session that began before an authority was removed is not resumed afterwards.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use rustls::ClientConfig;
    /// use rustls::crypto::aws_lc_rs::default_provider;
    ///
    /// # fn example(selector: &cardcase::Selector) -> Result<ClientConfig, rustls::Error> {
    /// let provider = Arc::new(default_provider());
    /// let verifier = selector.server_verifier(rustls_native_certs::load_native_certs().certs, &provider);
    /// let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    /// Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    /// # }
    /// ```
    pub fn server_verifier(
        &self,
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Arc<dyn ServerCertVerifier> {
        let Some(anchors) = self.anchors() else { return server_verifier(roots, provider) };
        let (anchors, roots, provider) = (anchors.clone(), roots.into_iter().collect(), provider.clone());
        Arc::new(Following { anchors, roots, provider, latest: Mutex::default() })
    }
}

/// Verifies servers with fixed certificates, and with those that a store trusts at the time of the handshake.
struct Following {
    anchors: Arc<TrustAnchors>,
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    /// The verifier for one version of the anchors.
    latest: Mutex<Option<(u64, Arc<Verifier>)>>,
}

impl Following {
    fn now(&self) -> Arc<Verifier> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that no thread replaces a later version by an earlier one
        let (version, anchors) = self.anchors.certificates();
        match &*latest {
            Some((known, verifier)) if *known == version => verifier.clone(),
            _ => {
                let anchors = anchors.iter().map(|certificate| certificate.der().to_vec().into());
                let verifier = Arc::new(Verifier::new(self.roots.iter().cloned().chain(anchors), &self.provider));
                *latest = Some((version, verifier.clone()));
                verifier
            }
        }
    }
}

impl ServerCertVerifier for Following {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.now().verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.now().verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.now().verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").finish_non_exhaustive()
    }
}

/// Verifies a server whose own certificate is trusted.
fn verify_itself(
    der: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: Timestamp,
) -> Result<ServerCertVerified, rustls::Error> {
    let certificate = Certificate::from_der(der.to_vec()).map_err(|_| CertificateError::BadEncoding)?;
    if let Some(fault) = out_of_dates(now, certificate.not_before(), certificate.not_after()) {
        return Err(fault.into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::refusal::why_unverified;
    use crate::pki::{Ca, DAY, NOW, ca_params, params, valid};
    use rcgen::{ExtendedKeyUsagePurpose, SanType};
    use rustls::crypto::aws_lc_rs::default_provider;

    #[test]
    fn a_trusted_authority_verifies_servers_only_while_it_is_valid() {
        let at = |days: i64| Timestamp(NOW.0 + days * DAY);
        let ca = Ca::root_of(valid(ca_params("Short Root"), at(0), at(10)));
        let other = Ca::root_of(valid(ca_params("Other Root"), at(5), at(50)));
        let mut server = valid(params("server"), at(-100), at(100));
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.subject_alt_names = vec![SanType::DnsName("server.example".try_into().unwrap())];
        let leaf = CertificateDer::from(ca.leaf_of(server).certificate.der().to_vec());
        let trusted = [&ca, &other].map(|ca| CertificateDer::from(ca.certificate.der().to_vec()));
        let verifier = server_verifier(trusted, &Arc::new(default_provider()));
        let name = ServerName::try_from("server.example").unwrap();
        // The order shows that what was cached for one time is not used for another
        for (days, expected) in [
            (1, None),
            (11, Some("the CA certificate of CN=Short Root, above it, expired 1 day ago, on 2026-12-02 UTC")),
            (6, None),
            (60, Some("the CA certificate of CN=Short Root, above it, expired 50 days ago, on 2026-12-02 UTC")),
            (-1, Some("the CA certificate of CN=Short Root, above it, is valid only from 2026-11-22 UTC on")),
            (1, None),
        ] {
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at(days).0 as u64));
            let verified = verifier.verify_server_cert(&leaf, &[], &name, &[], now);
            let why = verified.err().map(|error| why_unverified(&error).unwrap().to_owned());
            assert_eq!(why.as_deref(), expected, "after {days} days");
        }
    }
}
