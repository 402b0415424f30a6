//! Verifying servers, and saying why one cannot be verified.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

use cardcase::file;
use cardcase::manage::Certificate;
use cardcase::{Destination, Error};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, ClientConfig, RootCertStore};

use crate::app::App;
use crate::ui::failure::{Code, Failure};
use crate::ui::remedy::TRUST_AUTHORITY;

/// A TLS configuration without client certificates. It verifies servers by the authorities in `cacert`, or else by the
/// system's, and by the trusted authorities of the store.
pub(crate) fn config(app: &App, cacert: Option<&Path>) -> Result<ClientConfig, Failure> {
    let given = match cacert {
        Some(path) => Some(read_certificates(app, path)?),
        None => None,
    };
    config_with(app, given.as_deref()).map_err(|failure| match cacert {
        Some(path) => failure.in_file(path),
        None => failure,
    })
}

/// Like [`config`], with these certificates instead of a file of them.
pub(crate) fn config_with(app: &App, authorities: Option<&[Certificate]>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(given) => {
            for certificate in given {
                roots.add(der(certificate)).map_err(|error| Failure::new(Code::Failed, error))?;
            }
        }
        // A certificate of the system that webpki cannot read cannot verify a server, but must not stop the others
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    roots.add_parsable_certificates(trusted(app)?);
    let builder =
        ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Failure::new(Code::Failed, error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The CA certificates that verify servers, for OpenSSL.
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

/// The certificates of a file of any kind that `import` reads.
pub(crate) fn read_certificates(app: &App, path: &Path) -> Result<Vec<Certificate>, Failure> {
    let bytes = app.input.read(path, file::MAX_SIZE as u64)?;
    parse_certificates(&bytes).map_err(|failure| failure.in_file(path))
}

/// The certificates in the bytes of a file.
pub(crate) fn parse_certificates(bytes: &[u8]) -> Result<Vec<Certificate>, Failure> {
    let certificates = file::read_certificates(bytes, "").map_err(Error::File)?;
    if certificates.is_empty() {
        let none = Failure::new(Code::Failed, "it contains no certificate");
        return Err(none.hint("give a PEM file ('-----BEGIN CERTIFICATE-----'), or another file that `import` reads"));
    }
    Ok(certificates)
}

/// The failure of a TLS connection whose server cannot be verified; `None` when it failed for another reason.
pub(crate) fn unverified(destination: &Destination, error: &(dyn StdError + 'static)) -> Option<Failure> {
    let certificate = cardcase::raw::invalid_certificate(error)?;
    let told = |why: &str| Failure::new(Code::Failed, format_args!("{destination} cannot be verified: {why}"));
    Some(match certificate {
        CertificateError::UnknownIssuer => {
            told("its certificate was issued by an unknown authority").hint(TRUST_AUTHORITY)
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

/// The failure of a handshake that no server refused.
pub(crate) fn failed(destination: &Destination, error: &(dyn StdError + 'static)) -> Failure {
    unverified(destination, error).unwrap_or_else(|| unreachable(destination, error))
}

/// The failure of a connection to a server, in the words of the error.
pub(crate) fn unreachable(destination: &Destination, error: &dyn StdError) -> Failure {
    Failure::new(Code::Failed, format_args!("{destination}: {error}"))
}
