//! ureq.

use cardcase::connect::ureq::Connector;

use crate::scenarios;
use crate::support::server::{Ask, BOTH_VERSIONS, Tls};
use crate::world::{Client, Peer, World};

fn serve(world: &World, tls: Tls, ask: Ask) -> Box<dyn Peer> {
    Box::new(world.http(tls, ask))
}

fn ureq(world: &World) -> Client {
    let agent = Connector::new(world.selector.clone(), world.config(&[])).agent();
    Box::new(move |to| {
        agent.get(format!("https://{to}/")).call()?.body_mut().read_to_vec()?;
        Ok(())
    })
}

#[test]
fn it_answers_as_decided() {
    for tls in BOTH_VERSIONS {
        scenarios::answers_as_decided(ureq, serve, tls);
    }
}

#[test]
fn it_tells_a_refusal() {
    for tls in BOTH_VERSIONS {
        scenarios::tells_a_refusal(ureq, tls);
    }
}

#[test]
fn requests_share_a_connection() {
    let world = World::new();
    let server = world.http(Tls::V1_3, Ask::Optional);
    world.remember(&server, Some(world.alice));
    let mut client = ureq(&world);
    for _ in 0..3 {
        client(&server.destination()).unwrap();
    }
    assert_eq!((server.handshakes().len(), server.requests().len()), (1, 3));
}
