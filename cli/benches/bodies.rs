//! Large bodies with `fetch`, whole processes: CPU time and memory against curl, in turn, and over rustls alone in this process. Aims: at
//! most the CPU time of curl, and 16 MiB.
//!
//! The server is in this process, so the times of the clock are of both. The CPU times are medians, as GNU time reports them.
// Whatever fails ends the measurement
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "../../tests/library/pki.rs"]
mod pki;
#[path = "../../tests/library/tls.rs"]
mod tls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use pki::{Ca, Home};
use tls::{HOST, optional_client};

const UPLOAD: usize = 100_000_000;
const DOWNLOAD: usize = 1_000_000_000;

const ROUNDS: usize = 5;

const PIECE: usize = 64 << 10;

fn main() {
    // Run as a test, it has nothing to check
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let machine = Machine::new();
    for protocol in ["http/1.1", "h2"] {
        let address = machine.serve(protocol);
        machine.compare(&format!("upload, {protocol}"), address, |client| match client {
            Client::Cardcase => vec!["-X".into(), "PUT".into(), "-d".into(), format!("@{}", machine.file().display())],
            Client::Curl => vec!["-T".into(), machine.file().display().to_string()],
        });
        machine.compare(&format!("download, {protocol}"), address, |_| vec!["-o".into(), "/dev/null".into()]);
    }
    let address = machine.serve("http/1.1");
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| machine.floor(address)).collect();
    println!("download, http/1.1, by rustls alone, with the server: {:.0} ms of the clock", median(&mut times));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    Cardcase,
    Curl,
}

/// A server, and a file to send to it.
struct Machine {
    home: Home,
    servers: Ca,
    runtime: tokio::runtime::Runtime,
}

impl Machine {
    fn new() -> Self {
        let (home, servers) = (Home::new(), Ca::root("Servers"));
        let pem = pem_of(servers.certificate.der());
        std::fs::write(home.path().join("servers.pem"), pem).unwrap();
        std::fs::write(home.path().join("body"), vec![b'x'; UPLOAD]).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { home, servers, runtime }
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("body")
    }

    /// Serves by this protocol, until the end of the process.
    fn serve(&self, protocol: &'static str) -> SocketAddr {
        let mut config = tls::server(&self.servers, HOST, optional_client(&[&self.servers.certificate]));
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        self.runtime.spawn(serve(listener, config, protocol == "h2"));
        address
    }

    fn compare(&self, what: &str, address: SocketAddr, more: impl Fn(Client) -> Vec<String>) {
        let mut peers = vec![(Client::Cardcase, Vec::new(), 0)];
        match Command::new("curl").arg("--version").output() {
            Ok(_) => peers.push((Client::Curl, Vec::new(), 0)),
            Err(error) => println!("{what}: not compared, curl is missing: {error}"),
        }
        for _ in 0..ROUNDS {
            for (client, times, memory) in &mut peers {
                let (cpu, peak) = timed(&self.home, *client, address, &more(*client));
                times.push(cpu);
                *memory = peak.max(*memory);
            }
        }
        let measured: Vec<(f64, u64)> =
            peers.iter_mut().map(|(_, times, memory)| (median(times), *memory >> 10)).collect();
        let (ours, memory) = measured[0];
        print!("{what}: {ours:.0} ms of CPU, {memory} MiB");
        match measured.get(1) {
            Some((curl, memory)) => println!("; curl {curl:.0} ms, {memory} MiB: {:.2}", ours / curl),
            None => println!(),
        }
    }

    /// The milliseconds that a download takes by tokio-rustls alone.
    fn floor(&self, address: SocketAddr) -> f64 {
        let config: ClientConfig = tls::client(&self.servers, &rustls::version::TLS13);
        let began = Instant::now();
        self.runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from(HOST).unwrap();
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
            stream.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
            let (mut buffer, mut left) = (vec![0; PIECE], DOWNLOAD);
            while left > 0 {
                let read = stream.read(&mut buffer).await.unwrap();
                assert_ne!(read, 0);
                left = left.saturating_sub(read);
            }
        });
        began.elapsed().as_secs_f64() * 1000.0
    }
}

/// The milliseconds of CPU and the KiB that a process of its own needs.
fn timed(home: &Home, client: Client, address: SocketAddr, more: &[String]) -> (f64, u64) {
    let (url, detour) = (format!("https://{HOST}/"), format!("{HOST}:443:{address}"));
    let mut command = Command::new("time");
    command.args(["-f", "%U %S %M"]);
    match client {
        Client::Cardcase => {
            command.args([env!("CARGO_BIN_EXE_cardcase"), "--batch", "--store"]).arg(home.store_file());
            command.args(["fetch", &url, "--credentials", "omit"])
        }
        Client::Curl => command.args(["curl", "--silent", "--show-error", &url]),
    };
    command.arg("--cacert").arg(home.path().join("servers.pem")).args(["--connect-to", &detour]).args(more);
    command.env("XDG_RUNTIME_DIR", home.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let numbers: Vec<f64> = said.split_whitespace().map(|number| number.parse().unwrap()).collect();
    ((numbers[0] + numbers[1]) * 1000.0, numbers[2] as u64)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn pem_of(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

async fn serve(listener: TcpListener, config: ServerConfig, is_http2: bool) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let (io, service) = (TokioIo::new(stream), service_fn(answer));
            // The client hangs up
            let _ = match is_http2 {
                true => http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await,
                false => http1::Builder::new().serve_connection(io, service).await,
            };
        });
    }
}

/// Reads a body, or sends one.
async fn answer(request: Request<Incoming>) -> Result<Response<Content>, Infallible> {
    let is_upload = request.method() == Method::PUT;
    let mut body = request.into_body();
    let mut received = 0;
    while let Some(Ok(frame)) = body.frame().await {
        received += frame.data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(received, if is_upload { UPLOAD } else { 0 });
    Ok(Response::new(Content { left: if is_upload { 0 } else { DOWNLOAD }, piece: vec![b'x'; PIECE].into() }))
}

struct Content {
    left: usize,
    piece: Bytes,
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.left.min(PIECE);
        self.left -= length;
        Poll::Ready((length > 0).then(|| Ok(Frame::data(self.piece.slice(..length)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
