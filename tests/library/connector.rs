use std::future::ready;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use cardcase::Chooser;
use cardcase::Destination;
use cardcase::Error;
use cardcase::Selector;
use cardcase::Store;
use cardcase::ask::{Question, Reply};
use cardcase::connect::tokio::Connector;
use cardcase::connect::{self, Connection, Source, Stream};
use cardcase::manage::Certificate;
use cardcase::manage::Outcome;
use cardcase::manage::Rule;
use cardcase::manage::{Lifetime, Mode};
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{ClientConfig, HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use crate::people::{PASSWORD, Says, Script, Typist, first};
use crate::pki::{Ca, Home, Leaf, NOW};
use crate::tls::{HOST, VERSIONS, client, der, optional_client, server};

/// What the server saw in a successful connection.
type Seen = (HandshakeKind, Option<CertificateDer<'static>>);

/// A server that resumes sessions, two identities that it accepts, and a connector.
pub(crate) struct Scene {
    pub(crate) a: Leaf,
    pub(crate) b: Leaf,
    pub(crate) store: Arc<Store>,
    chooser: Arc<Script>,
    pub(crate) base: ClientConfig,
    pub(crate) connector: Connector,
    pub(crate) server: Arc<ServerConfig>,
    seen: Arc<Mutex<Vec<Seen>>>,
    dialled: usize,
    pub(crate) home: Home,
}

impl Scene {
    pub(crate) fn new(version: &'static SupportedProtocolVersion, says: &[Says]) -> Self {
        let (servers, root, home) = (Ca::root("Servers"), Ca::root("Root"), Home::new());
        let (a, b) = (root.leaf("a"), root.leaf("b"));
        let store = home.with([&a, &b], [&root.certificate]);
        let mut server = server(&servers, HOST, optional_client(&[&root.certificate]));
        server.session_storage = ServerSessionMemoryCache::new(32);
        server.send_tls13_tickets = 2;
        let chooser = Script::new(says.iter().cloned());
        let base = client(&servers, version);
        let connector = Connector::new(selector(&store, &chooser), base.clone());
        let (server, seen) = (Arc::new(server), Arc::default());
        Self { a, b, store, chooser, base, connector, server, seen, dialled: 0, home }
    }

    pub(crate) fn remember(&self, identity: Option<&Leaf>) {
        let scope = Mode::Firefox.scope(&Destination::new(HOST, 443).unwrap());
        self.store.remember(&scope, identity.map(Leaf::fingerprint), Lifetime::Permanent, NOW).unwrap();
    }

    /// Connects and reads a byte, which arrives after the session tickets of TLS 1.3.
    pub(crate) async fn connect(&mut self, host: &str) -> Result<Connection<Stream<DuplexStream>>, connect::Error> {
        let destination = Destination::new(host, 443).unwrap();
        let dial = || {
            self.dialled += 1;
            let (near, far) = duplex(1 << 16);
            tokio::spawn(serve(self.server.clone(), far, self.seen.clone()));
            ready(Ok(near))
        };
        let mut connection = self.connector.connect(&destination, dial).await?;
        connection.stream.read_u8().await.unwrap();
        Ok(connection)
    }

    /// What the server saw in successful connections since the last call.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    pub(crate) fn dialled(&mut self) -> usize {
        std::mem::take(&mut self.dialled)
    }
}

pub(crate) fn selector(store: &Arc<Store>, chooser: &Arc<Script>) -> Arc<Selector> {
    let selector = Selector::new(store.clone()).with_chooser(chooser.clone()).with_clock(|| NOW);
    Arc::new(selector.with_unlocker(Arc::new(Typist)))
}

async fn serve(server: Arc<ServerConfig>, io: DuplexStream, seen: Arc<Mutex<Vec<Seen>>>) {
    let Ok(mut stream) = TlsAcceptor::from(server).accept(io).await else { return };
    let tls = stream.get_ref().1;
    let presented = tls.peer_certificates().and_then(<[_]>::first).cloned().map(CertificateDer::into_owned);
    seen.lock().unwrap().push((tls.handshake_kind().unwrap(), presented));
    let _ = stream.write_u8(0).await;
    let _ = stream.flush().await;
}

pub(crate) fn run(test: impl AsyncFn(&'static SupportedProtocolVersion)) {
    for version in VERSIONS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(version));
    }
}

fn leaf(leaf: &Leaf) -> Option<CertificateDer<'static>> {
    Some(der(&leaf.certificate))
}

