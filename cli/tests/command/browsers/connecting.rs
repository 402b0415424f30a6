//! Connections: which identity is sent in which connection.

use serde_json::{Value, json};

use super::{fetch, optional, remember};
use crate::support::MODES;
use crate::support::gate::Gate;
use crate::support::question::Question;
use crate::support::scene::Scene;
use crate::support::screen::SEND_NONE;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server};
use crate::support::typed::Typed;

/// The chain in each request.
fn received(server: &Server) -> Vec<Value> {
    server.requests().iter().map(|request| request["chain"].clone()).collect()
}

#[test]
fn redirects() {
    let scene = Scene::new();
    let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
    for mode in MODES {
        let last = optional(&scene);
        let middle = scene.server(Kind::Python).ask(Ask::Optional).start();
        let first = optional(&scene);
        let (elsewhere, here) = (format!("127.0.0.1:{}", middle.port()), first.destination());
        remember(&scene, mode, &here, &alice.fingerprint());
        remember(&scene, mode, &elsewhere, &bob.fingerprint());
        // The last server has the host of the first and another port. In chrome mode that is another destination
        if mode == "chrome" {
            remember(&scene, mode, &last.destination(), "none");
        }
        let on = middle.redirect_to("127.0.0.1", &last.url());
        fetch(&scene, mode, &first.redirect_to("localhost", &on), &["-L"]).expect(0);
        assert_eq!(first.chains(), [alice.sent_chain()], "{mode}");
        assert_eq!(middle.chains(), [bob.sent_chain()], "{mode}");
        let to_the_last = if mode == "firefox" { alice.sent_chain() } else { Vec::new() };
        assert_eq!(received(&last), [json!(to_the_last)], "{mode}");
        scene.machine.run("forget --all").expect(0);
    }
}

/// One process, one destination, and another decision: the session of the first connection is not resumed.
#[test]
fn after_the_decision_changes() {
    let scene = Scene::new();
    let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
    for mode in MODES {
        for tls in BOTH_VERSIONS {
            for (then, resumed) in [(&alice, true), (&bob, false)] {
                let server = scene.server(Kind::Go).tls(tls).start();
                let between = scene.server(Kind::Go).ask(Ask::Never).start();
                let gate = Gate::before(&between);
                let back = format!("https://localhost:{}/redirect?to={}", gate.port, server.url());
                let url = server.redirect_to("localhost", &back);
                remember(&scene, mode, &server.destination(), &alice.fingerprint());
                std::thread::scope(|threads| {
                    let fetching = threads.spawn(|| fetch(&scene, mode, &url, &["-L"]));
                    gate.wait_for_the_client();
                    remember(&scene, mode, &server.destination(), &then.fingerprint());
                    gate.open();
                    fetching.join().unwrap().expect(0);
                });
                let case = format!("{mode} {tls:?} {}", then.name);
                assert_eq!(received(&server), [json!(alice.sent_chain()), json!(then.sent_chain())], "{case}");
                let resumptions: Vec<_> = server.handshakes().iter().map(|handshake| handshake.resumed).collect();
                assert_eq!(resumptions, [false, resumed], "{case}");
            }
        }
    }
}

/// Two names lead to the same server over HTTP/2. An identity for one of them is not sent to the other.
#[test]
fn http2_connection_reuse_for_another_host() {
    let scene = Scene::new();
    let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
    for mode in MODES {
        for (at_the_other, seen) in [(bob.fingerprint(), bob.sent_chain()), ("none".to_owned(), Vec::new())] {
            let server = optional(&scene);
            remember(&scene, mode, &server.destination(), &alice.fingerprint());
            remember(&scene, mode, &format!("127.0.0.1:{}", server.port()), &at_the_other);
            let url = server.redirect_to("localhost", &server.url_at("127.0.0.1", "/"));
            fetch(&scene, mode, &url, &["-L"]).expect(0);
            assert_eq!(received(&server), [json!(alice.sent_chain()), json!(seen)], "{mode}");
            assert!(server.requests().iter().all(|request| request["proto"] == "HTTP/2.0"), "{mode}");
        }
    }
}

