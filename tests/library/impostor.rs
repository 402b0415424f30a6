//! An impostor between client and server, without the server's key, asks for a certificate and then refuses it. Both
//! could be mistaken for messages of the server: in TLS 1.3 a request and an alert need no certificate before them.

use std::sync::{Arc, Mutex};

use cardcase::Destination;
use cardcase::Selector;
use cardcase::ask::Reply;
use cardcase::connect::cause;
use cardcase::connect::tokio::Connector;
use cardcase::manage::{Lifetime, Mode};
use cardcase::raw::alert;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::crypto::cipher::{AeadKey, Iv, MessageEncrypter, OutboundPlainMessage};
use rustls::crypto::tls13::OkmBlock;
use rustls::{ContentType, KeyLog, ProtocolVersion, ServerConfig, ServerConnection, SupportedCipherSuite};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::people::Script;
use crate::pki::{Ca, Home, NOW};
use crate::tls::{HOST, client, deliver, drain, optional_client, server};

/// The secret that encrypts the server's handshake messages.
#[derive(Debug, Default)]
struct Secret(Mutex<Vec<u8>>);

impl KeyLog for Secret {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == "SERVER_HANDSHAKE_TRAFFIC_SECRET" {
            *self.0.lock().unwrap() = secret.to_vec();
        }
    }
}

/// An impostor with keys for a client that has not verified any server yet.
struct Impostor {
    hello: Vec<u8>,
    encrypter: Box<dyn MessageEncrypter>,
    sent: u64,
}

impl Impostor {
    /// Answers the ClientHello.
    fn new(hello: &[u8]) -> Self {
        let secret = Arc::new(Secret::default());
        let mut tls = ServerConnection::new(Arc::new(any_server(secret.clone()))).unwrap();
        deliver(&mut tls, hello).unwrap();
        let mut flight = drain(&mut tls);
        let length = usize::from(u16::from_be_bytes([flight[3], flight[4]]));
        flight.truncate(5 + length);
        Self { hello: flight, encrypter: encrypter(&secret.0.lock().unwrap()), sent: 0 }
    }

    fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let plain = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_3, payload: payload.into() };
        let record = self.encrypter.encrypt(plain, self.sent).unwrap();
        self.sent += 1;
        record.encode()
    }
}

/// Its certificate does not matter, because it is never sent.
fn any_server(secret: Arc<Secret>) -> ServerConfig {
    let mut config = server(&Ca::root("Impostors"), HOST, optional_client(&[&Ca::root("Root").certificate]));
    let mut provider = (**config.crypto_provider()).clone();
    provider.cipher_suites = vec![TLS13_CHACHA20_POLY1305_SHA256];
    let leaf = config.cert_resolver;
    config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(leaf);
    config.key_log = secret;
    config
}

/// RFC 8446 section 7.3.
fn encrypter(secret: &[u8]) -> Box<dyn MessageEncrypter> {
    let SupportedCipherSuite::Tls13(suite) = TLS13_CHACHA20_POLY1305_SHA256 else { panic!("a suite of TLS 1.3") };
    let expander = suite.hkdf_provider.expander_for_okm(&OkmBlock::new(secret));
    let expand = |label: &[u8], output: &mut [u8]| {
        let lengths = [[0, output.len() as u8, label.len() as u8]];
        expander.expand_slice(&[&lengths[0], label, &[0]], output).unwrap();
    };
    let (mut key, mut iv) = ([0; 32], [0; 12]);
    expand(b"tls13 key", &mut key);
    expand(b"tls13 iv", &mut iv);
    suite.aead_alg.encrypter(AeadKey::from(key), Iv::new(iv))
}

/// EncryptedExtensions without extensions, and a CertificateRequest for ecdsa_secp256r1_sha256.
const REQUEST: [u8; 23] = [8, 0, 0, 2, 0, 0, 13, 0, 0, 13, 0, 0, 10, 0, 13, 0, 6, 0, 4, 4, 3, 8, 4];

/// Asks for a certificate, waits for the client's next message, and sends a fatal unknown_ca.
async fn ask_and_refuse(mut io: DuplexStream) {
    let mut hello = vec![0; 5];
    io.read_exact(&mut hello).await.unwrap();
    hello.resize(5 + usize::from(u16::from_be_bytes([hello[3], hello[4]])), 0);
    io.read_exact(&mut hello[5..]).await.unwrap();
    let mut impostor = Impostor::new(&hello);
    let request = impostor.record(ContentType::Handshake, &REQUEST);
    io.write_all(&[&impostor.hello[..], &request].concat()).await.unwrap();
    let mut meaningless = [0; 6];
    io.read_exact(&mut meaningless).await.unwrap();
    assert_eq!(meaningless, [20, 3, 3, 0, 1, 1], "the change_cipher_spec of a client that verified nobody");
    let alert = impostor.record(ContentType::Alert, &[2, 48]);
    io.write_all(&alert).await.unwrap();
    // It does not matter whether the client waits for the end
    let _ = io.read(&mut [0; 64]).await;
}

#[test]
fn an_unverified_server_gets_nothing_that_it_could_refuse() {
    let (root, home) = (Ca::root("Root"), Home::new());
    let leaf = root.leaf("a");
    let store = home.with([&leaf], [&root.certificate]);
    let destination = Destination::new(HOST, 443).unwrap();
    for identity in [None, Some(leaf.fingerprint())] {
        store.remember(&Mode::Chrome.scope(&destination), identity, Lifetime::Permanent, NOW).unwrap();
        let chooser = Script::new([Reply::Abort.into()]);
        let selector = Selector::new(store.clone()).with_chooser(chooser.clone()).with_clock(|| NOW);
        let selector = selector.with_mode(Mode::Chrome);
        let connector = Connector::new(Arc::new(selector), client(&Ca::root("Servers"), &rustls::version::TLS13));
        let dial = || {
            let (near, far) = duplex(1 << 16);
            tokio::spawn(ask_and_refuse(far));
            std::future::ready(Ok(near))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(connector.connect(&destination, dial)).unwrap_err();
        assert!(alert(&error).is_some() && cause(&error).is_none(), "the alert arrived: {error}");
        let opened = error.opened().unwrap();
        assert_eq!((opened.selection(), opened.request()), (None, None), "nothing was sent that could be refused");
        assert_eq!(chooser.asked().len(), 0);
    }
}
