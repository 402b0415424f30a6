//! tokio-postgres over a connection that answers certificate requests from the store.
//!
//! `cargo run --example postgres --features tokio HOST:PORT USER` says as whom it is connected.
// The tests use only the recipe
#![allow(dead_code)]

use std::error::Error;
use std::io;

use cardcase::Destination;
use cardcase::connect::Stream;
use cardcase::connect::tokio::Connector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, NoTls};

#[path = "common/mod.rs"]
mod common;

/// Asks for TLS instead of a session: the message SSLRequest, of 8 bytes, with the code 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Connects as `config` says: its user, password, database, options and name of the application.
pub(crate) async fn connect(
    connector: &Connector,
    destination: &Destination,
    config: &Config,
) -> Result<(Client, Connection<Stream<TcpStream>, NoTlsStream>), Box<dyn Error + Send + Sync>> {
    let connection = connector.connect(destination, || start_tls(destination)).await?;
    // The stream is TLS already. In TLS 1.3 a refusal comes only now; `opened` recognizes it
    let connected = config.connect_raw(connection.stream, NoTls).await;
    let explain = |source| cardcase::connect::Error::Request { source, opened: Some(connection.opened) };
    Ok(connected.map_err(|error| explain(error.into()))?)
}

async fn start_tls(destination: &Destination) -> io::Result<TcpStream> {
    let mut tcp = TcpStream::connect((destination.host(), destination.port())).await?;
    tcp.write_all(&SSL_REQUEST).await?;
    // One byte and no more: what follows belongs to TLS
    match tcp.read_u8().await? {
        b'S' => Ok(tcp),
        _ => Err(io::Error::other("the server does not offer TLS")),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let (to, user) = arguments.next().zip(arguments.next()).ok_or("give HOST:PORT and a user")?;
    let connector = Connector::new(common::selector()?, common::config(&[])?);
    let (client, connection) = connect(&connector, &to.parse()?, Config::new().user(user)).await?;
    tokio::spawn(connection);
    println!("{:?}", client.simple_query("select session_user").await?);
    Ok(())
}
