//! A client without TLS that uses `cardcase tunnel`: the right certificate on every connection, an entry in the history
//! for each, and no other user at the socket.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::executable::executable;
use crate::support::program;
use crate::support::renegotiating::{ENDINGS, Renegotiating};
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Tls};
use crate::support::tunnel::Tunnel;
use rustix::process::{Signal, geteuid};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

fn last_use(scene: &Scene) -> Value {
    scene.machine.json("history")["uses"][0].clone()
}

/// Waits for an entry with this value: a running tunnel writes it a moment after the client has its answer.
#[track_caller]
fn wait_for_use(scene: &Scene, field: &str, value: impl Into<Value>) -> Value {
    let (began, value) = (Instant::now(), value.into());
    loop {
        let used = last_use(scene);
        if used[field] == value {
            return used;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{used}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_server_sees_the_decided_identity() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.hire("bob");
    scene.remember("localhost", &alice.fingerprint());
    for kind in Kind::ALL {
        for tls in BOTH_VERSIONS {
            let server = scene.server(kind).tls(tls).start();
            let tunnel = Tunnel::start(&scene, &server.destination(), &[]);
            tunnel.fetches();
            let chains = server.chains();
            assert_eq!(chains.len(), 1, "{kind:?} {tls:?}\n{}", server.said());
            assert_eq!(chains[0][0], alice.fingerprint(), "{kind:?} {tls:?}");
            let used = wait_for_use(&scene, "port", server.port());
            assert_eq!(used["outcome"], "accepted", "{kind:?} {tls:?}");
        }
    }
}

#[test]
fn many_connections_at_once_follow_a_changed_decision() {
    let scene = Scene::new();
    let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
    let server = scene.server(Kind::Go).start();
    let tunnel = Tunnel::start(&scene, &server.destination(), &[]);
    let mut expected = Vec::new();
    for identity in [&alice, &bob] {
        scene.remember("localhost", &identity.fingerprint());
        let running: Vec<_> = (0..20).map(|_| tunnel.curl().spawn().unwrap()).collect();
        for curl in running {
            let output = curl.wait_with_output().unwrap();
            assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), tunnel.said());
            let body: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(body["chain"], json!(identity.sent_chain()));
        }
        expected.extend(std::iter::repeat_n(identity.sent_chain(), 20));
    }
    assert_eq!(server.requests().len(), 40);
    scene.remember("localhost", "none");
    tunnel.fails_to_fetch();
    scene.machine.run("forget localhost").expect(0);
    tunnel.fails_to_fetch();
    tunnel.says("nobody can be asked");
}

/// Only one of twenty waiting connections asks. An answer for once is not kept for the next connections.
#[test]
fn one_prompt_answers_all_waiting_connections() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.hire("bob");
    let calls = scene.machine.dir().join("calls");
    let answer = json!({"answer": "identity", "fingerprint": alice.fingerprint(), "lifetime": "once"});
    let text = format!("#!/bin/sh\necho x >> '{}'\nsleep 3\necho '{answer}'\n", calls.display());
    let chooser = executable(scene.machine.dir(), "chooser", &text);
    let server = scene.server(Kind::Go).start();
    let environment = [("CARDCASE_CHOOSER", chooser.to_str().unwrap())];
    let tunnel = Tunnel::start_with(&scene, &server.destination(), &[], &environment);
    for round in 1..=2 {
        let running: Vec<_> = (0..20).map(|_| tunnel.curl().spawn().unwrap()).collect();
        for curl in running {
            let output = curl.wait_with_output().unwrap();
            assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), tunnel.said());
        }
        assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), round);
    }
    assert_eq!(server.requests().len(), 40);
    assert_eq!(scene.machine.json("decisions")["decisions"], json!([]));
}

