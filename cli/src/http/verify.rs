//! Verifying servers, and saying why one cannot be verified.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

use cardcase::file;
use cardcase::manage::{Certificate, Import, Timestamp, plain};
use cardcase::raw::{invalid_certificate, unverified_certificate, why_unverified};
use cardcase::{Destination, Error};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use crate::app::App;
use crate::ask::file_password::{Unopened, open_with};
use crate::http::incompatible::is_before_tls12;
use crate::http::provider::provider;
use crate::http::tls_only::NotTls;
use crate::http::told::told;
use crate::ui::failure::{Code, Failure};
use crate::ui::remedy;
use crate::ui::say;
use crate::ui::text::quoted;

/// How many certificates are shown with their reasons.
const SHOWN: usize = 5;

/// A TLS configuration without client certificates. It verifies servers with [`roots`], and with the certificates that the store
/// trusts at the time of the handshake.
pub(crate) fn config(app: &App, cacert: Option<&Path>) -> Result<ClientConfig, Failure> {
    config_of(app, roots(app, cacert)?)
}

/// The same with these certificates instead of a file of them.
pub(crate) fn config_with(app: &App, given: Vec<Certificate>) -> Result<ClientConfig, Failure> {
    config_of(app, roots_with(app, given)?)
}

fn config_of(app: &App, roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(provider());
    let verifier = app.trusting_selector()?.server_verifier(roots, &provider);
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Failure::new(Code::Failed, error))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The certificates that verify servers besides the trusted ones of the store: those in `cacert`, or else the system's.
pub(crate) fn roots(app: &App, cacert: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Failure> {
    check_clock(app)?;
    match cacert {
        Some(path) => {
            let given = read_certificates(app, path)?;
            let given = usable(given, app.now()).map_err(|failure| failure.in_file(path))?;
            Ok(given.iter().map(der).collect())
        }
        None => Ok(rustls_native_certs::load_native_certs().certs),
    }
}

/// The same with these certificates instead of a file of them.
pub(crate) fn roots_with(app: &App, given: Vec<Certificate>) -> Result<Vec<CertificateDer<'static>>, Failure> {
    check_clock(app)?;
    Ok(usable(given, app.now())?.iter().map(der).collect())
}

/// A clock before 1970 is an error: no certificate would be valid, and TLS cannot express such a time.
fn check_clock(app: &App) -> Result<(), Failure> {
    match app.now() < Timestamp(0) {
        true => Err(Failure::new(Code::Failed, "the clock of this machine is before 1970: no server can be verified")
            .hint("check the clock: date")),
        false => Ok(()),
    }
}

/// Those of these certificates that can verify servers. One that cannot does not stop the others.
fn usable(certificates: Vec<Certificate>, now: Timestamp) -> Result<Vec<Certificate>, Failure> {
    let Sorted { usable, unusable } = Sorted::new(certificates, now);
    if usable.is_empty() { Err(none_usable(&unusable)) } else { Ok(usable) }
}

/// Certificates that can verify servers, and those that cannot, each with the reason.
pub(crate) struct Sorted {
    pub(crate) usable: Vec<Certificate>,
    pub(crate) unusable: Vec<(Certificate, String)>,
}

impl Sorted {
    pub(crate) fn new(certificates: Vec<Certificate>, now: Timestamp) -> Self {
        let mut sorted = Self { usable: Vec::new(), unusable: Vec::new() };
        for certificate in certificates {
            match certificate.why_untrustable(now) {
                None => sorted.usable.push(certificate),
                Some(why) => sorted.unusable.push((certificate, why)),
            }
        }
        sorted
    }
}

/// The failure where every certificate is unusable.
pub(crate) fn none_usable(unusable: &[(Certificate, String)]) -> Failure {
    let reasons: Vec<String> =
        unusable.iter().take(SHOWN).map(|(certificate, why)| format!("{}: {why}", certificate.subject())).collect();
    let failure =
        Failure::new(Code::Failed, format_args!("no certificate in it can verify a server: {}", reasons.join("; ")));
    match unusable {
        [(only, _)] if !only.may_issue() && !only.is_self_signed() => {
            failure.hint(format_args!("trust the certificate of the CA that issued it: {}", only.issuer()))
        }
        _ => failure
            .hint("give the certificate of a CA, or a server's own certificate with its name in the subjectAltName"),
    }
}

