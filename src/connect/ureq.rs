//! ureq 3: a connector for its agents.
//!
//! The interface for connectors stands in ureq's module `unversioned`, so a new minor version of ureq may need a new version
//! of this library. ureq's pool asks of a connection whether it is open before every request: one that would be opened with
//! another answer now is not.
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

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use ::ureq::Agent;
use ::ureq::config::Config;
use ::ureq::unversioned::resolver::DefaultResolver;
use ::ureq::unversioned::transport::{
    Buffers, ChainedConnector, ConnectProxyConnector, ConnectionDetails, Connector as UreqConnector, Either,
    LazyBuffers, NextTimeout, TcpConnector, Transport as UreqTransport, TransportAdapter,
};
use rustls::ClientConfig;

use super::blocking::{Connection, Connector as TlsConnector};
use crate::request::Destination;
use crate::select::selector::{Selector, Standing};

/// TCP connections, and tunnels through the proxy of the configuration. To a proxy that is spoken to by TLS the agent's
/// connector is asked for the connection in turn, so it sees the identity that was decided for it.
pub type Below = ChainedConnector<(), ConnectProxyConnector, TcpConnector>;

/// Opens connections for an agent: TLS for `https`, over TCP or what another connector opens.
#[derive(Debug)]
pub struct Connector<C = Below> {
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

    /// An agent with this connector and this configuration: timeouts, redirects, a proxy. What it says of TLS does not count.
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
            error.record_refusal(self.tls.selector(), &destination);
            std::io::Error::other(error)
        })?;
        let config = details.config;
        Ok(Some(Either::B(Transport {
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            selector: self.tls.selector().clone(),
            connection,
        })))
    }
}

fn destination(details: &ConnectionDetails<'_>) -> Result<Destination, ::ureq::Error> {
    let (host, port) = (details.uri.host().unwrap_or_default(), details.uri.port_u16());
    let destination = Destination::new(host, port.unwrap_or(Destination::DEFAULT_PORT));
    destination.map_err(|error| ::ureq::Error::Other(error.into()))
}

/// Whether a response of HTTP/1 begins here that says 400.
fn is_bad_request(data: &[u8]) -> bool {
    data.starts_with(b"HTTP/1.") && data.get(8..12) == Some(b" 400")
}

/// A connection of an agent.
pub struct Transport {
    buffers: LazyBuffers,
    selector: Arc<Selector>,
    connection: Connection<TransportAdapter>,
}

impl Transport {
    fn adapter(&mut self) -> &mut TransportAdapter {
        self.connection.stream.get_mut().sock.get_mut().get_mut()
    }

    /// What cannot be told does not stand.
    fn stands(&self) -> bool {
        let standing: &Standing = &self.connection.standing;
        self.selector.stands(standing, standing.destination()).unwrap_or(false)
    }
}

impl UreqTransport for Transport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ::ureq::Error> {
        self.adapter().set_timeout(timeout);
        let (output, _) = self.buffers.output().split_at(amount);
        let stream = &mut self.connection.stream;
        let written = stream.write_all(output).and_then(|()| stream.flush());
        written.inspect_err(|_| self.connection.record_refusal(&self.selector))?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ::ureq::Error> {
        self.adapter().set_timeout(timeout);
        let read = self.connection.stream.read(self.buffers.input_append_buf());
        let read = read.inspect_err(|_| self.connection.record_refusal(&self.selector))?;
        if is_bad_request(self.buffers.input_append_buf().get(..read).unwrap_or_default()) {
            // So does nginx refuse, by a page: what comes after its first line is no success either
            self.connection.heard.take();
        } else {
            self.connection.record_success(&self.selector);
        }
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stands() && self.adapter().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("connection", &self.connection.standing).finish_non_exhaustive()
    }
}
