//! A configuration that lives: what it sends follows the store, and goes to one host alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cardcase::ask::Reply;
use cardcase::connect::{Cause, ConfigBuilderExt, cause, config, wait};
use cardcase::manage::{Lifetime, Mode, Scope};
use cardcase::raw::{Needs, Resolver};
use cardcase::{Destination, Error, Selector, Store};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, HandshakeKind, ServerConfig, SupportedProtocolVersion};

use crate::people::{PASSWORD, Script, Typist, first};
use crate::pki::{Ca, Home, Leaf, NOW};
use crate::tls::{HOST, Handshake, VERSIONS, client, deliver, der, drain, handshake, optional_client, server};

/// A server that asks for a certificate and can resume sessions, and a store with two identities.
struct Scene {
    servers: Ca,
    root: Ca,
    alice: Leaf,
    bob: Leaf,
    home: Home,
    store: Arc<Store>,
    server: Arc<ServerConfig>,
}

impl Scene {
    fn new() -> Self {
        let (servers, root, home) = (Ca::root("Servers"), Ca::root("Root"), Home::new());
        let (alice, bob) = (root.leaf("Alice"), root.leaf("Bob"));
        let store = home.with([&alice, &bob], [&root.certificate]);
        let server = resuming(&servers, HOST, &root);
        Self { servers, root, alice, bob, home, store, server }
    }

    fn selector(&self) -> Selector {
        Selector::new(self.store.clone()).with_clock(|| NOW)
    }

    fn live(&self, selector: Selector, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        Arc::new(config(Arc::new(selector), destination(), &client(&self.servers, version)))
    }

