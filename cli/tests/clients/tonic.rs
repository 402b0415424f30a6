//! tonic, by the recipe in `examples/`: with a server in this process, and with nginx before one.

use std::collections::HashMap;
use std::sync::Arc;

use cardcase::connect::tokio::Connector;
use cardcase::connect::{Cause, cause};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::codegen::Service;
use tonic_health::server::health_reporter;

use crate::inside::{self, Came, Inside};
use crate::running::{self, Case};
use crate::scenarios::{self, Ticking};
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Tls};
use crate::world::{Client, Peer, World};

#[path = "../../../examples/tonic.rs"]
mod recipe;

fn serve(world: &World, tls: Tls, ask: Ask) -> Box<dyn Peer> {
    Box::new(Inside::over_tcp(inside::config(world, tls, ask, "h2"), answer))
}

async fn answer(stream: TlsStream<TcpStream>, came: Came) {
    let who = inside::seen(&stream);
    answer_health(stream, move || came.lock().unwrap().push(who.clone())).await;
}

async fn answer_health(stream: impl AsyncRead + AsyncWrite + Unpin, note_request: impl Fn()) {
    let health = health_reporter().1;
    let service = service_fn(move |request| {
        note_request();
        health.clone().call(request)
    });
    // How the client leaves is its own affair
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

const BEHIND_NGINX: Case = Case {
    make: behind_nginx,
    serve: |world| {
        let backend = Inside::behind(|stream| answer_health(stream, || ()));
        Box::new(world.scene.server(Kind::Nginx).in_front_of_grpc(backend).start())
    },
    reconnects: false,
    // nginx refuses with a page, which is a response to tonic
    is_refusal: |error| error.to_string().contains("400"),
};

fn behind_nginx(world: &World, mut base: ClientConfig) -> Client {
    base.alpn_protocols = vec![b"h2".to_vec()];
    client(Connector::new(world.selector.clone(), base), Ticking::new())
}

fn tonic(world: &World) -> Client {
    ticking(world, Ticking::new())
}

fn ticking(world: &World, ticking: Ticking) -> Client {
    client(Connector::new(world.selector.clone(), world.config(&["h2"])), ticking)
}

/// A channel per server, all over one connector.
fn client(connector: Connector, ticking: Ticking) -> Client {
    let (connector, mut channels) = (Arc::new(connector), HashMap::new());
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

#[test]
fn it_sends_what_is_decided_to_nginx() {
    running::sends_what_is_decided(&BEHIND_NGINX);
}

#[test]
fn it_reports_a_refusal_of_nginx_and_sends_a_renewed_certificate() {
    running::reports_a_refusal_and_sends_a_renewed_certificate(&BEHIND_NGINX);
}
