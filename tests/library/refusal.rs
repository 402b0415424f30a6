//! A refusal is found in every error that contains it: of the connector, of the first read, and of hyper in both
//! versions of HTTP.

use std::io;
use std::sync::Arc;

use cardcase::Destination;
use cardcase::Selector;
use cardcase::ask::Refusal;
use cardcase::connect::tokio::Connector;
use cardcase::connect::{self, Cause, Connection, Stream, cause};
use cardcase::manage::{Lifetime, Mode};
use cardcase::raw::alert_name;
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::server::NoClientAuth;
use rustls::{AlertDescription, CertificateError, ClientConfig, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use crate::pki::{Ca, Home, NOW};
use crate::tls::{HOST, VERSIONS, client, optional_client, server};
use crate::verdict::{VERDICTS, Verdict};

/// A connector with a remembered decision, and a server that refuses.
struct Scene {
    connector: Connector,
    server: Arc<ServerConfig>,
    base: ClientConfig,
    servers: Ca,
    root: Ca,
    _home: Home,
}

impl Scene {
    fn new(version: &'static SupportedProtocolVersion, verdict: CertificateError, sends: bool) -> Self {
        let (servers, root, home) = (Ca::root("Servers"), Ca::root("Root"), Home::new());
        let leaf = root.leaf("a");
        let store = home.with([&leaf], [&root.certificate]);
        let scope = Mode::Firefox.scope(&destination());
        store.remember(&scope, sends.then(|| leaf.fingerprint()), Lifetime::Permanent, NOW).unwrap();
        let server = Arc::new(server(&servers, HOST, Arc::new(Verdict::new(verdict))));
        let selector = Selector::new(store).with_clock(|| NOW);
        let base = client(&servers, version);
        Self { connector: Connector::new(Arc::new(selector), base.clone()), server, base, servers, root, _home: home }
    }

    async fn connect(&self) -> Result<Connection<Stream<DuplexStream>>, connect::Error> {
        let dial = || {
            let (near, far) = duplex(1 << 16);
            tokio::spawn(refuse(self.server.clone(), far));
            std::future::ready(Ok(near))
        };
        self.connector.connect(&destination(), dial).await
    }
}

fn destination() -> Destination {
    Destination::new(HOST, 443).unwrap()
}

async fn refuse(server: Arc<ServerConfig>, io: DuplexStream) {
    // The tests look at the client's result
    let _ = TlsAcceptor::from(server).accept(io).await;
}

/// The name of the alert.
/// What an error alone says, without the connection.
fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<Refusal> {
    match cause(error) {
        Some(Cause::Refused(refusal)) => Some(refusal),
        _ => None,
    }
}

fn named(refusal: Option<Refusal>) -> Option<String> {
    refusal.and_then(Refusal::alert_name)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

#[test]
fn in_tls_1_2_the_refusal_is_in_the_error_of_the_connector() {
    for (alert, verdict) in VERDICTS {
        let scene = Scene::new(&rustls::version::TLS12, verdict(), true);
        let error = run(scene.connect()).unwrap_err();
        assert_eq!(named(refusal(&error)).as_deref(), Some(alert), "{error}");
    }
}

#[test]
fn in_tls_1_3_the_refusal_comes_with_the_first_read() {
    for (alert, verdict) in VERDICTS {
        let scene = Scene::new(&rustls::version::TLS13, verdict(), true);
        let (error, opened) = run(async {
            let mut connection = scene.connect().await.unwrap();
            let error = connection.stream.read_u8().await.unwrap_err();
            (error, connection.opened)
        });
        assert_eq!(cardcase::raw::alert(&error).map(alert_name).as_deref(), Some(alert), "{error}");
        assert_eq!(named(opened.refusal()).as_deref(), Some(alert));
    }
}

/// A client that uses tokio-rustls directly, with only a resolver of this library.
#[test]
fn in_tls_1_3_a_read_through_tokio_rustls_gives_the_refusal() {
    for (alert, verdict) in VERDICTS {
        let scene = Scene::new(&rustls::version::TLS13, verdict(), true);
        let opened = run(async {
            let prepared = scene.connector.selector().prepare(destination()).unwrap();
            let resolver = cardcase::raw::Resolver::new(prepared);
            let config = resolver.config(&scene.base);
            let (near, far) = duplex(1 << 16);
            tokio::spawn(refuse(scene.server.clone(), far));
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let name = cardcase::raw::server_name(&destination()).unwrap();
            let mut stream = connector.connect(name, resolver.guard(near)).await.unwrap();
            let error = stream.read_u8().await.unwrap_err();
            let opened = resolver.opened();
            opened.ended_by(&error);
            opened
        });
        assert_eq!(named(opened.refusal()).as_deref(), Some(alert));
    }
}

#[test]
fn a_missing_certificate_is_refused_like_one_that_was_sent() {
    for version in VERSIONS {
        let scene = Scene::new(version, CertificateError::BadEncoding, false);
        let error: Box<dyn std::error::Error> = run(async {
            match scene.connect().await {
                Err(error) => Box::new(error) as Box<dyn std::error::Error>,
                Ok(mut connection) => Box::new(connection.stream.read_u8().await.unwrap_err()),
            }
        });
        let Some(Refusal::Alert(alert)) = refusal(&*error) else { panic!("{version:?}: {error}") };
        assert_eq!(alert, AlertDescription::CertificateRequired, "{version:?}");
    }
}

fn request() -> Request<Empty<Bytes>> {
    Request::get(format!("https://{HOST}/")).body(Empty::new()).unwrap()
}

#[test]
fn the_alert_is_in_the_error_of_hyper_and_the_refusal_in_the_opened_connection() {
    for (alert, verdict) in VERDICTS {
        let scene = Scene::new(&rustls::version::TLS13, verdict(), true);
        run(async {
            let connection = scene.connect().await.unwrap();
            let (io, opened) = (TokioIo::new(connection.stream), connection.opened);
            let (mut sender, driver) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(driver);
            let error = sender.send_request(request()).await.unwrap_err();
            assert_eq!(cardcase::raw::alert(&error).map(alert_name).as_deref(), Some(alert), "HTTP/1.1: {error:?}");
            assert_eq!(named(opened.refusal()).as_deref(), Some(alert), "HTTP/1.1: {error:?}");

            let connection = scene.connect().await.unwrap();
            let (io, opened) = (TokioIo::new(connection.stream), connection.opened);
            let (mut sender, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(driver);
            let error = sender.send_request(request()).await.unwrap_err();
            assert_eq!(named(opened.refusal()).as_deref(), Some(alert), "HTTP/2: {error:?}");
        });
    }
}

/// What a server does once it has accepted the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    AtOnce,
    AfterReading,
    InResponse,
}

/// Asks or not, accepts what it gets, and then ends the connection without an alert.
async fn hang_up(server: Arc<ServerConfig>, io: DuplexStream, ending: Ending) {
    let mut stream = TlsAcceptor::from(server).accept(io).await.unwrap();
    if ending != Ending::AtOnce {
        stream.read_u8().await.unwrap();
    }
    if ending == Ending::InResponse {
        stream.write_all(b"H").await.unwrap();
        stream.flush().await.unwrap();
    }
}

/// Only in place of a response, and only after the server asked, is the end of a connection a refusal.
#[test]
fn a_server_that_hangs_up_refuses_if_it_asked_and_gave_no_response() {
    for version in VERSIONS {
        let scene = Scene::new(version, CertificateError::BadEncoding, true);
        let asks = Arc::new(server(&scene.servers, HOST, optional_client(&[&scene.root.certificate])));
        let silent = Arc::new(server(&scene.servers, HOST, Arc::new(NoClientAuth)));
        for (server, ending, expected) in [
            (&asks, Ending::AtOnce, None),
            (&asks, Ending::AfterReading, Some(Refusal::HungUp)),
            (&asks, Ending::InResponse, None),
            (&silent, Ending::AfterReading, None),
        ] {
            let opened = run(async {
                let dial = || {
                    let (near, far) = duplex(1 << 16);
                    tokio::spawn(hang_up(server.clone(), far, ending));
                    std::future::ready(Ok(near))
                };
                let Connection { mut stream, opened, .. } =
                    scene.connector.connect(&destination(), dial).await.unwrap();
                if ending != Ending::AtOnce {
                    stream.write_all(b"G").await.unwrap();
                    stream.flush().await.unwrap();
                }
                let mut response = Vec::new();
                let _ = stream.read_to_end(&mut response).await;
                assert_eq!(response.len(), usize::from(ending == Ending::InResponse));
                opened
            });
            assert_eq!(opened.refusal(), expected, "{version:?} {ending:?}");
        }
    }
}

/// A server that is not verified ends the connection.
#[test]
fn a_server_that_hangs_up_in_the_handshake_is_not_a_refusal() {
    let scene = Scene::new(&rustls::version::TLS13, CertificateError::BadEncoding, true);
    let error = run(async {
        let gone = || {
            let (near, mut far) = duplex(1 << 16);
            tokio::spawn(async move { far.shutdown().await });
            std::future::ready(Ok::<_, io::Error>(near))
        };
        scene.connector.connect(&destination(), gone).await.unwrap_err()
    });
    assert_eq!(error.refusal(), None, "{error}");
    assert_eq!(refusal(&error), None, "{error}");
}
