//! A RESTCONF server, which takes its user from the certificate (RFC 8040 section 2.5), by HTTP/2.

use cardcase::connect::hyper::Client as Hyper;
use cardcase::manage::Fingerprint;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, Version};
use serde_json::{Value, json};

use crate::scenarios::Ticking;
use crate::support::restconf::Restconf;
use crate::world::{BoxError, World};

const SYSTEM: &str = "/restconf/data/device:system";

fn data() -> Value {
    json!({"device:system": {"hostname": "core-1"}})
}

fn error_tag(body: &Value) -> &Value {
    &body["ietf-restconf:errors"]["error"][0]["error-tag"]
}

#[test]
fn fetch_is_the_user_in_its_certificate() {
    let world = World::new();
    let server = Restconf::start(&world.scene);
    let fetch = |who, more: &[&str]| {
        world.remember_at(&server.destination(), who);
        world.scene.fetch(&server.url(SYSTEM), &[&["--mode", "chrome"], more].concat())
    };
    assert_eq!(fetch(Some(world.alice), &[]).expect(0).json(), data());
    assert_eq!(error_tag(&fetch(Some(world.bob), &[]).expect(0).json()), "access-denied");
    // By hanging up: asyncio gives a failed handshake no time to send its alert
    assert_ne!(fetch(None, &[]).code(), Some(0));
    let text = fetch(Some(world.alice), &["-i"]).expect(0).text();
    assert!(text.starts_with("HTTP/2.0 200"), "{text}");
    assert_eq!(server.users(3), ["alice", "bob", "alice"]);
}

#[test]
fn a_client_of_the_library_is_the_user_in_its_certificate() {
    let world = World::new();
    let server = Restconf::start(&world.scene);
    let client = Hyper::new(world.selector.clone(), world.config(&["h2"]));
    let ticking = Ticking::new();
    let get = |who: Option<Fingerprint>| {
        world.remember_at(&server.destination(), who);
        ticking.run(async {
            let response = client.request(Request::get(server.url(SYSTEM)).body(Empty::<Bytes>::new())?).await?;
            let (status, version) = (response.status().as_u16(), response.version());
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, BoxError>((status, version, serde_json::from_slice::<Value>(&body)?))
        })
    };
    assert_eq!(get(Some(world.alice)).unwrap(), (200, Version::HTTP_2, data()));
    let (status, _, body) = get(Some(world.bob)).unwrap();
    assert_eq!((status, error_tag(&body)), (403, &json!("access-denied")));
    get(None).unwrap_err();
    assert_eq!(get(Some(world.alice)).unwrap().0, 200);
    assert_eq!(server.users(3), ["alice", "bob", "alice"]);
}
