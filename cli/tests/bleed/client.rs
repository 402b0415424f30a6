//! A program that uses the library: connections of its own, and pools of those it keeps.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use cardcase::Store;
use cardcase::connect::tokio::Connector;
use cardcase::connect::{Connection, Opened, Stream as TlsStream};
use cardcase::manage::Fingerprint;
use cardcase::manage::{Mode, Outcome};
use cardcase::{Destination, Target};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ledger::{Ledger, count};
use crate::oracle::Oracle;
use crate::support::scene::Scene;
use crate::world::{Nobody, Who, word};

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
type BoxStream = Box<dyn Stream>;

/// One request.
#[derive(Clone, Debug)]
pub struct Errand {
    pub to: Destination,
    /// Who may arrive.
    pub allowed: Vec<Who>,
    pub credentials: bool,
    /// The identity that the program itself names.
    pub given: Option<Fingerprint>,
    /// Over a kept connection if there is one; it is kept for the next request.
    pub pooled: bool,
    /// The proxy to go through, and who has to arrive there.
    pub through: Option<(Destination, Who)>,
}

impl Errand {
    pub fn plain(to: &Destination, allowed: &[Who]) -> Self {
        let (to, allowed) = (to.clone(), allowed.to_vec());
        Self { to, allowed, credentials: true, given: None, pooled: false, through: None }
    }
}

pub struct Client {
    /// `None`: the store's own.
    pub mode: Option<Mode>,
    connector: Connector,
    to_proxies: Connector,
    kept: Mutex<HashMap<Destination, Vec<Line>>>,
}

/// An open connection, with HTTP on it.
#[derive(Debug)]
struct Line {
    sender: Sender,
    opened: Opened,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    /// Two in each mode and two in the store's own; each has opened the store for itself, as programs do.
    pub fn all(scene: &Scene, oracle: &Arc<Oracle>) -> Vec<Self> {
        let modes = [Some(Mode::Firefox), Some(Mode::Chrome), None];
        modes.into_iter().chain(modes).map(|mode| Self::new(scene, mode, oracle)).collect()
    }

