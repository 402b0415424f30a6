//! What a client of any protocol has to do while it runs, checked at real servers of that protocol. Each server requires a
//! certificate of the staff and says who came.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cardcase::connect::{Cause, cause};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use time::{Duration as Days, OffsetDateTime};

use crate::support::ca::Validity;
use crate::support::server::{Server, Tls};
use crate::support::service::{Kind, Service};
use crate::world::{BoxError, Client, World};

/// How long a client may connect again and again.
const LIMIT: Duration = Duration::from_secs(60);

/// A client and its server.
pub struct Case {
    /// The client is given this configuration without a client certificate.
    pub make: fn(&World, ClientConfig) -> Client,
    pub serve: fn(&World) -> Box<dyn NamingPeer>,
    /// Whether the client connects by itself, so that the first attempt fails while a person is asked.
    pub reconnects: bool,
    /// Whether this error of a client says that the server refused its certificate.
    pub is_refusal: fn(&BoxError) -> bool,
}

/// A server that reports the names of those who came.
pub trait NamingPeer {
    /// `localhost:PORT`
    fn destination(&self) -> String;

    /// The common name of everyone who came, in order, as soon as this many did.
    fn came(&self, count: usize) -> Vec<String>;
}

impl NamingPeer for Service {
    fn destination(&self) -> String {
        Service::destination(self)
    }

    fn came(&self, count: usize) -> Vec<String> {
        Service::came(self, count)
    }
}

impl NamingPeer for Server {
    fn destination(&self) -> String {
        Server::destination(self)
    }

    fn came(&self, _count: usize) -> Vec<String> {
        let common_name =
            |subject: String| subject.split(',').find_map(|part| part.strip_prefix("CN=").map(str::to_owned));
        self.subjects().into_iter().filter_map(common_name).collect()
    }
}

pub fn start(world: &World, kind: Kind) -> Box<dyn NamingPeer> {
    Box::new(Service::start(&world.scene, kind))
}

pub fn is_refusal(error: &BoxError) -> bool {
    matches!(cause(&**error), Some(Cause::Refused(_)))
}

/// Two identities for two servers of one host; undecided, then decided; another identity, and forgetting, while the client
/// runs; a person who declines.
pub fn sends_what_is_decided(case: &Case) {
    let world = World::new();
    let [one, two] = [(); 2].map(|()| (case.serve)(&world));
    let mut client = (case.make)(&world, base(&world, Tls::V1_3));
    world.person.will_think(Duration::from_millis(100));
    let mut go = |peer: &dyn NamingPeer, picked: Option<&str>| {
        if let Some(name) = picked {
            world.person.will_pick(name);
        }
        let attempts = match picked {
            // A client that connects by itself does not wait for the person
            Some(_) if case.reconnects => Attempts::UntilItSucceeds,
            _ => Attempts::One,
        };
        attempts.make(&mut client, &peer.destination());
        let asked = picked.map(|_| peer.destination());
        assert_eq!(world.person.asked(), Vec::from_iter(asked));
    };
    go(&*one, Some("alice"));
    go(&*two, Some("bob"));
    go(&*one, None);
    world.remember_at(&one.destination(), Some(world.bob));
    go(&*one, None);
    go(&*two, None);
    assert!(world.forget_at(&one.destination()));
    go(&*one, Some("alice"));
    assert!(world.forget_at(&one.destination()));
    client(&one.destination()).unwrap_err();
    world.person.wait_until_asked();
    // They declined. The connection of before is not used either
    client(&one.destination()).unwrap_err();
    world.remember_at(&one.destination(), Some(world.bob));
    Attempts::UntilItSucceeds.make(&mut client, &one.destination());
    // Nobody came in between
    assert_eq!(one.came(5), ["alice", "alice", "bob", "alice", "bob"]);
    assert_eq!(two.came(2), ["bob", "bob"]);
}

/// The server refuses a certificate, because one above it has expired. A renewed one counts while the client runs.
pub fn reports_a_refusal_and_sends_a_renewed_certificate(case: &Case) {
    for tls in [Tls::V1_2, Tls::V1_3] {
        let world = World::new();
        let expired = world.scene.staff_root.intermediate_as("Staff Issuing", |params| {
            params.not_before = OffsetDateTime::now_utc() - Days::days(60);
            params.not_after = OffsetDateTime::now_utc() - Days::days(30);
        });
        let old = world.scene.bring(expired.client("carol").validity(Validity::Soon).issue());
        let peer = (case.serve)(&world);
        let store = world.selector.store();
        let old = store.find_identity(&old.fingerprint()).unwrap();
        world.remember_at(&peer.destination(), Some(old.fingerprint()));
        let mut client = (case.make)(&world, base(&world, tls));
        let error = client(&peer.destination()).unwrap_err();
        assert!((case.is_refusal)(&error), "{tls:?}: {error:?}");
        let new = world.scene.hire("carol");
        let new = store.find_identity(&new.fingerprint()).unwrap();
        store.renew(&old, &new).unwrap();
        Attempts::UntilItSucceeds.make(&mut client, &peer.destination());
        assert_eq!((peer.came(1), world.person.asked()), (vec!["carol".to_owned()], vec![]), "{tls:?}");
    }
}

#[derive(Clone, Copy)]
enum Attempts {
    One,
    UntilItSucceeds,
}

impl Attempts {
    #[track_caller]
    fn make(self, client: &mut Client, to: &str) {
        let until = Instant::now() + LIMIT;
        while let Err(error) = client(to) {
            let is_last = matches!(self, Self::One) || Instant::now() > until;
            assert!(!is_last, "{error:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Trusts the servers of the tests.
fn base(world: &World, tls: Tls) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(world.scene.server_root.der().to_vec())).unwrap();
    let version = match tls {
        Tls::V1_2 => &TLS12,
        Tls::V1_3 => &TLS13,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    config.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots).with_no_client_auth()
}
