//! tokio-tungstenite, by the recipe in `examples/`.

use cardcase::connect::tokio::Connector;
use tokio_rustls::server::TlsStream;

use crate::inside::{self, Came, Inside};
use crate::scenarios::{self, Ticking};
use crate::support::server::{Ask, BOTH_VERSIONS, Tls};
use crate::world::{Client, Peer, World};

#[path = "../../../examples/tungstenite.rs"]
mod recipe;

fn serve(world: &World, tls: Tls, ask: Ask) -> Box<dyn Peer> {
    Box::new(Inside::over_tcp(inside::config(world, tls, ask, ""), accept))
}

async fn accept(stream: TlsStream<tokio::net::TcpStream>, came: Came) {
    let who = inside::seen(&stream);
    // Hangs up last
    let socket = tokio_tungstenite::accept_async(stream).await;
    if socket.is_ok() {
        came.lock().unwrap().push(who);
    }
}

fn tungstenite(world: &World) -> Client {
    ticking(world, Ticking::new())
}

fn ticking(world: &World, ticking: Ticking) -> Client {
    let connector = Connector::new(world.selector.clone(), world.config(&[]));
    Box::new(move |to| {
        ticking.run(async {
            let mut socket = recipe::open(&connector, &format!("wss://{to}/")).await?;
            // Once the server has hung up it has written down who came
            let _ = futures_util::StreamExt::next(&mut socket).await;
            Ok(())
        })
    })
}

#[test]
fn it_answers_as_decided() {
    for tls in BOTH_VERSIONS {
        scenarios::answers_as_decided(tungstenite, serve, tls);
    }
}

#[test]
fn it_reports_a_refusal() {
    for tls in BOTH_VERSIONS {
        scenarios::reports_a_refusal(tungstenite, tls);
    }
}

#[test]
fn it_does_not_stall() {
    scenarios::does_not_stall(ticking, serve);
}

#[test]
fn it_unlocks() {
    for tls in BOTH_VERSIONS {
        scenarios::unlocks(tungstenite, serve, tls);
    }
}
