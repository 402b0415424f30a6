//! TLS by OpenSSL: servers that ask in the first handshake, and such as ask in the middle of a connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::json;
use support::apache::Apache;
use support::ca::Validity;
use support::question::{Question, answer, assert_ends};
use support::scene::Scene;
use support::screen::{ONCE, PERMANENT, SEND_NONE};
use support::server::{Ask, BOTH_VERSIONS, Kind, Tls};
use support::terminal::{Terminal, key};
use support::typed::Typed;
use support::{MODES, ca};

const OPENSSL: [&str; 2] = ["--tls", "openssl"];

#[test]
fn every_kind_of_key_answers_in_the_first_handshake() {
    for key in [ca::Key::P256, ca::Key::P384, ca::Key::P521, ca::Key::Rsa2048, ca::Key::Ed25519] {
        let scene = Scene::new();
        let alice = scene.bring(scene.employee("alice").key(key).issue());
        for tls in BOTH_VERSIONS {
            let server = scene.server(Kind::Go).tls(tls).ask(Ask::Require).start();
            scene.remember(&server.destination(), "alice");
            scene.fetch(&server.url(), &OPENSSL).expect(0);
            assert_eq!(server.chains(), [alice.sent_chain()], "{key:?} {tls:?}");
            let used = &scene.machine.json("history")["uses"][0];
            assert_eq!(
                (&used["outcome"], &used["source"]),
                (&json!("accepted"), &json!("decision")),
                "{key:?} {tls:?}"
            );
            assert_eq!(used["tls_version"], format!("TLSv{}", tls.number()));
        }
    }
}

#[test]
fn a_refusal_is_told_as_with_rustls() {
    let scene = Scene::new();
    scene.bring(scene.employee("old").validity(Validity::Expired).issue());
    let guest = scene.bring(scene.guests.client("guest").issue());
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::Go).tls(tls).ask(Ask::Require).start();
        let outcome = scene.fetch(&server.url(), &[&OPENSSL[..], &["--as", "old"]].concat()).expect(5);
        outcome.says(&["refused the identity", "\"old\""]);
        let outcome = scene.fetch(&server.url(), &[&OPENSSL[..], &["--as", &guest.fingerprint()]].concat()).expect(5);
        outcome.says(&["refused the identity", "\"guest\""]);
        scene.remember(&server.destination(), "none");
        scene.fetch(&server.url(), &OPENSSL).expect(5).says(&["no certificate was sent"]);
        assert_eq!(scene.machine.json("history")["uses"][0]["outcome"], "refused", "{tls:?}");
        scene.machine.run("forget --all").expect(0);
    }
}

/// Nobody is asked on behalf of a stranger.
#[test]
fn a_server_that_cannot_be_verified_asks_nobody() {
    let question = Question::new();
    for tls in BOTH_VERSIONS {
        let server = question.scene.server(Kind::Go).tls(tls).ask(Ask::Require).start();
        let url = server.url();
        let machine = &question.scene.machine;
        let stranger = question.scene.guests_root.file(machine.dir());
        let arguments = ["fetch", &url, "--cacert", stranger.to_str().unwrap(), "--tls", "openssl"];
        let mut terminal = Terminal::open(machine, arguments);
        assert_ends(&mut terminal, 1);
        assert!(terminal.text().contains("unknown authority"), "{}", terminal.text());
        assert!(!terminal.text().contains(SEND_NONE), "asked:\n{}", terminal.text());
        // The certificate is not for this name
        let elsewhere = format!("https://other.example:{}/", server.port());
        let detour = format!("::127.0.0.1:{}", server.port());
        let more = [&OPENSSL[..], &["--connect-to", &detour]].concat();
        question.scene.fetch(&elsewhere, &more).expect(1).says(&["for another name"]);
        question.assert_nothing_came_of_it(&server);
    }
}

#[test]
fn nobody_to_ask_and_nothing_that_fits_are_told_as_with_rustls() {
    let scene = Scene::new();
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    scene.fetch(&server.url(), &OPENSSL).expect(0).says(&["no identity fits"]);
    scene.hire("alice");
    scene.fetch(&server.url(), &OPENSSL).expect(4).says(&["nobody can be asked", "cardcase explain"]);
    scene.fetch(&server.url(), &[&OPENSSL[..], &["--credentials", "omit"]].concat()).expect(0);
    assert!(server.chains().is_empty());
}

/// Without a flag: what rustls cannot do is found out, and done by OpenSSL.
#[test]
fn apache_asks_for_a_directory() {
    let scene = Scene::new();
    scene.hire("alice");
    for tls in BOTH_VERSIONS {
        for (path, without) in [("require", 5), ("optional", 0)] {
            let apache = Apache::start(&scene, tls);
            let url = apache.url(&format!("/{path}/page"));
            let version = format!("TLSv{}", tls.number());
            scene.fetch(&apache.url("/open/page"), &[]).expect(0);
            scene.fetch(&url, &[]).expect(4).says(&["nobody can be asked"]);
            scene.remember(&apache.destination(), "alice");
            for more in [&[][..], &OPENSSL] {
                let outcome = scene.fetch(&url, more).expect(0);
                assert_eq!(outcome.text(), format!("this is {path}\n"), "{tls:?}");
                let used = &scene.machine.json("history")["uses"][0];
                assert_eq!((&used["outcome"], &used["tls_version"]), (&json!("accepted"), &json!(version)));
            }
            scene.remember(&apache.destination(), "none");
            scene.fetch(&url, &[]).expect(without);
            let served = apache.served(3);
            let page = format!("/{path}/page");
            let with_alice = served.iter().filter(|(at, status, with, name)| {
                (at, *status, with.as_str(), name.as_str()) == (&page, 200, version.as_str(), "alice")
            });
            assert_eq!(with_alice.count(), 2, "{tls:?}: {served:?}");
            scene.machine.run("forget --all").expect(0);
        }
    }
}
