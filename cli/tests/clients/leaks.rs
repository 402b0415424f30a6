//! A configuration that follows the store, in clients that know nothing of it and use it for more than its destination: nobody
//! else gets the identity.

use ::reqwest::{Client, Proxy};
use cardcase::connect::{Cause, cause, config};
use cardcase::{Destination, Error};

use crate::scenarios::Ticking;
use crate::support::server::{Ask, BOTH_VERSIONS, Server, Tls};
use crate::world::{BoxError, Peer, World};

/// Alice's configuration for a server, in a client of HTTP.
struct Application {
    client: Client,
    ticking: Ticking,
}

impl Application {
    fn new(world: &World, own: &Server, proxy: Option<&str>) -> Self {
        world.remember(own, Some(world.alice));
        let destination: Destination = own.destination().parse().unwrap();
        let tls = config(world.selector.clone(), destination, &world.config(&[]));
        let builder = Client::builder().tls_backend_preconfigured(tls);
        let builder = match proxy {
            Some(url) => builder.proxy(Proxy::all(url).unwrap()),
            None => builder.no_proxy(),
        };
        Self { client: builder.build().unwrap(), ticking: Ticking::new() }
    }

    fn get(&self, url: &str) -> Result<(), BoxError> {
        self.ticking.run(async {
            self.client.get(url).send().await?.bytes().await?;
            Ok(())
        })
    }

    /// Sends nothing to its own server any more, and says why.
    #[track_caller]
    fn assert_stopped(&self, own: &Server) {
        let before = own.chains().len();
        let error = self.get(&own.url()).unwrap_err();
        assert!(matches!(cause(&*error), Some(Cause::Failed(Error::OtherHost { .. }))), "{error:?}");
        assert_eq!(own.chains().len(), before);
    }
}

fn two_servers(world: &World, tls: Tls) -> [Server; 2] {
    [(); 2].map(|()| world.http(tls, Ask::Optional))
}

#[test]
fn another_host_gets_no_certificate() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let [own, other] = two_servers(&world, tls);
        // The same server under another name is another host too
        for stranger in [&other, &own] {
            let application = Application::new(&world, &own, None);
            let before = stranger.chains().len();
            application.get(&stranger.url_at("127.0.0.1", "/")).unwrap();
            assert_eq!(stranger.chains().len(), before, "{tls:?}");
            application.assert_stopped(&own);
        }
    }
}

#[test]
fn the_host_of_a_redirect_gets_no_certificate() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let [own, other] = two_servers(&world, tls);
        let application = Application::new(&world, &own, None);
        application.get(&own.redirect_to("localhost", &other.url_at("127.0.0.1", "/"))).unwrap();
        assert_eq!(own.came(), [Some(world.alice.to_string())], "{tls:?}");
        assert_eq!(other.came(), [None], "{tls:?}");
    }
}

#[test]
fn a_proxy_gets_no_certificate() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let (proxy, own, _) = world.scene.behind_a_proxy(tls);
        let application = Application::new(&world, &own, Some(&proxy.url_at("127.0.0.1", "")));
        let error = application.get(&own.url()).unwrap_err();
        assert!(matches!(cause(&*error), Some(Cause::Failed(Error::OtherHost { .. }))), "{error:?}");
        proxy.assert_nothing_came("proxy");
        own.assert_nothing_came("behind the proxy");
    }
}

/// rustls tells nobody the port. The documentation says so.
#[test]
fn another_port_of_the_host_gets_the_certificate() {
    for tls in BOTH_VERSIONS {
        let world = World::new();
        let [own, other] = two_servers(&world, tls);
        let application = Application::new(&world, &own, None);
        application.get(&other.url()).unwrap();
        assert_eq!(other.came(), [Some(world.alice.to_string())], "{tls:?}");
    }
}
