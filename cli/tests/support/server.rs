//! Real TLS servers on loopback that ask for client certificates and report what they receive.
//! Each is a child process on a free port, and ends when its `Server` is dropped.

mod go;
mod java;
mod nginx;
mod openssl;
mod python;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::ca::{self, Authority, Issued};
use super::log::Log;
use super::missing;

/// How long a server may take to start or to report.
const LIMIT: Duration = Duration::from_secs(20);

/// Which TLS implementation it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `openssl s_server`: reports whole chains and alerts.
    OpenSsl,
    /// nginx: reports the leaf only. HTTP/2. Refuses with an HTTP page.
    Nginx,
    /// Go's crypto/tls: reports whole chains and resumption. HTTP/2. Refuses with `bad_certificate`.
    Go,
    /// The JDK's `HttpsServer`: reports whole chains. HTTP/1.1. Refuses by closing the connection, without an alert.
    Java,
    /// Python's ssl module: reports whole chains, names no authorities in its request. Also a proxy.
    Python,
}

/// The only TLS version that the server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    V1_2,
    V1_3,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::OpenSsl, Kind::Nginx, Kind::Go, Kind::Java, Kind::Python];
}

pub const BOTH_VERSIONS: [Tls; 2] = [Tls::V1_2, Tls::V1_3];

impl Tls {
    pub fn number(self) -> &'static str {
        match self {
            Tls::V1_2 => "1.2",
            Tls::V1_3 => "1.3",
        }
    }
}

/// How a server treats client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Require,
    /// Asks. Accepts clients without a certificate, but no invalid one.
    Optional,
    /// Asks and accepts any certificate.
    Unchecked,
    Never,
}

impl Ask {
    /// The argument of our own servers.
    fn name(self) -> &'static str {
        match self {
            Ask::Require => "require",
            Ask::Optional => "optional",
            Ask::Unchecked => "unchecked",
            Ask::Never => "never",
        }
    }
}

/// A server's own certificate with its key.
enum Certificate<'a> {
    Issued(&'a Issued),
    Files(PathBuf, PathBuf),
}

/// The authorities whose certificates a server accepts.
enum Authorities<'a> {
    These(Vec<&'a Authority>),
    File(PathBuf),
}

/// A server before it starts.
pub struct Setup<'a> {
    kind: Kind,
    certificate: Certificate<'a>,
    tls: Option<Tls>,
    ask: Ask,
    authorities: Authorities<'a>,
    hints: bool,
    http1: bool,
    schemes: Option<String>,
    more: Vec<String>,
    listen: IpAddr,
    backend: Option<SocketAddr>,
    grpc: bool,
}

impl<'a> Setup<'a> {
    pub fn new(kind: Kind, certificate: &'a Issued) -> Self {
        let authorities = Authorities::These(Vec::new());
        Self::with(kind, Certificate::Issued(certificate), authorities)
    }

    /// With existing files of a certificate, its key and authorities.
    pub fn with_files(kind: Kind, (pem, key): (PathBuf, PathBuf), authorities: PathBuf) -> Self {
        Self::with(kind, Certificate::Files(pem, key), Authorities::File(authorities))
    }

    fn with(kind: Kind, certificate: Certificate<'a>, authorities: Authorities<'a>) -> Self {
        Setup {
            kind,
            certificate,
            tls: None,
            ask: Ask::Require,
            authorities,
            hints: true,
            http1: false,
            schemes: None,
            more: Vec::new(),
            listen: Ipv4Addr::LOCALHOST.into(),
            backend: None,
            grpc: false,
        }
    }

    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    pub fn ask(mut self, ask: Ask) -> Self {
        self.ask = ask;
        self
    }

