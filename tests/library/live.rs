//! A configuration that lives: what it sends follows the store, and goes to one host alone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cardcase::ask::{Question, Reply};
use cardcase::connect::{Cause, ConfigBuilderExt, cause, config, wait};
use cardcase::manage::{Lifetime, Mode, Scope};
use cardcase::raw::{Needs, Resolver};
use cardcase::{Chooser, Destination, Error, Selector, Store, Unlocker};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, HandshakeKind, ServerConfig, SupportedProtocolVersion};
use zeroize::Zeroizing;

use crate::people::{PASSWORD, Script, Typist, first};
use crate::pki::{Ca, Home, Leaf, NOW};
use crate::tls::{
    HOST, Handshake, VERSIONS, begin, client, deliver, der, drain, handshake, optional_client, server, shake,
};

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
    let changes: [(&str, Change, &str); 6] = [
        ("forget", |scene| assert_eq!(scene.store.forget(&scope()).unwrap().0.len(), 1), "nobody"),
        ("another identity", |scene| scene.remember(&scene.bob), "bob"),
        ("none", |scene| scene.store.remember(&scope(), None, Lifetime::Permanent, NOW).unwrap(), "none"),
        ("remove", |scene| scene.store.remove(&[scene.alice.fingerprint()]).unwrap(), "nobody"),
        ("password", |scene| scene.home.open().set_primary_password(Some(PASSWORD), &Typist).unwrap(), "locked"),
        (
            "renewal",
            |scene| {
                let [old, new] = ["Alice", "Bob"].map(|name| scene.store.find_identity(name).unwrap());
                scene.store.renew(&old, &new).map(drop).unwrap();
            },
            "bob",
        ),
    ];
    for version in VERSIONS {
        for (what, change, expected) in &changes {
            let scene = Scene::new();
            scene.remember(&scene.alice);
            let config = scene.live(scene.selector(), version);
            let before = [scene.connect(&config), scene.connect(&config), scene.connect(&config)];
            assert_eq!(before.each_ref().map(is_resumed), [false, true, true], "{version:?}");
            change(&scene);
            let after = scene.connect(&config);
            let said = match &after.client {
                Ok(client) => {
                    assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full), "{what} {version:?}");
                    leaf_of(&after).map_or("none", |leaf| if leaf == der(&scene.bob.certificate) { "bob" } else { "?" })
                }
                Err(error) => match cause(error) {
                    Some(Cause::Failed(Error::NobodyToAsk { .. })) => "nobody",
                    Some(Cause::Needs(Needs::Unlock)) => "locked",
                    _ => panic!("{what} {version:?}: {error}"),
                },
            };
            assert_eq!(said, *expected, "{what} {version:?}");
        }
    }
}

/// A connection that was opened as Alice brings a ticket after Bob was chosen.
#[test]
fn a_late_ticket_of_another_identity_is_not_resumed() {
    let scene = Scene::new();
    scene.remember(&scene.alice);
    let config = scene.live(scene.selector(), &rustls::version::TLS13);
    let mut client = begin(&config, HOST);
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
        let shaken = scene.connect(&config);
        assert!(matches!(shaken.error(), rustls::Error::InvalidCertificate(_)));
        assert!(!wait(shaken.error()), "nothing is asked");
        assert_eq!(script.asked().len(), 0);
    }
}

