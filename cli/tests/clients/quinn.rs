//! quinn, by the recipe in `examples/`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use cardcase::Destination;
use cardcase::connect::Opened;
use quinn::{Connection, Endpoint};

use crate::inside::{self, Inside};
use crate::scenarios::{self, Ticking};
use crate::support::fingerprint;
use crate::support::server::{Ask, Tls};
use crate::world::{BoxError, Client, Peer, World};

#[path = "../../../examples/quinn.rs"]
mod recipe;

const ALPN: &str = "test";

fn serve(world: &World, tls: Tls, ask: Ask) -> Box<dyn Peer> {
    Box::new(Inside::over_quic(inside::config(world, tls, ask, ALPN)))
}

fn quinn(world: &World) -> Client {
    ticking(world, Ticking::new())
}

/// Keeps its connections while they may be reused.
fn ticking(world: &World, ticking: Ticking) -> Client {
    let (selector, base) = (world.selector.clone(), world.config(&[ALPN]));
    let endpoint = ticking.run(async { Ok(Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?) }).unwrap();
    let mut kept: HashMap<String, (Connection, Opened)> = HashMap::new();
    Box::new(move |to| {
        ticking.run(async {
            let destination: Destination = to.parse()?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, destination.port()));
            let may_be_reused =
                |(_, opened): &(Connection, Opened)| opened.may_be_reused(&selector, &destination).unwrap();
            if !kept.get(to).is_some_and(may_be_reused) {
                let new = recipe::connect(&endpoint, &selector, &base, &destination, address).await?;
                kept.insert(to.to_owned(), new);
            }
            exchange(&kept[to].0).await
        })
    })
}

async fn exchange(connection: &Connection) -> Result<(), BoxError> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(&[0]).await?;
    receive.read_exact(&mut [0]).await?;
    Ok(())
}

#[test]
fn it_answers_as_decided() {
    scenarios::answers_as_decided(quinn, serve, Tls::V1_3);
}

#[test]
fn it_does_not_stall() {
    scenarios::does_not_stall(ticking, serve);
}

/// Opens a connection to a server that refuses everyone, and waits for its end.
fn refused(world: &World, server: &Inside) -> Result<quinn::ConnectionError, BoxError> {
    Ticking::new().run(async {
        let endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let destination: Destination = server.destination().parse()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, destination.port()));
        let base = world.config(&[ALPN]);
        let (connection, _) = recipe::connect(&endpoint, &world.selector, &base, &destination, address).await?;
        Ok(connection.closed().await)
    })
}

#[test]
fn it_reports_a_refusal() {
    let world = World::new();
    let (config, seen) = inside::refusing(&world, Tls::V1_3, ALPN);
    world.person.will_pick("alice");
    let error = refused(&world, &Inside::over_quic(config)).unwrap();
    let refusal = recipe::refusal(&error).unwrap();
    assert_eq!(refusal.alert_name().as_deref(), Some("certificate_revoked"));
    assert_eq!(fingerprint(&seen.lock().unwrap()[0][0]), world.alice.to_string());
}

/// There is no stream to hold anything back. But in TLS 1.3 rustls hands over what answers a request all at once, and only
/// when it is signed.
#[test]
fn it_sends_nothing_while_nothing_is_decided() {
    let world = World::new();
    let (config, seen) = inside::refusing(&world, Tls::V1_3, ALPN);
    let server = Inside::over_quic(config);
    refused(&world, &server).unwrap_err();
    assert_eq!(world.person.asked(), [server.destination()]);
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn it_unlocks() {
    scenarios::unlocks(quinn, serve, Tls::V1_3);
}
