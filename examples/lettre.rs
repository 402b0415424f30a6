//! lettre over a connection that answers certificate requests from the store, after STARTTLS (RFC 3207).
//!
//! `cargo run --example lettre --features tokio HOST:PORT FROM TO` sends a mail.
// The tests use only the recipe
#![allow(dead_code)]

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use cardcase::Destination;
use cardcase::connect::Stream;
use cardcase::connect::tokio::Connector;
use lettre::address::Envelope;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::Starttls;
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[path = "common/mod.rs"]
mod common;

/// Connects, as the host `hello`.
pub(crate) async fn connect(
    connector: &Connector,
    destination: &Destination,
    hello: &ClientId,
) -> Result<AsyncSmtpConnection, Box<dyn Error + Send + Sync>> {
    let connection = connector.connect(destination, || start_tls(destination, hello)).await?;
    let stream = Greeted { greeting: b"220 TLS\r\n", stream: connection.stream };
    let connected = AsyncSmtpConnection::connect_with_transport(Box::new(stream), hello).await;
    // In TLS 1.3 a refusal comes only now; `opened` recognizes it
    let explain = |source| cardcase::connect::Error::Request { source, opened: Some(connection.opened) };
    Ok(connected.map_err(|error| explain(error.into()))?)
}

async fn start_tls(destination: &Destination, hello: &ClientId) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect((destination.host(), destination.port())).await?.into_std()?;
    // lettre keeps the stream that it is given
    let plain = Box::new(TcpStream::from_std(tcp.try_clone()?)?);
    let mut smtp = AsyncSmtpConnection::connect_with_transport(plain, hello).await.map_err(io::Error::other)?;
    if !smtp.can_starttls() {
        return Err(io::Error::other("the server does not offer STARTTLS"));
    }
    smtp.command(Starttls).await.map_err(io::Error::other)?;
    TcpStream::from_std(tcp)
}

/// The stream after STARTTLS. lettre waits for a greeting, and the server does not send another.
#[derive(Debug)]
struct Greeted {
    greeting: &'static [u8],
    stream: Stream<TcpStream>,
}

impl AsyncRead for Greeted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let (now, later) = self.greeting.split_at(self.greeting.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Greeted {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [server, from, to] = &*arguments else { return Err("give HOST:PORT, FROM and TO".into()) };
    let connector = Connector::new(common::selector()?, common::config(&[])?);
    let mut smtp = connect(&connector, &server.parse()?, &ClientId::default()).await?;
    let envelope = Envelope::new(Some(from.parse()?), vec![to.parse()?])?;
    let mail = format!("From: {from}\r\nTo: {to}\r\nSubject: cardcase\r\n\r\nSent with a client certificate.\r\n");
    smtp.send(&envelope, mail.as_bytes()).await?;
    smtp.quit().await?;
    Ok(())
}
