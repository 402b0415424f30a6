//! A rustls server in this process that asks for a certificate and refuses every one with the alert that a test wants. No
//! server program can send every alert.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{CertificateError, ServerConfig, ServerConnection};

use super::fingerprint;
use super::scene::Scene;
use super::server::Tls;
use super::verdict::Verdict;

/// The server; it ends with the process.
pub struct Refusing {
    port: u16,
    seen: Arc<Mutex<Vec<Vec<Vec<u8>>>>>,
}

impl Refusing {
    pub fn start(scene: &Scene, verdict: CertificateError, tls: Tls) -> Refusing {
        let verdict = Verdict::new(verdict);
        let seen = verdict.seen.clone();
        let config = Arc::new(config(scene, verdict, tls));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                serve(connection, &config);
            }
        });
        Refusing { port, seen }
    }

    /// `localhost:PORT`
    pub fn destination(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("https://{}/", self.destination())
    }

    /// The chains that were refused.
    pub fn chains(&self) -> Vec<Vec<String>> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|chain| chain.iter().map(|der| fingerprint(der)).collect()).collect()
    }
}

fn config(scene: &Scene, verifier: Verdict, tls: Tls) -> ServerConfig {
    let version = match tls {
        Tls::V1_2 => &rustls::version::TLS12,
        Tls::V1_3 => &rustls::version::TLS13,
    };
    let certificate = CertificateDer::from(scene.server_certificate.der().to_vec());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(scene.server_certificate.key_der()));
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

/// Waits until the client has closed the connection, so that the alert is sent.
fn serve(mut connection: TcpStream, config: &Arc<ServerConfig>) {
    let mut tls = ServerConnection::new(config.clone()).unwrap();
    let _ = tls.complete_io(&mut connection);
    while tls.wants_write() && tls.write_tls(&mut connection).is_ok() {}
    let _ = connection.shutdown(std::net::Shutdown::Write);
    let _ = std::io::copy(&mut connection, &mut std::io::sink());
}