/// As in the Fetch standard, which differs from both browsers.
#[test]
fn credentials_mode() {
    let question = Question::new();
    let scene = &question.scene;
    let alice = &question.alice;
    let preflight = ["-X", "OPTIONS", "-H", "Origin: https://a.example", "-H", "Access-Control-Request-Method: PUT"];
    let cases: [(&[&str], bool); 4] = [
        (&["--credentials", "omit"], false),
        (&preflight, false),
        (&preflight[..4], true),
        (&["--credentials", "include"], true),
    ];
    for mode in MODES {
        for (more, sends) in cases {
            let server = question.server();
            if !sends {
                let mut terminal = question.fetch(&server, &[&["--mode", mode], more].concat());
                assert_eq!(terminal.end().code(), Some(0), "{mode} {more:?}: {}", terminal.text());
                assert!(!terminal.text().contains(SEND_NONE), "{mode} {more:?}: asked");
            }
            remember(scene, mode, &server.destination(), &alice.fingerprint());
            fetch(scene, mode, &server.url(), more).expect(0);
            let seen = if sends { vec![alice.sent_chain()] } else { Vec::new() };
            assert_eq!(server.chains(), seen, "{mode} {more:?}");
            let source = if sends { "decision" } else { "omitted" };
            assert_eq!(scene.machine.json("history")["uses"][0]["source"], source, "{mode} {more:?}");
            scene.machine.run("forget --all").expect(0);
        }
    }
}

#[test]
fn https_proxy_that_asks() {
    let scene = Scene::new();
    let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
    let none = "none".to_owned();
    let cases = [
        (alice.fingerprint(), vec![alice.sent_chain()], none.clone(), vec![]),
        (alice.fingerprint(), vec![alice.sent_chain()], bob.fingerprint(), vec![bob.sent_chain()]),
        (none, vec![], bob.fingerprint(), vec![bob.sent_chain()]),
    ];
    for mode in MODES {
        for tls in BOTH_VERSIONS {
            for (to_proxy, proxy_sees, to_server, server_sees) in &cases {
                let (proxy, server, [flag, at]) = scene.behind_a_proxy(tls);
                remember(&scene, mode, &format!("127.0.0.1:{}", proxy.port()), to_proxy);
                remember(&scene, mode, &server.destination(), to_server);
                fetch(&scene, mode, &server.url(), &[&flag, &at]).expect(0);
                assert_eq!(&proxy.chains(), proxy_sees, "{mode} {tls:?}");
                assert_eq!(&server.chains(), server_sees, "{mode} {tls:?}");
                assert_eq!(server.requests().len(), 1, "{mode} {tls:?}");
            }
        }
    }
}

/// rustls does not renegotiate: nothing is sent, and the error gives the likely cause.
#[test]
fn renegotiation_tls_1_2() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for mode in MODES {
        let mut server = Typed::start(&scene, "-tls1_2");
        remember(&scene, mode, &format!("localhost:{}", server.port), &alice.fingerprint());
        std::thread::scope(|threads| {
            let (scene, url) = (&scene, server.url());
            let fetching = threads.spawn(move || fetch(scene, mode, &url, &["--tls", "rustls"]));
            server.type_after("GET / HTTP/1.1", "R\n");
            fetching.join().unwrap().expect(1).says(&["renegotiation"]);
        });
        let said = server.log.lines().join("\n");
        assert!(said.contains("HelloRequest"), "the server never asked:\n{said}");
        assert!(said.contains("no renegotiation"), "{mode}:\n{said}");
        assert_eq!(scene.machine.json("history")["uses"], json!([]), "{mode}");
    }
}

/// rustls does not offer it, so a server cannot ask. The connection goes on.
#[test]
fn post_handshake_authentication_tls_1_3() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for mode in MODES {
        let mut server = Typed::start(&scene, "-tls1_3");
        remember(&scene, mode, &format!("localhost:{}", server.port), &alice.fingerprint());
        std::thread::scope(|threads| {
            let (scene, url) = (&scene, server.url());
            let fetching = threads.spawn(move || fetch(scene, mode, &url, &["--tls", "rustls"]));
            server.type_after("GET / HTTP/1.1", "c\n");
            server.type_after("extension not received", "HTTP/1.1 204 No Content\r\n\r\n");
            fetching.join().unwrap().expect(0);
        });
        assert_eq!(scene.machine.json("history")["uses"], json!([]), "{mode}");
    }
}