    fn new(scene: &Scene, mode: Option<Mode>, oracle: &Arc<Oracle>) -> Self {
        let selector = scene.machine.selector().with_trusted_authorities().unwrap().with_chooser(oracle.clone());
        let selector = Arc::new(match mode {
            Some(mode) => selector.with_mode(mode),
            None => selector,
        });
        let provider = Arc::new(default_provider());
        let verifier = selector.server_verifier([], &provider);
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let to_proxies = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        let mut config = to_proxies.clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            mode,
            connector: Connector::new(selector.clone(), config),
            to_proxies: Connector::new(selector, to_proxies),
            kept: Mutex::default(),
        }
    }

    /// The store, unlocked through the agent.
    pub fn store(&self) -> &Store {
        let store = self.connector.selector().store();
        store.unlock(&Nobody).unwrap();
        store
    }

    /// Connects while a permission is being withdrawn. The connection has the identity that is decided, or fails.
    pub async fn attempt(&self, ledger: &Ledger, to: &Destination, who: Who) {
        let dialled = self.connector.connect(to, || tcp(to)).await;
        let Ok(connection) = dialled else { return count(&ledger.done.withheld) };
        let mut line = Line::new(connection).await;
        let came = line.request(to, &ledger.path(&[who], None)).await;
        ledger.opened(to, came);
    }

    /// Checks that no kept connection is reused for this destination, and that a new one fails.
    pub async fn must_not_connect(&self, ledger: &Ledger, to: &Destination, why: &str) {
        assert!(self.kept(&to.into()).await.is_none(), "{why}: a kept connection to {to} would be used");
        let connected = self.connector.connect(to, || tcp(to)).await;
        assert!(connected.is_err(), "{why}: {:?}", connected.unwrap().opened);
        count(&ledger.done.withheld);
    }

    pub async fn run(&self, ledger: &Ledger, errand: Errand) {
        let path = ledger.path(&errand.allowed, None);
        let target = Target::new(errand.to.clone()).with_path("/");
        let target = if errand.credentials { target } else { target.without_credentials() };
        let kept = if errand.pooled && errand.given.is_none() { self.kept(&target).await } else { None };
        let is_new = kept.is_none();
        let mut line = match kept {
            Some(line) => line,
            None => self.open(ledger, &target, &errand).await,
        };
        let came = line.request(&errand.to, &path).await;
        if is_new {
            ledger.opened(&errand.to, came);
        } else {
            line.tally(ledger);
        }
        let shared = !is_new && matches!(line.sender, Sender::Http2(_));
        if errand.pooled && !shared {
            self.kept.lock().unwrap().entry(errand.to).or_default().push(line);
        }
    }

    /// A kept connection that would be opened in the same way now. Those that would not are closed, and those that the
    /// server has closed are forgotten, as in any pool.
    async fn kept(&self, target: &Target) -> Option<Line> {
        loop {
            let mut line = self.kept.lock().unwrap().get_mut(target.destination())?.pop()?;
            if !line.opened.may_be_reused(self.connector.selector(), target).unwrap() || !line.is_open().await {
                continue;
            }
            // Many requests share an HTTP/2 connection; over HTTP/1.1 they come one after the other
            if let Some(shared) = line.shared() {
                self.kept.lock().unwrap().entry(target.destination().clone()).or_default().push(shared);
            }
            return Some(line);
        }
    }

    async fn open(&self, ledger: &Ledger, target: &Target, errand: &Errand) -> Line {
        let dial = || self.dial(ledger, errand);
        let connected = match errand.given {
            Some(fingerprint) => {
                let identity = self.connector.selector().store().find_identity(&fingerprint.to_string()).unwrap();
                let prepared = self.connector.selector().given(target, identity).unwrap();
                self.connector.connect_prepared(prepared, dial).await
            }
            None => self.connector.connect(target, dial).await,
        };
        let connection = connected.unwrap_or_else(|error| panic!("{errand:?}: {error}"));
        self.record(ledger, &errand.to, &connection.opened);
        Line::new(connection).await
    }

    /// Records some of the uses.
    fn record(&self, ledger: &Ledger, to: &Destination, opened: &Opened) {
        let Some(selection) = opened.selection().filter(|_| ledger.connections().is_multiple_of(16)) else { return };
        self.connector.selector().record(to, &selection, Outcome::Accepted, None, None).unwrap();
    }

    async fn dial(&self, ledger: &Ledger, errand: &Errand) -> io::Result<BoxStream> {
        let Some((proxy, who)) = &errand.through else { return tcp(&errand.to).await };
        let connected = self.to_proxies.connect(proxy, || tcp(proxy)).await;
        let mut tunnel = connected.map_err(io::Error::other)?.stream;
        let connect = format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n\r\n", errand.to.port());
        tunnel.write_all(connect.as_bytes()).await?;
        tunnel.flush().await?;
        let answer = head(&mut tunnel).await?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        ledger.opened(proxy, word(*who));
        count(&ledger.done.tunnelled);
        Ok(Box::new(tunnel))
    }
}

/// Every name leads to this machine.
async fn tcp(to: &Destination) -> io::Result<BoxStream> {
    let stream = TcpStream::connect(("127.0.0.1", to.port())).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

/// Reads up to the empty line, and no further.
pub async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap())
}

impl Line {
    async fn new(connection: Connection<TlsStream<BoxStream>>) -> Self {
        let (io, opened) = (TokioIo::new(connection.stream), connection.opened);
        let sender = if opened.alpn() == Some(b"h2") {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(driver);
            Sender::Http2(sender)
        } else {
            let (sender, driver) = http1::handshake(io).await.unwrap();
            tokio::spawn(driver);
            Sender::Http1(sender)
        };
        Self { sender, opened }
    }

    /// Whether a request can go out over it.
    async fn is_open(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    fn shared(&self) -> Option<Self> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Self { sender: Sender::Http2(sender.clone()), opened: self.opened.clone() }),
        }
    }

    /// Whose certificate the server saw on this connection, as it says.
    async fn request(&mut self, to: &Destination, path: &str) -> String {
        let request = |uri: String| Request::get(uri).header("host", to.to_string()).body(Empty::new()).unwrap();
        assert!(self.is_open().await, "{to} closed a new connection");
        let response: Response<_> = match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request(path.to_owned())).await.unwrap(),
            Sender::Http2(sender) => sender.send_request(request(format!("https://{to}{path}"))).await.unwrap(),
        };
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let said: Value = serde_json::from_slice(&body).unwrap();
        said["chain"][0].as_str().unwrap_or("none").to_owned()
    }

    fn tally(&self, ledger: &Ledger) {
        let by_protocol = match self.sender {
            Sender::Http1(_) => &ledger.done.reused,
            Sender::Http2(_) => &ledger.done.reused_http2,
        };
        by_protocol.fetch_add(1, Ordering::Relaxed);
    }
}