    /// The authorities that verify clients, and that the request names.
    pub fn authorities(mut self, authorities: &[&'a Authority]) -> Self {
        self.authorities = Authorities::These(authorities.to_vec());
        self
    }

    /// Does not name the authorities in the request, so that any certificate may be offered.
    pub fn without_hints(mut self) -> Self {
        self.hints = false;
        self
    }

    pub fn http1(mut self) -> Self {
        self.http1 = true;
        self
    }

    /// The signature schemes in the request, in OpenSSL's notation. OpenSSL only.
    pub fn client_schemes(mut self, schemes: &str) -> Self {
        self.schemes = Some(schemes.to_owned());
        self
    }

    /// The authorities in a file. The request names the subjects of all its certificates.
    pub fn authorities_in(mut self, file: PathBuf) -> Self {
        self.authorities = Authorities::File(file);
        self
    }

    /// More arguments. OpenSSL only.
    pub fn arguments(mut self, more: &[&str]) -> Self {
        self.more = more.iter().map(|each| (*each).to_owned()).collect();
        self
    }

    pub fn listen(mut self, address: IpAddr) -> Self {
        self.listen = address;
        self
    }

    /// Forwards requests over plain HTTP, with the client's certificate in a header as Azure App Service does. nginx only.
    pub fn in_front_of(mut self, backend: SocketAddr) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Forwards gRPC in the clear. nginx only.
    pub fn in_front_of_grpc(mut self, backend: SocketAddr) -> Self {
        self.grpc = true;
        self.in_front_of(backend)
    }

    pub fn start(self) -> Server {
        let dir = tempfile::tempdir().unwrap();
        match self.kind {
            Kind::OpenSsl => openssl::start(&self, dir),
            Kind::Nginx => nginx::start(&self, dir),
            Kind::Go => go::start(&self, dir),
            Kind::Java => java::start(&self, dir),
            Kind::Python => python::start(&self, dir),
        }
    }

    fn authorities_file(&self, dir: &Path) -> Option<PathBuf> {
        match &self.authorities {
            Authorities::These(none) if none.is_empty() => None,
            Authorities::These(some) => Some(ca::authorities_file(dir, some)),
            Authorities::File(file) => Some(file.clone()),
        }
    }

    fn certificate_file(&self, dir: &Path) -> PathBuf {
        match &self.certificate {
            Certificate::Issued(issued) => issued.certificate_file(dir),
            Certificate::Files(pem, _) => pem.clone(),
        }
    }

    fn key_file(&self, dir: &Path) -> PathBuf {
        match &self.certificate {
            Certificate::Issued(issued) => issued.key_file(dir),
            Certificate::Files(_, key) => key.clone(),
        }
    }
}

/// What a server received in one handshake; with nginx, in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    pub complete: bool,
    /// The alert that the server sent, or its own message; empty when complete.
    pub error: String,
    pub tls: String,
    pub resumed: bool,
    /// Fingerprints of the client's certificates, in the order of arrival.
    pub chain: Vec<String>,
}

/// A running server.
pub struct Server {
    kind: Kind,
    child: Child,
    log: Log,
    address: SocketAddr,
    dir: TempDir,
}

impl Server {
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://localhost:PORT/`
    pub fn url(&self) -> String {
        self.url_at("localhost", "/")
    }

