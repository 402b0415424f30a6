//! TLS handshakes in memory: a rustls client, a rustls server, and the bytes between them.
// Each bench uses a part of this file too
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;

use cardcase::manage::Certificate;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection, SideData,
    SupportedProtocolVersion,
};

use super::pki::{Ca, Leaf, params};

/// The name of the servers here.
pub const HOST: &str = "server.example";

pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

pub fn der(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from(certificate.der().to_vec())
}

pub fn private_key(leaf: &Leaf) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf.pkcs8.clone()))
}

pub fn roots(certificates: &[&Certificate]) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(der(certificate)).unwrap();
    }
    Arc::new(roots)
}

/// Parameters of a server certificate for this name.
pub fn server_params(name: &str) -> CertificateParams {
    let mut server = params(name);
    server.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server
}

/// Accepts client certificates under `roots`, or none, and asks for one under them.
pub fn optional_client(roots: &[&Certificate]) -> Arc<dyn ClientCertVerifier> {
    let builder = WebPkiClientVerifier::builder_with_provider(self::roots(roots), Arc::new(default_provider()));
    builder.allow_unauthenticated().build().unwrap()
}

/// A server without session resumption.
pub fn server(ca: &Ca, name: &str, clients: Arc<dyn ClientCertVerifier>) -> ServerConfig {
    let leaf = ca.leaf_of(server_params(name));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&VERSIONS)
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![der(&leaf.certificate)], private_key(&leaf))
        .unwrap();
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

/// A client configuration that trusts `ca`, without a client certificate.
pub fn client(ca: &Ca, version: &'static SupportedProtocolVersion) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots(&[&ca.certificate]))
        .with_no_client_auth()
}

/// The result of a handshake.
pub struct Handshake {
    pub client: Result<ClientConnection, rustls::Error>,
    pub server: ServerConnection,
    /// Every byte that the client sent.
    pub sent: Vec<u8>,
}

impl Handshake {
    /// The certificates the server accepted from the client, the leaf first.
    pub fn presented(&self) -> Vec<CertificateDer<'static>> {
        self.server.peer_certificates().unwrap_or_default().iter().cloned().map(CertificateDer::into_owned).collect()
    }

    /// Whether the bytes of this certificate crossed the wire in the clear.
    pub fn shows(&self, certificate: &Certificate) -> bool {
        self.sent.windows(certificate.der().len()).any(|window| window == certificate.der())
    }

    pub fn error(&self) -> &rustls::Error {
        self.client.as_ref().err().unwrap()
    }
}

/// Performs a handshake until neither side has anything to send, or one fails; the last bytes of the client still arrive.
pub fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: &str) -> Handshake {
    shake(begin(client, name), server)
}

/// Begins a handshake with this server.
pub fn begin(client: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    ClientConnection::new(client.clone(), ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

/// The rest of a handshake.
pub fn shake(mut client: ClientConnection, server: &Arc<ServerConfig>) -> Handshake {
    let mut server = ServerConnection::new(server.clone()).unwrap();
    let mut sent = Vec::new();
    let outcome = loop {
        let question = drain(&mut client);
        let refused = deliver(&mut server, &question).is_err();
        let answer = drain(&mut server);
        sent.extend(&question);
        let outcome = deliver(&mut client, &answer);
        if outcome.is_err() || refused || question.is_empty() && answer.is_empty() {
            break outcome;
        }
    };
    let last = drain(&mut client);
    // A server that receives an alert fails too
    let _ = deliver(&mut server, &last);
    sent.extend(last);
    Handshake { client: outcome.map(|()| client), server, sent }
}

/// Everything that this side has to send.
pub fn drain<Side>(connection: &mut ConnectionCommon<Side>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).unwrap();
    }
    bytes
}

pub fn deliver<Side: SideData>(connection: &mut ConnectionCommon<Side>, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        connection.read_tls(&mut bytes).unwrap();
        connection.process_new_packets()?;
    }
    Ok(())
}
