//! Connections by OpenSSL, on which a server may ask at any time.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ::openssl::error::ErrorStack;
use ::openssl::x509::X509;
use ::openssl::x509::store::X509StoreBuilder;
use cardcase::connect::Connection;
use cardcase::connect::openssl::{self, SslConnector, SslMethod};
use cardcase::raw::Prepared;
use cardcase::{Selector, Target};
use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;

use crate::app::App;
use crate::http::dial::TIMEOUT;
use crate::http::exchange::Requests;
use crate::http::outcome::{Ended, Outcomes};
use crate::http::stream::BoxStream;
use crate::http::verify;
use crate::ui::failure::{Code, Failure};

/// For TLS 1.2: the ciphers that rustls supports, all with forward secrecy.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL";

/// Makes connections.
pub(crate) struct Connector(openssl::Connector);

impl Connector {
    /// A connector that verifies servers as [`verify::config`] does.
    pub(crate) fn new(app: &App, selector: Arc<Selector>, cacert: Option<&Path>) -> Result<Self, Failure> {
        let roots = verify::roots(app, cacert)?;
        let connector = connector(selector, &roots).map_err(|error| Failure::new(Code::Failed, error))?;
        Ok(Self(connector.with_handshake_timeout(TIMEOUT)))
    }

    pub(crate) async fn connect<F>(
        &self,
        target: &Target,
        prepared: Option<Prepared>,
        dial: impl FnMut() -> F,
        outcomes: &Outcomes,
    ) -> Result<(BoxStream, Option<ProtocolVersion>, Requests), Ended>
    where
        F: Future<Output = io::Result<BoxStream>>,
    {
        let connected = match prepared {
            Some(prepared) => self.0.connect_prepared_async(prepared, dial).await,
            None => self.0.connect_async(target, dial).await,
        };
        match connected {
            Ok(Connection { stream, opened, .. }) => {
                Ok((Box::new(stream), opened.version(), Requests::at_any_time(opened)))
            }
            Err(error) => Err(outcomes.unconnected(target.destination(), error)),
        }
    }
}

fn connector(selector: Arc<Selector>, roots: &[CertificateDer<'_>]) -> Result<openssl::Connector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    let mut store = X509StoreBuilder::new()?;
    // A certificate of the system that OpenSSL cannot read cannot verify a server, but must not stop the others
    for root in roots.iter().filter_map(|der| X509::from_der(der).ok()) {
        store.add_cert(root)?;
    }
    builder.set_cert_store(store.build());
    builder.set_cipher_list(CIPHERS)?;
    builder.set_alpn_protos(b"\x08http/1.1")?;
    openssl::Connector::new(selector, builder)
}
