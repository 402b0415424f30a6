//! async-nats, by the recipe in `examples/`, with nats-server.

use std::collections::HashMap;

use async_nats::{Client as Nats, Event};
use rustls::ClientConfig;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::running::{self, Case};
use crate::support::service::Kind;
use crate::world::{BoxError, Client, World};

#[path = "../../../examples/nats.rs"]
mod recipe;

const CASE: Case = Case {
    make: nats,
    serve: |world| running::start(world, Kind::Nats),
    reconnects: true,
    is_refusal: running::is_refusal,
};

/// A client, and what it tells about its connection.
struct Running {
    client: Nats,
    events: UnboundedReceiver<Event>,
    is_connected: bool,
}

/// One client for each server, which connects anew in each attempt.
fn nats(world: &World, base: ClientConfig) -> Client {
    let (selector, mut running) = (world.selector.clone(), HashMap::<String, Running>::new());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    Box::new(move |to| {
        runtime.block_on(async {
            match running.get_mut(to) {
                Some(running) => running.reconnect().await,
                None => {
                    let (tell, events) = unbounded_channel();
                    let options = recipe::options(selector.clone(), to.parse()?, &base).event_callback(move |event| {
                        // The test may have ended
                        let _ = tell.send(event);
                        std::future::ready(())
                    });
                    let client = options.connect(format!("tls://{to}")).await?;
                    running.insert(to.to_owned(), Running { client, events, is_connected: false });
                    running.get_mut(to).unwrap().connected().await
                }
            }
        })
    })
}

impl Running {
    async fn reconnect(&mut self) -> Result<(), BoxError> {
        if std::mem::take(&mut self.is_connected) {
            self.client.force_reconnect().await?;
        }
        self.connected().await
    }

    async fn connected(&mut self) -> Result<(), BoxError> {
        loop {
            match self.events.recv().await.unwrap() {
                Event::Connected => break,
                Event::ClientError(error) => return Err(error.to_string().into()),
                _ => {}
            }
        }
        self.is_connected = true;
        Ok(())
    }
}

#[test]
fn it_sends_what_is_decided() {
    running::sends_what_is_decided(&CASE);
}

#[test]
fn it_reports_a_refusal_and_sends_a_renewed_certificate() {
    running::reports_a_refusal_and_sends_a_renewed_certificate(&CASE);
}
