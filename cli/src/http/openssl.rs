//! The connector of OpenSSL, for servers that ask in the middle of a connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::openssl::error::ErrorStack;
use ::openssl::x509::X509;
use ::openssl::x509::store::X509StoreBuilder;
use cardcase::Selector;
use cardcase::connect::openssl::{Connector, SslConnector, SslConnectorBuilder, SslMethod};
use rustls::pki_types::CertificateDer;

use crate::app::App;
use crate::http::verify;
use crate::ui::failure::{Code, Failure};

/// For TLS 1.2: the ciphers that rustls supports, all with forward secrecy.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL";

/// A connector that verifies servers as [`verify::config`] does, and offers HTTP/1.1 only.
pub(crate) fn connector(
    app: &App,
    selector: Arc<Selector>,
    cacert: Option<&Path>,
    timeout: Duration,
) -> Result<Connector, Failure> {
    let roots = verify::trusted(app, cacert)?;
    let connector = builder(&roots).and_then(|builder| Connector::new(selector, builder));
    let connector = connector.map_err(|error| Failure::new(Code::Failed, error))?;
    Ok(connector.with_handshake_timeout(timeout))
}

fn builder(roots: &[CertificateDer<'_>]) -> Result<SslConnectorBuilder, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    let mut store = X509StoreBuilder::new()?;
    // A certificate of the system that OpenSSL cannot read cannot verify a server, but must not stop the others
    for root in roots.iter().filter_map(|der| X509::from_der(der).ok()) {
        store.add_cert(root)?;
    }
    builder.set_cert_store(store.build());
    builder.set_cipher_list(CIPHERS)?;
    builder.set_alpn_protos(b"\x08http/1.1")?;
    Ok(builder)
}
