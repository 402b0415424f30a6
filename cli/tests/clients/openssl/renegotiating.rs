//! Servers that ask by renegotiation, as IIS does: each ends the connection in its own way when the client declines.

use serde_json::json;

use crate::openssl::OPENSSL;
use crate::support::apache::Apache;
use crate::support::renegotiating::{ENDINGS, Renegotiating};
use crate::support::scene::Scene;
use crate::support::server::BOTH_VERSIONS;

/// rustls declines to renegotiate. It does not matter what the server does then, even if it does nothing.
#[test]
fn fetch_turns_to_openssl_however_the_server_ends_the_connection() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", "alice");
    for ending in ENDINGS {
        for start in [Renegotiating::start, Renegotiating::start_asking_first] {
            let server = start(&scene, ending);
            let outcome = scene.fetch(&server.url(), &[]).expect(0);
            assert_eq!(outcome.text(), "alice", "{ending}");
            outcome.says(&["by renegotiation in TLS 1.2; connecting again with OpenSSL"]);
            server.says("served GET alice");
            let used = &scene.machine.json("history")["uses"][0];
            assert_eq!(
                (&used["outcome"], &used["identity"]),
                (&json!("accepted"), &json!(alice.fingerprint())),
                "{ending}"
            );
        }
    }
}

#[test]
fn a_request_that_may_not_be_sent_twice_ends_with_the_reason_and_the_command() {
    let scene = Scene::new();
    scene.hire("alice");
    scene.remember("localhost", "alice");
    for ending in ENDINGS {
        let server = Renegotiating::start(&scene, ending);
        let outcome = scene.fetch(&server.url(), &["-d", "x"]).expect(1);
        outcome.says(&["by renegotiation in TLS 1.2", "--tls openssl", "not sent again"]);
        server.says("declined POST");
        scene.fetch(&server.url(), &[&["-d", "x"][..], &OPENSSL].concat()).expect(0);
        server.says("served POST alice");
        let posts = server.said().iter().filter(|line| line.contains("POST")).count();
        assert_eq!(posts, 2, "{ending}: {:?}", server.said());
    }
}

/// Nothing is sent over OpenSSL that was not decided.
#[test]
fn nobody_is_asked_twice_and_nothing_undecided_is_sent() {
    let scene = Scene::new();
    scene.hire("alice");
    for ending in ENDINGS {
        let server = Renegotiating::start(&scene, ending);
        scene.fetch(&server.url(), &[]).expect(4).says(&["nobody can be asked"]);
        scene.remember("localhost", "none");
        scene.fetch(&server.url(), &[]).expect(5).says(&["no certificate was sent"]);
        scene.machine.run("forget localhost").expect(0);
        assert!(!server.said().iter().any(|line| line.starts_with("served")), "{:?}", server.said());
    }
}

/// What `explain` says of a page, as JSON.
fn explained(scene: &Scene, page: &str, more: &[&str]) -> serde_json::Value {
    let cacert = scene.server_root_file.to_str().unwrap();
    let line = [&["explain", page, "--json", "--cacert", cacert][..], more].concat();
    scene.machine.command(line).run().expect(0).json()
}

#[test]
fn explain_sends_a_request_to_see_what_is_asked_only_then() {
    let scene = Scene::new();
    scene.hire("alice");
    scene.remember("localhost", "alice");
    let assert_asked = |page: &str, case: &str| {
        assert_eq!(explained(&scene, page, &[])["requested"], false, "{case}");
        for more in [&["--request"][..], &["--request", "-X", "PUT"], &["--request", "--tls", "openssl"]] {
            let explained = explained(&scene, page, more);
            assert_eq!(explained["requested"], true, "{case} {more:?}: {explained}");
            assert_eq!(explained["authorities"], json!(["CN=Staff Root,O=Test Authorities"]), "{case} {more:?}");
            assert_eq!(explained["answer"]["source"], "decision", "{case} {more:?}");
        }
    };
    for tls in BOTH_VERSIONS {
        let apache = Apache::start(&scene, tls);
        assert_asked(&format!("{}/require/page", apache.destination()), tls.number());
        assert!(apache.served(1).iter().all(|(.., name)| name == "-"), "an identity was sent");
        let open = explained(&scene, &format!("{}/open/page", apache.destination()), &["--request"]);
        assert_eq!(open["requested"], false);
    }
    for ending in ENDINGS {
        let server = Renegotiating::start(&scene, ending);
        assert_asked(&format!("{}/page", server.destination()), ending);
        assert!(!server.said().iter().any(|line| line.starts_with("served")), "{:?}", server.said());
    }
    assert_eq!(scene.machine.json("history")["uses"], json!([]), "nothing was used");
    let server = Renegotiating::start(&scene, "silence");
    let line = ["explain", &server.destination(), "--request", "-X", "POST", "--cacert"];
    let line = [&line[..], &[scene.server_root_file.to_str().unwrap()]].concat();
    scene.machine.command(line).run().expect(1).says(&["by renegotiation", "--tls openssl"]);
}