    pub fn url_at(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.port())
    }

    /// `localhost:PORT`
    pub fn destination(&self) -> String {
        format!("localhost:{}", self.port())
    }

    /// A URL of this server that redirects to `target`. Go, Java and Python only.
    pub fn redirect_to(&self, host: &str, target: &str) -> String {
        self.url_at(host, &format!("/redirect?to={target}"))
    }

    /// Every handshake so far. Waits until the server has reported everything that was sent to it
    /// before this call.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.settle();
        let lines = self.log.lines();
        match self.kind {
            Kind::OpenSsl => openssl::handshakes(&lines),
            Kind::Nginx => nginx::handshakes(&lines),
            Kind::Go | Kind::Java | Kind::Python => events(&lines, "handshake").iter().map(described).collect(),
        }
    }

    /// The chains of all handshakes with a client certificate.
    pub fn chains(&self) -> Vec<Vec<String>> {
        let chains = self.handshakes().into_iter().map(|handshake| handshake.chain);
        chains.filter(|chain| !chain.is_empty()).collect()
    }

    /// Fails if the server received a certificate. OpenSSL shows every message, so there it also fails
    /// on an empty Certificate message.
    #[track_caller]
    pub fn assert_nothing_came(&self, case: &str) {
        assert!(self.chains().is_empty(), "{case}: a certificate was sent\n{}", self.said());
        if self.kind == Kind::OpenSsl {
            let messages = openssl::certificate_messages(&self.log.lines());
            assert_eq!(messages, 0, "{case}: a Certificate message was sent\n{}", self.said());
        }
    }

    /// The requests that were answered. Go, Java and Python only.
    pub fn requests(&self) -> Vec<Value> {
        self.settle();
        events(&self.log.lines(), "request")
    }

    /// Waits until it says something with this text in it.
    #[track_caller]
    pub fn says(&self, text: &str) {
        let said = self.log.wait_for(LIMIT, |line| line.contains(text).then_some(()));
        said.unwrap_or_else(|said| panic!("{:?} never said {text}:\n{said}", self.kind));
    }

    /// The subjects of the clients' certificates in the requests that were answered. nginx only.
    pub fn subjects(&self) -> Vec<String> {
        self.settle();
        nginx::subjects(&self.log.lines())
    }

    pub fn said(&self) -> String {
        self.log.lines().join("\n")
    }

    /// Makes a connection after all others: when the server has reported it, it has reported those
    /// before it.
    fn settle(&self) {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let mark = COUNT.fetch_add(1, Ordering::Relaxed);
        let (bytes, trace) = match self.kind {
            Kind::OpenSsl => openssl::barrier(mark),
            Kind::Nginx => nginx::barrier(mark),
            Kind::Go | Kind::Java | Kind::Python => (format!("B{mark}\n").into_bytes(), mark_event(mark)),
        };
        let mut connection = TcpStream::connect_timeout(&self.address, LIMIT).unwrap();
        connection.set_read_timeout(Some(LIMIT)).unwrap();
        connection.write_all(&bytes).unwrap();
        // It does not matter how the server closes the connection
        let _ = connection.read_to_end(&mut Vec::new());
        let seen = self.log.wait_for(LIMIT, |line| line.contains(&trace).then_some(()));
        seen.unwrap_or_else(|said| panic!("{:?} never reported {trace}:\n{said}", self.kind));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {:?} on {}:\n{}", self.kind, self.address, self.said());
        }
    }
}

/// Starts the program and reads both its streams.
fn spawn(mut command: Command, package: &str) -> (Child, Log) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{}", missing(&program, package, &error)));
    let log = Log::default();
    log.follow(child.stdout.take().unwrap());
    log.follow(child.stderr.take().unwrap());
    (child, log)
}

/// A server that reports its port itself.
fn listening(
    setup: &Setup<'_>,
    dir: TempDir,
    (child, log): (Child, Log),
    port: impl Fn(&str) -> Option<u16>,
) -> Server {
    let kind = setup.kind;
    let port = log.wait_for(LIMIT, port);
    let port = port.unwrap_or_else(|said| panic!("{kind:?} did not start:\n{said}"));
    Server { kind, child, log, address: SocketAddr::new(setup.listen, port), dir }
}

fn events(lines: &[String], name: &str) -> Vec<Value> {
    let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["event"] == name).collect()
}

/// What the Go, Java and Python servers report for a barrier.
fn mark_event(mark: u32) -> String {
    format!(r#""mark":"{mark}\n""#)
}

/// The port in the first event of the Go, Java and Python servers.
fn port_event(line: &str) -> Option<u16> {
    let event = events(&[line.to_owned()], "listening").pop()?;
    event["port"].as_u64()?.try_into().ok()
}

fn described(event: &Value) -> Handshake {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let chain = event["chain"].as_array().into_iter().flatten();
    Handshake {
        complete: event["complete"] == true,
        error: text("error"),
        tls: text("tls"),
        resumed: event["resumed"] == true,
        chain: chain.filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}
