//! ureq 3: a connector for its agents.
//!
//! The interface for connectors is in ureq's module `unversioned`, so a new minor version of ureq may need a new version of this
//! library. Before every request, ureq's pool asks whether a connection is open; a connection that would be opened with another
//! answer now says that it is not.
//!
//! # Example
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use cardcase::Selector;
//! # use cardcase::connect::ureq::Connector;
//! # fn example(selector: Arc<Selector>, config: rustls::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
//! let agent = Connector::new(selector, config).agent();
//! let response = agent.get("https://intranet.example.com/").call()?;
//! # Ok(()) }
//! ```

mod transport;

use std::sync::Arc;

use ::ureq::Agent;
use ::ureq::config::Config;
use ::ureq::unversioned::resolver::DefaultResolver;
use ::ureq::unversioned::transport::{
    ChainedConnector, ConnectProxyConnector, ConnectionDetails, Connector as UreqConnector, Either, LazyBuffers,
    TcpConnector, Transport as _, TransportAdapter,
};
use rustls::ClientConfig;

use self::transport::Transport;
use crate::connect::blocking::Connector as TlsConnector;
use crate::request::Destination;
use crate::select::selector::Selector;

/// Opens connections for an agent: TLS for `https`, over TCP or over the connections of another connector.
///
/// By default these are TCP connections, and tunnels through the proxy of the configuration. The connection to a proxy that
/// speaks TLS is made by this connector in turn, so the proxy sees the identity that was decided for it.
#[derive(Debug)]
pub struct Connector<C = ChainedConnector<(), ConnectProxyConnector, TcpConnector>> {
    tls: TlsConnector,
    below: C,
}

impl Connector {
    /// A connector that takes everything but the client certificate from `base`: roots, versions.
    pub fn new(selector: Arc<Selector>, base: ClientConfig) -> Self {
        Self::over(selector, base, ConnectProxyConnector::default().chain(TcpConnector::default()))
    }

    /// An agent with this connector.
    pub fn agent(self) -> Agent {
        self.agent_with(Config::default())
    }

    /// An agent with this connector and this configuration: timeouts, redirects, a proxy. Its TLS settings are ignored.
    pub fn agent_with(self, config: Config) -> Agent {
        Agent::with_parts(config, self, DefaultResolver::default())
    }
}

impl<C> Connector<C> {
    /// Over the connections that another connector opens.
    pub fn over(selector: Arc<Selector>, base: ClientConfig, below: C) -> Self {
        Self { tls: TlsConnector::new(selector, base), below }
    }
}

impl<C: UreqConnector> UreqConnector for Connector<C> {
    type Out = Either<C::Out, Transport>;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Self::Out>, ::ureq::Error> {
        if !details.needs_tls() {
            return Ok(self.below.connect(details, None)?.map(Either::A));
        }
        let destination = destination(details)?;
        let dial = || {
            let below = self.below.connect(details, None).map_err(::ureq::Error::into_io)?;
            let below = below.ok_or(::ureq::Error::ConnectionFailed).map_err(::ureq::Error::into_io)?;
            let mut adapter = TransportAdapter::new(below.boxed(), details.current_time.clone());
            adapter.set_timeout(details.timeout);
            Ok(adapter)
        };
        let connection = self.tls.connect(&destination, dial).map_err(|error| {
            error.record_refusal(self.tls.selector());
            std::io::Error::other(error)
        })?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Either::B(Transport::new(buffers, self.tls.selector().clone(), connection))))
    }
}

fn destination(details: &ConnectionDetails<'_>) -> Result<Destination, ::ureq::Error> {
    let (host, port) = (details.uri.host().unwrap_or_default(), details.uri.port_u16());
    let destination = Destination::new(host, port.unwrap_or(Destination::DEFAULT_PORT));
    destination.map_err(|error| ::ureq::Error::Other(error.into()))
}
