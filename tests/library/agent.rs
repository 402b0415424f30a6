//! A program that keeps running while other processes unlock and lock its store.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cardcase::Error;
use cardcase::Selector;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::connect::tokio::Connector;
use cardcase::manage::agent::Owner;
use cardcase::manage::{Confirmation, Permission, Timestamp, ToSign, agent};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, SignatureScheme, SupportedProtocolVersion};

use crate::connector::{Scene, run};
use crate::people::{Nobody, PASSWORD, Typist};
use crate::pki::{Ca, Home, NOW, import, params, valid};
use crate::tls::HOST;

/// An owner whom nobody can ask.
struct NobodyIsAsked;

impl Owner for NobodyIsAsked {}

/// Runs an agent of this store, as another process would.
fn agent_of(store: &Store) -> JoinHandle<()> {
    store.unlock_fully(&Typist).unwrap();
    let lease = store.lease(Duration::from_secs(60)).unwrap();
    let (ready, listens) = mpsc::channel();
    let agent =
        thread::spawn(move || agent::serve(lease, Arc::new(NobodyIsAsked), |_| ready.send(()).unwrap()).unwrap());
    listens.recv().unwrap();
    agent
}

/// A scene with a remembered identity, a primary password, and a server that requires a signature in every connection.
fn protected(version: &'static SupportedProtocolVersion) -> Scene {
    let mut scene = Scene::new(version, &[]);
    scene.remember(Some(&scene.a));
    scene.store.set_primary_password(Some(PASSWORD), &Typist).unwrap();
    let mut server = ServerConfig::clone(&scene.server);
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    scene.server = Arc::new(server);
    scene
}

/// Opens the store again, locked, with a connector that asks this unlocker.
fn restart(scene: &mut Scene, unlocker: Arc<dyn Unlocker>) {
    scene.store = scene.home.open();
    let selector = Selector::new(scene.store.clone()).with_clock(|| NOW).with_unlocker(unlocker);
    scene.connector = Connector::new(Arc::new(selector), scene.base.clone());
}

#[test]
fn the_password_is_asked_for_only_after_the_agent_has_ended() {
    run(async |version| {
        let mut scene = protected(version);
        let agent = agent_of(&scene.store);
        restart(&mut scene, Arc::new(Typist));
        for _ in 0..2 {
            scene.connect(HOST).await.unwrap();
            assert_eq!(scene.dialled(), 1, "the agent signs in the first connection");
        }
        assert!(scene.store.end_agent().unwrap());
        agent.join().unwrap();
        scene.connect(HOST).await.unwrap();
        assert_eq!(scene.dialled(), 2, "one connection to find out, one with the password");
        scene.connect(HOST).await.unwrap();
        assert_eq!(scene.dialled(), 1);
        assert_eq!(scene.seen().len(), 4);
    });
}

#[test]
fn an_agent_that_starts_later_signs_too() {
    run(async |version| {
        let mut scene = protected(version);
        restart(&mut scene, Arc::new(Nobody));
        assert!(scene.connect(HOST).await.is_err(), "it is locked");
        scene.dialled();
        for _ in 0..2 {
            let agent = agent_of(&scene.home.open());
            scene.connect(HOST).await.unwrap();
            assert_eq!(scene.dialled(), 2, "one connection to find out");
            assert!(scene.store.end_agent().unwrap());
            agent.join().unwrap();
            assert!(scene.connect(HOST).await.is_err(), "it is locked again");
            scene.dialled();
        }
    });
}

/// The socket of the agent of a scene's store.
fn socket(scene: &Scene) -> PathBuf {
    let all = fs::read_dir(scene.home.session_directory()).unwrap().map(|entry| entry.unwrap().path());
    all.into_iter().find(|path| path.extension().is_some_and(|end| end == "sock")).unwrap()
}

/// As at logout. The agent sees it a little later, and the program still has a connection to it.
#[test]
fn a_program_with_a_connection_to_the_agent_is_locked_once_the_socket_is_gone() {
    run(async |version| {
        let mut scene = protected(version);
        let agent = agent_of(&scene.store);
        restart(&mut scene, Arc::new(Nobody));
        scene.connect(HOST).await.unwrap();
        fs::remove_file(socket(&scene)).unwrap();
        assert!(scene.connect(HOST).await.is_err(), "it is locked");
        agent.join().unwrap();
        assert_eq!(scene.seen().len(), 1);
    });
}

/// Another agent for the same store, which its owner unlocked again.
#[test]
fn a_program_with_a_connection_to_an_agent_that_was_replaced_goes_to_the_next() {
    run(async |version| {
        let mut scene = protected(version);
        let first = agent_of(&scene.store);
        restart(&mut scene, Arc::new(Nobody));
        scene.connect(HOST).await.unwrap();
        scene.dialled();
        let second = agent_of(&scene.home.open());
        first.join().unwrap();
        scene.connect(HOST).await.unwrap();
        assert_eq!(scene.dialled(), 1, "it was locked meanwhile");
        assert!(scene.store.end_agent().unwrap());
        second.join().unwrap();
        assert!(scene.connect(HOST).await.is_err(), "it is locked");
    });
}

/// What a client signs in TLS 1.3.
fn tls13() -> Vec<u8> {
    [&[b' '; 64][..], b"TLS 1.3, client CertificateVerify\0", &[5; 32]].concat()
}

