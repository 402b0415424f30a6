//! What the connector of tokio costs a client: the CPU time of its process for a connection over TCP, from dialling to the first byte of
//! the answer, compared with tokio-rustls and the same identity in its configuration. The server is another process.
//!
//! - `fixed`: the floor. The identity is in the configuration.
//! - `remembered`: the decision is in a store on disk.
//! - `recorded`: the same, and the history records each connection, until it is on the disk.
//!
//! Aims: at most 1.05 times the floor, and 1.10 with recording; and at most 1.05 times for 1,000 connections at once, with a number of
//! threads that does not depend on theirs. The ratios come from rounds in which all take turns.
// Any failure ends the measurement
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "../tests/library/pki.rs"]
mod pki;
#[path = "../tests/library/tls.rs"]
mod tls;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cardcase::connect::tokio::Connector;
use cardcase::manage::{Certificate, Lifetime, Mode};
use cardcase::{Destination, Selector, Store};
use data_encoding::HEXLOWER;
use rustix::time::{ClockId, clock_gettime};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use pki::{Ca, Home, NOW, params};
use tls::{HOST, der, optional_client, private_key, server};

/// Rounds of each kind, and connections in each.
const ROUNDS: usize = 15;
const CONNECTIONS: usize = 100;

/// Connections at once.
const AT_ONCE: usize = 1000;

/// The argument before the root of the clients, in hexadecimal digits, of the process that serves.
const SERVE: &str = "--serve-connections";

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != SERVE);
    if let (Some(_), Some(root)) = (arguments.next(), arguments.next()) {
        return serve(&from_hex(&root));
    }
    for version in [&TLS13, &TLS12] {
        let scene = Arc::new(Scene::new(version));
        let one = Builder::new_current_thread().enable_all().build().unwrap();
        println!("\n{:?}, one after the other: CPU time of the client for a connection", version.version);
        compare(&[("fixed", Way::Fixed), ("remembered", Way::Remembered), ("recorded", Way::Recorded)], |way| {
            one.block_on(async {
                for _ in 0..CONNECTIONS {
                    scene.connect(way).await;
                }
            });
            scene.store.flush().unwrap();
            CONNECTIONS
        });
        println!("{:?}, {AT_ONCE} at once", version.version);
        compare(&[("fixed", Way::Fixed), ("remembered", Way::Remembered)], |way| at_once(&scene, way));
    }
}

#[derive(Clone, Copy)]
enum Way {
    Fixed,
    Remembered,
    Recorded,
}

/// Lets the ways take turns. `run` returns how many connections it made.
fn compare(ways: &[(&str, Way)], mut run: impl FnMut(Way) -> usize) {
    let mut took = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, way), took) in ways.iter().zip(&mut took) {
            let (before, began) = (cpu_time(), Instant::now());
            let count = u32::try_from(run(*way)).unwrap();
            took.push(((cpu_time() - before) / count, began.elapsed() / count));
        }
    }
    let medians: Vec<(Duration, Duration)> = took.into_iter().map(median).collect();
    for ((name, _), (cpu, wall)) in ways.iter().zip(&medians) {
        let ratio = cpu.as_secs_f64() / medians[0].0.as_secs_f64();
        println!("  {name:<11} {:>5} us CPU, {:>5} us: {ratio:.3}", cpu.as_micros(), wall.as_micros());
    }
}

fn median(mut took: Vec<(Duration, Duration)>) -> (Duration, Duration) {
    took.sort();
    took[took.len() / 2]
}

/// The CPU time of this process so far, with all its threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn at_once(scene: &Arc<Scene>, way: Way) -> usize {
    let runtime: Runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let threads = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let scene = scene.clone();
            tasks.spawn(async move { scene.connect(way).await });
        }
        let mut threads = 0;
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
            threads = threads.max(count_threads());
        }
        threads
    });
    let most = std::thread::available_parallelism().unwrap().get() + 8;
    assert!(threads <= most, "{threads} threads for {AT_ONCE} connections");
    AT_ONCE
}

fn count_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// A server in another process, and an identity that is remembered for it.
struct Scene {
    server: Child,
    address: SocketAddr,
    destination: Destination,
    fixed: TlsConnector,
    connector: Connector,
    selector: Arc<Selector>,
    store: Arc<Store>,
    _home: Home,
}

impl Scene {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let root = Ca::root("Root");
        let (server, servers, address) = start_server(&root);
        let issuer = root.intermediate("Issuer");
        let identity = issuer.leaf_with(params("Person"), &rcgen::PKCS_ECDSA_P256_SHA256);
        let home = Home::new();
        let store = home.with([&identity], [&root.certificate, &issuer.certificate]);
        let destination = Destination::new(HOST, 443).unwrap();
        let scope = Mode::Firefox.scope(&destination);
        store.remember(&scope, Some(identity.fingerprint()), Lifetime::Permanent, NOW).unwrap();
        let selector = Arc::new(Selector::new(store.clone()).with_clock(|| NOW));
        let mut base = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(tls::roots(&[&servers]))
            .with_no_client_auth();
        base.resumption = Resumption::disabled();
        let chain = vec![der(&identity.certificate), der(&issuer.certificate)];
        let key = default_provider().key_provider.load_private_key(private_key(&identity)).unwrap();
        let mut fixed = base.clone();
        fixed.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
        Self {
            server,
            address,
            destination,
            fixed: TlsConnector::from(Arc::new(fixed)),
            connector: Connector::new(selector.clone(), base),
            selector,
            store,
            _home: home,
        }
    }

    async fn connect(&self, way: Way) {
        let dial = || async {
            let stream = TcpStream::connect(self.address).await?;
            // Otherwise the kernel waits 40 ms for an acknowledgement
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        if let Way::Fixed = way {
            let name = ServerName::try_from(HOST).unwrap();
            let mut stream = self.fixed.connect(name, dial().await.unwrap()).await.unwrap();
            stream.write_all(b"?").await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'!');
            return;
        }
        let mut connection = self.connector.connect(&self.destination, dial).await.unwrap();
        connection.stream.write_all(b"?").await.unwrap();
        assert_eq!(connection.stream.read_u8().await.unwrap(), b'!');
        if let Way::Recorded = way {
            connection.opened.record_success(&self.selector);
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Starts a server that asks for an identity below this root. Returns the root of its own certificate.
fn start_server(root: &Ca) -> (Child, Certificate, SocketAddr) {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args([SERVE, &HEXLOWER.encode(root.certificate.der())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
    let (servers, address) = (from_hex(&lines.next().unwrap()), lines.next().unwrap().parse().unwrap());
    (server, servers, address)
}

fn from_hex(digits: &str) -> Certificate {
    Certificate::from_der(HEXLOWER.decode(digits.as_bytes()).unwrap()).unwrap()
}

/// Prints the root of its certificate and its address, and answers every connection with one byte.
fn serve(clients: &Certificate) {
    let servers = Ca::root("Servers");
    let acceptor = TlsAcceptor::from(Arc::new(server(&servers, HOST, optional_client(&[clients]))));
    Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}\n{}", HEXLOWER.encode(servers.certificate.der()), listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                assert_eq!(stream.get_ref().1.peer_certificates().map(<[_]>::len), Some(2));
                assert_eq!(stream.read_u8().await.unwrap(), b'?');
                stream.write_all(b"!").await.unwrap();
                let _ = stream.shutdown().await;
            });
        }
    });
}
