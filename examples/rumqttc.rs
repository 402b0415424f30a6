//! rumqttc with a configuration that follows the store: each new connection sends what is decided then.
//!
//! `cargo run --example rumqttc HOST:PORT TOPIC` prints what is published.
// The tests use only the recipe
#![allow(dead_code)]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use cardcase::connect::config;
use cardcase::{Destination, Selector};
use rumqttc::{AsyncClient, EventLoop, MqttOptions, QoS, TlsConfiguration, Transport};
use rustls::ClientConfig;

#[path = "common/mod.rs"]
mod common;

/// Messages that may wait to be sent.
const CAPACITY: usize = 10;

/// A client for one broker. `base` verifies the broker.
pub(crate) fn client(
    selector: Arc<Selector>,
    destination: Destination,
    base: &ClientConfig,
    id: &str,
) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(id, destination.host(), destination.port());
    let tls = TlsConfiguration::Rustls(Arc::new(config(selector, destination, base)));
    options.set_transport(Transport::tls_with_config(tls));
    AsyncClient::new(options, CAPACITY)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let (to, topic) = arguments.next().zip(arguments.next()).ok_or("give HOST:PORT and a topic")?;
    let id = format!("cardcase-{}", std::process::id());
    let (client, mut events) = client(common::selector()?, to.parse()?, &common::config(&[])?, &id);
    client.subscribe(topic, QoS::AtMostOnce).await?;
    loop {
        match events.poll().await {
            Ok(event) => println!("{event:?}"),
            // The next call of `poll` connects again. This selector asks nobody: decide with `cardcase remember`
            Err(error) => {
                eprintln!("{error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
