//! No identity is sent to a destination that it was not decided for, or with the key of another. A failure sends
//! nothing, not even an empty message.

use crate::support::ca::{Authority, Validity};
use crate::support::command::Cardcase;
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Setup};
use serde_json::json;

const WITNESSES: [Kind; 2] = [Kind::OpenSsl, Kind::Go];

/// Swaps a column between the two identities of a store, as somebody who can write the file could.
fn swap(machine: &Cardcase, column: &str) {
    let database = machine.database();
    let mut query = database.prepare(&format!("SELECT id, {column} FROM identities ORDER BY id")).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows: Vec<(i64, Vec<u8>)> = rows.map(Result::unwrap).collect();
    let [first, second] = rows.as_slice() else { panic!("{} identities", rows.len()) };
    let update = format!("UPDATE identities SET {column} = ?1 WHERE id = ?2");
    for (value, id) in [(&first.1, second.0), (&second.1, first.0)] {
        assert_eq!(database.execute(&update, rusqlite::params![value, id]).unwrap(), 1);
    }
}

#[test]
fn an_identity_given_for_a_url_is_not_sent_after_a_redirect_elsewhere() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for host in ["127.0.0.1", "localhost"] {
        let first = scene.server(Kind::Go).start();
        let second = scene.server(Kind::Go).ask(Ask::Optional).start();
        let url = first.redirect_to("localhost", &second.url_at(host, "/"));
        let more = ["-L", "--as", &alice.fingerprint()];
        scene.fetch(&url, &more).expect(4);
        assert!(second.requests().is_empty(), "{host}");
        scene.remember(host, "none");
        scene.fetch(&url, &more).expect(0);
        assert_eq!(second.requests().len(), 1, "{host}");
        second.assert_nothing_came(host);
        assert_eq!(first.chains(), [alice.sent_chain(), alice.sent_chain()], "{host}");
        scene.machine.run(&format!("forget {host}")).expect(0);
    }
}

#[test]
fn an_identity_given_for_a_url_is_sent_after_a_redirect_to_the_same_destination() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::Go).tls(tls).start();
        let url = server.redirect_to("localhost", &server.url());
        scene.fetch(&url, &["-L", "--as", &alice.fingerprint()]).expect(0);
        let requests = server.requests();
        assert_eq!(requests.len(), 2, "{tls:?}");
        for request in requests {
            assert_eq!(request["chain"], json!(alice.sent_chain()), "{tls:?}");
        }
    }
}

#[test]
fn a_key_that_does_not_match_its_certificate_sends_nothing() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.hire("bob");
    scene.remember("localhost", &alice.fingerprint());
    swap(&scene.machine, "private_key");
    for kind in WITNESSES {
        for tls in BOTH_VERSIONS {
            for more in [&[][..], &["--as", &alice.fingerprint()]] {
                let case = format!("{kind:?} {tls:?} {more:?}");
                let server = scene.server(kind).tls(tls).start();
                scene.fetch(&server.url(), more).expect(1).says(&["alice", "does not open"]);
                server.assert_nothing_came(&case);
            }
        }
    }
    assert_eq!(scene.machine.json("history")["uses"], json!([]));
}

#[test]
fn nothing_is_sent_without_a_decision() {
    let scene = Scene::new();
    scene.hire("alice");
    for kind in WITNESSES {
        for tls in BOTH_VERSIONS {
            for ask in [Ask::Require, Ask::Optional] {
                let server = scene.server(kind).tls(tls).ask(ask).start();
                scene.fetch(&server.url(), &[]).expect(4);
                server.assert_nothing_came(&format!("{kind:?} {tls:?} {ask:?}"));
            }
        }
    }
}

#[test]
fn a_certificate_swapped_into_another_row_is_never_used() {
    let scene = Scene::new();
    let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
    let server = scene.server(Kind::Go).start();
    scene.remember("localhost", &alice.fingerprint());
    swap(&scene.machine, "certificate");
    let damage = ["identities", "row"];
    scene.fetch(&server.url(), &[]).expect(1).says(&damage);
    for id in [alice.fingerprint(), bob.fingerprint()] {
        scene.fetch(&server.url(), &["--as", &id]).expect(1).says(&damage);
        scene.machine.run(&format!("remember 127.0.0.1 {id}")).expect(1).says(&damage);
    }
    scene.machine.run("list").expect(1).says(&damage);
    scene.fetch(&server.url_at("127.0.0.1", "/"), &[]).expect(1).says(&damage);
    server.assert_nothing_came("");
    assert!(server.requests().is_empty());
}

