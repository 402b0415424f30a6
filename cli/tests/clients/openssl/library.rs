//! The library by itself, in this process; valgrind and AddressSanitizer check that it frees what it allocates.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cardcase::Chooser;
use cardcase::Error;
use cardcase::Selector;
use cardcase::Unlocker;
use cardcase::ask::CertificateRequest;
use cardcase::ask::{Question, Reply};
use cardcase::connect::openssl::{Connector, SslConnector, SslMethod, Stream};
use cardcase::connect::{Cause, cause};
use cardcase::connect::{Connection, Source};
use cardcase::manage::{Lifetime, Mode};
use cardcase::{Destination, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::openssl::places::{FIRST, Halves, SECOND};
use crate::support::apache::Apache;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Tls};
use crate::support::typed::Typed;

const PASSWORD: &str = "correct horse";

/// Picks the identities with these names in turn, each for once, then aborts; after this time.
struct Script {
    names: Mutex<Vec<&'static str>>,
    asked: AtomicUsize,
    thinks: Duration,
}

impl Script {
    fn new(names: &[&'static str]) -> Arc<Script> {
        Script::slow(names, Duration::ZERO)
    }

    fn slow(names: &[&'static str], thinks: Duration) -> Arc<Script> {
        let names = names.iter().rev().copied().collect();
        Arc::new(Script { names: Mutex::new(names), asked: AtomicUsize::new(0), thinks })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Chooser for Script {
    fn choose(&self, question: &Question<'_>) -> Reply {
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.thinks);
        let Some(name) = self.names.lock().unwrap().pop() else { return Reply::Abort };
        let picked = question.candidates().find(|candidate| candidate.identity.name() == name).unwrap();
        Reply::Identity { identity: picked.identity, lifetime: Lifetime::Once }
    }
}

/// Types the primary password, and counts how often.
#[derive(Default)]
struct Typist(AtomicUsize);

impl Unlocker for Typist {
    fn primary_password(&self, _: u32) -> Result<Zeroizing<String>, Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        Ok(Zeroizing::new(PASSWORD.to_owned()))
    }
}

pub(crate) fn connector(scene: &Scene, selector: Selector) -> Connector {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.set_ca_file(&scene.server_root_file).unwrap();
    builder.set_alpn_protos(b"\x08http/1.1").unwrap();
    Connector::new(Arc::new(selector), builder).unwrap()
}

fn asking(scene: &Scene, script: &Arc<Script>, mode: Mode) -> Connector {
    connector(scene, scene.machine.selector().with_chooser(script.clone()).with_mode(mode))
}

fn dialled(destination: &str) -> (Destination, TcpStream) {
    let destination: Destination = destination.parse().unwrap();
    let tcp = TcpStream::connect(("127.0.0.1", destination.port())).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    (destination, tcp)
}

fn connect(connector: &Connector, destination: &str) -> Connection<Stream<TcpStream>> {
    let (destination, tcp) = dialled(destination);
    connector.connect(destination, tcp).unwrap()
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

fn get(connection: &mut Connection<Stream<TcpStream>>, path: &str) -> std::io::Result<String> {
    connection.stream.write_all(request(path).as_bytes())?;
    let mut response = String::new();
    connection.stream.read_to_string(&mut response)?;
    Ok(response)
}

#[test]
fn a_blocking_client_answers_in_the_first_handshake() {
    let scene = Scene::new();
    let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::Go).tls(tls).ask(Ask::Require).start();
        let script = Script::new(&["alice", "bob"]);
        let connector = asking(&scene, &script, Mode::Firefox);
        for _ in 0..2 {
            let mut connection = connect(&connector, &server.destination());
            assert!(get(&mut connection, "/").unwrap().starts_with("HTTP/1.1 200"), "{tls:?}");
            let opened = &connection.opened;
            assert!(!opened.is_mid_connection() && opened.selection().is_some(), "{tls:?}");
            assert_eq!(opened.request().unwrap().version, opened.version(), "{tls:?}");
            connection.stream.shut_down().unwrap();
        }
        // No session took the one along where the other was chosen
        assert_eq!(server.chains(), [alice.sent_chain(), bob.sent_chain()], "{tls:?}");
    }
}

#[test]
fn a_blocking_client_answers_in_the_middle() {
    let scene = Scene::new();
    scene.hire("alice");
    scene.hire("bob");
    for tls in BOTH_VERSIONS {
        let apache = Apache::start(&scene, tls);
        let script = Script::new(&["bob"]);
        let connector = asking(&scene, &script, Mode::Chrome);
        let mut connection = connect(&connector, &apache.destination());
        assert!(connection.opened.answers().is_empty(), "{tls:?}");
        assert!(get(&mut connection, "/require/page").unwrap().ends_with("this is require\n"), "{tls:?}");
        assert!(connection.opened.is_mid_connection(), "{tls:?}");
        assert_eq!(apache.served(1)[0].3, "bob", "{tls:?}");
        scene.machine.run("forget --all --mode chrome").expect(0);
    }
}

#[test]
fn aborting_sends_nothing_and_nobody_is_asked_again() {
    let scene = Scene::new();
    scene.hire("alice");
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::Go).tls(tls).ask(Ask::Optional).start();
        let script = Script::new(&[]);
        let connector = asking(&scene, &script, Mode::Firefox);
        let (destination, tcp) = dialled(&server.destination());
        let error = connector.connect(destination, tcp).unwrap_err();
        assert!(matches!(error.failure(), Some(Error::Aborted { .. })), "{error}");
        assert!(error.opened().is_none());

