//! reqwest.

use cardcase::connect::reqwest::Client as Reqwest;

use crate::scenarios::{self, Ticking};
use crate::support::server::{Ask, BOTH_VERSIONS, Tls};
use crate::world::{BoxError, Client, Peer, World};

pub fn reqwest(world: &World) -> Client {
    ticking(world, Ticking::new())
}

fn ticking(world: &World, ticking: Ticking) -> Client {
    let client = Reqwest::new(world.selector.clone(), world.config(&[]));
    Box::new(move |to| {
        ticking.run(async {
            client.get(format!("https://{to}/")).await?.bytes().await?;
            Ok::<_, BoxError>(())
        })
    })
}

#[test]
fn it_answers_as_decided() {
    for tls in BOTH_VERSIONS {
        scenarios::answers_as_decided(reqwest, scenarios::serve_http, tls);
    }
}

#[test]
fn it_reports_a_refusal() {
    for tls in BOTH_VERSIONS {
        scenarios::reports_a_refusal(reqwest, tls);
    }
}

#[test]
fn it_does_not_stall() {
    scenarios::does_not_stall(ticking, scenarios::serve_http);
}

/// Every hop has its own identity.
#[test]
fn each_redirect_gets_the_identity_decided_for_its_destination() {
    let world = World::new();
    let [from, to] = [(); 2].map(|()| world.http(Tls::V1_3, Ask::Optional));
    world.remember(&from, Some(world.alice));
    world.remember(&to, Some(world.bob));
    let client = Reqwest::new(world.selector.clone(), world.config(&[]));
    let response =
        Ticking::new().run(async { Ok(client.get(from.redirect_to("localhost", &to.url())).await?) }).unwrap();
    assert_eq!(response.url().as_str(), to.url());
    assert_eq!((from.came(), to.came()), (vec![Some(world.alice.to_string())], vec![Some(world.bob.to_string())]));
}

/// Where TLS 1.2 is allowed, the certificate would be visible on the network.
#[test]
fn an_identity_that_requires_tls_1_3_is_not_used_where_less_is_allowed() {
    let world = World::new();
    let server = world.http(Tls::V1_2, Ask::Optional);
    let store = world.selector.store();
    store.require_tls13(&store.identity(world.alice).unwrap().unwrap(), true).unwrap();
    world.remember(&server, Some(world.alice));
    reqwest(&world)(&server.destination()).unwrap_err();
    server.assert_nothing_came("demands TLS 1.3");
}

#[test]
fn it_unlocks() {
    for tls in BOTH_VERSIONS {
        scenarios::unlocks(reqwest, scenarios::serve_http, tls);
    }
}

#[test]
fn it_forgets_what_was_refused() {
    for tls in BOTH_VERSIONS {
        scenarios::forgets_what_was_refused(reqwest, tls);
    }
}

#[test]
fn rules_about_paths_select_nothing() {
    scenarios::rules_about_paths_select_nothing(reqwest);
}

#[test]
fn it_writes_the_history() {
    scenarios::writes_the_history(reqwest);
}
