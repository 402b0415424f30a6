//! ureq.

use cardcase::connect::ureq::Connector;
use ureq::{Agent, Proxy};

use crate::scenarios;
use crate::support::server::BOTH_VERSIONS;
use crate::world::{Client, Peer, World};

pub fn ureq(world: &World) -> Client {
    let agent = Connector::new(world.selector.clone(), world.config(&[])).agent();
    Box::new(move |to| {
        agent.get(format!("https://{to}/")).call()?.body_mut().read_to_vec()?;
        Ok(())
    })
}

#[test]
fn it_answers_as_decided() {
    for tls in BOTH_VERSIONS {
        scenarios::answers_as_decided(ureq, scenarios::serve_http, tls);
    }
}

#[test]
fn it_reports_a_refusal() {
    for tls in BOTH_VERSIONS {
        scenarios::reports_a_refusal(ureq, tls);
    }
}

#[test]
fn requests_share_a_connection() {
    scenarios::requests_share_a_connection(ureq);
}

/// The proxy, which speaks TLS, and the server behind it each see the identity that was decided for them.
#[test]
fn a_proxy_has_an_identity_of_its_own() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let (proxy, server, _) = world.scene.behind_a_proxy(tls);
        world.remember_at(&format!("127.0.0.1:{}", proxy.port()), Some(world.alice));
        world.remember(&server, Some(world.bob));
        let through = Proxy::new(&proxy.url_at("127.0.0.1", "")).unwrap();
        let config = Agent::config_builder().proxy(Some(through)).build();
        let agent = Connector::new(world.selector.clone(), world.config(&[])).agent_with(config);
        agent.get(server.url()).call().unwrap();
        assert_eq!(proxy.chains()[0][0], world.alice.to_string(), "{tls:?}");
        assert_eq!(server.came(), [Some(world.bob.to_string())], "{tls:?}");
    }
}

#[test]
fn it_unlocks() {
    for tls in BOTH_VERSIONS {
        scenarios::unlocks(ureq, scenarios::serve_http, tls);
    }
}

#[test]
fn it_forgets_what_was_refused() {
    for tls in BOTH_VERSIONS {
        scenarios::forgets_what_was_refused(ureq, tls);
    }
}

#[test]
fn rules_about_paths_select_nothing() {
    scenarios::rules_about_paths_select_nothing(ureq);
}

#[test]
fn it_writes_the_history() {
    scenarios::writes_the_history(ureq);
}