    fn remember(&self, leaf: &Leaf) {
        self.store.remember(&scope(), Some(leaf.fingerprint()), Lifetime::Permanent, NOW).unwrap();
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> Handshake {
        handshake(config, &self.server, HOST)
    }

    /// Connects again and again, as a client does by itself, until the handshake succeeds.
    fn reconnect(&self, config: &Arc<ClientConfig>) -> Handshake {
        let began = Instant::now();
        loop {
            let shaken = self.connect(config);
            if shaken.client.is_ok() {
                return shaken;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", shaken.error());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn resuming(servers: &Ca, host: &str, root: &Ca) -> Arc<ServerConfig> {
    let mut config = server(servers, host, optional_client(&[&root.certificate]));
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(32);
    config.send_tls13_tickets = 2;
    Arc::new(config)
}

fn destination() -> Destination {
    Destination::new(HOST, 443).unwrap()
}

fn scope() -> Scope {
    Mode::Firefox.scope(&destination())
}

fn leaf_of(shaken: &Handshake) -> Option<CertificateDer<'static>> {
    shaken.presented().into_iter().next()
}

fn is_resumed(shaken: &Handshake) -> bool {
    shaken.client.as_ref().unwrap().handshake_kind() == Some(HandshakeKind::Resumed)
}

#[test]
fn every_handshake_sends_what_is_decided_by_then() {
    for version in VERSIONS {
        let scene = Scene::new();
        let config = scene.live(scene.selector(), version);
        for leaf in [&scene.alice, &scene.alice, &scene.bob, &scene.alice] {
            scene.remember(leaf);
            let shaken = scene.connect(&config);
            assert_eq!(leaf_of(&shaken), Some(der(&leaf.certificate)), "{version:?}");
        }
        scene.store.remember(&scope(), None, Lifetime::Permanent, NOW).unwrap();
        assert_eq!(leaf_of(&scene.connect(&config)), None);
        scene.store.forget(&scope()).unwrap();
        assert!(
            matches!(cause(scene.connect(&config).error()), Some(Cause::Failed(Error::NobodyToAsk { .. }))),
            "at once"
        );
    }
}

#[test]
fn a_session_is_resumed_only_while_the_same_would_be_sent() {
    type Change = fn(&Scene);
    let changes: [(&str, Change); 5] = [
        ("forget", |scene| assert!(scene.store.forget(&scope()).unwrap())),
        ("another identity", |scene| scene.remember(&scene.bob)),
        ("none", |scene| scene.store.remember(&scope(), None, Lifetime::Permanent, NOW).unwrap()),
        ("remove", |scene| scene.store.remove(&[scene.alice.fingerprint()]).unwrap()),
        ("password", |scene| scene.home.open().set_primary_password(Some(PASSWORD), &Typist).unwrap()),
    ];
    for version in VERSIONS {
        for (what, change) in &changes {
            let scene = Scene::new();
            scene.remember(&scene.alice);
            let config = scene.live(scene.selector(), version);
            let before = [scene.connect(&config), scene.connect(&config), scene.connect(&config)];
            assert_eq!(before.each_ref().map(is_resumed), [false, true, true], "{version:?}");
            change(&scene);
            let after = scene.connect(&config);
            if let Ok(client) = &after.client {
                assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full), "{what} {version:?}");
                assert_ne!(leaf_of(&after), Some(der(&scene.alice.certificate)), "{what} {version:?}");
            }
        }
    }
}

/// A connection that was opened as Alice brings a ticket after Bob was chosen.
#[test]
fn a_late_ticket_of_another_identity_is_not_resumed() {
    let scene = Scene::new();
    scene.remember(&scene.alice);
    let config = scene.live(scene.selector(), &rustls::version::TLS13);
    let name = rustls::pki_types::ServerName::try_from(HOST).unwrap();
    let mut client = rustls::ClientConnection::new(config.clone(), name).unwrap();
    let mut server = rustls::ServerConnection::new(scene.server.clone()).unwrap();
    deliver(&mut server, &drain(&mut client)).unwrap();
    deliver(&mut client, &drain(&mut server)).unwrap();
    deliver(&mut server, &drain(&mut client)).unwrap();
    let tickets = drain(&mut server);
    assert!(!tickets.is_empty() && !server.is_handshaking());
    scene.remember(&scene.bob);
    assert_eq!(leaf_of(&scene.connect(&config)), Some(der(&scene.bob.certificate)));
    deliver(&mut client, &tickets).unwrap();
    assert!(client.tls13_tickets_received() > 0);
    let shaken = scene.connect(&config);
    assert!(!is_resumed(&shaken));
    assert_eq!(leaf_of(&shaken), Some(der(&scene.bob.certificate)));
}

#[test]
fn an_authority_that_is_no_longer_trusted_ends_resumption() {
    let scene = Scene::new();
    scene.remember(&scene.alice);
    scene.store.trust(std::slice::from_ref(&scene.servers.certificate), NOW).unwrap();
    let selector = Arc::new(scene.selector().with_trusted_authorities().unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = selector.server_verifier([], &provider);
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = Arc::new(builder.with_client_auth_from(selector, destination()));
    assert!(!is_resumed(&scene.connect(&config)) && is_resumed(&scene.connect(&config)));
    scene.store.distrust(scene.servers.certificate.fingerprint()).unwrap();
    assert!(matches!(scene.connect(&config).error(), rustls::Error::InvalidCertificate(_)));
}

#[test]
fn undecided_it_asks_once_in_the_background_and_then_sends_the_answer() {
    for version in VERSIONS {
        let scene = Scene::new();
        let script = Script::new([first(Lifetime::Permanent)]);
        let config = scene.live(scene.selector().with_chooser(script.clone()), version);
        let shaken = scene.connect(&config);
        assert!(matches!(cause(shaken.error()), Some(Cause::Needs(Needs::Select(_)))), "{:?}", shaken.error());
        assert!(!shaken.shows(&scene.alice.certificate));
        assert!(wait(shaken.error()));
        let first = leaf_of(&scene.connect(&config));
        assert!(first.is_some());
        assert_eq!(leaf_of(&scene.connect(&config)), first);
        assert_eq!(script.asked().len(), 1);
    }
}

#[test]
fn nobody_is_asked_about_a_server_that_is_not_verified() {
    for version in VERSIONS {
        let scene = Scene::new();
        let script = Script::new([first(Lifetime::Permanent)]);
        let selector = Arc::new(scene.selector().with_chooser(script.clone()));
        let config = Arc::new(config(selector, destination(), &client(&Ca::root("Other"), version)));
        assert!(matches!(scene.connect(&config).error(), rustls::Error::InvalidCertificate(_)));
        let honest = scene.live(scene.selector().with_chooser(script.clone()), version);
        scene.reconnect(&honest);
        assert_eq!(script.asked().len(), 1, "by the other configuration");
    }
}

#[test]
fn an_answer_for_once_serves_one_connection() {
    for version in VERSIONS {
        let scene = Scene::new();
        let script = Script::new([first(Lifetime::Once), Reply::None { lifetime: Lifetime::Permanent }]);
        let config = scene.live(scene.selector().with_chooser(script.clone()), version);
        assert!(leaf_of(&scene.reconnect(&config)).is_some());
        assert!(wait(scene.connect(&config).error()), "it asks again");
        assert_eq!(leaf_of(&scene.connect(&config)), None);
        assert_eq!(script.asked().len(), 2);
    }
}

#[test]
fn a_person_who_aborts_is_not_asked_the_same_again() {
    let scene = Scene::new();
    let script = Script::new([]);
    let config = scene.live(scene.selector().with_chooser(script.clone()), &rustls::version::TLS13);
    assert!(wait(scene.connect(&config).error()));
    for _ in 0..3 {
        let shaken = scene.connect(&config);
        assert!(matches!(cause(shaken.error()), Some(Cause::Failed(Error::Aborted { .. }))));
        assert!(!wait(shaken.error()), "nothing is asked");
    }
    assert_eq!(script.asked().len(), 1);
    scene.remember(&scene.bob);
    assert_eq!(leaf_of(&scene.connect(&config)), Some(der(&scene.bob.certificate)));
}

#[test]
fn a_locked_vault_is_unlocked_in_the_background() {
    for version in VERSIONS {
        let mut scene = Scene::new();
        scene.remember(&scene.alice);
        scene.store.set_primary_password(Some(PASSWORD), &Typist).unwrap();
        scene.store = scene.home.open();
        let config = scene.live(scene.selector().with_unlocker(Arc::new(Typist)), version);
        assert!(matches!(cause(scene.connect(&config).error()), Some(Cause::Needs(Needs::Unlock))));
        assert_eq!(leaf_of(&scene.reconnect(&config)), Some(der(&scene.alice.certificate)));
    }
}

/// A configuration for HOST used for another host, whose server is verified and asks.
#[test]
fn used_for_another_host_it_sends_no_identity() {
    const OTHER: &str = "other.example";
    for version in VERSIONS {
        let scene = Scene::new();
        scene.remember(&scene.alice);
        let other = resuming(&scene.servers, OTHER, &scene.root);
        let selector = scene.selector();
        let resolver = Resolver::new(selector.prepare(destination()).unwrap());
        let live = scene.live(selector, version);
        for config in [live, Arc::new(resolver.config(&client(&scene.servers, version)))] {
            assert_eq!(leaf_of(&scene.connect(&config)), Some(der(&scene.alice.certificate)));
            for _ in 0..2 {
                let shaken = handshake(&config, &other, OTHER);
                assert!(shaken.client.is_ok() && !shaken.server.is_handshaking());
                assert_eq!(leaf_of(&shaken), None, "{version:?}");
                assert!(!shaken.shows(&scene.alice.certificate));
            }
            // It cannot be told from the other host's, whose handshake may still be under way
            let own = handshake(&config, &Arc::new(fresh(&scene)), HOST);
            assert!(
                matches!(cause(own.error()), Some(Cause::Failed(Error::OtherHost { other, .. })) if other == OTHER)
            );
        }
    }
}

/// The server of the scene, which cannot resume what it began before.
fn fresh(scene: &Scene) -> ServerConfig {
    server(&scene.servers, HOST, optional_client(&[&scene.root.certificate]))
}

/// The handshake with the other host is begun first, and its server asks only after the handshake with the own host has begun.
#[test]
fn handshakes_that_overlap_send_no_identity_to_another_host() {
    const OTHER: &str = "other.example";
    for version in VERSIONS {
        let scene = Scene::new();
        scene.remember(&scene.alice);
        let other = resuming(&scene.servers, OTHER, &scene.root);
        let config = scene.live(scene.selector(), version);
        let begin = |name: &'static str| {
            rustls::ClientConnection::new(config.clone(), rustls::pki_types::ServerName::try_from(name).unwrap())
                .unwrap()
        };
        let (mut stray, _own) = (begin(OTHER), begin(HOST));
        let mut server = rustls::ServerConnection::new(other).unwrap();
        while let bytes = drain(&mut stray)
            && !bytes.is_empty()
        {
            if deliver(&mut server, &bytes).is_err() || deliver(&mut stray, &drain(&mut server)).is_err() {
                break;
            }
        }
        assert!(server.peer_certificates().is_none(), "{version:?}");
    }
}

#[test]
fn an_identity_that_requires_tls_1_3_is_sent_only_where_tls_1_2_is_not_allowed() {
    let scene = Scene::new();
    scene.remember(&scene.alice);
    scene.store.require_tls13(&scene.store.find_identity("Alice").unwrap(), true).unwrap();
    let both = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&VERSIONS)
        .unwrap()
        .with_root_certificates(crate::tls::roots(&[&scene.servers.certificate]))
        .with_no_client_auth();
    let both = Arc::new(config(Arc::new(scene.selector()), destination(), &both));
    let only13 = scene.live(scene.selector(), &rustls::version::TLS13);
    assert!(matches!(cause(scene.connect(&both).error()), Some(Cause::Failed(Error::DoesNotFit { .. }))));
    assert_eq!(leaf_of(&scene.connect(&only13)), Some(der(&scene.alice.certificate)));
    let only12 = scene.live(scene.selector(), &rustls::version::TLS12);
    let shaken = scene.connect(&only12);
    assert!(shaken.client.is_err() && !shaken.shows(&scene.alice.certificate));
}
