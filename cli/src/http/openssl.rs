//! Connections by OpenSSL, on which a server may ask whenever it wants.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ::openssl::error::ErrorStack;
use ::openssl::x509::X509;
use ::openssl::x509::store::X509StoreBuilder;
use cardcase::Selector;
use cardcase::Target;
use cardcase::connect::openssl::{self, Answers, HttpPosition, SslConnector, SslMethod};
pub(crate) use cardcase::connect::openssl::{Answered, ConnectError};
use cardcase::raw::Prepared;
use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;

use crate::app::App;
use crate::http::dial::{BoxStream, TIMEOUT};
use crate::http::verify;
use crate::ui::failure::{Code, Failure};

/// Whether this cardcase has it.
pub(crate) const BUILT_IN: bool = true;

/// For TLS 1.2: what rustls takes, and all of it with forward secrecy.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL";

/// Makes the connections.
pub(crate) struct Connector(openssl::tokio::Connector);

/// An open connection.
pub(crate) struct Connection {
    pub(crate) stream: BoxStream,
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) later: Later,
}

/// What is answered as long as a connection lasts.
pub(crate) struct Later {
    pub(crate) target: Target,
    pub(crate) answers: Answers,
    position: HttpPosition,
}

impl Later {
    /// The response was read to its end.
    pub(crate) fn finished(&self) {
        self.position.finished();
    }
}

impl Connector {
    /// Verifies servers as [`verify::config`] does.
    pub(crate) fn new(app: &App, selector: Arc<Selector>, cacert: Option<&Path>) -> Result<Self, Failure> {
        let roots = verify::roots(app, cacert)?;
        let connector = connector(selector, &roots).map_err(|error| Failure::new(Code::Failed, error))?;
        Ok(Self(openssl::tokio::Connector::new(connector).with_handshake_timeout(TIMEOUT)))
    }

    pub(crate) async fn connect<F>(
        &self,
        target: &Target,
        prepared: Option<Prepared>,
        dial: impl FnMut() -> F,
    ) -> Result<Connection, ConnectError>
    where
        F: Future<Output = io::Result<BoxStream>>,
    {
        let connection = match prepared {
            Some(prepared) => self.0.connect_prepared(prepared, dial).await?,
            None => self.0.connect(target, dial).await?,
        };
        let openssl::tokio::Connection { stream, answers, position, version, .. } = connection;
        Ok(Connection { stream: Box::new(stream), version, later: Later { target: target.clone(), answers, position } })
    }
}

fn connector(selector: Arc<Selector>, roots: &[CertificateDer<'_>]) -> Result<openssl::Connector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    let mut store = X509StoreBuilder::new()?;
    // What the system trusts and OpenSSL cannot read is of no use here, and no reason to fail
    for root in roots.iter().filter_map(|der| X509::from_der(der).ok()) {
        store.add_cert(root)?;
    }
    builder.set_cert_store(store.build());
    builder.set_cipher_list(CIPHERS)?;
    builder.set_alpn_protos(b"\x08http/1.1")?;
    openssl::Connector::new(selector, builder)
}
