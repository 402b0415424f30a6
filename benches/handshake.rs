//! What answering from a store costs a handshake: full TLS handshakes with client authentication, in memory, compared with
//! plain rustls and the same identity in its configuration. Aim: at most 1.05 times.
//!
//! - `floor`: rustls, the identity in its configuration.
//! - `resolver`: the same with the resolver of a remembered decision.
//! - `decision`: also reads the decision from the store for every connection, as a connector does.
//! - `prepare alone`: only the reading of `decision`.
//! - `duplex floor` and `connector`: the same two, through tokio and [`Connector::connect`].
//!
//! The ratios at the end come from rounds in which all take turns, so that changes in the machine's load affect all of them.
// Any failure ends the measurement
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "../tests/library/pki.rs"]
mod pki;
#[path = "../tests/library/tls.rs"]
mod tls;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cardcase::Destination;
use cardcase::Selector;
use cardcase::connect::tokio::Connector;
use cardcase::manage::{Lifetime, Mode};
use cardcase::raw::Prepared;
use cardcase::raw::Resolver;
use criterion::Criterion;
use rcgen::SignatureAlgorithm;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion};
use tokio::io::{DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use pki::{Ca, Home, Leaf, NOW, params};
use tls::{HOST, VERSIONS, deliver, der, drain, optional_client, private_key, server};

/// Handshakes of each kind for the ratios.
const ROUNDS: usize = 600;

const KEYS: [(&str, &SignatureAlgorithm); 2] =
    [("P-256", &rcgen::PKCS_ECDSA_P256_SHA256), ("RSA-2048", &rcgen::PKCS_RSA_SHA256)];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args();
    let scenes: Vec<Scene> = VERSIONS
        .iter()
        .flat_map(|&version| KEYS.iter().map(move |&(key, algorithm)| Scene::new(version, key, algorithm)))
        .collect();
    for scene in &scenes {
        let mut group = criterion.benchmark_group(&scene.name);
        for (what, run) in WAYS {
            group.bench_function(what, |bencher| bencher.iter(|| run(scene)));
        }
        group.finish();
    }
    println!("\nratio of medians over {ROUNDS} rounds; aim: at most 1.05");
    for scene in &scenes {
        scene.compare();
    }
    criterion.final_summary();
}