#[test]
fn a_refusal_is_reported_and_recorded() {
    let scene = Scene::new();
    let guest = scene.bring(scene.guests.client("guest").issue());
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::OpenSsl).tls(tls).without_hints().start();
        scene.remember(&server.destination(), &guest.fingerprint());
        let tunnel = Tunnel::start(&scene, &server.destination(), &[]);
        tunnel.fails_to_fetch();
        tunnel.says("refused the identity \"guest\"");
        tunnel.says("to choose another: cardcase forget localhost");
        let used = wait_for_use(&scene, "outcome", "refused");
        assert_eq!((&used["alert"], &used["identity"]), (&json!("unknown_ca"), &json!(guest.fingerprint())), "{tls:?}");
    }
}

#[test]
fn a_tunnel_goes_on_when_the_server_cannot_be_reached() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tunnel = Tunnel::start(&scene, &format!("localhost:{gone}"), &[]);
    tunnel.fails_to_fetch();
    tunnel.says("refused");
    tunnel.fails_to_fetch();
    let server = scene.server(Kind::Go).start();
    let to = format!("::127.0.0.1:{}", server.port());
    let tunnel = Tunnel::start(&scene, "localhost:1", &["--connect-to", &to]);
    tunnel.fetches();
    assert_eq!(server.chains(), [alice.sent_chain()]);
}

#[test]
fn a_server_with_another_name_gets_nothing() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("elsewhere.example", &alice.fingerprint());
    let server = scene.server(Kind::OpenSsl).start();
    let to = format!("::127.0.0.1:{}", server.port());
    let tunnel = Tunnel::start(&scene, "elsewhere.example:443", &["--connect-to", &to]);
    tunnel.fails_to_fetch();
    tunnel.says("for another name");
    server.assert_nothing_came("another name");
}

#[test]
fn the_flags_of_fetch_work_for_a_tunnel() {
    let scene = Scene::new();
    let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
    scene.remember("localhost", &alice.fingerprint());
    let server = scene.server(Kind::Go).start();
    let tunnel = Tunnel::start(&scene, &server.destination(), &["--as", "bob"]);
    tunnel.fetches();
    tunnel.fetches();
    assert_eq!(server.chains().last().unwrap(), &bob.sent_chain());
    wait_for_use(&scene, "source", "given");

    drop(tunnel);
    // The client decides to speak HTTP/2 without TLS
    let tunnel = Tunnel::start(&scene, &server.destination(), &["--alpn", "h2"]);
    let output = tunnel.curl().arg("--http2-prior-knowledge").output().unwrap();
    let body: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(body["proto"], "HTTP/2.0");
    drop(tunnel);

    // A proxy that asks is a destination of its own
    scene.remember("127.0.0.1", &bob.fingerprint());
    for tls in BOTH_VERSIONS {
        let (proxy, server, through) = scene.behind_a_proxy(tls);
        let through: Vec<_> = through.iter().map(String::as_str).collect();
        let tunnel = Tunnel::start(&scene, &server.destination(), &through);
        tunnel.fetches();
        assert_eq!(proxy.chains(), [bob.sent_chain()], "{tls:?}");
        assert_eq!(server.chains(), [alice.sent_chain()], "{tls:?}");
        wait_for_use(&scene, "port", server.port());
        let uses = scene.machine.json("history")["uses"].clone();
        for (used, host) in [(&uses[0], "localhost"), (&uses[1], "127.0.0.1")] {
            assert_eq!((&used["host"], &used["outcome"]), (&json!(host), &json!("accepted")), "{uses}");
        }
    }
}

#[test]
fn the_socket_is_private_and_is_removed_with_the_tunnel() {
    let scene = Scene::new();
    let server = scene.server(Kind::Go).ask(Ask::Never).start();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut tunnel = Tunnel::start(&scene, &server.destination(), &[]);
        let path = tunnel.path();
        assert!(path.starts_with(scene.machine.dir().join("run")), "{}", path.display());
        let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        tunnel.fetches();
        // An open connection does not delay the end
        let _open = UnixStream::connect(&path).unwrap();
        assert_eq!(tunnel.end(signal), Some(code));
        assert!(!path.exists());
    }
}

