//! tokio-tungstenite over a connection that answers certificate requests from the store.
//!
//! `cargo run --example tungstenite --features tokio wss://HOST:PORT/`
// The tests use only the recipe
#![allow(dead_code)]

use std::error::Error;

use cardcase::Destination;
use cardcase::connect::tokio::Connector;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::{WebSocketStream, client_async};

#[path = "common/mod.rs"]
mod common;

/// Opens a WebSocket. The connector's configuration names no protocol (ALPN), or only `http/1.1`.
pub(crate) async fn open(
    connector: &Connector,
    url: &str,
) -> Result<WebSocketStream<impl AsyncRead + AsyncWrite + Unpin + use<>>, Box<dyn Error + Send + Sync>> {
    let uri: Uri = url.parse()?;
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(Destination::DEFAULT_PORT);
    let destination = Destination::new(host, port)?;
    let connection = connector.connect(&destination, || TcpStream::connect((destination.host(), port))).await?;
    let (socket, _) = client_async(url, connection.stream).await?;
    Ok(socket)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let url = std::env::args().nth(1).ok_or("give a URL: wss://HOST:PORT/")?;
    let connector = Connector::new(common::selector()?, common::config(&[])?);
    let _socket = open(&connector, &url).await?;
    println!("open: {url}");
    Ok(())
}
