//! The JDK's server, with every client that knows where a response ends: that server closes connections without a close_notify.

use crate::scenarios::all_answer_as_decided;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Tls};
use crate::world::{Peer, World};
use crate::{hyper, reqwest, ureq};

fn serve(world: &World, tls: Tls, ask: Ask) -> Box<dyn Peer> {
    Box::new(world.scene.server(Kind::Java).tls(tls).ask(ask).start())
}

#[test]
fn all_clients_answer_as_decided() {
    for tls in BOTH_VERSIONS {
        let clients = [hyper::http1, reqwest::reqwest, ureq::ureq];
        all_answer_as_decided(&clients, serve, tls);
    }
}