#[test]
fn only_an_unused_socket_of_the_same_user_is_replaced() {
    let scene = Scene::new();
    let server = scene.server(Kind::Go).ask(Ask::Never).start();
    let dir = scene.machine.dir();
    let path = dir.join("socket");
    let listen = format!("unix:{}", path.display());
    let refused = |why: &str| {
        let line = ["tunnel", &server.destination(), "--listen", &listen];
        scene.machine.command(line).run().expect(1).says(&["cannot listen", why]);
    };
    drop(UnixListener::bind(&path).unwrap());
    let mut tunnel = Tunnel::start(&scene, &server.destination(), &["--listen", &listen]);
    tunnel.fetches();
    refused("another process listens");
    assert_eq!(server.requests().len(), 1, "whoever looks whether it lives begins no connection");
    // A file that replaced the socket is not removed with it
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "mine").unwrap();
    tunnel.end(Signal::TERM);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    refused("not a socket of yours");
    std::fs::remove_file(&path).unwrap();
    drop(UnixListener::bind(dir.join("dead")).unwrap());
    symlink(dir.join("dead"), &path).unwrap();
    refused("not a socket of yours");
    assert!(std::fs::symlink_metadata(dir.join("dead")).unwrap().file_type().is_socket());
    if geteuid().is_root() {
        std::fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        refused("not a socket of yours");
    }
}

/// The permissions of a socket can be changed; the user on the other side cannot.
#[test]
fn a_connection_of_another_user_is_refused() {
    if !geteuid().is_root() {
        eprintln!("only root can become somebody else");
        return;
    }
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let server = scene.server(Kind::Go).start();
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = place.path().join("socket");
    let tunnel = Tunnel::start(&scene, &server.destination(), &["--listen", &format!("unix:{}", path.display())]);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    let curl = tunnel.curl();
    let mut somebody = program::named("setpriv");
    somebody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "curl"]).args(curl.get_args());
    let output = somebody.output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    tunnel.says("65534 was turned away");
    assert!(server.requests().is_empty());
    tunnel.fetches();
}

#[test]
fn a_loopback_address_causes_a_warning_and_other_addresses_are_refused() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let server = scene.server(Kind::Go).start();
    let mut tunnel = Tunnel::start(&scene, &server.destination(), &["--listen", "127.0.0.1:0"]);
    tunnel.says("every user of this machine can use your identity");
    tunnel.fetches();
    assert_eq!(tunnel.end(Signal::INT), Some(130));
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let line = ["tunnel", "localhost", "--listen", address];
        scene.machine.command(line).run().expect(2).says(&["only loopback addresses are allowed", "hint"]);
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _taken = TcpListener::bind(taken).unwrap();
    scene
        .machine
        .command(["tunnel", "localhost", "--listen", &taken.to_string()])
        .run()
        .expect(1)
        .says(&["cannot listen"]);
    scene.machine.run("tunnel localhost --as nobody").expect(3);
}

#[test]
fn json_output_says_where_the_tunnel_listens() {
    let scene = Scene::new();
    let path = scene.machine.dir().join("s");
    let listen = format!("unix:{}", path.display());
    let run = scene.machine.command(["tunnel", "localhost:1", "--json", "--listen", &listen]);
    let mut child = run.process().spawn().unwrap();
    let mut said = Vec::new();
    let mut stdout = child.stdout.take().unwrap();
    let value: Value = loop {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
        if let Ok(value) = serde_json::from_slice(&said) {
            break value;
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(value, json!({"listen": listen, "destination": {"host": "localhost", "port": 1}}));
}

/// The configuration of a server that asks for no certificate.
fn server_config(scene: &Scene) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from(scene.server_certificate.der().to_vec());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(scene.server_certificate.key_der()));
    let config =
        ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    Arc::new(config.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}

/// A server that reads to the end, sends back everything it read, and ends. With `says_so` false it hangs up halfway.
fn echo_at_the_end(scene: &Scene, says_so: bool) -> u16 {
    let (config, listener) = (server_config(scene), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), connection);
            let mut heard = Vec::new();
            if !says_so {
                // Hangs up halfway
                tls.write_all(b"half of").unwrap();
                tls.flush().unwrap();
                continue;
            }
            tls.read_to_end(&mut heard).unwrap();
            tls.write_all(&heard).unwrap();
            tls.conn.send_close_notify();
            tls.flush().unwrap();
        }
    });
    port
}

