//! Permissions can be withdrawn while a program runs: the next connection is refused, even one that would resume a TLS session.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cardcase::connect::blocking;
use cardcase::{Destination, Error, Selector, Unlocker};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use zeroize::Zeroizing;

use crate::support::command::Outcome;
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server};
use crate::support::tunnel::Tunnel;

const PASSWORD: &str = "correct horse";
const OTHER: &str = "battery staple";

/// How long to wait for the agent's time-out.
const SOON: Duration = Duration::from_secs(30);

/// A machine with an identity, a primary password, an agent, and a trusted authority; and a server that asks.
struct World {
    scene: Scene,
    server: Server,
    root: String,
    identity: String,
    file: String,
    hand: Arc<Hand>,
}

/// Answers requests for the primary password with these passwords, each once.
#[derive(Default)]
struct Hand(Mutex<Vec<&'static str>>);

impl Hand {
    fn types(&self, password: &'static str) {
        self.0.lock().unwrap().push(password);
    }
}

impl Unlocker for Hand {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        let typed = self.0.lock().unwrap().pop().ok_or(Error::VaultLocked)?;
        Ok(Zeroizing::new(typed.to_owned()))
    }
}

impl World {
    fn new(server: impl FnOnce(&Scene) -> Server) -> Self {
        let scene = Scene::new();
        let alice = scene.hire("alice");
        let file = alice.pem_file(scene.machine.dir()).display().to_string();
        let root = scene.server_root_file.display().to_string();
        scene.machine.run(&format!("trust {root}")).expect(0);
        let server = server(&scene);
        // With two identities, a server without a decision gets none
        scene.hire("bob");
        let new = scene.machine.password_file(PASSWORD);
        scene.machine.command(["password", "--new-password-file"]).arg(new).run().expect(0);
        let world = Self { identity: alice.fingerprint(), server, root, file, hand: Arc::default(), scene };
        world.remember();
        world.unlock("");
        world
    }

    /// Runs the command with this primary password.
    fn with(&self, password: &str, line: &str) -> Outcome {
        let file = self.scene.machine.password_file(password);
        let run = self.scene.machine.command(line.split_whitespace()).env("CARDCASE_PRIMARY_PASSWORD_FILE", file);
        run.run().expect(0)
    }

    fn unlock(&self, more: &str) {
        self.with(PASSWORD, &format!("unlock {more}"));
    }

    fn remember(&self) {
        self.with(PASSWORD, "remember localhost alice --for permanent");
    }

