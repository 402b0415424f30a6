//! Servers that ask in the first handshake, as with rustls.

use serde_json::json;

use crate::openssl::OPENSSL;
use crate::support::ca::{self, Validity};
use crate::support::question::{Question, assert_ends};
use crate::support::scene::Scene;
use crate::support::screen::SEND_NONE;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind};
use crate::support::terminal::Terminal;

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
fn a_refusal_is_reported_as_with_rustls() {
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

/// Nobody is asked for a server that cannot be verified.
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
fn nobody_to_ask_and_nothing_that_fits_are_reported_as_with_rustls() {
    let scene = Scene::new();
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    scene.fetch(&server.url(), &OPENSSL).expect(0).says(&["the store has no identities"]);
    scene.hire("alice");
    scene.fetch(&server.url(), &OPENSSL).expect(4).says(&["nobody can be asked", "cardcase explain"]);
    scene.fetch(&server.url(), &[&OPENSSL[..], &["--credentials", "omit"]].concat()).expect(0);
    assert!(server.chains().is_empty());
}
