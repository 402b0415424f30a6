//! What real servers see: the right certificate with its chain, and nothing without a decision.

use std::io::{Read, Write};
use std::net::TcpListener;

use rcgen::{CertificateParams, KeyIdMethod};

use crate::support::ca::{self, Issued, Key, P12};
use crate::support::command::Cardcase;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server, Setup, Tls};

/// The chains of these identities, as far as this kind of server reports them.
fn seen_by(kind: Kind, identities: &[&Issued]) -> Vec<Vec<String>> {
    let whole = |identity: &&Issued| {
        let mut chain = identity.sent_chain();
        // nginx reports only the leaf. It verified it, so the rest arrived too
        chain.truncate(if kind == Kind::Nginx { 1 } else { chain.len() });
        chain
    };
    identities.iter().map(whole).collect()
}

#[track_caller]
fn assert_seen(server: &Server, kind: Kind, identities: &[&Issued], case: &str) {
    assert_eq!(server.chains(), seen_by(kind, identities), "{case}\n{}", server.said());
}

#[test]
fn every_server_sees_the_decided_identity_with_its_chain() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.hire("bob");
    scene.remember("localhost", &alice.fingerprint());
    for kind in Kind::ALL {
        for tls in BOTH_VERSIONS {
            for ask in [Ask::Require, Ask::Optional] {
                let case = format!("{kind:?} {tls:?} {ask:?}");
                let server = scene.server(kind).tls(tls).ask(ask).start();
                scene.fetch(&server.url(), &[]).expect(0);
                assert_seen(&server, kind, &[&alice], &case);
                let handshakes = server.handshakes();
                assert_eq!(handshakes.last().unwrap().tls, tls.number(), "{case}");
                assert!(handshakes.last().unwrap().complete, "{case}\n{}", server.said());
            }
        }
    }
}

#[test]
fn every_key_type_signs_for_every_server() {
    let scene = Scene::new();
    let keys = [Key::P256, Key::P384, Key::P521, Key::Rsa2048, Key::Ed25519];
    for key in keys {
        let identity = scene.bring(scene.employee(key.name()).key(key).issue());
        scene.remember("localhost", &identity.fingerprint());
        for kind in [Kind::OpenSsl, Kind::Go] {
            for tls in BOTH_VERSIONS {
                let case = format!("{key:?} {kind:?} {tls:?}");
                let server = scene.server(kind).tls(tls).start();
                let outcome = scene.fetch(&server.url(), &[]);
                if (key, kind, tls) == (Key::P521, Kind::OpenSsl, Tls::V1_2) {
                    // OpenSSL wants the curve of the certificate among the client's groups (RFC 8422 section 5.1), and
                    // rustls has no key exchange over P-521: the same certificate goes again over OpenSSL
                    outcome.expect(0).says(&["secp521r1", "connecting again with OpenSSL"]);
                    let outcome = scene.fetch(&server.url(), &["--tls", "rustls"]).expect(5);
                    outcome.says(&["secp521r1", "--tls openssl"]);
                    assert_eq!(server.chains(), vec![identity.sent_chain(); 3]);
                    continue;
                }
                assert_eq!(outcome.code(), Some(0), "{case}: {}", outcome.stderr);
                assert_seen(&server, kind, &[&identity], &case);
            }
        }
    }
}

#[test]
fn the_chain_is_sent_from_every_kind_of_file() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let cases = [
        ("default", scene.employee("default").issue()),
        ("legacy", scene.employee("legacy").issue()),
        ("pem", scene.employee("pem").issue()),
    ];
    let server = scene.server(Kind::Go).start();
    for (form, identity) in &cases {
        let file = match *form {
            "default" => identity.p12(dir, P12::Default),
            "legacy" => identity.p12(dir, P12::Legacy),
            _ => identity.pem_file(dir),
        };
        scene.machine.import_file(&file);
        scene.remember("localhost", &identity.fingerprint());
        scene.fetch(&server.url(), &[]).expect(0);
    }
    let identities: Vec<_> = cases.iter().map(|(_, identity)| identity).collect();
    assert_seen(&server, Kind::Go, &identities, "");
}

#[test]
fn a_decision_for_none_sends_no_certificate() {
    let scene = Scene::new();
    scene.hire("alice");
    scene.remember("localhost", "none");
    for kind in Kind::ALL {
        for tls in BOTH_VERSIONS {
            let server = scene.server(kind).tls(tls).ask(Ask::Optional).start();
            scene.fetch(&server.url(), &[]).expect(0);
            let handshakes = server.handshakes();
            assert!(handshakes.last().unwrap().complete, "{kind:?} {tls:?}\n{}", server.said());
            assert_seen(&server, kind, &[], &format!("{kind:?} {tls:?}"));
        }
    }
}

