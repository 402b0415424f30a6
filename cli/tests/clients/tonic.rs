//! tonic, by the recipe in `examples/`.

use std::sync::Arc;

use cardcase::connect::tokio::Connector;
use cardcase::connect::{Cause, cause};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::server::TlsStream;
use tonic::codegen::Service;
use tonic_health::server::health_reporter;

use crate::inside::{self, Came, Inside};
use crate::scenarios::{self, Ticking};
use crate::support::server::{Ask, BOTH_VERSIONS, Tls};
use crate::world::{Client, Peer, World};

#[path = "../../../examples/tonic.rs"]
mod recipe;

fn serve(world: &World, tls: Tls, ask: Ask) -> Box<dyn Peer> {
    Box::new(Inside::over_tcp(inside::config(world, tls, ask, "h2"), answer))
}

async fn answer(stream: TlsStream<tokio::net::TcpStream>, came: Came) {
    let (who, health) = (inside::seen(&stream), health_reporter().1);
    let service = service_fn(move |request| {
        came.lock().unwrap().push(who.clone());
        health.clone().call(request)
    });
    // How the client leaves is its own affair
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn tonic(world: &World) -> Client {
    ticking(world, Ticking::new())
}

/// A channel per server, all over one connector.
fn ticking(world: &World, ticking: Ticking) -> Client {
    let connector = Arc::new(Connector::new(world.selector.clone(), world.config(&["h2"])));
    let mut channels = std::collections::HashMap::new();
    Box::new(move |to| {
        ticking.run(async {
            let new = || recipe::Channels::new(connector.clone(), to).unwrap();
            recipe::check(channels.entry(to.to_owned()).or_insert_with(new)).await.map(drop)
        })
    })
}

#[test]
fn it_answers_as_decided() {
    for tls in BOTH_VERSIONS {
        scenarios::answers_as_decided(tonic, serve, tls);
    }
}

#[test]
fn it_reports_a_refusal() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let server = Inside::over_tcp(inside::refusing(&world, tls, "h2").0, answer);
        world.person.will_pick("alice");
        let error = tonic(&world)(&server.destination()).unwrap_err();
        assert!(matches!(cause(&*error), Some(Cause::Refused(_))), "{tls:?}: {error:?}");
    }
}

#[test]
fn it_does_not_stall() {
    scenarios::does_not_stall(ticking, serve);
}

#[test]
fn it_unlocks() {
    for tls in BOTH_VERSIONS {
        scenarios::unlocks(tonic, serve, tls);
    }
}
