use std::sync::Arc;

use cardcase::Destination;
use cardcase::Error;
use cardcase::Selector;
use cardcase::Store;
use cardcase::connect::{Cause, cause};
use cardcase::manage::{Lifetime, Mode, Scope};
use cardcase::raw::Prepared;
use cardcase::raw::{Needs, Resolver};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use crate::people::{PASSWORD, Typist};
use crate::pki::{Ca, Home, Leaf, NOW};
use crate::tls::{HOST, Handshake, VERSIONS, client, der, handshake, optional_client, server};

/// A server that asks for a certificate under a root, and a store with an identity from an intermediate below it.
struct Scene {
    servers: Ca,
    root: Ca,
    issuer: Ca,
    leaf: Leaf,
    home: Home,
    store: Arc<Store>,
    server: Arc<ServerConfig>,
}

impl Scene {
    fn new() -> Self {
        let (servers, root, home) = (Ca::root("Servers"), Ca::root("Root"), Home::new());
        let issuer = root.intermediate("Issuer");
        let leaf = issuer.leaf("Person");
        let store = home.with([&leaf], [&root.certificate, &issuer.certificate]);
        let server = Arc::new(server(&servers, HOST, optional_client(&[&root.certificate])));
        Self { servers, root, issuer, leaf, home, store, server }
    }

    /// With a permanent decision for the server: the identity, or none.
    fn decided(is_identity: bool) -> Self {
        let scene = Self::new();
        let identity = is_identity.then(|| scene.leaf.fingerprint());
        scene.store.remember(&scope(), identity, Lifetime::Permanent, NOW).unwrap();
        scene
    }

    fn selector(&self) -> Selector {
        Selector::new(self.store.clone()).with_clock(|| NOW)
    }

    fn prepare(&self) -> Prepared {
        self.selector().prepare(destination()).unwrap()
    }

    fn config(&self, resolver: &Arc<Resolver>, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        Arc::new(resolver.config(&client(&self.servers, version)))
    }

    /// A handshake with the current decision.
    fn handshake(&self, version: &'static SupportedProtocolVersion) -> Handshake {
        handshake(&self.config(&Resolver::new(self.prepare()), version), &self.server, HOST)
    }

    /// Leaf and intermediate, without the root.
    fn whole_chain(&self) -> Vec<CertificateDer<'static>> {
        vec![der(&self.leaf.certificate), der(&self.issuer.certificate)]
    }

    fn assert_nothing_sent(&self, shaken: &Handshake) {
        assert_eq!(shaken.presented(), []);
        for certificate in [&self.leaf.certificate, &self.issuer.certificate, &self.root.certificate] {
            assert!(!shaken.shows(certificate), "{certificate:?}");
        }
    }
}

fn destination() -> Destination {
    Destination::new(HOST, 443).unwrap()
}

fn scope() -> Scope {
    Mode::Firefox.scope(&destination())
}

#[test]
fn without_a_decision_the_resolver_needs_an_answer_and_sends_nothing() {
    for version in VERSIONS {
        let scene = Scene::new();
        let shaken = scene.handshake(version);
        let Some(Cause::Needs(Needs::Select(request))) = cause(shaken.error()) else { panic!("{:?}", shaken.error()) };
        assert_eq!(request.authorities, [scene.root.name()]);
        assert_eq!(request.version, Some(version.version));
        assert!(request.schemes.contains(&rustls::SignatureScheme::ECDSA_NISTP256_SHA256));
        scene.assert_nothing_sent(&shaken);
        assert!(shaken.server.is_handshaking());
    }
}

#[test]
fn an_unverified_server_is_a_certificate_error_and_needs_nothing() {
    for version in VERSIONS {
        for scene in [Scene::new(), Scene::decided(true)] {
            let resolver = Resolver::new(scene.prepare());
            let stranger = Arc::new(resolver.config(&client(&Ca::root("Servers"), version)));
            let cases = [(stranger, HOST), (scene.config(&resolver, version), "other.example")];
            for (config, name) in cases {
                let shaken = handshake(&config, &scene.server, name);
                assert!(matches!(shaken.error(), rustls::Error::InvalidCertificate(_)), "{:?}", shaken.error());
                assert!(cause(shaken.error()).is_none());
                scene.assert_nothing_sent(&shaken);
            }
        }
    }
}