#[test]
fn an_unverified_server_leaves_no_trace() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let stranger = Authority::root("Stranger Root").server(&["localhost"]);
    for answer in [alice.fingerprint(), "none".to_owned()] {
        scene.remember("localhost", &answer);
        for kind in WITNESSES {
            for tls in BOTH_VERSIONS {
                let setup = Setup::new(kind, &stranger).authorities(&[&scene.staff_root]);
                let server = setup.tls(tls).start();
                scene.fetch(&server.url(), &[]).expect(1);
                server.assert_nothing_came(&format!("{kind:?} {tls:?} {answer}"));
            }
        }
        assert_eq!(scene.machine.json("history")["uses"], json!([]), "{answer}");
        let decisions = scene.machine.json("decisions");
        assert_eq!(decisions["decisions"][0]["last_used_at"], json!(null), "{decisions}");
    }
}

#[test]
fn an_identity_outside_its_validity_is_not_sent_and_the_error_says_why() {
    let scene = Scene::new();
    for (validity, why) in [(Validity::Expired, ": expired"), (Validity::NotYet, ": not yet valid")] {
        let name = format!("{validity:?} employee");
        let late = scene.bring(scene.employee(&name).validity(validity).issue());
        scene.remember("localhost", &late.fingerprint());
        for tls in BOTH_VERSIONS {
            let server = scene.server(Kind::OpenSsl).tls(tls).start();
            scene.fetch(&server.url(), &[]).expect(4).says(&[&name, why]);
            server.assert_nothing_came(&format!("{validity:?} {tls:?}"));
        }
    }
}

#[test]
fn a_decision_for_the_server_does_not_apply_to_the_proxy() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for tls in BOTH_VERSIONS {
        let (proxy, server, [flag, at]) = scene.behind_a_proxy(tls);
        scene.remember("localhost", &alice.fingerprint());
        // Only the proxy is undecided
        for more in [&[&flag[..], &at][..], &[&flag, &at, "--as", &alice.fingerprint()]] {
            scene.fetch(&server.url(), more).expect(4).says(&["127.0.0.1"]);
        }
        // Only the proxy is decided
        scene.machine.run("forget localhost").expect(0);
        scene.remember("127.0.0.1", &alice.fingerprint());
        scene.fetch(&server.url(), &[&flag, &at]).expect(4).says(&["localhost"]);
        server.assert_nothing_came(&format!("{tls:?}"));
        let seen = proxy.chains();
        assert!(!seen.is_empty() && seen.iter().all(|chain| *chain == alice.sent_chain()), "{tls:?}: {seen:?}");
        let seen = seen.len();
        scene.fetch(&server.url(), &[&flag, &at, "--credentials", "omit"]).expect(0);
        assert_eq!(proxy.chains().len(), seen, "{tls:?}: the proxy was sent one");
        server.assert_nothing_came(&format!("{tls:?}"));
        scene.machine.run("forget 127.0.0.1").expect(0);
    }
}

/// The session with the server runs inside the session with the proxy, and neither hides what happens in the other.
#[test]
fn behind_a_proxy_nothing_is_sent_without_a_decision_and_uses_are_recorded() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("127.0.0.1", "none");
    for tls in BOTH_VERSIONS {
        let (proxy, server, [flag, at]) = scene.behind_a_proxy(tls);
        let witness = scene.server(Kind::OpenSsl).tls(tls).ask(Ask::Optional).start();
        scene.fetch(&witness.url(), &[&flag, &at]).expect(4).says(&["localhost"]);
        witness.assert_nothing_came(&format!("{tls:?}"));
        scene.remember("localhost", &alice.fingerprint());
        scene.fetch(&server.url(), &[&flag, &at]).expect(0);
        let history = scene.machine.json("history localhost");
        assert_eq!(history["uses"][0]["port"], json!(server.port()), "{tls:?}: {history}");
        assert_eq!(proxy.chains().len(), 0, "{tls:?}");
        scene.machine.run("forget localhost").expect(0);
    }
}

#[test]
fn a_refusal_by_a_proxy_is_exit_5_and_recorded() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("127.0.0.1", &alice.fingerprint());
    scene.remember("localhost", "none");
    for tls in BOTH_VERSIONS {
        let setup = Setup::new(Kind::Python, &scene.server_certificate).authorities(&[&scene.guests_root]);
        let proxy = setup.tls(tls).start();
        let server = scene.server(Kind::Go).ask(Ask::Optional).start();
        let at = proxy.url_at("127.0.0.1", "");
        scene.fetch(&server.url(), &["--proxy", &at]).expect(5).says(&["alice", "unknown_ca", "127.0.0.1"]);
        assert!(server.handshakes().is_empty(), "{tls:?}");
        let history = scene.machine.json("history");
        let used = &history["uses"][0];
        let seen = [&used["host"], &used["port"], &used["identity"], &used["outcome"]];
        let meant = [json!("127.0.0.1"), json!(proxy.port()), json!(alice.fingerprint()), json!("refused")];
        assert_eq!(seen, meant.each_ref(), "{tls:?}: {history}");
    }
}