#[test]
fn a_server_that_does_not_ask_gets_nothing() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    for kind in Kind::ALL {
        for tls in BOTH_VERSIONS {
            let server = scene.server(kind).tls(tls).ask(Ask::Never).start();
            scene.fetch(&server.url(), &[]).expect(0);
            assert_eq!(server.handshakes().len(), 1, "{kind:?} {tls:?}: not the first connection");
            assert_seen(&server, kind, &[], &format!("{kind:?} {tls:?}"));
        }
    }
}

#[test]
fn http_2_carries_the_identity() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    for tls in BOTH_VERSIONS {
        for (http1, protocol) in [(false, "HTTP/2.0"), (true, "HTTP/1.1")] {
            let setup = scene.server(Kind::Go).tls(tls);
            let server = if http1 { setup.http1() } else { setup }.start();
            let body = scene.fetch(&server.url(), &[]).expect(0).json();
            assert_eq!(body["proto"], protocol, "{tls:?}");
            assert_eq!(body["chain"], serde_json::json!(alice.sent_chain()), "{tls:?}");
        }
    }
}

/// A CA that has a new key under its old name, without key identifiers: only the signature says which certificate is the
/// issuer's. And names and identifiers that programs write differently.
#[test]
fn the_issuer_is_sent_however_its_name_and_identifiers_are_written() {
    let scene = Scene::new();
    let root = &scene.staff_root;
    let unnamed =
        |params: &mut CertificateParams| params.key_identifier_method = KeyIdMethod::PreSpecified(vec![7; 20]);
    let (old, new) = (root.intermediate("Re-keyed"), root.intermediate("Re-keyed"));
    let (composed, decomposed) = ("Caf\u{e9} CA", "Cafe\u{301} CA");
    let spelled = root.intermediate(decomposed);
    let other_identifier = root.intermediate_as("Other Software", unnamed);
    // OpenSSL takes no issuer whose key identifier differs, and neither server one that is spelled in another way
    for (what, issuer, leaf, verifying) in [
        ("the new key", &new, new.client("new").issue(), Some(Kind::OpenSsl)),
        ("the old key", &old, old.client("old").issue(), Some(Kind::OpenSsl)),
        ("another normal form", &spelled, spelled.renamed(composed).client("spelled").issue(), None),
        (
            "another key identifier",
            &other_identifier,
            other_identifier.client("other").names_key_of_issuer().issue(),
            Some(Kind::Go),
        ),
    ] {
        let machine = Cardcase::new();
        let dir = machine.dir();
        let above = [old.pem(), new.pem(), spelled.pem(), other_identifier.pem(), root.pem()].concat();
        machine.import_file(&ca::write(dir, "identity", "pem", leaf.key_pem() + &leaf.pem() + &above));
        machine.run(&format!("remember localhost {} --for permanent", leaf.fingerprint())).expect(0);
        let shown = machine.run(&format!("show {}", leaf.fingerprint())).expect(0).text();
        assert!(!shown.contains("Missing"), "{what}: {shown}");
        for kind in [Kind::OpenSsl, Kind::Go] {
            let server = scene.server(kind).ask(Ask::Unchecked).start();
            machine.fetch(&server.url(), &scene.server_root_file, &[]).expect(0);
            let sent = [leaf.fingerprint(), issuer.fingerprint()];
            assert_eq!(server.chains(), [sent.to_vec()], "{what}, {kind:?}\n{}", server.said());
        }
        if let Some(kind) = verifying {
            let server = scene.server(kind).ask(Ask::Require).start();
            machine.fetch(&server.url(), &scene.server_root_file, &[]).expect(0);
        }
    }
}

