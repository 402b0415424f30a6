//! quinn over connections that answer certificate requests from the store, by the four calls of `cardcase::connect`.
//!
//! `cargo run --example quinn --features tokio HOST:PORT` opens a connection.
// The tests use only the recipe
#![allow(dead_code)]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use cardcase::ask::Refusal;
use cardcase::connect::Opened;
use cardcase::raw::{Resolver, grant};
use cardcase::{Destination, Selector};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use tokio::task::spawn_blocking;

#[path = "common/mod.rs"]
mod common;

/// Connections made for one call: the first, after asking, after unlocking, and for a server that asks for something else then.
const ATTEMPTS: usize = 4;

/// Opens a connection. `base` names the application's protocol (ALPN). Before another use of the connection, ask
/// `Opened::may_be_reused`.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    selector: &Arc<Selector>,
    base: &rustls::ClientConfig,
    destination: &Destination,
    address: SocketAddr,
) -> Result<(Connection, Opened), Box<dyn Error + Send + Sync>> {
    let (deciding, to) = (selector.clone(), destination.clone());
    let mut prepared = spawn_blocking(move || deciding.prepare(&to)).await??;
    for _ in 0..ATTEMPTS {
        let resolver = Resolver::new(prepared);
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(resolver.config(base))?));
        let error = match endpoint.connect_with(config, address, destination.host())?.await {
            Ok(connection) => return Ok((connection, resolver.opened())),
            Err(error) => error,
        };
        // quinn's error keeps only the message
        let Some(needs) = resolver.needs() else { return Err(error.into()) };
        let deciding = selector.clone();
        prepared = spawn_blocking(move || grant(&deciding, resolver.prepared(), &needs)).await??;
    }
    Err("the server keeps asking for something else".into())
}

/// Whether the server refused what it was sent. That comes after the handshake, with the next operation.
pub(crate) fn refusal(error: &ConnectionError) -> Option<Refusal> {
    let ConnectionError::ConnectionClosed(close) = error else { return None };
    // CRYPTO_ERROR, with the alert in the last byte (RFC 9001 section 4.8)
    let alert = u64::from(close.error_code).checked_sub(0x100)?;
    Refusal::from_alert(u8::try_from(alert).ok()?.into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let to = std::env::args().nth(1).ok_or("give HOST:PORT")?;
    let address = tokio::net::lookup_host(&to).await?.next().ok_or("no address")?;
    let endpoint = Endpoint::client(SocketAddr::new([0, 0, 0, 0].into(), 0))?;
    let (connection, _) =
        connect(&endpoint, &common::selector()?, &common::config(&["h3"])?, &to.parse()?, address).await?;
    println!("connected to {}", connection.remote_address());
    Ok(())
}
