//! The connector of OpenSSL: for servers that ask in the middle of a connection, and for those with which rustls has nothing in
//! common.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::openssl::error::ErrorStack;
use cardcase::Selector;
use cardcase::connect::Opened;
use cardcase::connect::openssl::{Connector, SslConnector, SslConnectorBuilder, SslMethod};
use rustls::pki_types::CertificateDer;

use crate::app::App;
use crate::http::incompatible::NOTHING_IN_COMMON;
use crate::http::verify;
use crate::ui::failure::{Code, Failure};

/// How long a handshake may take if the server may still be busy with the connection of rustls, which declined to renegotiate:
/// some servers serve one connection at a time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The groups that OpenSSL offers by default, and after them the curves that it signs with: in TLS 1.2, a server accepts a
/// client's key only over a curve that the client offers (RFC 8422 section 5.1.1).
const GROUPS: &str = "X25519:P-256:X448:P-521:P-384:P-224:secp256k1:brainpoolP256r1:brainpoolP384r1:brainpoolP512r1";

/// A connector that verifies servers as [`verify::config`] does, and offers these protocols by ALPN. Versions and cipher suites
/// are OpenSSL's own, as the system configures them, from TLS 1.2 on.
pub(crate) fn connector(
    app: &App,
    selector: Arc<Selector>,
    cacert: Option<&Path>,
    alpn: &[&[u8]],
    timeout: Duration,
) -> Result<Connector, Failure> {
    with_roots(selector, verify::roots(app, cacert)?, alpn, timeout)
}

/// The same with these certificates. In addition, those verify servers that the store trusts at the time of the connection.
pub(crate) fn with_roots(
    selector: Arc<Selector>,
    roots: Vec<CertificateDer<'static>>,
    alpn: &[&[u8]],
    timeout: Duration,
) -> Result<Connector, Failure> {
    let connector = builder(alpn).and_then(|builder| Connector::new(selector, builder));
    let connector = connector.map_err(|error| Failure::new(Code::Failed, error))?;
    Ok(connector.verifying(roots).with_handshake_timeout(timeout))
}

fn builder(alpn: &[&[u8]]) -> Result<SslConnectorBuilder, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    // An OpenSSL that was built without one of the additional curves keeps its own list
    let _ = builder.set_groups_list(GROUPS);
    if !alpn.is_empty() {
        let length = |name: &[u8]| u8::try_from(name.len()).unwrap_or_default();
        let names: Vec<u8> = alpn.iter().flat_map(|name| [&[length(name)], *name].concat()).collect();
        builder.set_alpn_protos(&names)?;
    }
    Ok(builder)
}

/// What a server uses that rustls lacks, as one clause for a person: read from a connection over OpenSSL that succeeded, or
/// that got as far as the server's request.
pub(crate) fn beyond_rustls(opened: &Opened) -> String {
    let Some(cipher) = opened.cipher() else { return NOTHING_IN_COMMON.to_owned() };
    if cipher.starts_with("DHE-") {
        return format!("it uses Diffie-Hellman key exchange without elliptic curves ({cipher})");
    }
    if !cipher.starts_with("ECDHE-") && !cipher.starts_with("TLS_") {
        return format!("it uses RSA key exchange, without forward secrecy ({cipher})");
    }
    match cipher.contains("GCM") || cipher.contains("CHACHA20") {
        true => "it exchanges keys over an unusual curve, or signs with an unusual algorithm".to_owned(),
        false => format!("it uses a cipher suite without authenticated encryption, {cipher} (CBC)"),
    }
}
