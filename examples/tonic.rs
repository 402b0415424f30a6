//! tonic over connections that answer certificate requests from the store.
//!
//! `cargo run --example tonic --features hyper HOST:PORT` asks a server for its health (grpc.health.v1).
// The tests use only the recipe
#![allow(dead_code)]

use std::error::Error;
use std::sync::Arc;

use cardcase::connect::hyper::Connector;
use cardcase::connect::tokio::Connector as TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[path = "common/mod.rs"]
mod common;

/// The channel to one server; a new one when the decision for the server has changed.
pub(crate) struct Channels {
    endpoint: Endpoint,
    connector: Connector,
    channel: Option<Channel>,
}

impl Channels {
    /// To `HOST:PORT`. The connector's configuration names `h2` (ALPN).
    pub(crate) fn new(connector: Arc<TlsConnector>, to: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        // With https, tonic would speak TLS by itself; the server is told https all the same
        let endpoint = Endpoint::from_shared(format!("http://{to}"))?.origin(format!("https://{to}").parse()?);
        Ok(Self { endpoint, connector: Connector::new(connector).always_tls(), channel: None })
    }

    /// Call this for every request.
    pub(crate) async fn channel(&mut self) -> Result<Channel, Box<dyn Error + Send + Sync>> {
        if let Some(channel) = &self.channel
            && self.connector.may_be_reused().await?
        {
            return Ok(channel.clone());
        }
        // If there will be no other, this one must not be used all the same
        self.channel = None;
        self.connector = self.connector.renewed();
        let channel = self.endpoint.connect_with_connector(self.connector.clone()).await?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    /// The error of a call, with the connection if an alert or a refusal of the server ended it.
    pub(crate) fn explain(&self, error: impl Error + Send + Sync + 'static) -> Box<dyn Error + Send + Sync> {
        match self.connector.ended() {
            Some(opened) => cardcase::connect::Error::Request { source: error.into(), opened: Some(opened) }.into(),
            None => error.into(),
        }
    }
}

/// Makes a call.
pub(crate) async fn check(channels: &mut Channels) -> Result<i32, Box<dyn Error + Send + Sync>> {
    let mut client = HealthClient::new(channels.channel().await?);
    let health = client.check(HealthCheckRequest::default()).await;
    Ok(health.map_err(|status| channels.explain(status))?.into_inner().status)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let to = std::env::args().nth(1).ok_or("give HOST:PORT")?;
    let connector = Arc::new(TlsConnector::new(common::selector()?, common::config(&["h2"])?));
    println!("{}", check(&mut Channels::new(connector, &to)?).await?);
    Ok(())
}
