//! hyper-util, by HTTP/1.1 and HTTP/2.

use std::sync::Arc;

use cardcase::connect::hyper::{Client as Hyper, Connector};
use cardcase::connect::tokio::Connector as TlsConnector;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::connect::proxy::Tunnel;

use crate::scenarios::{self, Ticking};
use crate::support::server::BOTH_VERSIONS;
use crate::world::{BoxError, Client, Peer, World};

fn client(world: &World, alpn: &[&str], ticking: Ticking) -> Client {
    let client = Hyper::new(world.selector.clone(), world.config(alpn));
    Box::new(move |to| {
        ticking.run(async {
            let request = Request::get(format!("https://{to}/")).body(Empty::<Bytes>::new())?;
            client.request(request).await?.into_body().collect().await?;
            Ok::<_, BoxError>(())
        })
    })
}

pub fn http1(world: &World) -> Client {
    client(world, &["http/1.1"], Ticking::new())
}

pub fn http2(world: &World) -> Client {
    client(world, &["h2"], Ticking::new())
}

fn either(world: &World, ticking: Ticking) -> Client {
    client(world, &[], ticking)
}

#[test]
fn it_answers_as_decided() {
    for tls in BOTH_VERSIONS {
        for make in [http1, http2] {
            scenarios::answers_as_decided(make, scenarios::serve_http, tls);
        }
    }
}

/// Of a server that speaks no HTTP/2.
#[test]
fn it_tells_a_refusal() {
    for tls in BOTH_VERSIONS {
        scenarios::tells_a_refusal(http1, tls);
    }
}

#[test]
fn it_does_not_stall() {
    scenarios::does_not_stall(either, scenarios::serve_http);
}

#[test]
fn requests_share_a_connection() {
    for make in [http1, http2] {
        scenarios::requests_share_a_connection(make);
    }
}

/// The proxy, which is spoken to by TLS, and the server behind it each see whom was decided for them.
#[test]
fn a_proxy_has_an_identity_of_its_own() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let (proxy, server, _) = world.scene.behind_a_proxy(tls);
        let at = format!("127.0.0.1:{}", proxy.port());
        world.remember_at(&at, Some(world.alice));
        world.remember(&server, Some(world.bob));
        let connector = || Arc::new(TlsConnector::new(world.selector.clone(), world.config(&[])));
        let tunnel = Tunnel::new(format!("https://{at}").parse().unwrap(), Connector::new(connector()));
        let client = Hyper::with_connector(Connector::over(connector(), tunnel));
        let request = Request::get(server.url()).body(Empty::<Bytes>::new()).unwrap();
        let response = Ticking::new().run(async { Ok(client.request(request).await?) }).unwrap();
        assert!(response.status().is_success());
        assert_eq!(proxy.chains()[0][0], world.alice.to_string(), "{tls:?}");
        assert_eq!(server.came(), [Some(world.bob.to_string())], "{tls:?}");
    }
}

#[test]
fn it_unlocks() {
    for tls in BOTH_VERSIONS {
        scenarios::unlocks(http1, scenarios::serve_http, tls);
    }
}

#[test]
fn it_forgets_what_was_refused() {
    for tls in BOTH_VERSIONS {
        scenarios::forgets_what_was_refused(http1, tls);
    }
}

#[test]
fn rules_about_paths_select_nothing() {
    for make in [http1, http2] {
        scenarios::rules_about_paths_select_nothing(make);
    }
}

#[test]
fn it_writes_the_history() {
    for make in [http1, http2] {
        scenarios::writes_the_history(make);
    }
}