#[test]
fn closing_one_direction_leaves_the_other_open() {
    let scene = Scene::new();
    let port = echo_at_the_end(&scene, true);
    let tunnel = Tunnel::start(&scene, &format!("localhost:{port}"), &[]);
    let mut stream = UnixStream::connect(tunnel.path()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let long: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_be_bytes).collect();
    stream.write_all(&long).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut echo = Vec::new();
    stream.read_to_end(&mut echo).unwrap();
    assert!(echo == long, "{} bytes of {}", echo.len(), long.len());
}

#[test]
fn a_truncated_response_is_reported() {
    let scene = Scene::new();
    let port = echo_at_the_end(&scene, false);
    let tunnel = Tunnel::start(&scene, &format!("localhost:{port}"), &[]);
    let mut stream = UnixStream::connect(tunnel.path()).unwrap();
    let mut came = String::new();
    stream.read_to_string(&mut came).unwrap();
    assert_eq!(came, "half of");
    tunnel.says("cut short");
    assert!(Path::new(&tunnel.path()).exists(), "it goes on");
}

/// Nothing was decided or sent before. All connections after it are made with OpenSSL.
#[test]
fn a_tunnel_turns_to_openssl_where_rustls_has_nothing_in_common_with_the_server() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let cipher = ["-cipher", "ECDHE-ECDSA-AES128-SHA256"];
    let server = scene.server(Kind::OpenSsl).tls(Tls::V1_2).arguments(&cipher).start();
    let tunnel = Tunnel::start(&scene, &server.destination(), &[]);
    tunnel.fetches();
    tunnel.says("using OpenSSL from now on");
    tunnel.fetches();
    assert_eq!(server.chains(), vec![alice.sent_chain(); 2]);
    wait_for_use(&scene, "outcome", "accepted");
    drop(tunnel);
    let tunnel = Tunnel::start(&scene, &server.destination(), &["--tls", "rustls"]);
    tunnel.fails_to_fetch();
    tunnel.says("use OpenSSL: --tls openssl");
    drop(tunnel);
    let tunnel = Tunnel::start(&scene, &server.destination(), &["--tls", "openssl"]);
    tunnel.fetches();
    assert_eq!(server.chains(), vec![alice.sent_chain(); 3]);
}

/// The first connection ends, because what the client sent cannot be sent again.
#[test]
fn a_tunnel_turns_to_openssl_after_a_renegotiation() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    for ending in ENDINGS {
        let server = Renegotiating::start(&scene, ending);
        let tunnel = Tunnel::start(&scene, &server.destination(), &[]);
        tunnel.fails_to_fetch();
        tunnel.says("the next connection uses OpenSSL");
        assert_eq!(String::from_utf8_lossy(&tunnel.fetch().stdout), "alice", "{ending}\n{}", tunnel.said());
        assert_eq!(wait_for_use(&scene, "outcome", "accepted")["identity"], json!(alice.fingerprint()), "{ending}");
    }
}

/// A server that completes handshakes, and then neither sends anything nor closes the connection.
struct Silent {
    port: u16,
    /// The number of connections whose clients have not closed their sending direction.
    open: Arc<AtomicUsize>,
}

