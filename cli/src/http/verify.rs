//! The server's side: verifying it, and saying why it cannot be.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

use cardcase::Destination;
use cardcase::manage::Certificate;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};

use crate::app::App;
use crate::ui::failure::{Code, Failure};

/// Bytes a file of CA certificates may have.
const MAX_FILE: u64 = 16 << 20;

/// A TLS configuration without client certificates, which verifies servers by the system's roots or those of `cacert`,
/// and by the trusted authorities of the store.
pub(crate) fn config(app: &App, cacert: Option<&Path>) -> Result<ClientConfig, Failure> {
    let given = match cacert {
        Some(path) => Some(read_certificates(app, path)?),
        None => None,
    };
    config_with(app, given.as_deref()).map_err(|failure| match cacert {
        Some(path) => failure.of_file(path),
        None => failure,
    })
}

/// The same with these certificates instead of a file's.
pub(crate) fn config_with(app: &App, authorities: Option<&[Certificate]>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(given) => {
            for certificate in given {
                roots.add(der(certificate)).map_err(|error| Failure::new(Code::Failed, error))?;
            }
        }
        // What the system trusts and webpki cannot read is of no use here, and no reason to fail
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    roots.add_parsable_certificates(trusted(app)?);
    let builder =
        ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Failure::new(Code::Failed, error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The CA certificates that servers are verified by, for another TLS library.
#[cfg(feature = "openssl")]
pub(crate) fn roots(app: &App, cacert: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let mut roots = match cacert {
        Some(path) => read_certificates(app, path)?.iter().map(der).collect(),
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.extend(trusted(app)?);
    Ok(roots)
}

/// The trusted authorities of the store.
fn trusted(app: &App) -> Result<Vec<CertificateDer<'static>>, Failure> {
    Ok(app.trusted_authorities()?.iter().map(der).collect())
}

fn der(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from(certificate.der().to_vec())
}

/// The certificates of a file, PEM or DER.
pub(crate) fn read_certificates(app: &App, path: &Path) -> Result<Vec<Certificate>, Failure> {
    parse_certificates(&app.input.read(path, MAX_FILE)?).map_err(|failure| failure.of_file(path))
}

/// The certificates in the bytes of a file.
pub(crate) fn parse_certificates(bytes: &[u8]) -> Result<Vec<Certificate>, Failure> {
    let failed = |error: &dyn StdError| Failure::new(Code::Failed, error);
    let ders: Vec<CertificateDer<'static>> = if bytes.first() == Some(&0x30) {
        vec![CertificateDer::from(bytes.to_vec())]
    } else {
        CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(|error| failed(&error))?
    };
    if ders.is_empty() {
        let none = Failure::new(Code::Failed, "there is no certificate in it");
        return Err(none.hint("it has to be a PEM file ('-----BEGIN CERTIFICATE-----') or one DER certificate"));
    }
    ders.iter().map(|der| Certificate::from_der(der.to_vec()).map_err(|error| failed(&error))).collect()
}

/// Why a TLS connection failed, when it is about the server's own certificate.
pub(crate) fn unverified(destination: &Destination, error: &(dyn StdError + 'static)) -> Option<Failure> {
    let certificate = cardcase::raw::invalid_certificate(error)?;
    let told = |why: &str| Failure::new(Code::Failed, format_args!("{destination} cannot be verified: {why}"));
    Some(match certificate {
        CertificateError::UnknownIssuer => {
            told("its certificate was issued by an unknown authority").hint("if you know the CA: cardcase trust CA.pem")
        }
        CertificateError::NotValidForName => told("its certificate is for another name"),
        CertificateError::NotValidForNameContext { presented, .. } => {
            told(&format!("its certificate is for another name: {}", presented.join(", ")))
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => told("its certificate has expired"),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            told("its certificate is not yet valid")
        }
        other => told(&other.to_string()),
    })
}

/// The failure of a handshake nobody refused.
pub(crate) fn failed(destination: &Destination, error: &(dyn StdError + 'static)) -> Failure {
    unverified(destination, error).unwrap_or_else(|| unreachable(destination, error))
}

/// The failure of a connection nobody refused.
pub(crate) fn unreachable(destination: &Destination, error: &dyn StdError) -> Failure {
    Failure::new(Code::Failed, format_args!("{destination}: {error}"))
}