type Way = (&'static str, fn(&Scene));

const WAYS: [Way; 6] = [
    ("floor", Scene::floor),
    ("resolver", Scene::resolver),
    ("decision", Scene::decision),
    ("duplex floor", Scene::duplex_floor),
    ("connector", Scene::connector),
    ("prepare alone", Scene::prepare),
];

/// A server, an identity remembered for it in a store on disk, and clients of every kind.
struct Scene {
    name: String,
    server: Arc<ServerConfig>,
    fixed: Arc<ClientConfig>,
    selector: Arc<Selector>,
    destination: Destination,
    kept: (Prepared, Arc<ClientConfig>),
    connector: Connector,
    runtime: tokio::runtime::Runtime,
    _home: Home,
}

impl Scene {
    fn new(version: &'static SupportedProtocolVersion, key: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let (servers, root) = (Ca::root("Servers"), Ca::root("Root"));
        let issuer = root.intermediate("Issuer");
        let identity = issuer.leaf_with(params("Person"), algorithm);
        let home = Home::new();
        let store = home.with([&identity], [&root.certificate, &issuer.certificate]);
        let destination = Destination::new(HOST, 443).unwrap();
        let scope = Mode::Firefox.scope(&destination);
        store.remember(&scope, Some(identity.fingerprint()), Lifetime::Permanent, NOW).unwrap();
        let selector = Arc::new(Selector::new(store).with_clock(|| NOW));

        let mut base = tls::client(&servers, version);
        base.resumption = Resumption::disabled();
        let prepared = selector.prepare(&destination).unwrap();
        let mut remembered = Resolver::new(prepared.clone()).config(&base);
        remembered.resumption = Resumption::disabled();
        Self {
            name: format!("{:?} {key}", version.version),
            server: Arc::new(server(&servers, HOST, optional_client(&[&root.certificate]))),
            fixed: Arc::new(with_identity(&servers, version, &identity, &issuer)),
            connector: Connector::new(selector.clone(), base),
            selector,
            destination,
            kept: (prepared, Arc::new(remembered)),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            _home: home,
        }
    }

    fn floor(&self) {
        self.handshake(&self.fixed);
    }

    fn resolver(&self) {
        self.handshake(&self.kept.1);
    }

    fn decision(&self) {
        self.prepare();
        self.handshake(&self.kept.1);
    }

    fn prepare(&self) {
        let prepared = self.selector.prepare(&self.destination).unwrap();
        assert_eq!(prepared.selection(), self.kept.0.selection());
    }

    fn duplex_floor(&self) {
        self.runtime.block_on(async {
            let (near, far) = duplex(1 << 16);
            let name = ServerName::try_from(HOST).unwrap();
            let client = TlsConnector::from(self.fixed.clone());
            let accepted = tokio::spawn(accept(self.server.clone(), far));
            black_box(client.connect(name, near).await.unwrap());
            accepted.await.unwrap();
        });
    }

    fn connector(&self) {
        self.runtime.block_on(async {
            let (near, far) = duplex(1 << 16);
            let mut near = Some(near);
            let dial = || std::future::ready(near.take().ok_or_else(|| std::io::Error::other("dialled twice")));
            let accepted = tokio::spawn(accept(self.server.clone(), far));
            black_box(self.connector.connect(&self.destination, dial).await.unwrap());
            accepted.await.unwrap();
        });
    }

    fn handshake(&self, config: &Arc<ClientConfig>) {
        let mut client = ClientConnection::new(config.clone(), ServerName::try_from(HOST).unwrap()).unwrap();
        let mut server = ServerConnection::new(self.server.clone()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            deliver(&mut server, &drain(&mut client)).unwrap();
            deliver(&mut client, &drain(&mut server)).unwrap();
        }
        assert_authenticated(&server);
    }

    fn compare(&self) {
        let mut took: [Vec<Duration>; WAYS.len()] = std::array::from_fn(|_| Vec::with_capacity(ROUNDS));
        for _ in 0..ROUNDS {
            for ((_, run), took) in WAYS.iter().zip(&mut took) {
                let start = Instant::now();
                run(self);
                took.push(start.elapsed());
            }
        }
        let medians = took.map(|mut took| {
            took.sort();
            took[ROUNDS / 2]
        });
        for (way, floor) in [(1, 0), (2, 0), (4, 3)] {
            let ratio = medians[way].as_secs_f64() / medians[floor].as_secs_f64();
            let (what, against) = (WAYS[way].0, WAYS[floor].0);
            let [took, least] = [medians[way], medians[floor]].map(|median| median.as_micros());
            println!("{:<16} {what:<10} {took:>5} us, {against} {least:>5} us: {ratio:.3}", self.name);
        }
    }
}

async fn accept(server: Arc<ServerConfig>, far: DuplexStream) {
    let accepted = TlsAcceptor::from(server).accept(far).await.unwrap();
    assert_authenticated(accepted.get_ref().1);
}

/// Checks that the handshake was a full one, with certificate and chain.
fn assert_authenticated(server: &ServerConnection) {
    assert_eq!(server.handshake_kind(), Some(rustls::HandshakeKind::Full));
    assert_eq!(server.peer_certificates().map(<[_]>::len), Some(2));
}

fn with_identity(ca: &Ca, version: &'static SupportedProtocolVersion, identity: &Leaf, issuer: &Ca) -> ClientConfig {
    let chain = vec![der(&identity.certificate), der(&issuer.certificate)];
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(tls::roots(&[&ca.certificate]))
        .with_client_auth_cert(chain, private_key(identity))
        .unwrap();
    config.resumption = Resumption::disabled();
    config
}
