//! rustls alone, over blocking streams and over tokio.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use cardcase::connect::{blocking, grant, server_name, tokio as asynchronous, wish};
use cardcase::request::Destination;
use cardcase::resolver::Resolver;
use rustls::{ClientConnection, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::scenarios::{self, Ticking};
use crate::support::gate::hanging_up_after;
use crate::support::server::{Ask, BOTH_VERSIONS, Tls};
use crate::world::{BoxError, Client, Peer, World};

const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

fn serve(world: &World, tls: Tls, ask: Ask) -> Box<dyn Peer> {
    Box::new(world.http(tls, ask))
}

fn blocking(world: &World) -> Client {
    let connector = blocking::Connector::new(world.selector.clone(), world.config(&[]));
    Box::new(move |to| {
        let destination: Destination = to.parse()?;
        let mut stream = connector.connect(&destination, || TcpStream::connect(to))?.stream;
        stream.write_all(REQUEST)?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    })
}

/// By the four calls alone.
fn by_hand(world: &World) -> Client {
    let (selector, base) = (world.selector.clone(), world.config(&[]));
    Box::new(move |to| {
        let destination: Destination = to.parse()?;
        let mut resolver = Resolver::new(selector.prepare(&destination)?);
        loop {
            let tls = ClientConnection::new(Arc::new(resolver.config(&base)), server_name(&destination)?)?;
            let mut stream = StreamOwned::new(tls, resolver.trace(TcpStream::connect(to)?));
            let Err(error) = stream.conn.complete_io(&mut stream.sock) else {
                stream.write_all(REQUEST)?;
                stream.read_to_end(&mut Vec::new())?;
                return Ok(());
            };
            let Some(wish) = wish(&error) else { return Err(error.into()) };
            resolver = Resolver::new(grant(&selector, resolver.prepared(), wish)?);
        }
    })
}

fn asynchronous(world: &World) -> Client {
    ticking(world, Ticking::new())
}

fn ticking(world: &World, ticking: Ticking) -> Client {
    let connector = asynchronous::Connector::new(world.selector.clone(), world.config(&[]));
    Box::new(move |to| {
        ticking.run(async {
            let destination: Destination = to.parse()?;
            let mut stream = connector.connect(&destination, || tokio::net::TcpStream::connect(to)).await?.stream;
            stream.write_all(REQUEST).await?;
            stream.flush().await?;
            stream.read_to_end(&mut Vec::new()).await?;
            Ok::<_, BoxError>(())
        })
    })
}

#[test]
fn they_answer_as_decided() {
    for tls in BOTH_VERSIONS {
        for make in [blocking, by_hand, asynchronous] {
            scenarios::answers_as_decided(make, serve, tls);
        }
    }
}

#[test]
fn they_tell_a_refusal() {
    for tls in BOTH_VERSIONS {
        for make in [blocking, by_hand, asynchronous] {
            scenarios::tells_a_refusal(make, tls);
        }
    }
}

#[test]
fn tokio_does_not_stall() {
    scenarios::does_not_stall(ticking, serve);
}

/// No connection is open while a person thinks: how long a server would wait makes no difference.
#[test]
fn the_server_may_be_gone_when_the_person_has_chosen() {
    const PATIENCE: Duration = Duration::from_millis(200);
    for make in [blocking, by_hand, asynchronous] {
        let world = World::new();
        let server = world.http(Tls::V1_3, Ask::Optional);
        let through = format!("localhost:{}", hanging_up_after(PATIENCE, &server));
        world.person.will_think(PATIENCE * 3);
        world.person.will_pick("alice");
        make(&world)(&through).unwrap();
        assert_eq!(server.came(), [Some(world.alice.to_string())]);
    }
}

#[test]
fn they_unlock() {
    for tls in BOTH_VERSIONS {
        for make in [blocking, by_hand, asynchronous] {
            scenarios::unlocks(make, serve, tls);
        }
    }
}
