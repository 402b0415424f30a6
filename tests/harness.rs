//! The harness itself: every server of `support` must see and write down what a known client,
//! curl, sends to it. Were this not so, the other tests would prove nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::process::Command;

use support::ca::{Issued, P12, PASSWORD};
use support::missing;
use support::scene::Scene;
use support::server::{Ask, BOTH_VERSIONS, Kind};

const ALL: [Kind; 4] = [Kind::OpenSsl, Kind::Nginx, Kind::Go, Kind::Python];

fn curl(scene: &Scene, url: &str, identity: Option<&Issued>) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--cacert"]);
    command.arg(&scene.server_root_file);
    if let Some(identity) = identity {
        let dir = scene.machine.dir();
        command.arg("--cert").arg(identity.certificate_file(dir));
        command.arg("--key").arg(identity.key_file(dir));
    }
    let output = command.arg(url).output();
    let output = output.unwrap_or_else(|error| panic!("{}", missing("curl", "curl", &error)));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn servers_write_down_what_curl_sends() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    for kind in ALL {
        for tls in BOTH_VERSIONS {
            let server = scene.server(kind).tls(tls).start();
            let said = curl(&scene, &server.url(), Some(&alice));
            let handshakes = server.handshakes();
            assert_eq!(handshakes.len(), 1, "{kind:?} {tls:?}: {said}\n{}", server.said());
            let sent = alice.sent_chain();
            let expected = if kind == Kind::Nginx { &sent[..1] } else { &sent[..] };
            assert_eq!(handshakes[0].chain, expected, "{kind:?} {tls:?}: {said}");
            assert_eq!(handshakes[0].tls, tls.number());
            assert!(handshakes[0].complete, "{kind:?} {tls:?}: {said}\n{}", server.said());
        }
    }
}

#[test]
fn servers_write_down_that_nothing_came() {
    let scene = Scene::new();
    for kind in ALL {
        for tls in BOTH_VERSIONS {
            for (ask, complete) in [(Ask::Require, false), (Ask::Optional, true)] {
                let server = scene.server(kind).tls(tls).ask(ask).start();
                curl(&scene, &server.url(), None);
                let handshakes = server.handshakes();
                assert_eq!(handshakes.len(), 1, "{kind:?} {tls:?}\n{}", server.said());
                assert_eq!(handshakes[0].chain.len(), 0);
                assert_eq!(handshakes[0].complete, complete, "{kind:?} {tls:?}\n{}", server.said());
            }
        }
    }
}

#[test]
fn openssl_names_the_alert_it_sends() {
    let scene = Scene::new();
    let stranger = scene.guests.client("stranger").issue();
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::OpenSsl).tls(tls).without_hints().start();
        curl(&scene, &server.url(), Some(&stranger));
        let handshakes = server.handshakes();
        assert_eq!(handshakes.len(), 1, "{tls:?}\n{}", server.said());
        assert_eq!(handshakes[0].error, "unknown_ca", "{tls:?}\n{}", server.said());
        assert_eq!(server.chains(), [stranger.sent_chain()]);
    }
}

#[test]
fn openssl_reads_every_p12_written() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    for form in [P12::Default, P12::Legacy] {
        let file = alice.p12(scene.machine.dir(), form);
        let mut command = Command::new("openssl");
        command.args(["pkcs12", "-legacy", "-nodes", "-passin"]).arg(format!("pass:{PASSWORD}"));
        let output = command.arg("-in").arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 3, "{form:?}: {text}");
        assert!(text.contains("friendlyName: alice"), "{form:?}: {text}");
    }
}
