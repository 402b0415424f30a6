//! What a TLS client signs to prove that it has a key: the only messages that an agent signs, so that it signs no documents, and
//! nothing for another protocol.

use std::collections::BTreeSet;

use rustls::SignatureScheme;

/// What a client signs in TLS 1.3 before the hash of the handshake (RFC 8446 section 4.4.3).
const TLS13: &[u8; 98] =
    b"                                                                TLS 1.3, client CertificateVerify\0";

/// Bytes of the hashes of TLS 1.3: SHA-256 (or SM3), and SHA-384.
const TLS13_HASHES: [usize; 2] = [32, 48];

/// TLS 1.2 in ClientHello and ServerHello.
const TLS12: usize = 0x0303;

// Types of handshake messages (RFC 5246 section 7.4, RFC 6066 section 8)
const CLIENT_HELLO: usize = 1;
const SERVER_HELLO: usize = 2;
const CERTIFICATE: usize = 11;
const SERVER_KEY_EXCHANGE: usize = 12;
const CERTIFICATE_REQUEST: usize = 13;
const SERVER_HELLO_DONE: usize = 14;
const CLIENT_KEY_EXCHANGE: usize = 16;
const CERTIFICATE_STATUS: usize = 22;

/// ECCurveType named_curve (RFC 8422 section 5.4).
const NAMED_CURVE: usize = 3;

/// Whether this is all that a client signs in TLS 1.3.
pub(super) fn is_tls13(message: &[u8]) -> bool {
    message.strip_prefix(TLS13).is_some_and(|hash| TLS13_HASHES.contains(&hash.len()))
}

/// Whether these are all the messages of a handshake that a client with this certificate signs by this scheme in TLS 1.2: those up
/// to its ClientKeyExchange, whole and in their order, and nothing else (RFC 5246 section 7.4.8).
pub(super) fn is_tls12(message: &[u8], certificate: &[u8], scheme: SignatureScheme) -> bool {
    handshake(Reader(message), certificate, scheme).is_some()
}

/// `None` where it is not the handshake.
fn handshake(mut messages: Reader<'_>, certificate: &[u8], scheme: SignatureScheme) -> Option<()> {
    let offered = client_hello(messages.message(CLIENT_HELLO)?)?;
    server_hello(messages.message(SERVER_HELLO)?, &offered)?;
    leaf(messages.message(CERTIFICATE)?)?;
    if messages.next_is(CERTIFICATE_STATUS) {
        certificate_status(messages.message(CERTIFICATE_STATUS)?)?;
    }
    // A server with a key exchange by RSA sends none
    if messages.next_is(SERVER_KEY_EXCHANGE) {
        let exchange = messages.message(SERVER_KEY_EXCHANGE)?;
        over_curve(exchange).or_else(|| over_field(exchange))?;
    }
    certificate_request(messages.message(CERTIFICATE_REQUEST)?, scheme)?;
    messages.message(SERVER_HELLO_DONE)?.end()?;
    (leaf(messages.message(CERTIFICATE)?)? == certificate).then_some(())?;
    client_key_exchange(messages.message(CLIENT_KEY_EXCHANGE)?)?;
    messages.end()
}

/// The cipher suites and the compression methods that a client offers.
struct Offered<'a> {
    suites: &'a [u8],
    compressions: &'a [u8],
}

