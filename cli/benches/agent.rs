//! What the agent costs against the data key in the process, and unlocking against the bare derivation.
//!
//! - `sign`: one signature with a stored key, as TLS 1.3 has it.
//! - `handshake`: a full handshake with client authentication, in memory, with the resolver of a remembered decision.
//! - `unlock`: a store opened and unlocked; by the password, and by the agent.
//!
//! The agent is the command's, in a process of its own. The ratios at the end come from rounds in which both take turns.
// Whatever fails ends the measurement
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "../../tests/library/pki.rs"]
mod pki;
#[path = "../../tests/library/tls.rs"]
mod tls;

use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, Version};
use cardcase::Destination;
use cardcase::Error;
use cardcase::Selector;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::manage::Session;
use cardcase::manage::{Lifetime, Mode};
use cardcase::raw::Resolver;
use criterion::Criterion;
use rcgen::SignatureAlgorithm;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::Signer;
use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, SignatureScheme, SupportedProtocolVersion,
};
use zeroize::Zeroizing;

use pki::{Ca, Home, NOW, params};
use tls::{HOST, VERSIONS, deliver, drain, optional_client, server};

const PASSWORD: &str = "correct horse";

/// Of each kind, for the ratios.
const ROUNDS: usize = 600;

/// The same for what takes half a second.
const SLOW_ROUNDS: usize = 15;

const KEYS: [(&str, &SignatureAlgorithm, SignatureScheme); 2] = [
    ("P-256", &rcgen::PKCS_ECDSA_P256_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256),
    ("RSA-2048", &rcgen::PKCS_RSA_SHA256, SignatureScheme::RSA_PSS_SHA256),
];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let pairs: Vec<Pair> = KEYS.iter().flat_map(|key| Machine::new(key.1).pairs(key)).collect();
    for pair in &pairs {
        let mut group = criterion.benchmark_group(&pair.name);
        group.bench_function("in process", |bencher| bencher.iter(&pair.here));
        group.bench_function("agent", |bencher| bencher.iter(&pair.agent));
        group.finish();
    }
    println!("\nmedians over {ROUNDS} rounds");
    pairs.iter().for_each(|pair| compare(&pair.name, ROUNDS, ["in process", "agent"], [&*pair.here, &*pair.agent]));
    unlocking();
    criterion.final_summary();
}

type Run = Box<dyn Fn()>;

/// The same done by the data key here, and by the agent.
struct Pair {
    name: String,
    here: Run,
    agent: Run,
}

/// Prints the medians of two that take turns.
fn compare(name: &str, rounds: usize, what: [&str; 2], run: [&dyn Fn(); 2]) {
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (run, took) in run.iter().zip(&mut took) {
            let start = Instant::now();
            run();
            took.push(start.elapsed());
        }
    }
    let [first, second] = took.map(|mut took| {
        took.sort();
        took[rounds / 2].as_secs_f64() * 1e6
    });
    let [one, other] = what;
    println!("{name:<28} {one} {first:>8.0} us, {other} {second:>8.0} us: {:.3}", second / first);
}

struct Typist;

impl Unlocker for Typist {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Ok(Zeroizing::new(PASSWORD.to_owned()))
    }
}

/// Cannot be asked for the primary password.
struct Nobody;

