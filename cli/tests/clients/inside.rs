//! Servers within this process, for protocols that no other server here speaks. Each runs on its own thread, and ends with the
//! process.

use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::fingerprint;
use crate::support::server::{Ask, Tls};
use crate::support::verdict::Verdict;
use crate::world::{Peer, World};

/// Who came, as [`Peer::came`] has it.
pub type Came = Arc<Mutex<Vec<Option<String>>>>;

/// The chains that came, as DER.
pub type Chains = Arc<Mutex<Vec<Vec<Vec<u8>>>>>;

pub struct Inside {
    port: u16,
    came: Came,
}

impl Peer for Inside {
    fn destination(&self) -> String {
        format!("localhost:{}", self.port)
    }

    fn came(&self) -> Vec<Option<String>> {
        self.came.lock().unwrap().clone()
    }
}

impl Inside {
    /// A server over TCP; `serve` is handed every connection whose handshake is done.
    pub fn over_tcp<F: Future<Output = ()> + 'static>(
        config: ServerConfig,
        serve: impl Fn(TlsStream<TcpStream>, Came) -> F + Send + 'static,
    ) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::run(move |came, tell| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap().port()).unwrap();
            loop {
                let (acceptor, came, tcp) = (acceptor.clone(), came.clone(), listener.accept().await.unwrap().0);
                let served = match acceptor.accept(tcp).await {
                    Ok(stream) => serve(stream, came),
                    Err(_) => continue,
                };
                tokio::task::spawn_local(served);
            }
        })
    }

    /// A server without TLS, behind another server. Returns its address.
    pub fn behind<F: Future<Output = ()> + 'static>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr {
        let server = Self::run(move |_, tell| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap().port()).unwrap();
            loop {
                tokio::task::spawn_local(serve(listener.accept().await.unwrap().0));
            }
        });
        SocketAddr::from(([127, 0, 0, 1], server.port))
    }

    /// A server over QUIC, that answers each stream with a byte.
    pub fn over_quic(config: ServerConfig) -> Self {
        let config = quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(config));
        Self::run(move |came, tell| async move {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            tell.send(socket.local_addr().unwrap().port()).unwrap();
            let runtime = Arc::new(quinn::TokioRuntime);
            let endpoint =
                quinn::Endpoint::new(quinn::EndpointConfig::default(), Some(config), socket, runtime).unwrap();
            while let Some(incoming) = endpoint.accept().await {
                tokio::task::spawn_local(answer_streams(incoming, came.clone()));
            }
        })
    }

    fn run<F: Future<Output = ()>>(serve: impl FnOnce(Came, mpsc::Sender<u16>) -> F + Send + 'static) -> Self {
        let (came, (tell, told)) = (Came::default(), mpsc::channel());
        let writing = came.clone();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, serve(writing, tell));
        });
        Self { port: told.recv().unwrap(), came }
    }
}

async fn answer_streams(incoming: quinn::Incoming, came: Came) {
    // A client that leaves first is what some tests are about
    let Ok(connection) = incoming.await else { return };
    let chain = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    while let Ok((mut send, _)) = connection.accept_bi().await {
        came.lock().unwrap().push(chain.as_ref().map(|chain| fingerprint(&chain[0])));
        let _ = send.write_all(&[1]).await;
        let _ = send.finish();
    }
}

/// Whom a server sees, as [`Peer::came`] has it.
pub fn seen(stream: &TlsStream<TcpStream>) -> Option<String> {
    stream.get_ref().1.peer_certificates().map(|chain| fingerprint(&chain[0]))
}

/// Asks for a certificate of the staff and accepts one or none, or does not ask.
pub fn config(world: &World, tls: Tls, ask: Ask, alpn: &str) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(world.scene.staff_root.der().to_vec())).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    let verifier = match ask {
        Ask::Never => WebPkiClientVerifier::no_client_auth(),
        _ => verifier.allow_unauthenticated().build().unwrap(),
    };
    config_with(world, tls, verifier, alpn)
}

/// Refuses every certificate as revoked; also returns the chains that came.
pub fn refusing(world: &World, tls: Tls, alpn: &str) -> (ServerConfig, Chains) {
    let verdict = Verdict::new(rustls::CertificateError::Revoked);
    let seen = verdict.seen.clone();
    (config_with(world, tls, Arc::new(verdict), alpn), seen)
}

fn config_with(world: &World, tls: Tls, verifier: Arc<dyn ClientCertVerifier>, alpn: &str) -> ServerConfig {
    let version = match tls {
        Tls::V1_2 => &rustls::version::TLS12,
        Tls::V1_3 => &rustls::version::TLS13,
    };
    let certificate = &world.scene.server_certificate;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate.key_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], key)
        .unwrap();
    if !alpn.is_empty() {
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    }
    config
}