#[test]
fn an_answer_for_once_serves_one_connection() {
    for version in VERSIONS {
        let scene = Scene::new();
        let script = Script::new([first(Lifetime::Once), Reply::None { lifetime: Lifetime::Permanent }.into()]);
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

/// Handshakes are begun with the own and another host, in both orders, before either server asks.
#[test]
fn handshakes_that_overlap_send_no_identity_to_another_host() {
    const OTHER: &str = "other.example";
    for version in VERSIONS {
        for [first, second] in [[OTHER, HOST], [HOST, OTHER]] {
            let scene = Scene::new();
            scene.remember(&scene.alice);
            let other = resuming(&scene.servers, OTHER, &scene.root);
            let config = scene.live(scene.selector(), version);
            let begun = [first, second].map(|name| (name, begin(&config, name)));
            for (name, client) in begun {
                let server = if name == OTHER { other.clone() } else { scene.server.clone() };
                let shaken = shake(client, &server);
                assert_eq!(leaf_of(&shaken), None, "{version:?} {name}");
                assert!(!shaken.shows(&scene.alice.certificate), "{version:?} {name}");
                match (second == OTHER, &shaken.client) {
                    // The last handshake was begun with the other host, so neither gets a certificate
                    (true, Ok(_)) => {}
                    (false, Err(error)) => {
                        assert!(matches!(cause(error), Some(Cause::Failed(Error::OtherHost { .. }))), "{error}");
                    }
                    (_, client) => panic!("{version:?} {name}: {client:?}"),
                }
            }
        }
    }
}

/// Alice's sessions are not resumed either once the configuration was used for another host.
#[test]
fn used_for_another_host_it_resumes_nothing() {
    const OTHER: &str = "other.example";
    for version in VERSIONS {
        let scene = Scene::new();
        scene.remember(&scene.alice);
        let config = scene.live(scene.selector(), version);
        assert!(!is_resumed(&scene.connect(&config)) && is_resumed(&scene.connect(&config)));
        handshake(&config, &resuming(&scene.servers, OTHER, &scene.root), OTHER);
        let shaken = scene.connect(&config);
        assert!(matches!(cause(shaken.error()), Some(Cause::Failed(Error::OtherHost { .. }))), "{version:?}");
    }
}

#[test]
fn without_its_session_store_it_sends_no_identity() {
    let scene = Scene::new();
    scene.remember(&scene.alice);
    let mut config = ClientConfig::clone(&scene.live(scene.selector(), &rustls::version::TLS13));
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let shaken = scene.connect(&Arc::new(config));
    assert!(matches!(cause(shaken.error()), Some(Cause::Failed(Error::SessionStoreReplaced { .. }))));
    assert_eq!(leaf_of(&shaken), None);
}

/// A chooser that counts, waits for a sign, and then answers or panics.
struct Slow {
    asked: AtomicUsize,
    go: Mutex<Receiver<Option<Lifetime>>>,
}

impl Chooser for Slow {
    fn choose(&self, question: &Question<'_>) -> Reply {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let lifetime = self.go.lock().unwrap().recv().unwrap();
        first(lifetime.unwrap()).to(question)
    }
}

fn slow() -> (Arc<Slow>, Sender<Option<Lifetime>>) {
    let (go, wait) = std::sync::mpsc::channel();
    (Arc::new(Slow { asked: AtomicUsize::new(0), go: Mutex::new(wait) }), go)
}

#[test]
fn many_handshakes_wait_for_one_question() {
    for version in VERSIONS {
        let scene = Scene::new();
        let (chooser, go) = slow();
        let config = scene.live(scene.selector().with_chooser(chooser.clone()), version);
        let waiting = [(); 5].map(|()| scene.connect(&config).client.unwrap_err());
        go.send(Some(Lifetime::Permanent)).unwrap();
        assert!(waiting.iter().all(|error| wait(error)));
        assert!(leaf_of(&scene.connect(&config)).is_some());
        assert_eq!(chooser.asked.load(Ordering::SeqCst), 1, "{version:?}");
    }
}

#[test]
fn a_chooser_that_panics_is_an_error_of_all_who_wait() {
    let scene = Scene::new();
    let (chooser, go) = slow();
    let config = scene.live(scene.selector().with_chooser(chooser), &rustls::version::TLS13);
    let error = scene.connect(&config).client.unwrap_err();
    go.send(None).unwrap();
    assert!(wait(&error));
    for _ in 0..3 {
        let shaken = scene.connect(&config);
        assert!(matches!(cause(shaken.error()), Some(Cause::Failed(Error::ChooserFailed { .. }))));
    }
}

/// The answer is not forgotten while the password is asked for.
#[test]
fn an_answer_for_once_survives_the_question_for_the_password() {
    for version in VERSIONS {
        let mut scene = Scene::new();
        scene.store.set_primary_password(Some(PASSWORD), &Typist).unwrap();
        scene.store = scene.home.open();
        let script = Script::new([first(Lifetime::Once)]);
        let selector = scene.selector().with_chooser(script.clone()).with_unlocker(Arc::new(Typist));
        let config = scene.live(selector, version);
        let mut needed = Vec::new();
        let shaken = loop {
            let shaken = scene.connect(&config);
            match &shaken.client {
                Ok(_) => break shaken,
                Err(error) => needed.push(matches!(cause(error), Some(Cause::Needs(Needs::Unlock)))),
            }
            assert!(wait(shaken.error()), "{}", shaken.error());
        };
        assert!(leaf_of(&shaken).is_some());
        assert_eq!((needed, script.asked().len()), (vec![false, true], 1), "{version:?}");
    }
}

/// An answer that was not used before something else was remembered is not used after that was forgotten.
#[test]
fn an_answer_for_once_does_not_outlive_a_decision() {
    let scene = Scene::new();
    let script = Script::new([first(Lifetime::Once)]);
    let config = scene.live(scene.selector().with_chooser(script.clone()), &rustls::version::TLS13);
    assert!(wait(scene.connect(&config).error()));
    scene.remember(&scene.bob);
    assert_eq!(leaf_of(&scene.connect(&config)), Some(der(&scene.bob.certificate)));
    scene.store.forget(&scope()).unwrap();
    assert!(matches!(cause(scene.connect(&config).error()), Some(Cause::Needs(_))), "it asks again");
}

/// A person who does not type the password may start an agent, or unlock the store in this process.
#[test]
fn a_password_that_is_declined_is_not_asked_for_again() {
    struct Declines(AtomicUsize);
    impl Unlocker for Declines {
        fn primary_password(&self, _: u32) -> Result<Zeroizing<String>, Error> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Err(Error::Declined)
        }
    }
    let mut scene = Scene::new();
    scene.remember(&scene.alice);
    scene.store.set_primary_password(Some(PASSWORD), &Typist).unwrap();
    scene.store = scene.home.open();
    let unlocker = Arc::new(Declines(AtomicUsize::new(0)));
    let config = scene.live(scene.selector().with_unlocker(unlocker.clone()), &rustls::version::TLS13);
    assert!(wait(scene.connect(&config).error()));
    for _ in 0..3 {
        assert!(matches!(cause(scene.connect(&config).error()), Some(Cause::Failed(Error::Declined))));
    }
    assert_eq!(unlocker.0.load(Ordering::SeqCst), 1);
    scene.store.unlock(&Typist).unwrap();
    assert_eq!(leaf_of(&scene.connect(&config)), Some(der(&scene.alice.certificate)));
}

/// Two servers of one host ask for different issuers. Neither gets what answers the other, by resumption either.
#[test]
fn two_servers_of_one_host_get_their_own_answers() {
    for version in VERSIONS {
        let scene = Scene::new();
        let elsewhere = Ca::root("Elsewhere");
        let carol = elsewhere.leaf("Carol");
        scene.home.with([&carol], [&elsewhere.certificate]);
        scene.store.change_settings(|settings| settings.use_single_candidate = true).unwrap();
        scene.store.remove(&[scene.bob.fingerprint()]).unwrap();
        let second = resuming(&scene.servers, HOST, &elsewhere);
        let config = scene.live(scene.selector(), version);
        for _ in 0..3 {
            let shaken = [handshake(&config, &scene.server, HOST), handshake(&config, &second, HOST)];
            let expected = [&scene.alice, &carol].map(|leaf| Some(der(&leaf.certificate)));
            assert_eq!(shaken.each_ref().map(leaf_of), expected, "{version:?}");
        }
    }
}

/// The only identity requires TLS 1.3, and the server speaks TLS 1.2: none fits, so none is sent, and nobody is asked.
#[test]
fn an_answer_that_depends_on_the_version_is_found_at_the_next_connection() {
    for chooser in [None, Some(Script::new([]))] {
        let scene = Scene::new();
        scene.store.remove(&[scene.bob.fingerprint()]).unwrap();
        scene.store.require_tls13(&scene.store.find_identity("Alice").unwrap(), true).unwrap();
        let mut selector = scene.selector();
        if let Some(chooser) = &chooser {
            selector = selector.with_chooser(chooser.clone());
        }
        let config = scene.live(selector, &rustls::version::TLS12);
        let error = scene.connect(&config).client.unwrap_err();
        let _ = wait(&error);
        for _ in 0..2 {
            let shaken = scene.connect(&config);
            assert!(shaken.client.is_ok() && leaf_of(&shaken).is_none(), "{:?}", shaken.client);
        }
        assert!(chooser.is_none_or(|chooser| chooser.asked().is_empty()));
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
