//! async-nats with a configuration that follows the store: each new connection sends what is decided then.
//!
//! `cargo run --example nats HOST:PORT SUBJECT` prints what is published.
// The tests use only the recipe
#![allow(dead_code)]

use std::error::Error;
use std::sync::Arc;

use async_nats::ConnectOptions;
use cardcase::connect::config;
use cardcase::{Destination, Selector};
use futures_util::StreamExt;
use rustls::ClientConfig;

#[path = "common/mod.rs"]
mod common;

/// Options for one server. `base` verifies the server.
pub(crate) fn options(selector: Arc<Selector>, destination: Destination, base: &ClientConfig) -> ConnectOptions {
    ConnectOptions::new()
        .require_tls(true)
        .tls_client_config(config(selector, destination, base))
        // The configuration is for one host. Used for the others of a cluster, it would send no certificate any more
        .ignore_discovered_servers()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let (to, subject) = arguments.next().zip(arguments.next()).ok_or("give HOST:PORT and a subject")?;
    let options = options(common::selector()?, to.parse()?, &common::config(&[])?);
    let client = options.connect(format!("tls://{to}")).await?;
    let mut messages = client.subscribe(subject).await?;
    while let Some(message) = messages.next().await {
        println!("{}", String::from_utf8_lossy(&message.payload));
    }
    Ok(())
}
