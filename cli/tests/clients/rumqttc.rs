//! rumqttc, by the recipe in `examples/`, with mosquitto.

use std::collections::HashMap;

use rumqttc::{Event, Packet};
use rustls::ClientConfig;
use tokio::runtime::Builder;

use crate::running::{self, Case};
use crate::support::service::Kind;
use crate::world::{Client, World};

#[path = "../../../examples/rumqttc.rs"]
mod recipe;

const CASE: Case = Case {
    make: rumqttc,
    serve: |world| running::start(world, Kind::Mosquitto),
    reconnects: true,
    is_refusal: running::is_refusal,
};

/// One client for each broker, which loses its connection before each attempt.
fn rumqttc(world: &World, base: ClientConfig) -> Client {
    let (selector, mut running) = (world.selector.clone(), HashMap::new());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    Box::new(move |to| {
        let new = || recipe::client(selector.clone(), to.parse().unwrap(), &base, "test");
        let (_client, events) = running.entry(to.to_owned()).or_insert_with(new);
        runtime.block_on(async {
            events.clean();
            while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
            Ok(())
        })
    })
}

#[test]
fn it_sends_what_is_decided() {
    running::sends_what_is_decided(&CASE);
}

#[test]
fn it_reports_a_refusal_and_sends_a_renewed_certificate() {
    running::reports_a_refusal_and_sends_a_renewed_certificate(&CASE);
}