impl Silent {
    fn start(scene: &Scene) -> Silent {
        let (config, listener) = (server_config(scene), TcpListener::bind("127.0.0.1:0").unwrap());
        let (port, open) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let count = open.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (config, count) = (config.clone(), count.clone());
                std::thread::spawn(move || {
                    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), connection);
                    if tls.conn.complete_io(&mut tls.sock).is_ok() {
                        count.fetch_add(1, Ordering::SeqCst);
                        // Whether or not it ends with an error
                        let _ = std::io::copy(&mut tls.sock, &mut std::io::sink());
                        count.fetch_sub(1, Ordering::SeqCst);
                        std::mem::forget(tls);
                    }
                });
            }
        });
        Silent { port, open }
    }

    #[track_caller]
    fn waits_for(&self, open: usize, limit: Duration) {
        let began = Instant::now();
        while self.open.load(Ordering::SeqCst) != open {
            let now = self.open.load(Ordering::SeqCst);
            assert!(began.elapsed() < limit, "{now} connections are open, not {open}, after {limit:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Descriptors of a process.
fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Waits until a tunnel has no more descriptors than this.
#[track_caller]
fn waits_for_descriptors(tunnel: &Tunnel, most: usize, limit: Duration) {
    let began = Instant::now();
    while descriptors(tunnel.process()) > most {
        let now = descriptors(tunnel.process());
        assert!(began.elapsed() < limit, "{now} descriptors stay open, more than {most}\n{}", tunnel.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The client has closed its connection. The server neither sends anything nor closes its own.
#[test]
fn what_a_client_has_left_is_closed_while_the_server_is_silent() {
    let scene = Scene::new();
    for listen in ["unix", "tcp"] {
        let server = Silent::start(&scene);
        let more = if listen == "tcp" { &["--listen", "127.0.0.1:0"][..] } else { &[] };
        let tunnel = Tunnel::start(&scene, &format!("localhost:{}", server.port), more);
        let before = descriptors(tunnel.process());
        let open = |sends: &[u8]| -> Box<dyn std::any::Any> {
            if listen == "tcp" {
                let mut stream = TcpStream::connect(&tunnel.address).unwrap();
                stream.write_all(sends).unwrap();
                Box::new(stream)
            } else {
                let mut stream = UnixStream::connect(tunnel.path()).unwrap();
                stream.write_all(sends).unwrap();
                Box::new(stream)
            }
        };
        let clients: Vec<_> = (0..20).map(|number| open(if number % 2 == 0 { b"GET /" } else { b"" })).collect();
        server.waits_for(20, Duration::from_secs(60));
        assert!(descriptors(tunnel.process()) >= before + 40, "{listen}");
        drop(clients);
        // On a loopback port the system answers probes for about a minute after the client has closed
        waits_for_descriptors(&tunnel, before + 2, Duration::from_secs(150));
    }
}

/// A handshake that hangs would end after 30 seconds.
#[test]
fn what_a_client_has_left_is_closed_during_the_handshake_too() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let destination = format!("localhost:{}", listener.local_addr().unwrap().port());
    for more in [&[][..], &["--tls", "openssl"]] {
        let tunnel = Tunnel::start(&scene, &destination, more);
        let before = descriptors(tunnel.process());
        let clients: Vec<UnixStream> = (0..10).map(|_| UnixStream::connect(tunnel.path()).unwrap()).collect();
        let accepted: Vec<TcpStream> = clients.iter().map(|_| listener.accept().unwrap().0).collect();
        assert!(descriptors(tunnel.process()) >= before + 20, "{more:?}");
        drop(clients);
        waits_for_descriptors(&tunnel, before + 2, Duration::from_secs(20));
        drop(accepted);
    }
}

/// The client has closed its sending direction and waits. The server answers after an abandoned connection would have been closed.
#[test]
fn a_client_that_waits_for_a_late_answer_gets_it() {
    let scene = Scene::new();
    let (port, answer) = echo_after(&scene, Duration::from_secs(6));
    for listen in ["unix", "tcp"] {
        let more = if listen == "tcp" { &["--listen", "127.0.0.1:0"][..] } else { &[] };
        let tunnel = Tunnel::start(&scene, &format!("localhost:{port}"), more);
        let mut heard = String::new();
        if listen == "tcp" {
            let mut stream = TcpStream::connect(&tunnel.address).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_string(&mut heard).unwrap();
        } else {
            let mut stream = UnixStream::connect(tunnel.path()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_string(&mut heard).unwrap();
        }
        assert_eq!(heard, answer, "{listen}");
    }
}

/// A server that answers some time after the client has closed its sending direction.
fn echo_after(scene: &Scene, time: Duration) -> (u16, &'static str) {
    const ANSWER: &str = "late, but here";
    let (config, listener) = (server_config(scene), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), connection);
            tls.read_to_end(&mut Vec::new()).unwrap();
            std::thread::sleep(time);
            tls.write_all(ANSWER.as_bytes()).unwrap();
            tls.conn.send_close_notify();
            tls.flush().unwrap();
        }
    });
    (port, ANSWER)
}

/// A low limit on descriptors allows few connections. Further ones wait, and are served when others end.
#[test]
fn more_connections_than_the_limit_wait_for_a_place() {
    let scene = Scene::new();
    let server = Silent::start(&scene);
    // (94 - 64) / 3
    let (limit, destination) = (10, format!("localhost:{}", server.port));
    let authority = scene.server_root_file.to_str().unwrap();
    let run = scene.machine.command(["tunnel", &destination, "--cacert", authority]);
    let tunnel = Tunnel::from_run(run.under(["prlimit", "--nofile=94:94"]), &destination);
    let before = descriptors(tunnel.process());
    for round in 1..=2 {
        let clients: Vec<_> = (0..3 * limit).map(|_| UnixStream::connect(tunnel.path()).unwrap()).collect();
        server.waits_for(limit, Duration::from_secs(60));
        tunnel.says("10 connections are open, and no more are served at the same time");
        // Those that waited are served now
        let mut clients = clients.into_iter();
        drop(clients.by_ref().take(limit).collect::<Vec<_>>());
        server.waits_for(limit, Duration::from_secs(60));
        drop(clients);
        server.waits_for(0, Duration::from_secs(60));
        // Only then is it another crowd
        waits_for_descriptors(&tunnel, before + 2, Duration::from_secs(60));
        let told = tunnel.said().matches("connections are open").count();
        assert_eq!(told, round, "once for each crowd:\n{}", tunnel.said());
    }
    assert!(!tunnel.said().contains("cannot accept"), "{}", tunnel.said());
}

/// The server accepts the connection and sends nothing.
#[test]
fn a_handshake_that_hangs_ends() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let destination = format!("localhost:{}", listener.local_addr().unwrap().port());
    let tunnel = Tunnel::start(&scene, &destination, &[]);
    let _client = UnixStream::connect(tunnel.path()).unwrap();
    let (_held, _) = listener.accept().unwrap();
    tunnel.says_within("no TLS handshake within 30", Duration::from_secs(60));
}

/// rustls would send a length that does not fit its field.
#[test]
fn names_of_protocols_that_no_client_hello_can_hold_are_usage_errors() {
    let scene = Scene::new();
    let (longest, too_long) = ("p".repeat(255), "p".repeat(256));
    let many = |number: usize| vec![longest.as_str(); number];
    for (names, words) in [
        (vec![""], ["--alpn", "1 to 255"]),
        (vec!["h2", &too_long], ["--alpn", "256 bytes"]),
        (many(129), ["--alpn", "33024 bytes together"]),
        (many(257), ["--alpn", "65792 bytes together"]),
    ] {
        let names = names.into_iter().flat_map(|name| ["--alpn", name]);
        scene.machine.command(["--batch", "tunnel", "localhost:1"]).args(names).run().expect(2).says(&words);
    }
    let server = scene.server(Kind::Go).ask(Ask::Never).start();
    let offers: Vec<String> = many(128).into_iter().flat_map(|name| ["--alpn".to_owned(), name.to_owned()]).collect();
    let offers: Vec<&str> = offers.iter().map(String::as_str).chain(["--alpn", "http/1.1"]).skip(2).collect();
    Tunnel::start(&scene, &server.destination(), &offers).fetches();
}
