//! One machine with two identities, a person who chooses by a script, and servers that report who came.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cardcase::Chooser;
use cardcase::Error;
use cardcase::Selector;
use cardcase::Unlocker;
use cardcase::ask::{Question, Reply};
use cardcase::manage::Fingerprint;
use cardcase::manage::Timestamp;
use cardcase::manage::{Lifetime, Mode};
use rustls::{CertificateError, ClientConfig};
use zeroize::Zeroizing;

use crate::support::refusing::Refusing;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Server, Tls};

pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A client under test: makes one request to `host:port`.
pub type Client = Box<dyn FnMut(&str) -> Result<(), BoxError>>;

pub struct World {
    pub scene: Scene,
    pub alice: Fingerprint,
    pub bob: Fingerprint,
    pub person: Arc<Person>,
    pub selector: Arc<Selector>,
}

impl World {
    pub fn new() -> Self {
        let scene = Scene::new();
        let person = Arc::new(Person::default());
        let hire = |name: &str| scene.hire(name).fingerprint();
        let (alice, bob) = (hire("alice"), hire("bob"));
        let selector = scene.machine.selector().with_chooser(person.clone()).with_mode(Mode::Chrome);
        let known = |fingerprint: String| selector.store().find_identity(&fingerprint).unwrap().fingerprint();
        let (alice, bob) = (known(alice), known(bob));
        Self { alice, bob, person, selector: Arc::new(selector), scene }
    }

    /// What a client trusts, with its own protocols.
    pub fn config(&self, alpn: &[&str]) -> ClientConfig {
        let mut config = self.scene.client_config();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// From here on the store has a primary password, and a selector that has not unlocked it.
    pub fn lock(&mut self) -> Arc<Typist> {
        let typist = Arc::new(Typist::default());
        self.selector.store().set_primary_password(Some(PASSWORD), &*typist).unwrap();
        let selector = self.scene.machine.selector().with_chooser(self.person.clone()).with_mode(Mode::Chrome);
        self.selector = Arc::new(selector.with_unlocker(typist.clone()));
        typist
    }

    pub fn remember(&self, peer: &dyn Peer, who: Option<Fingerprint>) {
        self.remember_at(&peer.destination(), who);
    }

    pub fn remember_at(&self, destination: &str, who: Option<Fingerprint>) {
        let scope = Mode::Chrome.scope(&destination.parse().unwrap());
        self.selector.store().remember(&scope, who, Lifetime::Permanent, Timestamp::now()).unwrap();
    }

    pub fn forget(&self, peer: &dyn Peer) {
        assert!(self.forget_at(&peer.destination()));
    }

    /// Whether there was something to forget.
    pub fn forget_at(&self, destination: &str) -> bool {
        !self.selector.store().forget(&Mode::Chrome.scope(&destination.parse().unwrap())).unwrap().0.is_empty()
    }

    /// A server of HTTP, that asks or does not.
    pub fn http(&self, tls: Tls, ask: Ask) -> Server {
        self.scene.server(Kind::Go).tls(tls).ask(ask).start()
    }

    /// A server that refuses everyone.
    pub fn refusing(&self, tls: Tls) -> Refusing {
        Refusing::start(&self.scene, CertificateError::Revoked, tls)
    }
}

/// A server that reports who came.
pub trait Peer {
    /// `localhost:PORT`
    fn destination(&self) -> String;

    /// The certificate of everyone who came, in order; `None` for those who had none.
    fn came(&self) -> Vec<Option<String>>;
}

impl Peer for Server {
    fn destination(&self) -> String {
        Server::destination(self)
    }

    fn came(&self) -> Vec<Option<String>> {
        self.requests().iter().map(|request| request["chain"][0].as_str().map(str::to_owned)).collect()
    }
}

/// Picks the identity that the test named, after a while; aborts when it named none.
#[derive(Default)]
pub struct Person {
    picks: Mutex<VecDeque<String>>,
    thinks: Mutex<Duration>,
    asked: Mutex<Vec<String>>,
}

impl Person {
    pub fn will_pick(&self, name: &str) {
        self.picks.lock().unwrap().push_back(name.to_owned());
    }

    pub fn will_think(&self, time: Duration) {
        *self.thinks.lock().unwrap() = time;
    }

    /// Whether they were asked since the last call of [`Person::asked`].
    pub fn is_asked(&self) -> bool {
        !self.asked.lock().unwrap().is_empty()
    }

    /// The destinations they were asked about since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// Waits until they are asked.
    #[track_caller]
    pub fn wait_until_asked(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.asked().is_empty() {
            assert!(Instant::now() < until, "nobody was asked");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Chooser for Person {
    fn choose(&self, question: &Question<'_>) -> Reply {
        self.asked.lock().unwrap().push(question.destination.to_string());
        std::thread::sleep(*self.thinks.lock().unwrap());
        let Some(name) = self.picks.lock().unwrap().pop_front() else { return Reply::Abort };
        let picked = question.candidates().find(|candidate| candidate.identity.name() == name).unwrap();
        Reply::Identity { identity: picked.identity, lifetime: Lifetime::Permanent }
    }
}

const PASSWORD: &str = "correct horse";

/// Knows the primary password, and counts how often it is asked for.
#[derive(Default)]
pub struct Typist(AtomicUsize);

impl Typist {
    pub fn typed(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Unlocker for Typist {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Zeroizing::new(PASSWORD.to_owned()))
    }
}
