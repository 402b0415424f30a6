//! A program that goes on while its store is unlocked and locked elsewhere.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cardcase::Error;
use cardcase::Selector;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::connect::tokio::Connector;
use cardcase::manage::agent::{Grant, Server};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, SupportedProtocolVersion};
use zeroize::Zeroizing;

use crate::connector::{Scene, run};
use crate::people::{Nobody, PASSWORD, Typist};
use crate::pki::NOW;
use crate::tls::HOST;

/// An agent of this store, as another process would be one.
fn agent_of(store: &Store) -> JoinHandle<()> {
    store.unlock_fully(&Typist).unwrap();
    let grant = store.grant(Duration::from_secs(60)).unwrap();
    let agent = Server::start(Grant::from_bytes(Zeroizing::new(grant.as_bytes().to_vec()))).unwrap();
    thread::spawn(move || agent.serve())
}

/// With an identity remembered, a primary password, and a server that has every connection signed for.
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

/// Opens the store anew, locked, with a connector that asks this unlocker.
fn restart(scene: &mut Scene, unlocker: Arc<dyn Unlocker>) {
    scene.store = scene.home.open();
    let selector = Selector::new(scene.store.clone()).with_clock(|| NOW).with_unlocker(unlocker);
    scene.connector = Connector::new(Arc::new(selector), scene.base.clone());
}

#[test]
fn it_asks_when_the_agent_has_gone_and_not_before() {
    run(async |version| {
        let mut scene = protected(version);
        let agent = agent_of(&scene.store);
        restart(&mut scene, Arc::new(Typist));
        for _ in 0..2 {
            scene.connect(HOST).await.unwrap();
            assert_eq!(scene.dialled(), 1, "the agent signs at once");
        }
        assert!(scene.store.end_agent().unwrap());
        agent.join().unwrap();
        scene.connect(HOST).await.unwrap();
        assert_eq!(scene.dialled(), 2, "once to find out, once with the password");
        scene.connect(HOST).await.unwrap();
        assert_eq!(scene.dialled(), 1);
        assert_eq!(scene.seen().len(), 4);
    });
}

#[test]
fn an_agent_that_comes_later_serves_too() {
    run(async |version| {
        let mut scene = protected(version);
        restart(&mut scene, Arc::new(Nobody));
        assert!(scene.connect(HOST).await.is_err(), "it is locked");
        scene.dialled();
        for _ in 0..2 {
            let agent = agent_of(&scene.home.open());
            scene.connect(HOST).await.unwrap();
            assert_eq!(scene.dialled(), 2, "once to find out");
            assert!(scene.store.end_agent().unwrap());
            agent.join().unwrap();
            assert!(scene.connect(HOST).await.is_err(), "it is locked again");
            scene.dialled();
        }
    });
}

#[test]
fn the_agent_gives_nothing_away() {
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
    is_kept(store.set_primary_password(None, &Nobody));
    is_locked(store.grant(Duration::from_secs(60)).map(drop));
    assert!(store.private_key(&identity, &Typist).is_ok());
    assert!(store.end_agent().unwrap());
    agent.join().unwrap();
}