#[test]
fn the_agent_signs_for_other_programs_what_the_owner_permits() {
    for password in [None, Some(PASSWORD)] {
        let (root, home) = (Ca::root("Root"), Home::new());
        let leaf = root.leaf("Alice");
        let owner = home.with([&leaf], [&root.certificate]);
        owner.set_primary_password(password, &Typist).unwrap();
        let alice = owner.find_identity("Alice").unwrap();
        let store = home.open();
        let (scheme, message, digest) = (SignatureScheme::ECDSA_NISTP256_SHA256, tls13(), [7; 32]);
        let sign = |what| store.sign_for_program(&alice, scheme, what);
        assert!(matches!(sign(ToSign::Message(&message)), Err(Error::VaultLocked)), "no agent runs");
        let agent = agent_of(&owner);
        for (permission, signs) in
            [(Permission::Off, [false, false]), (Permission::Tls, [true, false]), (Permission::Any, [true, true])]
        {
            let permitted = owner.permit(&alice, permission, Confirmation::Never).unwrap();
            assert_eq!((permitted.permission(), permitted.confirmation()), (permission, Confirmation::Never));
            for (what, signs) in [ToSign::Message(&message), ToSign::Digest(&digest)].into_iter().zip(signs) {
                match sign(what) {
                    Ok(_) => assert!(signs, "{permission} {what:?}"),
                    Err(Error::NotPermitted { name, .. }) => assert!(!signs && name == "Alice", "{permission}"),
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert!(store.end_agent().unwrap());
        agent.join().unwrap();
        assert!(matches!(sign(ToSign::Message(&message)), Err(Error::VaultLocked)), "the agent has ended");
    }
}

#[test]
fn nobody_who_writes_the_file_changes_what_other_programs_get() {
    let home = Home::new();
    let store = home.with([&Ca::root("Root").leaf("Alice")], []);
    let alice = store.find_identity("Alice").unwrap();
    store.permit(&alice, Permission::Tls, Confirmation::Each).unwrap();
    let agent = agent_of(&store);
    let sign = |what| store.sign_for_program(&alice, SignatureScheme::ECDSA_NISTP256_SHA256, what);
    let (message, self_test) = (tls13(), b"test text");
    sign(ToSign::Message(self_test)).unwrap();
    assert!(matches!(sign(ToSign::Message(&message)), Err(Error::NotConfirmed { .. })), "nobody can be asked");
    for change in ["permission = 2", "confirmation = 0", "permission = 2, confirmation = 0", "requires_tls13 = 1"] {
        home.database().execute(&format!("UPDATE identities SET {change}"), []).unwrap();
        for what in [ToSign::Message(&message), ToSign::Digest(&[7; 32]), ToSign::Message(self_test)] {
            let signed = sign(what);
            assert!(matches!(signed, Err(Error::SealedKey { .. })), "{change}: {signed:?}");
        }
        let back = "UPDATE identities SET permission = 1, confirmation = 1, requires_tls13 = 0";
        home.database().execute(back, []).unwrap();
        sign(ToSign::Message(self_test)).unwrap();
    }
    store.end_agent().unwrap();
    agent.join().unwrap();
}

#[test]
fn a_renewal_takes_over_what_other_programs_may_have_signed() {
    let (root, home) = (Ca::root("Root"), Home::new());
    let until = Timestamp(NOW.0 + 86_400);
    let (old, new) = (root.leaf_of(valid(params("Alice"), NOW, until)), root.leaf("Alice"));
    let store = home.with([&old], []);
    let before = store.find_identity("Alice").unwrap();
    store.permit(&before, Permission::Any, Confirmation::Each).unwrap();
    let (_, renewals) = store.import_and_renew(vec![import([&new], [])], None, NOW).unwrap();
    let renewed = &renewals[0].new;
    assert_eq!((renewed.permission(), renewed.confirmation()), (Permission::Any, Confirmation::Each));
    let stored = store.identity(renewed.fingerprint()).unwrap().unwrap();
    assert_eq!(*stored, *renewed);
    // It opens in its row
    store.private_key(&stored, &Nobody).unwrap();
}

#[test]
fn an_identity_that_requires_tls13_signs_no_digests() {
    let home = Home::new();
    let store = home.with([&Ca::root("Root").leaf("Alice")], []);
    let alice = store.find_identity("Alice").unwrap();
    let is_refused =
        |result: Result<(), Error>| assert!(matches!(result, Err(Error::NotWithTls13 { .. })), "{result:?}");
    store.permit(&alice, Permission::Any, Confirmation::Each).unwrap();
    is_refused(store.require_tls13(&alice, true));
    store.permit(&alice, Permission::Tls, Confirmation::Each).unwrap();
    store.require_tls13(&alice, true).unwrap();
    is_refused(store.permit(&alice, Permission::Any, Confirmation::Each).map(drop));
    assert_eq!(store.find_identity("Alice").unwrap().permission(), Permission::Tls);
    store.require_tls13(&alice, false).unwrap();
    store.permit(&alice, Permission::Any, Confirmation::Each).unwrap();
}

#[test]
fn the_agent_gives_away_no_keys() {
    let scene = protected(&rustls::version::TLS13);
    let agent = agent_of(&scene.store);
    let store = scene.home.open();
    let identity = store.identity(scene.a.fingerprint()).unwrap().unwrap();
    store.unlock(&Nobody).unwrap();
    assert!(!store.is_locked());
    let is_locked = |result: Result<(), Error>| assert!(matches!(result, Err(Error::VaultLocked)), "{result:?}");
    let is_kept = |result: Result<(), Error>| assert!(matches!(result, Err(Error::AgentKeepsKeys)), "{result:?}");
    is_kept(store.private_key(&identity, &Nobody).map(drop));
    is_locked(store.require_tls13(&identity, true));
    is_locked(store.permit(&identity, Permission::Any, Confirmation::Never).map(drop));
    is_kept(store.set_primary_password(None, &Nobody));
    is_locked(store.lease(Duration::from_secs(60)).map(drop));
    assert!(store.private_key(&identity, &Typist).is_ok());
    assert!(store.end_agent().unwrap());
    agent.join().unwrap();
}