#[test]
fn a_server_that_does_not_ask_notices_nothing() {
    for version in VERSIONS {
        let scene = Scene::new();
        let plain = Arc::new(server(&scene.servers, HOST, rustls::server::WebPkiClientVerifier::no_client_auth()));
        let resolver = Resolver::new(scene.prepare());
        let shaken = handshake(&scene.config(&resolver, version), &plain, HOST);
        assert!(shaken.client.is_ok() && !shaken.server.is_handshaking());
        assert!(!resolver.was_asked());
    }
}

#[test]
fn a_decided_identity_is_sent_with_its_intermediates_and_without_the_root() {
    for version in VERSIONS {
        let scene = Scene::decided(true);
        let resolver = Resolver::new(scene.prepare());
        let config = scene.config(&resolver, version);
        for _ in 0..2 {
            let shaken = handshake(&config, &scene.server, HOST);
            assert!(shaken.client.is_ok() && !shaken.server.is_handshaking());
            assert_eq!(shaken.presented(), scene.whole_chain());
            assert_eq!(shaken.shows(&scene.leaf.certificate), *version == rustls::version::TLS12);
        }
        assert!(resolver.was_asked());
    }
}

#[test]
fn a_decision_for_none_sends_no_certificate() {
    for version in VERSIONS {
        let scene = Scene::decided(false);
        let shaken = scene.handshake(version);
        assert!(shaken.client.is_ok() && !shaken.server.is_handshaking());
        scene.assert_nothing_sent(&shaken);
    }
}

#[test]
fn a_decision_that_does_not_fit_the_request_needs_another_answer() {
    for version in VERSIONS {
        let mut scene = Scene::decided(true);
        scene.server = Arc::new(server(&scene.servers, HOST, optional_client(&[&Ca::root("Other").certificate])));
        let shaken = scene.handshake(version);
        assert!(matches!(cause(shaken.error()), Some(Cause::Needs(Needs::Select(_)))));
        scene.assert_nothing_sent(&shaken);
    }
}

#[test]
fn a_given_identity_is_sent_whatever_the_server_asks_for() {
    for version in VERSIONS {
        let scene = Scene::new();
        let picky = Arc::new(server(&scene.servers, HOST, optional_client(&[&Ca::root("Other").certificate])));
        let given = scene.selector().given(destination(), scene.store.find_identity("Person").unwrap()).unwrap();
        let shaken = handshake(&scene.config(&Resolver::new(given), version), &picky, HOST);
        assert!(shaken.server.is_handshaking(), "the server refuses it");
        assert!(shaken.client.as_ref().err().is_none_or(|error| !matches!(cause(error), Some(Cause::Needs(_)))));
    }
}

/// The key of another identity in the row of the decided one, as somebody who can write the file could put it.
fn with_swapped_key() -> Scene {
    let scene = Scene::decided(true);
    let other = scene.issuer.leaf("Other");
    scene.home.with([&other], []);
    let swap = "UPDATE identities SET private_key = (SELECT private_key FROM identities WHERE fingerprint = ?2)
                WHERE fingerprint = ?1";
    let fingerprints = [scene.leaf.fingerprint(), other.fingerprint()].map(|print| print.as_bytes().to_vec());
    assert_eq!(scene.home.database().execute(swap, fingerprints).unwrap(), 1);
    scene
}

