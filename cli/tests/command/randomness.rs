//! No random byte of the command comes from aws-lc-rs, which may measure the jitter of the CPU for 40 ms first. This holds however
//! it was built: callgrind counts the instructions of its generator.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use crate::support::ca::{Key, P12, PASSWORD};
use crate::support::command::Run;
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Tls};

/// How many instructions of this command, which must succeed, the generator of aws-lc-rs takes to find its sources of entropy. It
/// does that before it measures the jitter, and also if it was built not to.
fn instructions_of_its_generator(dir: &Path, command: Run) -> u64 {
    let log = dir.join("callgrind.log");
    let option = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let valgrind = ["valgrind", "--tool=callgrind", "--toggle-collect=aws_lc_*_get_entropy_source"].map(str::to_owned);
    let files = [option("callgrind-out-file", &dir.join("callgrind.out")), option("log-file", &log)];
    command.under(valgrind.iter().chain(&files)).run().expect(0);
    let log = std::fs::read_to_string(log).unwrap();
    let collected = log.lines().find_map(|line| line.split_once("Collected : ")).unwrap().1;
    collected.trim().parse().unwrap()
}

#[test]
fn only_keys_that_ring_lacks_need_the_generator_of_aws_lc_rs() {
    let scene = Scene::new();
    let (machine, dir) = (&scene.machine, scene.machine.dir());
    let needs = |command| instructions_of_its_generator(dir, command) > 0;
    let password = machine.password_file(PASSWORD);
    let kinds: [(Key, bool, &[Tls]); 5] = [
        (Key::P256, false, &BOTH_VERSIONS),
        (Key::P384, false, &[]),
        (Key::Rsa2048, false, &[Tls::V1_3]),
        (Key::Ed25519, false, &[]),
        (Key::P521, true, &[]),
    ];
    for (key, expected, versions) in kinds {
        let alice = scene.employee(&format!("alice {}", key.name())).key(key).issue();
        let file = alice.p12(dir, P12::Default);
        let import = machine.command(["import"]).arg(file).arg("--password-file").arg(&password);
        assert_eq!(needs(import), expected, "import {}", key.name());
        for tls in versions {
            let server = scene.server(Kind::Go).tls(*tls).ask(Ask::Require).start();
            let fetch = machine.command(scene.fetch_arguments(&server.url()));
            let fetch = fetch.args(["--batch", "--as", &alice.fingerprint()]);
            assert_eq!(needs(fetch), expected, "fetch with {} in TLS {}", key.name(), tls.number());
            assert_eq!(server.chains(), [alice.sent_chain()]);
        }
    }
    assert!(!needs(machine.command(["list"])));
    for kind in ["ec-p256", "ec-p384", "ed25519"] {
        let enroll = machine.command(["enroll", "--subject", "CN=bob", "--key", kind, "-o"]);
        assert!(!needs(enroll.arg(dir.join(format!("{kind}.csr")))), "enroll {kind}");
    }
}

/// A server on rustls that exchanges keys with X25519MLKEM768 only. It answers one request, and returns how the handshake went.
fn post_quantum_server(scene: &Scene) -> (SocketAddr, std::thread::JoinHandle<Option<HandshakeKind>>) {
    let provider = CryptoProvider { kx_groups: vec![kx_group::X25519MLKEM768], ..default_provider() };
    let config = ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions().unwrap();
    let certificate = CertificateDer::from(scene.server_certificate.der().to_vec());
    let key = PrivateKeyDer::try_from(scene.server_certificate.key_der()).unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let mut stream = reader.into_inner();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        stream.conn.handshake_kind()
    });
    (address, serving)
}

/// The server answers the client's first key share, of X25519, with a request for another.
#[test]
fn a_post_quantum_key_exchange_needs_no_generator_of_aws_lc_rs() {
    let scene = Scene::new();
    let (address, serving) = post_quantum_server(&scene);
    let url = format!("https://{address}/");
    let fetch = scene.machine.command(scene.fetch_arguments(&url)).arg("--batch");
    assert_eq!(instructions_of_its_generator(scene.machine.dir(), fetch), 0);
    assert_eq!(serving.join().unwrap(), Some(HandshakeKind::FullWithHelloRetryRequest));
}