#[test]
fn the_connector_asks_once_and_connects_again_with_the_answer() {
    run(async |version| {
        let mut scene = Scene::new(version, &[first(Lifetime::Permanent)]);
        let connection = scene.connect(HOST).await.unwrap();
        let selection = connection.opened.selection().unwrap();
        assert_eq!((selection.source, scene.dialled(), scene.chooser.asked().len()), (Source::Ask, 2, 1));
        let chosen = selection.answer.fingerprint();
        let sent = if chosen == Some(scene.a.fingerprint()) { leaf(&scene.a) } else { leaf(&scene.b) };
        assert_eq!(scene.seen(), [(HandshakeKind::Full, sent.clone())]);

        let again = scene.connect(HOST).await.unwrap();
        assert_eq!((scene.dialled(), scene.chooser.asked().len()), (1, 0));
        assert_eq!((again.opened.version(), &scene.seen()[0].1), (Some(version.version), &sent));
    });
}

#[test]
fn a_rule_costs_an_extra_connection_only_the_first_time() {
    run(async |version| {
        let mut scene = Scene::new(version, &[]);
        let rule = |name: &str| {
            Rule::parse(&format!(r#"{{"pattern":"*","filter":{{"SUBJECT":{{"CN":"{name}"}}}}}}"#)).unwrap()
        };
        scene.store.add_rules(&[rule("a")], NOW).unwrap();
        for dialled in [2, 1] {
            let connection = scene.connect(HOST).await.unwrap();
            assert_eq!((scene.dialled(), connection.opened.selection().unwrap().source), (dialled, Source::Rule));
        }
        // Another process changes the rules, which apply to the next connection
        let other = scene.home.open();
        other.remove_rules(&[1]).unwrap();
        other.add_rules(&[rule("b")], NOW).unwrap();
        scene.connect(HOST).await.unwrap();
        scene.store.forget_all().unwrap();
        scene.remember(None);
        scene.connect(HOST).await.unwrap();
        let seen: Vec<_> = scene.seen().into_iter().map(|(_, presented)| presented).collect();
        assert_eq!(seen, [leaf(&scene.a), leaf(&scene.a), leaf(&scene.b), None]);
        assert_eq!(scene.chooser.asked().len(), 0);
    });
}

#[test]
fn a_session_is_resumed_only_with_the_identity_that_is_decided_now() {
    run(async |version| {
        let mut scene = Scene::new(version, &[]);
        let (a, b) = (leaf(&scene.a), leaf(&scene.b));
        let steps = [
            ("a", Some(scene.a.clone()), HandshakeKind::Full, &a),
            ("a again", Some(scene.a.clone()), HandshakeKind::Resumed, &a),
            ("b instead", Some(scene.b.clone()), HandshakeKind::Full, &b),
            ("b again", Some(scene.b.clone()), HandshakeKind::Resumed, &b),
            ("none instead", None, HandshakeKind::Full, &None),
            ("a once more", Some(scene.a.clone()), HandshakeKind::Full, &a),
        ];
        for (what, decided, kind, sent) in steps {
            scene.remember(decided.as_ref());
            let connection = scene.connect(HOST).await.unwrap();
            assert_eq!(scene.seen(), [(kind, sent.clone())], "{what}");
            // Recording the outcome does not end the session
            let (selector, selection) = (scene.connector.selector(), connection.opened.selection());
            if let Some(selection) = selection {
                let destination = Destination::new(HOST, 443).unwrap();
                selector.record(&destination, &selection, Outcome::Accepted, None, None).unwrap();
            }
        }
    });
}

#[test]
fn forgetting_a_decision_ends_the_tls_session() {
    run(async |version| {
        let mut scene = Scene::new(version, &[Reply::Abort.into()]);
        scene.remember(Some(&scene.a));
        scene.connect(HOST).await.unwrap();
        scene.seen();
        scene.store.forget_all().unwrap();
        let error = scene.connect(HOST).await.unwrap_err();
        assert!(matches!(error, connect::Error::Selection(Error::Aborted { .. })), "{error}");
        assert_eq!((scene.seen(), scene.chooser.asked().len()), (vec![], 1));
    });
}

#[test]
fn declining_opens_no_second_connection_and_sends_nothing() {
    run(async |version| {
        for reply in [Reply::Abort, Reply::Nobody] {
            let mut scene = Scene::new(version, &[reply.into()]);
            let error = scene.connect(HOST).await.unwrap_err();
            assert!(matches!(error, connect::Error::Selection(_)), "{error}");
            assert_eq!((scene.dialled(), scene.seen()), (1, vec![]));
            assert_eq!(scene.store.decisions().unwrap(), []);
        }
    });
}

#[test]
fn a_server_with_another_name_causes_no_question() {
    run(async |version| {
        let mut scene = Scene::new(version, &[first(Lifetime::Permanent)]);
        let error = scene.connect("other.example").await.unwrap_err();
        assert!(matches!(error, connect::Error::Handshake { .. }), "{error}");
        assert_eq!((scene.chooser.asked().len(), scene.dialled(), scene.seen()), (0, 1, vec![]));
    });
}

#[test]
fn a_server_that_does_not_ask_costs_one_connection_and_no_question() {
    run(async |version| {
        let mut scene = Scene::new(version, &[]);
        let servers = Ca::root("Plain");
        scene.server = Arc::new(server(&servers, HOST, WebPkiClientVerifier::no_client_auth()));
        scene.connector = Connector::new(selector(&scene.store, &scene.chooser), client(&servers, version));
        let connection = scene.connect(HOST).await.unwrap();
        assert_eq!((connection.opened.selection(), scene.dialled(), scene.chooser.asked().len()), (None, 1, 0));
    });
}

#[test]
fn a_locked_vault_is_unlocked_while_connecting() {
    run(async |version| {
        let mut scene = Scene::new(version, &[]);
        scene.remember(Some(&scene.a));
        scene.store.set_primary_password(Some(PASSWORD), &Typist).unwrap();
        scene.store = scene.home.open();
        scene.connector = Connector::new(selector(&scene.store, &scene.chooser), scene.base.clone());
        scene.connect(HOST).await.unwrap();
        assert_eq!((scene.dialled(), scene.seen()), (2, vec![(HandshakeKind::Full, leaf(&scene.a))]));
    });
}

/// Each of two nested TLS sessions has its own request and answer.
#[test]
fn a_connection_inside_a_proxy_session_has_its_own_request() {
    run(async |version| {
        let scene = Scene::new(version, &[]);
        scene.remember(Some(&scene.a));
        let (at, proxy) = (Destination::new(HOST, 443).unwrap(), Destination::new(HOST, 3128).unwrap());
        let tunnel = async || {
            let (near, far) = duplex(1 << 16);
            tokio::spawn(carry(scene.server.clone(), far, scene.seen.clone()));
            let mut near = Some(near);
            let connected = scene.connector.connect(&proxy, || ready(Ok(near.take().unwrap()))).await;
            connected.map(|connection| Box::pin(connection.stream)).map_err(io::Error::other)
        };
        let connection = scene.connector.connect(&at, tunnel).await.unwrap();
        let sent = connection.opened.selection().and_then(|selection| selection.answer.fingerprint());
        assert_eq!(sent, Some(scene.a.fingerprint()));
        let may_be_reused = || connection.opened.may_be_reused(scene.connector.selector(), &at).unwrap();
        assert!(may_be_reused());
        scene.remember(None);
        assert!(!may_be_reused());
    });
}

/// Serves as a proxy with only one server behind it.
async fn carry(server: Arc<ServerConfig>, io: DuplexStream, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut tunnel = TlsAcceptor::from(server.clone()).accept(io).await.unwrap();
    let (mut near, far) = duplex(1 << 16);
    tokio::spawn(serve(server, far, seen));
    // It does not matter how either side hangs up
    let _ = tokio::io::copy_bidirectional(&mut tunnel, &mut near).await;
}

fn selecting(name: &str) -> Rule {
    Rule::parse(&format!(r#"{{"pattern":"*","filter":{{"SUBJECT":{{"CN":"{name}"}}}}}}"#)).unwrap()
}

/// Dialling can take long, and the decision may change meanwhile.
#[test]
fn a_decision_made_while_connecting_again_applies() {
    run(async |version| {
        type Change = fn(&Scene);
        let cases: [(&str, Change); 3] = [
            ("none is remembered", |scene| scene.remember(None)),
            ("another rule", |scene| {
                scene.store.remove_rules(&[1]).unwrap();
                scene.store.add_rules(&[selecting("b")], NOW).unwrap();
            }),
            ("another identity is remembered", |scene| scene.remember(Some(&scene.b))),
        ];
        for (what, change) in cases {
            let scene = Scene::new(version, &[]);
            scene.store.add_rules(&[selecting("a")], NOW).unwrap();
            let dialled = AtomicUsize::new(0);
            let dial = || {
                if dialled.fetch_add(1, Ordering::SeqCst) == 1 {
                    change(&scene);
                }
                let (near, far) = duplex(1 << 16);
                tokio::spawn(serve(scene.server.clone(), far, scene.seen.clone()));
                ready(Ok(near))
            };
            let destination = Destination::new(HOST, 443).unwrap();
            let mut connection = scene.connector.connect(&destination, dial).await.unwrap();
            connection.stream.read_u8().await.unwrap();
            let expected = if what == "none is remembered" { None } else { leaf(&scene.b) };
            assert_eq!(scene.seen(), [(HandshakeKind::Full, expected)], "{what}");
        }
    });
}

/// The server asks for another authority in every connection. The number of questions equals the number of answers that
/// are tried.
#[test]
fn no_question_is_asked_if_its_answer_would_not_be_used() {
    run(async |version| {
        let (servers, home) = (Ca::root("Servers"), Home::new());
        let roots = [Ca::root("One"), Ca::root("Two")];
        let leaves = roots.each_ref().map(|root| root.leaf("a"));
        let store = home.with(&leaves, roots.each_ref().map(|root| &root.certificate));
        let chooser = Script::new(vec![first(Lifetime::Once); 9]);
        let connector = Connector::new(selector(&store, &chooser), client(&servers, version));
        let server = |root: &Certificate| Arc::new(server(&servers, HOST, optional_client(&[root])));
        let asking = roots.each_ref().map(|root| server(&root.certificate));
        let mut dialled = 0;
        let dial = || {
            let (near, far) = duplex(1 << 16);
            tokio::spawn(serve(asking[dialled % 2].clone(), far, Arc::default()));
            dialled += 1;
            ready(Ok(near))
        };
        let error = connector.connect(&Destination::new(HOST, 443).unwrap(), dial).await.unwrap_err();
        assert!(matches!(error, connect::Error::Selection(Error::RequestKeepsChanging { .. })), "{error}");
        assert_eq!(chooser.asked().len(), dialled - 1);
    });
}

/// Waits for a signal before it answers.
#[derive(Default)]
struct Thinking {
    waiting: AtomicUsize,
    asked: AtomicUsize,
    done: Mutex<bool>,
    told: Condvar,
}

impl Thinking {
    fn answer(&self) {
        *self.done.lock().unwrap() = true;
        self.told.notify_all();
    }
}

impl Chooser for Thinking {
    fn waiting(&self, _destination: &Destination) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    fn choose(&self, question: &Question<'_>) -> Reply {
        self.asked.fetch_add(1, Ordering::SeqCst);
        drop(self.told.wait_while(self.done.lock().unwrap(), |done| !*done).unwrap());
        first(Lifetime::Once).to(question)
    }
}

/// tokio has 512 threads for blocking calls.
#[test]
fn connections_that_wait_for_a_person_do_not_block_others() {
    const WAITING: usize = 600;
    const LIMIT: Duration = Duration::from_secs(30);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let scene = Scene::new(&rustls::version::TLS13, &[]);
        let chooser = Arc::new(Thinking::default());
        let selector = Selector::new(scene.store.clone()).with_chooser(chooser.clone()).with_clock(|| NOW);
        let selector = Arc::new(selector.with_mode(Mode::Chrome));
        let connector = Arc::new(Connector::new(selector, scene.base.clone()));
        let decided = Destination::new(HOST, 8443).unwrap();
        let scope = Mode::Chrome.scope(&decided);
        scene.store.remember(&scope, Some(scene.b.fingerprint()), Lifetime::Permanent, NOW).unwrap();
        let connect = |to: Destination| {
            let (connector, server, seen) = (connector.clone(), scene.server.clone(), scene.seen.clone());
            tokio::spawn(async move {
                let dial = || {
                    let (near, far) = duplex(1 << 16);
                    tokio::spawn(serve(server.clone(), far, seen.clone()));
                    ready(Ok(near))
                };
                connector.connect(&to, dial).await.map(|connection| connection.opened.selection().unwrap())
            })
        };
        let undecided = Destination::new(HOST, 443).unwrap();
        let waiting: Vec<_> = (0..WAITING).map(|_| connect(undecided.clone())).collect();
        let all_wait = async {
            while chooser.waiting.load(Ordering::SeqCst) < WAITING - 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // The next connection shows whether a limit is in the way, even if not all tasks got this far
        let _ = tokio::time::timeout(LIMIT, all_wait).await;
        let prompt = tokio::time::timeout(LIMIT, connect(decided)).await;
        chooser.answer();
        let selection = prompt.expect("it waits for a person").unwrap().unwrap();
        assert_eq!(selection.answer.fingerprint(), Some(scene.b.fingerprint()));
        for task in waiting {
            assert_eq!(task.await.unwrap().unwrap().source, Source::Ask);
        }
        assert_eq!(chooser.asked.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_dial_error_is_returned() {
    run(async |version| {
        let scene = Scene::new(version, &[]);
        let destination = Destination::new(HOST, 443).unwrap();
        let refused = || ready(Err::<DuplexStream, _>(io::ErrorKind::ConnectionRefused.into()));
        match scene.connector.connect(&destination, refused).await {
            Err(connect::Error::Dial(source)) => {
                assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
            }
            other => panic!("{other:?}"),
        }
    });
}
