//! The places, the people and the servers of this test, and what is decided where.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use cardcase::manage::Fingerprint;
use cardcase::manage::Timestamp;
use cardcase::manage::agent;
use cardcase::manage::{Lifetime, Mode};
use cardcase::{Destination, Error, Selector, Store, Unlocker};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{RwLock, RwLockReadGuard};
use zeroize::Zeroizing;

use crate::client::Client;
use crate::ledger::{Ledger, count};
use crate::oracle::Oracle;
use crate::support::ca::{Issued, unused};
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server, Setup};

/// An owner whom nobody can ask.
struct NobodyIsAsked;

impl agent::Owner for NobodyIsAsked {}

const HOSTS: [&str; 5] = ["a.test", "b.test", "c.test", "d.test", "e.test"];
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// The address of the proxies; no server has it.
const PROXY_HOST: &str = "localhost";

/// Whose certificate; `None` is nobody's, that is, none.
pub type Who = Option<Fingerprint>;

/// The word for it in a URL.
pub fn word(who: Who) -> String {
    who.map_or("none".to_owned(), |fingerprint| fingerprint.to_string())
}

/// Where one answer holds, as this test computes it: a host, in chrome mode with its port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    host: String,
    port: Option<u16>,
}

impl Place {
    pub fn of(mode: Mode, to: &Destination) -> Self {
        let port = match mode {
            Mode::Firefox => None,
            Mode::Chrome => Some(to.port()),
        };
        Self { host: to.host().to_owned(), port }
    }
}

/// Random numbers that are the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below `sides`; by SplitMix64.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % sides
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }
}

pub struct World {
    pub scene: Scene,
    people: Vec<Issued>,
    pub witnesses: Vec<Server>,
    pub proxies: Vec<Server>,
    /// Every host at every witness.
    pub destinations: Vec<Destination>,
    pub clients: Vec<Client>,
    /// What the store is set to.
    mode: RwLock<Mode>,
    decided: BTreeMap<Place, RwLock<Option<Who>>>,
    pub oracle: Arc<Oracle>,
    pub ledger: Ledger,
    /// A proxy that speaks no TLS itself.
    pub relay: SocketAddr,
    /// Everything that connects holds this lock for reading; changes that affect all of them hold it for writing.
    pub peace: RwLock<()>,
    owner: Owner,
}

/// Knows the primary password, and has the store open in this process where it is needed.
struct Owner {
    selector: Selector,
    password: Mutex<String>,
}

impl Owner {
    fn new(selector: Selector) -> Self {
        Self { selector, password: Mutex::new("correct horse".to_owned()) }
    }

    fn store(&self) -> &Store {
        let store = self.selector.store();
        store.unlock_fully(self).unwrap();
        store
    }

    fn set_password(&self, password: &str) {
        let store = self.store();
        password.clone_into(&mut self.password.lock().unwrap());
        store.set_primary_password(Some(password), &Nobody).unwrap();
    }

    /// Starts the agent, as `unlock` does.
    fn unlock(&self) {
        let lease = self.store().lease(Duration::from_secs(3600)).unwrap();
        let (ready, listens) = mpsc::channel();
        std::thread::spawn(move || agent::serve(lease, Arc::new(NobodyIsAsked), |_| ready.send(()).unwrap()).unwrap());
        listens.recv().unwrap();
    }
}

impl Unlocker for Owner {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Ok(Zeroizing::new(self.password.lock().unwrap().clone()))
    }
}

/// Knows no password.
pub struct Nobody;

impl Unlocker for Nobody {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

/// The mode of a client, which stays the same until this is dropped.
pub struct Settled<'a> {
    pub mode: Mode,
    _setting: Option<RwLockReadGuard<'a, Mode>>,
}

impl World {
    pub fn new(runtime: &Runtime) -> Self {
        let scene = Scene::new();
        let people: Vec<Issued> = PEOPLE.iter().map(|name| scene.employee(name).issue()).collect();
        for person in &people {
            scene.machine.import_file(&person.pem_file(scene.machine.dir()));
        }
        let names: Vec<&str> = HOSTS.into_iter().chain([PROXY_HOST]).collect();
        let certificate = scene.server_root.server(&names);
        let server = |kind| Setup::new(kind, &certificate).authorities(&[&scene.staff_root]).ask(Ask::Optional);
        let (mut witnesses, mut proxies) = (Vec::new(), Vec::new());
        for tls in BOTH_VERSIONS {
            witnesses.push(server(Kind::Go).tls(tls).start());
            witnesses.push(server(Kind::Go).tls(tls).http1().start());
            proxies.push(server(Kind::Python).tls(tls).start());
        }
        let at = |host, server: &Server| Destination::new(host, server.port()).unwrap();
        let destinations: Vec<_> =
            HOSTS.iter().flat_map(|host| witnesses.iter().map(|server| at(host, server))).collect();
        let owner = Owner::new(scene.machine.selector());
        scene.machine.run(&format!("trust {}", scene.server_root_file.display())).expect(0);
        owner.set_password("correct horse");
        owner.unlock();
        let oracle = Arc::new(Oracle::default());
        let clients = Client::all(&scene, &oracle);
        let mut world = Self {
            decided: BTreeMap::new(),
            relay: runtime.block_on(relay()),
            mode: RwLock::new(Mode::Firefox),
            ledger: Ledger::default(),
            scene,
            people,
            witnesses,
            proxies,
            destinations,
            clients,
            oracle,
            peace: RwLock::default(),
            owner,
        };
        world.decide_everything();
        world
    }

