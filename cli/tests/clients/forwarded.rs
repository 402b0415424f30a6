//! A front that terminates TLS and forwards the client's certificate as Azure App Service does: nginx, with the header
//! X-ARR-ClientCert, the certificate as base64 of its DER.

use ::reqwest::Request;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use cardcase::connect::reqwest::Client as Reqwest;

use crate::scenarios::Ticking;
use crate::support::backend::Backend;
use crate::support::fingerprint;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server, Setup};
use crate::world::World;

const HEADER: &str = "X-ARR-ClientCert";

/// A client that makes one request, and puts this into the header itself.
type Pretend = fn(&World, &Server, &str);

fn fetch(world: &World, server: &Server, pretended: &str) {
    let header = format!("{HEADER}: {pretended}");
    world.scene.fetch(&server.url(), &["--mode", "chrome", "-H", &header]).expect(0);
}

fn reqwest(world: &World, server: &Server, pretended: &str) {
    let client = Reqwest::new(world.selector.clone(), world.config(&[]));
    let mut request = Request::new("GET".parse().unwrap(), server.url().parse().unwrap());
    request.headers_mut().insert(HEADER, pretended.parse().unwrap());
    let response = Ticking::new().run(async { Ok(client.execute(request).await?) }).unwrap();
    assert!(response.status().is_success());
}

/// The certificates in the header of each request.
fn passed_on(backend: &Backend) -> Vec<Vec<String>> {
    let certificate = |value: &String| fingerprint(&BASE64_STANDARD.decode(value).unwrap());
    backend.values(HEADER).iter().map(|values| values.iter().map(certificate).collect()).collect()
}

/// A header that the client sets itself does not get through, or the backend would believe any client.
#[test]
fn the_backend_sees_only_the_chosen_certificate() {
    let world = World::new();
    let clients: [Pretend; 2] = [fetch, reqwest];
    let pretended = BASE64_STANDARD.encode(world.scene.staff_root.der());
    for client in clients {
        for tls in BOTH_VERSIONS {
            let backend = Backend::start();
            // As in Azure whoever comes is passed on, and no authorities are named
            let front = Setup::new(Kind::Nginx, &world.scene.server_certificate).tls(tls).ask(Ask::Unchecked);
            let front = front.in_front_of(backend.address()).start();
            let who = [Some(world.alice), Some(world.bob), None, Some(world.alice)];
            for who in who {
                world.remember(&front, who);
                client(&world, &front, &pretended);
            }
            let expected = who.map(|who| who.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(passed_on(&backend), expected, "{tls:?}");
        }
    }
}
