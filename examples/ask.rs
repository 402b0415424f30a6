//! Fetches a page and asks the user which identity to send, on the terminal or in the user's own dialogs.
//!
//! `cargo run --example ask --features ask HOST:PORT`
// The tests use only the recipe
#![allow(dead_code)]

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use cardcase::connect::blocking::Connector;
use cardcase::{Destination, Selector};
use rustls::ClientConfig;

/// The page at the root of a server, which says who came.
pub(crate) fn get(server: &str) -> Result<String, Box<dyn Error>> {
    let selector = Selector::for_user()?;
    let config = selector.client_config(ClientConfig::builder())?;
    let connector = Connector::new(Arc::new(selector), config);
    let destination: Destination = server.parse()?;
    let mut connection = connector.connect(&destination, || TcpStream::connect(server))?;
    write!(connection.stream, "GET / HTTP/1.0\r\nHost: {destination}\r\n\r\n")?;
    let mut page = String::new();
    connection.stream.read_to_string(&mut page)?;
    Ok(page)
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1).ok_or("give HOST:PORT")?;
    println!("{}", get(&server)?);
    Ok(())
}