    /// Nothing is decided at the servers at first; at the proxies something always is.
    fn decide_everything(&mut self) {
        let mut dice = Dice::new(u64::MAX);
        let proxies: Vec<Destination> = (0..self.proxies.len()).map(|number| self.proxy(number)).collect();
        for to in self.destinations.iter().chain(&proxies) {
            for mode in [Mode::Firefox, Mode::Chrome] {
                let who = self.anyone(&mut dice);
                let undecided = to.host() != PROXY_HOST && dice.roll(4) == 0;
                if !undecided {
                    self.remember(mode, to, who, &mut dice);
                }
                let known = self.decided.entry(Place::of(mode, to)).or_default().get_mut();
                // In firefox mode another port of the host may have had its turn before
                *known = if undecided { *known } else { Some(who) };
            }
        }
    }

    pub fn proxy(&self, number: usize) -> Destination {
        Destination::new(PROXY_HOST, self.proxies[number].port()).unwrap()
    }

    /// What is decided there, behind the lock.
    pub fn at(&self, place: &Place) -> &RwLock<Option<Who>> {
        &self.decided[place]
    }

    /// An identity of the staff, or none.
    pub fn anyone(&self, dice: &mut Dice) -> Who {
        self.people.get(dice.roll(self.people.len() + 1)).map(|person| Fingerprint::from_der(person.der()))
    }

    /// What a server has to see of an identity: the certificate and the intermediate above it.
    pub fn chain(&self, word: &str) -> Vec<String> {
        if word == "none" {
            return Vec::new();
        }
        let mut chain = self.people[0].sent_chain();
        chain[0] = word.to_owned();
        chain
    }

    /// `None`: the store's own.
    pub async fn settled(&self, mode: Option<Mode>) -> Settled<'_> {
        match mode {
            Some(mode) => Settled { mode, _setting: None },
            None => {
                let setting = self.mode.read().await;
                Settled { mode: *setting, _setting: Some(setting) }
            }
        }
    }

    /// Sets the store to the other mode.
    pub async fn change_mode(&self, dice: &mut Dice) {
        let mut mode = self.mode.write().await;
        *mode = if *mode == Mode::Firefox { Mode::Chrome } else { Mode::Firefox };
        dice.pick(&self.clients).store().change_settings(|settings| settings.mode = *mode).unwrap();
        count(&self.ledger.done.modes);
    }

    /// Remembers a decision, through one of the handles of the store.
    pub fn remember(&self, mode: Mode, to: &Destination, who: Who, dice: &mut Dice) {
        let lifetime = *dice.pick(&[Lifetime::Session, Lifetime::Permanent]);
        let store = dice.pick(&self.clients).store();
        store.remember(&mode.scope(to), who, lifetime, Timestamp::now()).unwrap();
    }

    pub fn forget(&self, mode: Mode, to: &Destination, dice: &mut Dice) {
        dice.pick(&self.clients).store().forget(&mode.scope(to)).unwrap();
    }

    /// Starts the agent, as `unlock` does.
    pub fn unlock(&self) {
        self.owner.unlock();
    }

    /// Sets another primary password.
    pub fn change_password(&self, password: &str) {
        self.owner.set_password(password);
    }

    pub fn rename(&self, identity: Fingerprint, name: &str) {
        let store = self.owner.store();
        store.rename(&store.find_identity(&identity.to_string()).unwrap(), name).unwrap();
    }

    /// One of the staff.
    pub fn somebody(&self, dice: &mut Dice) -> Fingerprint {
        Fingerprint::from_der(dice.pick(&self.people).der())
    }

    /// Issues an identity and gives it to the command.
    pub fn hire_for_a_while(&self) -> Fingerprint {
        let dir = self.scene.machine.dir();
        let name = unused(dir, "leaver", "").display().to_string();
        let leaver = self.scene.employee(&name).issue();
        self.scene.machine.import_file(&leaver.pem_file(dir));
        Fingerprint::from_der(leaver.der())
    }
}

/// Starts an HTTP proxy that takes CONNECT (RFC 9110 section 9.3.6) and carries what it is given.
async fn relay() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client));
        }
    });
    address
}

async fn carry(mut client: TcpStream) {
    let head = crate::client::head(&mut client).await.unwrap();
    let to = head.split(' ').nth(1).unwrap();
    let mut server = TcpStream::connect(to).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut client, b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    // How either side hangs up is its own affair
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