impl Unlocker for Nobody {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

/// A protected store on disk with an agent, and an identity remembered for a server.
struct Machine {
    home: Home,
    servers: Ca,
    root: Ca,
    password: PathBuf,
}

impl Machine {
    fn new(algorithm: &'static SignatureAlgorithm) -> Arc<Self> {
        let (home, servers, root) = (Home::new(), Ca::root("Servers"), Ca::root("Root"));
        let identity = root.leaf_with(params("Person"), algorithm);
        let store = home.with([&identity], [&root.certificate]);
        let scope = Mode::Firefox.scope(&Destination::new(HOST, 443).unwrap());
        store.remember(&scope, Some(identity.fingerprint()), Lifetime::Permanent, NOW).unwrap();
        store.set_primary_password(Some(PASSWORD), &Typist).unwrap();
        let password = home.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let machine = Self { home, servers, root, password };
        assert!(machine.command("unlock").status().unwrap().success());
        Arc::new(machine)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cardcase"));
        command.arg(line).arg("--store").arg(self.home.store_file());
        command.env("XDG_RUNTIME_DIR", self.home.path()).env("CARDCASE_PRIMARY_PASSWORD_FILE", &self.password);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Where the command's agent is.
    fn store(&self) -> Store {
        Store::open_in_session(self.home.store_file(), Session::in_directory(self.home.path().join("cardcase")))
            .unwrap()
    }

    /// Answers for the server, with the data key here or with the agent.
    fn resolver(&self, here: bool) -> Arc<Resolver> {
        let store = self.store();
        match here {
            true => store.unlock_fully(&Typist).unwrap(),
            false => store.unlock(&Nobody).unwrap(),
        }
        let selector = Selector::new(Arc::new(store)).with_clock(|| NOW);
        Resolver::new(selector.prepare(Destination::new(HOST, 443).unwrap()).unwrap())
    }

    fn pairs(self: Arc<Self>, (key, _, scheme): &(&str, &SignatureAlgorithm, SignatureScheme)) -> Vec<Pair> {
        let sign = Pair {
            name: format!("sign {key}"),
            here: self.signing(true, *scheme),
            agent: self.signing(false, *scheme),
        };
        let handshakes = VERSIONS.map(|version| Pair {
            name: format!("handshake {:?} {key}", version.version),
            here: self.shaking_hands(true, version),
            agent: self.shaking_hands(false, version),
        });
        [sign].into_iter().chain(handshakes).collect()
    }

    fn signing(self: &Arc<Self>, here: bool, scheme: SignatureScheme) -> Run {
        let resolver = self.resolver(here);
        let asked = [self.root.certificate.subject().der()];
        let signer: Box<dyn Signer> =
            resolver.resolve(&asked, &[scheme]).unwrap().key.choose_scheme(&[scheme]).unwrap();
        let message = [&[b' '; 64][..], b"TLS 1.3, client CertificateVerify\0", &[5; 32]].concat();
        let machine = self.clone();
        Box::new(move || {
            let _machine = &machine;
            black_box(signer.sign(&message).unwrap());
        })
    }

    fn shaking_hands(self: &Arc<Self>, here: bool, version: &'static SupportedProtocolVersion) -> Run {
        let mut base = tls::client(&self.servers, version);
        base.resumption = Resumption::disabled();
        let mut config = self.resolver(here).config(&base);
        config.resumption = Resumption::disabled();
        let (config, machine) = (Arc::new(config), self.clone());
        let server = Arc::new(server(&self.servers, HOST, optional_client(&[&self.root.certificate])));
        Box::new(move || {
            let _machine = &machine;
            handshake(&config, &server);
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.command("lock").status();
    }
}

fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from(HOST).unwrap()).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        deliver(&mut server, &drain(&mut client)).unwrap();
        deliver(&mut client, &drain(&mut server)).unwrap();
    }
    assert_eq!(server.handshake_kind(), Some(rustls::HandshakeKind::Full));
    assert!(server.peer_certificates().is_some());
}

/// Unlocking by the password against the derivation alone, and by the agent.
fn unlocking() {
    let machine = Machine::new(KEYS[0].1);
    let (memory, passes) = machine
        .home
        .database()
        .query_row("SELECT memory, passes FROM vault", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(memory, passes, 1, None).unwrap());
    let derive = || argon2.hash_password_into(PASSWORD.as_bytes(), &[0; 16], black_box(&mut [0; 32])).unwrap();
    let unlock = || machine.store().unlock_fully(&Typist).unwrap();
    let by_agent = || machine.store().unlock(&Nobody).unwrap();
    let open = || drop(black_box(machine.store()));
    compare("unlock by password", SLOW_ROUNDS, ["Argon2id alone", "with store"], [&derive, &unlock]);
    compare("unlock by agent", ROUNDS, ["store opened", "and unlocked"], [&open, &by_agent]);
}