        let apache = Apache::start(&scene, tls);
        let mut connection = connect(&connector, &apache.destination());
        let error = get(&mut connection, "/require/page").unwrap_err();
        assert!(matches!(cause(&error), Some(Cause::Failed(Error::Aborted { .. }))), "{error}");
        assert!(connection.stream.read(&mut [0]).is_err());
        assert!(connection.stream.write(&[0]).is_err());
        assert_eq!(script.asked(), 2, "{tls:?}");
        assert!(server.chains().is_empty() && server.requests().is_empty(), "{tls:?}");
    }
}

#[test]
fn the_vault_is_unlocked_for_an_identity_that_goes_out() {
    let scene = Scene::new();
    scene.hire("alice");
    let password = scene.machine.password_file(PASSWORD);
    scene.machine.run(&format!("password --new-password-file {}", password.display())).expect(0);
    let apache = Apache::start(&scene, Tls::V1_3);
    let locked = connector(&scene, scene.machine.selector().with_chooser(Script::new(&["alice"])));
    let error = get(&mut connect(&locked, &apache.destination()), "/require/page").unwrap_err();
    assert!(matches!(cause(&error), Some(Cause::Failed(Error::VaultLocked))), "{error}");
    // Of many at once one is asked for the password, on threads and over tokio
    let typist = Arc::new(Typist::default());
    let unlocking = || {
        let selector = scene.machine.selector().with_chooser(Script::new(&["alice"; 6])).with_mode(Mode::Chrome);
        Arc::new(connector(&scene, selector.with_unlocker(typist.clone())))
    };
    let connector = unlocking();
    std::thread::scope(|threads| {
        for _ in 0..6 {
            threads.spawn(|| {
                let mut connection = connect(&connector, &apache.destination());
                assert!(get(&mut connection, "/require/page").unwrap().ends_with("this is require\n"));
            });
        }
    });
    assert_eq!(typist.0.load(Ordering::SeqCst), 1);
    let connector = unlocking();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let get = async || {
            let response = require_page(&connector, &apache).await;
            assert!(response.ends_with("this is require\n"), "{response}");
        };
        tokio::join!(get(), get(), get());
    });
    assert_eq!(typist.0.load(Ordering::SeqCst), 2);
}

