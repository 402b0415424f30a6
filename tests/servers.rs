//! What real servers see: the right certificate with its chain, nothing when nothing was decided
//! on, and what a person reads when a server refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use support::ca::{Issued, Key, P12, Validity};
use support::scene::Scene;
use support::server::{Ask, BOTH_VERSIONS, Kind, Server, Setup, Tls};

const ALL: [Kind; 4] = [Kind::OpenSsl, Kind::Nginx, Kind::Go, Kind::Python];
const WITNESSES_OF_CHAINS: [Kind; 3] = [Kind::OpenSsl, Kind::Go, Kind::Python];

/// The chains of these identities, as far as a server of this kind sees them.
fn seen_by(kind: Kind, identities: &[&Issued]) -> Vec<Vec<String>> {
    let whole = |identity: &&Issued| {
        let mut chain = identity.sent_chain();
        // nginx tells the leaf; that it could verify it tells that the rest came
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
    for kind in ALL {
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
                    // rustls has no key exchange over P-521
                    outcome.expect(1).says(&["IllegalParameter"]);
                    continue;
                }
                assert_eq!(outcome.code(), Some(0), "{case}: {}", outcome.stderr);
                assert_seen(&server, kind, &[&identity], &case);
            }
        }
    }
}

#[test]
fn the_chain_goes_along_whatever_the_server_names() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    // What is named: the root, the intermediate too, others before it, nothing
    let several = [&scene.guests_root, &scene.guests, &scene.server_root, &scene.staff_root];
    let with_intermediate = [&scene.staff_root, &scene.staff];
    for kind in [Kind::OpenSsl, Kind::Go] {
        for tls in BOTH_VERSIONS {
            for authorities in [&several[..], &with_intermediate[..]] {
                let setup = Setup::new(kind, &scene.server_certificate).authorities(authorities);
                let server = setup.tls(tls).start();
                scene.fetch(&server.url(), &[]).expect(0);
                assert_seen(&server, kind, &[&alice], &format!("{kind:?} {tls:?}"));
            }
            let server = scene.server(kind).tls(tls).without_hints().start();
            scene.fetch(&server.url(), &[]).expect(0);
            assert_seen(&server, kind, &[&alice], &format!("{kind:?} {tls:?}, nothing named"));
        }
    }
}

#[test]
fn the_chain_goes_along_from_every_kind_of_file() {
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
fn none_sends_nothing() {
    let scene = Scene::new();
    scene.hire("alice");
    scene.remember("localhost", "none");
    for kind in ALL {
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
    for kind in ALL {
        for tls in BOTH_VERSIONS {
            let server = scene.server(kind).tls(tls).ask(Ask::Never).start();
            scene.fetch(&server.url(), &[]).expect(0);
            assert_eq!(server.handshakes().len(), 1, "{kind:?} {tls:?}: not the first connection");
            assert_seen(&server, kind, &[], &format!("{kind:?} {tls:?}"));
        }
    }
}

/// What a server refuses, and what it says in which version.
struct Refusal {
    what: &'static str,
    identity: Option<Issued>,
    alert_12: &'static str,
    alert_13: &'static str,
}

/// The table of browser-behaviour.md, as far as the command offers such an identity at all.
fn refusals(scene: &Scene) -> Vec<Refusal> {
    let row = |what, identity, alert_12, alert_13| Refusal { what, identity, alert_12, alert_13 };
    let with = |validity| Some(scene.employee("late").validity(validity).issue());
    vec![
        row("none", None, "handshake_failure", "certificate_required"),
        row("unknown CA", Some(scene.guests.client("guest").issue()), "unknown_ca", "unknown_ca"),
        row("expired", with(Validity::Expired), "certificate_expired", "certificate_expired"),
        row("not yet valid", with(Validity::NotYet), "bad_certificate", "bad_certificate"),
    ]
}

#[test]
fn a_refusal_is_exit_5_and_names_the_alert() {
    let scene = Scene::new();
    for Refusal { what, identity, alert_12, alert_13 } in refusals(&scene) {
        if let Some(identity) = &identity {
            scene.machine.import(identity);
        }
        for (tls, alert) in [(Tls::V1_2, alert_12), (Tls::V1_3, alert_13)] {
            // Nothing is named, so that an identity from elsewhere is a candidate
            let server = scene.server(Kind::OpenSsl).tls(tls).without_hints().start();
            let outcome = fetch_as(&scene, &server, identity.as_ref());
            let case = format!("{what} {tls:?}: {}\n{}", outcome.stderr, server.said());
            assert_eq!(outcome.code(), Some(5), "{case}");
            assert!(outcome.stderr.contains(alert), "{alert} is not named: {case}");
            let last = server.handshakes().pop().unwrap();
            assert_eq!(last.error, alert, "the server sent another alert: {case}");
            let sent = identity.as_ref().map_or(Vec::new(), Issued::sent_chain);
            assert_eq!(last.chain, sent, "{case}");
        }
    }
}

/// Fetches with this identity or none, by a decision for this once.
fn fetch_as(scene: &Scene, server: &Server, identity: Option<&Issued>) -> support::command::Outcome {
    match identity {
        Some(identity) => scene.fetch(&server.url(), &["--as", &identity.fingerprint()]),
        None => scene.fetch(&server.url(), &["--credentials", "omit"]),
    }
}

#[test]
fn a_remembered_identity_that_is_refused_is_exit_5_too() {
    let scene = Scene::new();
    let guest = scene.bring(scene.guests.client("guest").issue());
    scene.remember("localhost", &guest.fingerprint());
    let cases = [
        (Kind::OpenSsl, "unknown_ca"),
        // Go's alert for every reason
        (Kind::Go, "bad_certificate"),
        (Kind::Python, "unknown_ca"),
    ];
    for (kind, alert) in cases {
        for tls in BOTH_VERSIONS {
            let server = scene.server(kind).tls(tls).without_hints().start();
            scene.fetch(&server.url(), &[]).expect(5).says(&[alert]);
            // Python tells nothing of a certificate it refused within the handshake
            if kind != Kind::Python {
                assert_seen(&server, kind, &[&guest], &format!("{kind:?} {tls:?}"));
            }
        }
    }
}

#[test]
fn a_remembered_none_that_is_refused_is_exit_5_too() {
    let scene = Scene::new();
    scene.hire("alice");
    scene.remember("localhost", "none");
    for kind in WITNESSES_OF_CHAINS {
        for tls in BOTH_VERSIONS {
            let server = scene.server(kind).tls(tls).start();
            scene.fetch(&server.url(), &[]).expect(5);
            assert_seen(&server, kind, &[], &format!("{kind:?} {tls:?}"));
        }
    }
}

#[test]
fn nginx_refuses_by_a_page_which_is_exit_5_and_delivered() {
    let scene = Scene::new();
    let expired = scene.bring(scene.employee("late").validity(Validity::Expired).issue());
    let cases = [(None, "No required SSL certificate was sent"), (Some(&expired), "The SSL certificate error")];
    for tls in BOTH_VERSIONS {
        for http1 in [true, false] {
            for (identity, page) in cases {
                let setup = scene.server(Kind::Nginx).tls(tls);
                let server = if http1 { setup.http1() } else { setup }.start();
                let outcome = fetch_as(&scene, &server, identity).expect(5);
                let body = outcome.text();
                assert!(body.contains(page), "{tls:?} {page}: {body}");
            }
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