    fn wait_until_locked(&self) {
        let began = Instant::now();
        while self.scene.machine.json("unlock --status")["unlocked"] == true {
            assert!(began.elapsed() < SOON, "the agent does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn change_password(&self, from: &str, to: &str) {
        let (old, new) = (self.scene.machine.password_file(from), self.scene.machine.password_file(to));
        let run = self.scene.machine.command(["password", "--new-password-file"]).arg(new);
        run.env("CARDCASE_PRIMARY_PASSWORD_FILE", old).run().expect(0);
    }
}

/// One way to withdraw a permission, and to restore it.
struct Way {
    name: &'static str,
    before: fn(&World),
    take: fn(&World),
    give: fn(&World),
}

fn nothing(_: &World) {}

/// Locks the store, so that the program has to open the vault itself.
fn without_agent(world: &World) {
    world.scene.machine.run("lock").expect(0);
    world.hand.types(PASSWORD);
}

const FORGET: Way = Way {
    name: "forget",
    before: nothing,
    take: |world| drop(world.with(PASSWORD, "forget localhost")),
    give: World::remember,
};

const REMOVE: Way = Way {
    name: "remove",
    before: nothing,
    take: |world| drop(world.with(PASSWORD, "remove --yes alice")),
    give: |world| {
        world.with(PASSWORD, &format!("import {}", world.file));
        world.remember();
    },
};

const DISTRUST: Way = Way {
    name: "trust --remove",
    before: nothing,
    take: |world| drop(world.with(PASSWORD, &format!("trust --remove {}", world.scene.server_root.fingerprint()))),
    give: |world| drop(world.with(PASSWORD, &format!("trust {}", world.root))),
};

/// The ways if an agent signs.
const WAYS: [Way; 6] = [
    Way {
        name: "lock",
        before: nothing,
        take: |world| drop(world.scene.machine.run("lock").expect(0)),
        give: |world| world.unlock(""),
    },
    Way {
        name: "time-out of the agent",
        before: |world| world.unlock("--for 4s"),
        take: World::wait_until_locked,
        give: |world| world.unlock(""),
    },
    Way {
        name: "another password",
        before: nothing,
        take: |world| world.change_password(PASSWORD, OTHER),
        give: |world| drop(world.with(OTHER, "unlock")),
    },
    FORGET,
    REMOVE,
    DISTRUST,
];

/// The ways if the program holds the data key itself.
const WAYS_WITHOUT_AGENT: [Way; 5] = [
    Way {
        name: "lock",
        before: without_agent,
        take: |world| drop(world.scene.machine.run("lock").expect(0)),
        give: |world| world.hand.types(PASSWORD),
    },
    Way {
        name: "another password",
        before: without_agent,
        take: |world| world.change_password(PASSWORD, OTHER),
        give: |world| world.hand.types(OTHER),
    },
    Way { before: without_agent, ..FORGET },
    Way { before: without_agent, ..REMOVE },
    Way { before: without_agent, ..DISTRUST },
];

/// A program that keeps running. Each call makes a request and returns whether it was answered.
type Program = Box<dyn FnMut() -> bool>;

fn tunnel(world: &World) -> Program {
    let tunnel = Tunnel::that_trusts_the_store(&world.scene, &world.server.destination());
    Box::new(move || tunnel.fetch().status.success())
}

fn trusting(world: &World) -> Selector {
    world.scene.machine.selector().with_unlocker(world.hand.clone()).with_trusted_authorities().unwrap()
}

fn get(mut stream: impl Read + Write) -> bool {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut response = Vec::new();
    // Go ends the connection without close_notify
    let _ = stream.write_all(request).and_then(|()| stream.flush()).and_then(|()| stream.read_to_end(&mut response));
    response.starts_with(b"HTTP/1.1 200")
}

fn library(world: &World) -> Program {
    let selector = trusting(world);
    let provider = Arc::new(default_provider());
    let verifier = selector.server_verifier([], &provider);
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    let connector = blocking::Connector::new(Arc::new(selector), config);
    let to: Destination = world.server.destination().parse().unwrap();
    Box::new(move || {
        let connected = connector.connect(&to, || TcpStream::connect(("127.0.0.1", to.port())));
        connected.is_ok_and(|connection| get(connection.stream))
    })
}

#[cfg(feature = "openssl")]
fn by_openssl(world: &World) -> Program {
    use cardcase::connect::openssl::{Connector, SslConnector, SslMethod};

    let base = SslConnector::builder(SslMethod::tls_client()).unwrap();
    let connector = Connector::new(Arc::new(trusting(world)), base).unwrap().verifying([]);
    let to: Destination = world.server.destination().parse().unwrap();
    Box::new(move || {
        let connected = connector.connect(&to, TcpStream::connect(("127.0.0.1", to.port())).unwrap());
        connected.is_ok_and(|connection| get(connection.stream))
    })
}

/// Checks that requests use the identity, and resume the session, until the permission is withdrawn, and again once it is restored.
fn take_away(way: &Way, world: &World, mut program: Program, what: &str, resumes: bool) {
    (way.before)(world);
    assert!(program() && program(), "{what}: {}", world.server.said());
    let last = |index: usize| {
        let requests = world.server.requests();
        let request = &requests[requests.len() - index];
        (request["chain"][0].clone(), request["resumed"].clone())
    };
    assert_eq!(last(1).0, world.identity.as_str(), "{what}");
    assert_eq!(last(1).1, resumes, "{what}: without resumption this shows little");
    (way.take)(world);
    let before = world.server.requests().len();
    assert!(!program() && !program(), "{what}: it still goes: {:?}", last(1));
    assert_eq!(world.server.requests().len(), before, "{what}: the server got a request");
    (way.give)(world);
    assert!(program() && program(), "{what}: it does not come back: {}", world.server.said());
    assert_eq!(last(1).0, world.identity.as_str(), "{what}");
}

/// A kind of program, how to start one, and whether it resumes sessions.
type KindOfProgram = (&'static str, fn(&World) -> Program, bool);

/// Tries each way with each of these programs, in both versions of TLS.
fn from_each(ways: &'static [Way], programs: &[KindOfProgram]) {
    std::thread::scope(|scope| {
        for tls in BOTH_VERSIONS {
            for (client, make, resumes) in programs {
                scope.spawn(move || {
                    for way in ways {
                        let world = World::new(|scene| scene.server(Kind::Go).tls(tls).ask(Ask::Require).start());
                        let program = make(&world);
                        take_away(way, &world, program, &format!("{}, {client}, {tls:?}", way.name), *resumes);
                    }
                });
            }
        }
    });
}

#[test]
fn a_running_program_notices_what_is_taken_away() {
    from_each(&WAYS, &[("tunnel", tunnel, true), ("library", library, true)]);
}

#[test]
fn a_program_that_has_opened_the_vault_itself_notices_what_is_taken_away() {
    from_each(&WAYS_WITHOUT_AGENT, &[("library", library, true)]);
}

#[cfg(feature = "openssl")]
#[test]
fn a_program_that_connects_by_openssl_notices_what_is_taken_away() {
    from_each(&WAYS_WITHOUT_AGENT, &[("openssl", by_openssl, false)]);
}