fn der(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from(certificate.der().to_vec())
}

/// The certificates of a file of any kind that `import` reads. Those that cannot be read are left out, with a warning.
///
/// A file with a password is asked for it.
pub(crate) fn read_certificates(app: &App, path: &Path) -> Result<Vec<Certificate>, Failure> {
    let bytes = app.input.read(path, file::MAX_SIZE as u64)?;
    let prompt = format!("Password of {}", plain(&path.display().to_string()));
    let opened = open_with(&prompt, None, app.can_ask(), |password| file::read_certificates(&bytes, password));
    let (import, _) = opened.map_err(|unopened| match unopened {
        Unopened::NobodyToAsk => {
            let failure = Failure::new(Code::NobodyToAsk, "it has a password, and nobody can be asked for it");
            let import = format!("cardcase import {} --password-file FILE", quoted(path));
            let hint = format!("import it, then trust its CA certificates by their fingerprints: {import}");
            failure.in_file(path).hint(hint)
        }
        Unopened::NotAnswered(failure) => failure,
        Unopened::Refused(error) => Failure::from(Error::File(error)).in_file(path),
    })?;
    certificates_of(import, path).map_err(|failure| failure.in_file(path))
}

/// The certificates in the bytes of a file without a password; `path` is for the warnings.
pub(crate) fn parse_certificates(bytes: &[u8], path: &Path) -> Result<Vec<Certificate>, Failure> {
    certificates_of(file::read_certificates(bytes, "").map_err(Error::File)?, path)
}

fn certificates_of(import: Import, path: &Path) -> Result<Vec<Certificate>, Failure> {
    let certificates: Vec<Certificate> = import.certificates().cloned().collect();
    for (_, what, why) in import.left_out() {
        say::warn(format_args!("{}: left out {what}: {why}", path.display()));
    }
    if certificates.is_empty() {
        let none = Failure::new(Code::Failed, "it contains no certificate");
        return Err(none.hint("give a PEM file ('-----BEGIN CERTIFICATE-----'), or another file that `import` reads"));
    }
    Ok(certificates)
}

/// The failure of a TLS connection whose server cannot be verified; `None` when it failed for another reason.
pub(crate) fn unverified(destination: &Destination, error: &(dyn StdError + 'static)) -> Option<Failure> {
    let kind = invalid_certificate(error)?;
    let why = why_unverified(error).unwrap_or("its certificate was not accepted");
    let mut failure = Failure::new(Code::Failed, format_args!("{destination} cannot be verified: {why}"));
    failure.hints = remedy::for_unverified(destination, kind, unverified_certificate(error), Timestamp::now());
    Some(failure)
}

/// The failure of a handshake that no server refused.
pub(crate) fn failed(destination: &Destination, error: &(dyn StdError + 'static)) -> Failure {
    if let Some(other) = NotTls::find(error) {
        return Failure::new(Code::Failed, format_args!("{destination}: {other}")).hint(other.hint(destination));
    }
    unverified(destination, error).unwrap_or_else(|| unreachable(destination, error))
}

/// The failure of a connection to a server, in the words of the error.
pub(crate) fn unreachable(destination: &Destination, error: &(dyn StdError + 'static)) -> Failure {
    if !is_before_tls12(error) {
        return Failure::new(Code::Failed, format_args!("{destination}: {}", told(error)));
    }
    let message =
        format!("{destination}: it supports no version of TLS from 1.2 on; older ones are insecure (RFC 8996)");
    Failure::new(Code::Failed, message)
        .hint("ask its administrator to enable TLS 1.2, as browsers require")
        .hint(format_args!(
            "to accept the risk: cardcase export ID -o ID.p12; curl --ciphers DEFAULT@SECLEVEL=0 --tlsv1.0 --cert-type P12 \
             --cert ID.p12 https://{destination}/"
        ))
}
