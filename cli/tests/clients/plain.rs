//! rustls alone, over blocking streams and over tokio.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use cardcase::connect::{Cause, blocking, cause, tokio as asynchronous};
use cardcase::raw::Resolver;
use cardcase::raw::{grant, server_name};
use cardcase::{Destination, Target};
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

/// With the four calls only.
fn by_hand(world: &World) -> Client {
    let (selector, base) = (world.selector.clone(), world.config(&[]));
    Box::new(move |to| {
        let destination: Destination = to.parse()?;
        let mut resolver = Resolver::new(selector.prepare(&destination)?);
        loop {
            let tls = ClientConnection::new(Arc::new(resolver.config(&base)), server_name(&destination)?)?;
            let mut stream = StreamOwned::new(tls, resolver.guard(TcpStream::connect(to)?));
            let Err(error) = stream.conn.complete_io(&mut stream.sock) else {
                stream.write_all(REQUEST)?;
                stream.read_to_end(&mut Vec::new())?;
                return Ok(());
            };
            let Some(Cause::Needs(needs)) = cause(&error) else { return Err(error.into()) };
            resolver = Resolver::new(grant(&selector, resolver.prepared(), needs)?);
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
fn they_report_a_refusal() {
    for tls in BOTH_VERSIONS {
        for make in [blocking, by_hand, asynchronous] {
            scenarios::reports_a_refusal(make, tls);
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

/// In TLS 1.3 a finished handshake does not say whether the server accepts.
#[test]
fn a_success_is_recorded_once_and_only_after_the_server_sent_something() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let server = world.http(tls, Ask::Optional);
        world.remember(&server, Some(world.alice));
        let destination: Destination = server.destination().parse().unwrap();
        let uses = || world.scene.machine.json("history")["uses"].as_array().unwrap().len();

        let connector = blocking::Connector::new(world.selector.clone(), world.config(&[]));
        let mut open = connector.connect(&destination, || TcpStream::connect(server.destination())).unwrap();
        open.opened.record_success(&world.selector);
        assert_eq!(uses(), 0, "{tls:?}");
        open.stream.write_all(REQUEST).unwrap();
        open.stream.read_exact(&mut [0]).unwrap();
        open.opened.record_success(&world.selector);
        open.opened.record_success(&world.selector);
        assert_eq!(uses(), 1, "{tls:?}");

        let connector = asynchronous::Connector::new(world.selector.clone(), world.config(&[]));
        let recorded = Ticking::new().run(async {
            let dial = || tokio::net::TcpStream::connect(server.destination());
            let mut open = connector.connect(&destination, dial).await?;
            open.stream.write_all(REQUEST).await?;
            open.opened.record_success(&world.selector);
            let before = uses();
            open.stream.read_u8().await?;
            open.opened.record_success(&world.selector);
            Ok([before, uses()])
        });
        assert_eq!(recorded.unwrap(), [1, 2], "{tls:?}");
    }
}

/// A destination has one resolver and its sessions; a path has its own rules.
#[test]
fn a_rule_for_a_path_selects_nothing_for_another_path() {
    let world = World::new();
    let server = world.http(Tls::V1_3, Ask::Optional);
    let to = |path: &str| Target::new(server.destination().parse().unwrap()).with_path(path);
    drop(world.scene.machine.run("rules add https://localhost/admin --subject CN=bob").expect(0));

    // What is begun for one path comes to nothing, and another begins where that ended
    let connector = blocking::Connector::new(world.selector.clone(), world.config(&[]));
    let mut dialled = 0;
    let dial = || {
        dialled += 1;
        if dialled == 2 { Err(ErrorKind::HostUnreachable.into()) } else { TcpStream::connect(server.destination()) }
    };
    connector.connect(to("/admin"), dial).unwrap_err();
    world.person.will_pick("alice");
    let open = connector.connect(to("/other"), || TcpStream::connect(server.destination())).unwrap();
    assert_eq!(open.opened.selection().and_then(|selection| selection.answer.fingerprint()), Some(world.alice));
    assert_eq!(world.person.asked(), [server.destination()]);

    // By what is remembered a connection for any path is opened, and stays one for its own
    for path in ["/other", "/admin", "/other"] {
        let open = connector.connect(to(path), || TcpStream::connect(server.destination())).unwrap();
        assert_eq!(open.opened.again().unwrap().target(), &to(path));
    }
    let connector = asynchronous::Connector::new(world.selector.clone(), world.config(&[]));
    Ticking::new()
        .run(async {
            for path in ["/other", "/admin", "/other"] {
                let dial = || tokio::net::TcpStream::connect(server.destination());
                assert_eq!(connector.connect(to(path), dial).await?.opened.again().unwrap().target(), &to(path));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_refusal_is_recorded_once() {
    let world = World::new();
    let server = world.refusing(Tls::V1_3);
    world.remember_at(&server.destination(), Some(world.alice));
    let destination: Destination = server.destination().parse().unwrap();
    let connector = blocking::Connector::new(world.selector.clone(), world.config(&[]));
    let mut open = connector.connect(&destination, || TcpStream::connect(server.destination())).unwrap();
    open.opened.record_refusal(&world.selector);
    open.stream.read_exact(&mut [0]).unwrap_err();
    open.opened.record_refusal(&world.selector);
    open.opened.record_refusal(&world.selector);
    open.opened.record_success(&world.selector);
    assert_eq!(world.scene.machine.json("history")["uses"].as_array().unwrap().len(), 1);
}