#[test]
fn a_key_swapped_in_the_database_signs_nothing() {
    for version in VERSIONS {
        let scene = with_swapped_key();
        let shaken = scene.handshake(version);
        let named = matches!(cause(shaken.error()), Some(Cause::Failed(Error::SealedKey { name })) if name == "Person");
        assert!(named, "{:?}", shaken.error());
        assert!(shaken.server.is_handshaking(), "the server has no signature");
        // In TLS 1.2, rustls has already sent the certificate to the verified server when it asks for the signature
        if *version == rustls::version::TLS13 {
            scene.assert_nothing_sent(&shaken);
        }
    }
}

#[test]
fn a_row_with_another_certificate_is_damaged() {
    let scene = Scene::decided(true);
    let other = scene.issuer.leaf("Other");
    scene.home.with([&other], []);
    let swap = "UPDATE identities SET (certificate, private_key) =
                (SELECT certificate, private_key FROM identities WHERE fingerprint = ?2) WHERE fingerprint = ?1";
    let fingerprints = [scene.leaf.fingerprint(), other.fingerprint()].map(|print| print.as_bytes().to_vec());
    assert_eq!(scene.home.database().execute(swap, fingerprints).unwrap(), 1);
    assert!(matches!(scene.selector().prepare(destination()), Err(Error::RowDamaged(_))));
}

#[test]
fn a_key_that_this_vault_did_not_seal_signs_nothing() {
    for version in VERSIONS {
        let scene = Scene::decided(true);
        scene.home.database().execute("UPDATE identities SET private_key = x'3000'", []).unwrap();
        let shaken = scene.handshake(version);
        assert!(matches!(cause(shaken.error()), Some(Cause::Failed(Error::SealedKey { .. }))), "{:?}", shaken.error());
        assert!(shaken.server.is_handshaking());
    }
}

#[test]
fn a_locked_vault_needs_unlocking_and_then_the_handshake_succeeds() {
    let mut scene = Scene::decided(true);
    scene.store.set_primary_password(Some(PASSWORD), &Typist).unwrap();
    for version in VERSIONS {
        scene.store = scene.home.open();
        let resolver = Resolver::new(scene.prepare());
        let config = scene.config(&resolver, version);
        for _ in 0..2 {
            let shaken = handshake(&config, &scene.server, HOST);
            assert!(matches!(cause(shaken.error()), Some(Cause::Needs(Needs::Unlock))));
            scene.assert_nothing_sent(&shaken);
        }
        scene.selector().with_unlocker(Arc::new(Typist)).unlock().unwrap();
        let shaken = handshake(&config, &scene.server, HOST);
        assert_eq!(shaken.presented(), scene.whole_chain());
    }
}

/// Another process sets a password: the keys are then sealed under another data key.
#[test]
fn a_password_set_by_another_process_locks_running_programs() {
    for version in VERSIONS {
        let scene = Scene::decided(true);
        assert_eq!(scene.handshake(version).presented(), scene.whole_chain());
        scene.home.open().set_primary_password(Some(PASSWORD), &Typist).unwrap();
        let resolver = Resolver::new(scene.prepare());
        let config = scene.config(&resolver, version);
        let shaken = handshake(&config, &scene.server, HOST);
        assert!(matches!(cause(shaken.error()), Some(Cause::Needs(Needs::Unlock))), "{:?}", shaken.error());
        scene.selector().with_unlocker(Arc::new(Typist)).unlock().unwrap();
        let shaken = handshake(&config, &scene.server, HOST);
        assert_eq!(shaken.presented(), scene.whole_chain());
    }
}

#[test]
fn a_request_with_ten_thousand_issuers_is_answered() {
    let scene = Scene::decided(true);
    let resolver = Resolver::new(scene.prepare());
    let names: Vec<Vec<u8>> = (0..10_000u32).map(|number| [&[0x30, 4][..], &number.to_be_bytes()].concat()).collect();
    let mut hints: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let root = scene.root.name();
    hints.push(root.der());
    let schemes = [rustls::SignatureScheme::ECDSA_NISTP256_SHA256];
    let answer = rustls::client::ResolvesClientCert::resolve(&*resolver, &hints, &schemes).unwrap();
    assert_eq!(answer.cert, scene.whole_chain());
}