/// With RSA key exchange, anybody who has a server's certificate can ask in its name.
#[test]
fn a_server_that_has_not_proven_its_certificate_asks_nobody() {
    let scene = Scene::new();
    scene.hire("alice");
    let dir = scene.machine.dir();
    let (certificate, key) = (dir.join("rsa.pem"), dir.join("rsa.key"));
    let mut command = program::named("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]);
    command.args(["-addext", "subjectAltName=DNS:localhost", "-out"]).arg(&certificate).arg("-keyout").arg(&key);
    assert!(command.output().unwrap().status.success());
    let flags = ["-tls1_2", "-cipher", "AES128-GCM-SHA256", "-verify", "1"];
    let server = Typed::with(&scene, &flags, &certificate, &key);
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.set_ca_file(&certificate).unwrap();
    let script = Script::new(&["alice"]);
    let connector = Connector::new(Arc::new(scene.machine.selector().with_chooser(script.clone())), builder).unwrap();
    let (destination, tcp) = dialled(&format!("localhost:{}", server.port));
    let error = connector.connect(destination, tcp).unwrap_err();
    assert!(error.to_string().contains("before it has proven"), "{error}");
    assert_eq!(script.asked(), 0);
}

/// A rule for one path does not apply to another request on the same connection.
#[test]
fn a_kept_connection_does_not_keep_the_first_path() {
    for tls in BOTH_VERSIONS {
        for (path, first) in [("/open", "/open/page"), ("/require", "/require/page")] {
            let scene = Scene::new();
            scene.hire("alice");
            let apache = Apache::start(&scene, tls);
            let script = Script::new(&[]);
            let connector = asking(&scene, &script, Mode::Firefox);
            scene.machine.run(&format!("rules add https://localhost{path} --subject CN=alice")).expect(0);
            let (destination, tcp) = dialled(&apache.destination());
            let target = Target::new(destination.clone()).with_path(first);
            let Connection { mut stream, opened, .. } = connector.connect(target, tcp).unwrap();
            let mut page = |path: &str| -> std::io::Result<()> {
                stream.write_all(request(path).replace("close", "keep-alive").as_bytes())?;
                let mut response = Vec::new();
                while !response.ends_with(b"this is open\n") && !response.ends_with(b"this is require\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte)?;
                    response.push(byte[0]);
                }
                opened.finished();
                Ok(())
            };
            page(first).unwrap();
            if path == "/open" {
                let error = page("/require/page").unwrap_err();
                assert!(matches!(cause(&error), Some(Cause::Failed(Error::Aborted { .. }))), "{tls:?}: {error}");
                assert_eq!(script.asked(), 1, "{tls:?}");
            } else {
                assert_eq!((opened.selection().unwrap().source, script.asked()), (Source::Rule, 0), "{tls:?}");
                // A client that keeps the connection asks before it requests another path
                let may_be_reused = |path| {
                    let target = Target::new(destination.clone()).with_path(path);
                    opened.may_be_reused(connector.selector(), target).unwrap()
                };
                assert_eq!(["/require/more", "/open/page"].map(may_be_reused), [true, false], "{tls:?}");
                assert!(!opened.may_be_reused(connector.selector(), &destination).unwrap());
            }
        }
    }
}

/// After a response Firefox asks, and Chrome ignores the request.
#[test]
fn after_the_body_a_server_asks_in_firefox_mode_alone() {
    let scene = Scene::new();
    scene.hire("alice");
    for tls in BOTH_VERSIONS {
        for mode in [Mode::Firefox, Mode::Chrome] {
            let mut halves = Halves::start(&scene, tls);
            let script = Script::new(&["alice"]);
            let connector = asking(&scene, &script, mode);
            let Connection { mut stream, opened, .. } = connect(&connector, &halves.destination());
            stream.write_all(request("/").as_bytes()).unwrap();
            halves.server.type_after("GET / HTTP/1.1", FIRST);
            halves.server.type_now(SECOND);
            let mut response = vec![0; FIRST.len() + SECOND.len()];
            stream.read_exact(&mut response).unwrap();
            opened.finished();
            halves.ask();
            if mode == Mode::Chrome {
                assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{tls:?}");
                assert_eq!(script.asked(), 0, "{tls:?}");
                continue;
            }
            // Whoever waits for what comes next drives the handshake
            std::thread::scope(|threads| {
                let next = threads.spawn(|| stream.read(&mut [0; 64]).unwrap());
                halves.verified("alice");
                halves.server.type_now(FIRST);
                assert_eq!(next.join().unwrap(), FIRST.len(), "{tls:?}");
            });
            assert_eq!(script.asked(), 1, "{tls:?}");
        }
    }
}

/// The response to a request for the page that asks, over a connection of its own.
async fn require_page(connector: &Connector, apache: &Apache) -> String {
    let destination: Destination = apache.destination().parse().unwrap();
    let dial = || tokio::net::TcpStream::connect(("127.0.0.1", destination.port()));
    let mut connection = connector.connect_async(&destination, dial).await.unwrap();
    connection.stream.write_all(request("/require/page").as_bytes()).await.unwrap();
    let mut response = String::new();
    connection.stream.read_to_string(&mut response).await.unwrap();
    response
}

/// Asking does not hold up the other tasks of a runtime that has a single thread.
#[test]
fn over_tokio_only_the_connection_waits_for_a_person() {
    let scene = Scene::new();
    scene.hire("alice");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for tls in BOTH_VERSIONS {
        let apache = Apache::start_with(&scene, tls, "SSLVerifyClient optional_no_ca\n");
        let script = Script::slow(&["alice", "alice"], Duration::from_secs(1));
        let connector = asking(&scene, &script, Mode::Firefox);
        let connector = connector.with_handshake_timeout(Duration::from_secs(20));
        let longest = runtime.block_on(async {
            let ticking = tokio::spawn(longest_gap());
            require_page(&connector, &apache).await;
            ticking.abort();
            GAP.load(Ordering::SeqCst)
        });
        assert!(script.asked() >= 1, "{tls:?}");
        assert!(longest < 500, "{tls:?}: the runtime stood still for {longest} ms");
    }
}

static GAP: AtomicUsize = AtomicUsize::new(0);

/// Wakes up every few milliseconds, and notes by how much that was late.
async fn longest_gap() {
    GAP.store(0, Ordering::SeqCst);
    loop {
        let before = std::time::Instant::now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let gap = usize::try_from(before.elapsed().as_millis()).unwrap();
        GAP.fetch_max(gap, Ordering::SeqCst);
    }
}

/// A `Prepared` may be kept for any time.
#[test]
fn a_prepared_decision_is_looked_up_again_when_connecting() {
    for tls in BOTH_VERSIONS {
        let scene = Scene::new();
        let [_, bob] = ["alice", "bob"].map(|name| scene.hire(name));
        let server = scene.server(Kind::Go).tls(tls).ask(Ask::Require).start();
        let connector = asking(&scene, &Script::new(&[]), Mode::Firefox);
        scene.machine.run("remember localhost alice").expect(0);
        let (destination, tcp) = dialled(&server.destination());
        let prepared = connector.selector().prepare(&destination).unwrap();
        assert!(prepared.selection().is_some());
        scene.machine.run("remember localhost bob").expect(0);
        let mut connection = connector.connect_prepared(prepared, tcp).unwrap();
        get(&mut connection, "/").unwrap();
        assert_eq!(server.chains()[0][0], bob.fingerprint(), "{tls:?}");
    }
}

/// The server did not ask on that connection for the first request.
#[test]
fn a_choice_for_one_request_is_not_sent_for_the_next_on_the_same_connection() {
    for tls in BOTH_VERSIONS {
        let scene = Scene::new();
        scene.hire("alice");
        let apache = Apache::start(&scene, tls);
        let script = Script::new(&["alice"]);
        let connector = asking(&scene, &script, Mode::Firefox);
        let (destination, tcp) = dialled(&apache.destination());
        let asked = CertificateRequest::new(&[], &[rustls::SignatureScheme::ECDSA_NISTP256_SHA256]);
        let chosen = connector.selector().select(&destination, &asked).unwrap();
        assert_eq!(chosen.selection().map(|selection| selection.source), Some(Source::Ask));
        let mut connection = connector.connect_prepared(chosen, tcp).unwrap();
        connection.stream.write_all(request("/open/page").replace("close", "keep-alive").as_bytes()).unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"this is open\n") {
            let mut byte = [0];
            connection.stream.read_exact(&mut byte).unwrap();
            response.push(byte[0]);
        }
        connection.opened.finished();
        let error = get(&mut connection, "/require/page").unwrap_err();
        assert!(matches!(cause(&error), Some(Cause::Failed(Error::Aborted { .. }))), "{tls:?}: {error}");
        assert_eq!((script.asked(), connection.opened.answers().len()), (2, 0), "{tls:?}");
    }
}