fn client_hello(mut hello: Reader<'_>) -> Option<Offered<'_>> {
    version_random_session(&mut hello)?;
    let suites = hello.vector(2)?.pairs()?;
    let compressions = hello.vector(1)?.filled()?;
    extensions(hello)?;
    Some(Offered { suites, compressions })
}

fn server_hello(mut hello: Reader<'_>, offered: &Offered<'_>) -> Option<()> {
    version_random_session(&mut hello)?;
    let (suite, compression) = (hello.take(2)?, hello.take(1)?);
    let is_offered = offered.suites.chunks(2).any(|each| each == suite)
        && offered.compressions.chunks(1).any(|each| each == compression);
    is_offered.then_some(())?;
    extensions(hello)
}

fn version_random_session(hello: &mut Reader<'_>) -> Option<()> {
    (hello.number(2)? == TLS12).then_some(())?;
    hello.take(32)?;
    (hello.vector(1)?.0.len() <= 32).then_some(())
}

/// The rest of a hello, which may have no extensions at all, and none twice.
fn extensions(mut rest: Reader<'_>) -> Option<()> {
    if rest.0.is_empty() {
        return Some(());
    }
    let mut all = rest.vector(2)?;
    let mut seen = BTreeSet::new();
    while !all.0.is_empty() {
        seen.insert(all.number(2)?).then_some(())?;
        all.vector(2)?;
    }
    rest.end()
}

/// The first of the certificates, which are not empty.
fn leaf(mut message: Reader<'_>) -> Option<&[u8]> {
    let mut all = message.vector(3)?;
    message.end()?;
    let leaf = all.vector(3)?.filled()?;
    while !all.0.is_empty() {
        all.vector(3)?.filled()?;
    }
    Some(leaf)
}

fn certificate_status(mut status: Reader<'_>) -> Option<()> {
    status.number(1)?;
    status.vector(3)?.filled()?;
    status.end()
}

/// ECDHE (RFC 8422 section 5.4).
fn over_curve(mut exchange: Reader<'_>) -> Option<()> {
    (exchange.number(1)? == NAMED_CURVE).then_some(())?;
    exchange.take(2)?;
    exchange.vector(1)?.filled()?;
    signature(exchange)
}

/// DHE (RFC 5246 section 7.4.3).
fn over_field(mut exchange: Reader<'_>) -> Option<()> {
    for _ in ["dh_p", "dh_g", "dh_Ys"] {
        exchange.vector(2)?.filled()?;
    }
    signature(exchange)
}

/// A scheme and a signature, and the end.
fn signature(mut signed: Reader<'_>) -> Option<()> {
    signed.take(2)?;
    signed.vector(2)?.filled()?;
    signed.end()
}

fn certificate_request(mut request: Reader<'_>, scheme: SignatureScheme) -> Option<()> {
    request.vector(1)?.filled()?;
    let schemes = request.vector(2)?.pairs()?;
    let mut authorities = request.vector(2)?;
    while !authorities.0.is_empty() {
        authorities.vector(2)?;
    }
    schemes.chunks(2).any(|each| each == u16::from(scheme).to_be_bytes()).then_some(())?;
    request.end()
}

/// A point, or a number of DHE or of RSA.
fn client_key_exchange(exchange: Reader<'_>) -> Option<()> {
    let only = |length| {
        let mut exchange = exchange;
        exchange.vector(length)?.filled()?;
        exchange.end()
    };
    only(1).or_else(|| only(2))
}

/// The bytes that are not read yet.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of at most 3 bytes.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    /// A vector whose length is a number of this many bytes.
    fn vector(&mut self, bytes: usize) -> Option<Self> {
        let length = self.number(bytes)?;
        self.take(length).map(Self)
    }

    /// The body of the next message, which has this type.
    fn message(&mut self, kind: usize) -> Option<Self> {
        (self.number(1)? == kind).then_some(())?;
        self.vector(3)
    }

    fn next_is(mut self, kind: usize) -> bool {
        self.number(1) == Some(kind)
    }

    /// The rest, which is not empty.
    fn filled(self) -> Option<&'a [u8]> {
        (!self.0.is_empty()).then_some(self.0)
    }

    /// The rest, which is not empty, and made of numbers of two bytes.
    fn pairs(self) -> Option<&'a [u8]> {
        self.filled().filter(|pairs| pairs.len().is_multiple_of(2))
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::client::ResolvesClientCert;
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::server::WebPkiClientVerifier;
    use rustls::sign::{CertifiedKey, Signer, SigningKey};
    use rustls::version::TLS12 as RUSTLS_TLS12;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SignatureAlgorithm};

    use super::*;

    const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

    fn vector(bytes: usize, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&length[4 - bytes..], body].concat()
    }

    fn message(kind: usize, body: &[u8]) -> Vec<u8> {
        [&[u8::try_from(kind).unwrap()], &*vector(3, body)].concat()
    }

    fn hello(kind: usize, rest: &[&[u8]]) -> Vec<u8> {
        let begin = [&[3, 3], &[7; 32][..], &vector(1, &[8; 32])].concat();
        message(kind, &[begin, rest.concat()].concat())
    }

    fn certificates(all: &[&[u8]]) -> Vec<u8> {
        let all: Vec<u8> = all.iter().flat_map(|each| vector(3, each)).collect();
        message(CERTIFICATE, &vector(3, &all))
    }

    fn request(scheme: SignatureScheme) -> Vec<u8> {
        let schemes = [&[8, 4], &u16::from(scheme).to_be_bytes()[..]].concat();
        let authorities = [vector(2, b"name"), vector(2, b"another")].concat();
        message(CERTIFICATE_REQUEST, &[vector(1, &[1, 64]), vector(2, &schemes), vector(2, &authorities)].concat())
    }

    /// The messages of a handshake with everything that is optional.
    fn messages(certificate: &[u8], scheme: SignatureScheme) -> Vec<Vec<u8>> {
        let extensions = vector(2, &[&[0, 5], &*vector(2, b"x"), &[0xff, 1], &*vector(2, b"")].concat());
        let exchange = [&[3, 0, 23], &*vector(1, b"point"), &[4, 3], &*vector(2, b"signature")].concat();
        vec![
            hello(CLIENT_HELLO, &[&vector(2, &[0xc0, 0x2b, 0, 0xff]), &vector(1, &[0]), &extensions]),
            hello(SERVER_HELLO, &[&[0xc0, 0x2b], &[0], &extensions]),
            certificates(&[b"server", b"authority"]),
            message(CERTIFICATE_STATUS, &[&[1], &*vector(3, b"response")].concat()),
            message(SERVER_KEY_EXCHANGE, &exchange),
            request(scheme),
            message(SERVER_HELLO_DONE, &[]),
            certificates(&[certificate, b"intermediate"]),
            message(CLIENT_KEY_EXCHANGE, &vector(1, b"point")),
        ]
    }

    /// What a client signs in TLS 1.2.
    pub(in crate::vault::agent) fn tls12(certificate: &[u8], scheme: SignatureScheme) -> Vec<u8> {
        messages(certificate, scheme).concat()
    }

    fn is_ours(messages: &[Vec<u8>]) -> bool {
        is_tls12(&messages.concat(), b"mine", SCHEME)
    }

    #[test]
    fn the_text_of_tls13_has_a_hash_and_nothing_else() {
        let with = |length: usize| [&TLS13[..], &vec![5; length]].concat();
        for length in 0..200 {
            assert_eq!(is_tls13(&with(length)), length == 32 || length == 48, "{length}");
        }
        let server = [&[b' '; 64][..], b"TLS 1.3, server CertificateVerify\0", &[5; 32]].concat();
        for other in [server, with(32).split_off(1), [&b" "[..], &with(32)].concat(), vec![b' '; 130]] {
            assert!(!is_tls13(&other), "{other:?}");
        }
    }

    #[test]
    fn every_form_of_a_handshake_of_tls12_is_known() {
        let whole = messages(b"mine", SCHEME);
        assert!(is_ours(&whole));
        let without = |left_out: &[usize]| {
            let kept = whole.iter().enumerate().filter(|(index, _)| !left_out.contains(index));
            kept.map(|(_, message)| message.clone()).collect::<Vec<_>>()
        };
        let with = |index: usize, other: Vec<u8>| {
            let mut messages = whole.clone();
            messages[index] = other;
            messages
        };
        let field = [vector(2, b"p"), vector(2, b"g"), vector(2, b"Ys"), vec![4, 1], vector(2, b"signature")].concat();
        let no_extensions = hello(SERVER_HELLO, &[&[0xc0, 0x2b], &[0]]);
        for (what, messages) in [
            ("no status", without(&[3])),
            ("key exchange by RSA", without(&[3, 4])),
            ("DHE", with(4, message(SERVER_KEY_EXCHANGE, &field))),
            ("a number of DHE or RSA", with(8, message(CLIENT_KEY_EXCHANGE, &vector(2, &[9; 300])))),
            ("no extensions", with(1, no_extensions)),
            ("no certificate above", with(7, certificates(&[b"mine"]))),
        ] {
            assert!(is_ours(&messages), "{what}");
        }
    }

    #[test]
    fn what_only_begins_like_a_handshake_is_refused() {
        let whole = messages(b"mine", SCHEME);
        let bytes = whole.concat();
        for length in 0..bytes.len() {
            assert!(!is_tls12(&bytes[..length], b"mine", SCHEME), "the first {length} bytes");
        }
        assert!(!is_tls12(&[&*bytes, &[0]].concat(), b"mine", SCHEME), "a byte more");
        assert!(!is_tls12(&[&*bytes, &message(15, b"")].concat(), b"mine", SCHEME), "a message more");
        assert!(!is_tls12(&bytes, b"other", SCHEME), "the certificate of another");
        assert!(!is_tls12(&bytes, b"mine", SignatureScheme::ED25519), "a scheme that the server does not accept");
        for index in 0..whole.len() {
            let mut changed = whole.clone();
            let taken = changed.remove(index);
            assert!(is_ours(&changed) == (index == 3 || index == 4), "without message {index}");
            changed.insert(index, [&*taken, &*taken].concat());
            assert!(!is_ours(&changed), "message {index} twice");
            for other in 0..whole.len() {
                let mut changed = whole.clone();
                changed.swap(index, other);
                assert!(!is_ours(&changed) || index == other, "messages {index} and {other} swapped");
            }
            // A longer and a shorter body, with the length of the message right
            let kind = usize::from(taken[0]);
            changed[index] = message(kind, &[&taken[4..], &[0]].concat());
            assert!(!is_ours(&changed), "a byte more in message {index}");
            if taken.len() > 4 {
                changed[index] = message(kind, &taken[4..taken.len() - 1]);
                assert!(!is_ours(&changed), "a byte less in message {index}");
                changed[index] = message(kind, &[]);
                assert!(!is_ours(&changed), "message {index} empty");
            }
        }
        let with = |index: usize, other: Vec<u8>| {
            let mut messages = whole.clone();
            messages[index] = other;
            is_ours(&messages)
        };
        let twice = vector(2, &[0, 5, 0, 0, 0, 5, 0, 0]);
        assert!(!with(1, hello(SERVER_HELLO, &[&[0xc0, 0x2b], &[0], &twice])), "an extension twice");
        assert!(!with(1, hello(SERVER_HELLO, &[&[0xc0, 0x30], &[0]])), "a suite that was not offered");
        assert!(!with(1, hello(SERVER_HELLO, &[&[0xc0, 0x2b], &[1]])), "a compression that was not offered");
        assert!(!with(7, certificates(&[])), "no certificate");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_random_ones_are_refused(begin in 0_usize..400, end: Vec<u8>) {
            let whole = tls12(b"mine", SCHEME);
            let begin = begin.min(whole.len() - 1);
            let mixed = [&whole[..begin], &end].concat();
            prop_assert!(!is_tls13(&mixed));
            prop_assert!(mixed == whole || begin == whole.len() - 1 || !is_tls12(&mixed, b"mine", SCHEME));
        }
    }

    /// A key that keeps what it is asked to sign.
    #[derive(Debug)]
    struct Recorder {
        key: Arc<dyn SigningKey>,
        signed: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    #[derive(Debug)]
    struct RecordingSigner(Box<dyn Signer>, Arc<Mutex<Vec<Vec<u8>>>>);

    impl SigningKey for Recorder {
        fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
            Some(Box::new(RecordingSigner(self.key.choose_scheme(offered)?, self.signed.clone())))
        }

        fn algorithm(&self) -> SignatureAlgorithm {
            self.key.algorithm()
        }
    }

    impl Signer for RecordingSigner {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
            self.1.lock().unwrap().push(message.to_vec());
            self.0.sign(message)
        }

        fn scheme(&self) -> SignatureScheme {
            self.0.scheme()
        }
    }

    #[derive(Debug)]
    struct Only(Arc<CertifiedKey>);

    impl ResolvesClientCert for Only {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    /// What rustls signs in a handshake of TLS 1.2, and the certificate of the client.
    fn signed_by_rustls() -> (Vec<u8>, CertificateDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().der().clone();
        let key_der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let roots = Arc::new(roots);
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build().unwrap();
        let server =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&RUSTLS_TLS12]).unwrap();
        let server = server.with_client_cert_verifier(verifier);
        let server = server.with_single_cert(vec![certificate.clone()], key_der.clone_key()).unwrap();
        let signed = Arc::new(Mutex::default());
        let recorder =
            Recorder { key: provider.key_provider.load_private_key(key_der).unwrap(), signed: signed.clone() };
        let only = Only(Arc::new(CertifiedKey::new(vec![certificate.clone()], Arc::new(recorder))));
        let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&RUSTLS_TLS12]).unwrap();
        let client = client.with_root_certificates(roots).with_client_cert_resolver(Arc::new(only));
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while signed.lock().unwrap().is_empty() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &*wire).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut &*wire).unwrap();
            client.process_new_packets().unwrap();
        }
        let message = signed.lock().unwrap().remove(0);
        (message, certificate)
    }

    #[test]
    fn what_rustls_signs_is_known() {
        let (message, certificate) = signed_by_rustls();
        assert!(is_tls12(&message, &certificate, SCHEME));
        assert!(!is_tls12(&message, b"other", SCHEME));
    }
}