/// OpenSSL has what rustls lacks. Nothing was decided or sent before.
#[test]
fn fetch_turns_to_openssl_for_a_server_with_which_rustls_has_nothing_in_common() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    // An RSA certificate of the server, for key exchange by RSA
    let rsa = scene.server_root.server_with_key(Key::Rsa2048, &["localhost"]);
    let cases: [(&Issued, &[&str], Ask, &str); 4] = [
        (&scene.server_certificate, &["-cipher", "ECDHE-ECDSA-AES128-SHA256"], Ask::Require, "(CBC)"),
        // With this setting OpenSSL accepts no certificate on another curve either
        (&rsa, &["-curves", "secp521r1"], Ask::Never, "over an unusual curve"),
        (&rsa, &["-cipher", "DHE-RSA-AES128-GCM-SHA256"], Ask::Require, "Diffie-Hellman"),
        (&rsa, &["-cipher", "AES128-GCM-SHA256"], Ask::Never, "RSA key exchange"),
    ];
    for (certificate, arguments, ask, what) in cases {
        let setup = Setup::new(Kind::OpenSsl, certificate).authorities(&[&scene.staff_root]).tls(Tls::V1_2);
        let server = setup.ask(ask).arguments(arguments).start();
        let expected = if ask == Ask::Never { Vec::new() } else { vec![alice.sent_chain()] };
        scene.fetch(&server.url(), &["--tls", "rustls"]).expect(1).says(&["rustls does not support", "--tls openssl"]);
        assert!(server.chains().is_empty(), "{what}");
        scene.fetch(&server.url(), &[]).expect(0).says(&[what, "connecting again with OpenSSL"]);
        assert_eq!(server.chains(), expected, "{what}");
        scene.fetch(&server.url(), &["--tls", "openssl"]).expect(0);
    }
}

#[test]
fn explain_and_credential_turn_to_openssl_as_fetch_does() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let cipher = ["-cipher", "ECDHE-ECDSA-AES128-SHA256"];
    let server = scene.server(Kind::OpenSsl).tls(Tls::V1_2).arguments(&cipher).start();
    let (to, cacert) = (server.destination(), scene.server_root_file.to_str().unwrap());
    for command in [&["explain", &to][..], &["explain", &to, "--request"], &["credential", "curl", &to]] {
        let run = |more: &[&str]| scene.machine.command([command, &["--cacert", cacert], more].concat()).run();
        run(&[]).expect(0).says(&["(CBC)", "rustls does not support that; connecting again with OpenSSL"]);
        run(&["--tls", "openssl"]).expect(0);
        run(&["--tls", "rustls"]).expect(1).says(&["rustls does not support that", "--tls openssl", "(CBC)"]);
    }
    assert!(server.chains().is_empty(), "an identity was sent");
    let explained = scene.machine.command(["explain", &to, "--json", "--cacert", cacert]).run().expect(0).json();
    assert_eq!(explained["requested"], true);
    assert_eq!(explained["authorities"], serde_json::json!(["CN=Staff Root,O=Test Authorities"]));
}

/// A server that answers every ClientHello with a ServerHello of TLS 1.1 (RFC 4346 section 7.4.1.3), whatever was offered.
fn server_that_chooses_tls11() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        let mut hello = [0; 47];
        hello[..11].copy_from_slice(&[0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2]);
        // After the random value: no session identifier, TLS_RSA_WITH_AES_128_CBC_SHA, no compression
        hello[43..].copy_from_slice(&[0, 0, 0x2f, 0]);
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1024]).and_then(|_| stream.write_all(&hello));
        }
    });
    to
}

#[test]
fn a_server_without_tls12_is_named_with_what_is_possible() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let old = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let server = scene.server(Kind::OpenSsl).arguments(&old).start();
    let ca = scene.server_root_file.to_str().unwrap();
    for to in [server.destination(), server_that_chooses_tls11()] {
        let url = format!("https://{to}/");
        let commands =
            [&["fetch", &url][..], &["explain", &to], &["explain", &to, "--request"], &["credential", "curl", &to]];
        for command in commands {
            for tls in [&[][..], &["--tls", "rustls"], &["--tls", "openssl"]] {
                let outcome = scene.machine.command([command, &["--cacert", ca], tls].concat()).run().expect(1);
                outcome.says(&[
                    "it supports no version of TLS from 1.2 on",
                    "curl --ciphers DEFAULT@SECLEVEL=0 --tlsv1.0",
                ]);
            }
        }
    }
    assert!(server.chains().is_empty(), "an identity was sent");
    // What the hint says works
    let (file, password) = (scene.machine.dir().join("alice.p12"), scene.machine.dir().join("password"));
    std::fs::write(&password, "secret").unwrap();
    let export =
        scene.machine.command(["export", &alice.fingerprint(), "--password-file"]).arg(&password).arg("-o").arg(&file);
    export.run().expect(0);
    let mut curl = program::named("curl");
    curl.args([
        "--silent",
        "--cacert",
        ca,
        "--ciphers",
        "DEFAULT@SECLEVEL=0",
        "--tlsv1.0",
        "--cert-type",
        "P12",
        "--cert",
    ]);
    let output = curl.arg(format!("{}:secret", file.display())).arg(server.url()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.chains()[0][0], alice.fingerprint());
}
