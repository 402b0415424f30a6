//! TLS by OpenSSL: servers that ask in the first handshake, and such as ask in the middle of a connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use serde_json::json;
use support::apache::Apache;
use support::ca::Validity;
use support::question::{Question, answer, assert_ends};
use support::scene::Scene;
use support::screen::{ONCE, PERMANENT, SEND_NONE, choose};
use support::server::{Ask, BOTH_VERSIONS, Kind, Tls};
use support::terminal::Terminal;
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

fn in_terminal(question: &Question, url: &str, more: &[&str]) -> Terminal {
    let mut arguments = question.scene.fetch_arguments(url);
    arguments.extend(more.iter().map(|each| (*each).to_owned()));
    Terminal::open(&question.scene.machine, arguments)
}

/// The common names of the certificates that came with requests for this path, where it was given.
fn names(apache: &Apache, count: usize, path: &str) -> Vec<String> {
    let served = apache.served(count).into_iter();
    served.filter(|(at, status, ..)| at == path && *status == 200).map(|(.., name)| name).collect()
}

#[test]
fn a_person_chooses_for_a_directory_and_it_is_remembered() {
    let question = Question::new();
    for mode in MODES {
        for tls in BOTH_VERSIONS {
            let apache = Apache::start(&question.scene, tls);
            let url = apache.url("/require/page");
            // In chrome mode everything is remembered
            let asked = if mode == "firefox" { vec![ONCE, PERMANENT] } else { vec![PERMANENT] };
            for lifetime in &asked {
                let mut terminal = in_terminal(&question, &url, &["--mode", mode]);
                terminal.wait_for(SEND_NONE);
                answer(&mut terminal, mode, "bob", lifetime);
                assert_ends(&mut terminal, 0);
                assert!(terminal.text().contains("this is require"), "{}", terminal.text());
            }
            question.scene.fetch(&url, &["--mode", mode]).expect(0);
            assert_eq!(
                names(&apache, 2 * asked.len() + 2, "/require/page"),
                vec!["bob"; asked.len() + 1],
                "{mode} {tls:?}"
            );
            question.scene.machine.run(&format!("forget --all --mode {mode}")).expect(0);
        }
    }
}

#[test]
fn what_a_directory_refuses_is_told_and_another_may_be_chosen() {
    let question = Question::new();
    question.scene.bring(question.scene.employee("outdated").validity(Validity::Expired).issue());
    for tls in BOTH_VERSIONS {
        let apache = Apache::start(&question.scene, tls);
        let url = apache.url("/require/page");
        let mut terminal = in_terminal(&question, &url, &[]);
        terminal.wait_for(SEND_NONE);
        answer(&mut terminal, "firefox", "outdated", ONCE);
        terminal.wait_for("certificate_expired");
        answer(&mut terminal, "firefox", "alice", ONCE);
        assert_ends(&mut terminal, 0);
        assert_eq!(names(&apache, 1, "/require/page"), ["alice"], "{tls:?}");
        let outcomes: Vec<_> = question.scene.machine.json("history")["uses"].as_array().unwrap()[..2]
            .iter()
            .map(|used| used["outcome"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(outcomes, ["accepted", "refused"], "{tls:?}");
    }
}

/// Servers do not wait for people as long as people think.
#[test]
fn the_answer_outlives_a_connection_that_was_lost_over_it() {
    let question = Question::new();
    for tls in BOTH_VERSIONS {
        let apache = Apache::start_with(&question.scene, tls, "Timeout 1\n");
        let mut terminal = in_terminal(&question, &apache.url("/require/page"), &[]);
        terminal.wait_for(SEND_NONE);
        terminal.stays_for(Duration::from_secs(4));
        answer(&mut terminal, "firefox", "alice", ONCE);
        assert_ends(&mut terminal, 0);
        let requests = if tls == Tls::V1_2 { 2 } else { 3 };
        assert_eq!(names(&apache, requests, "/require/page"), ["alice"], "{tls:?}\n{}", terminal.text());
    }
}

/// What was said for once answers one request of the server, also of two for one page.
#[test]
fn once_is_asked_again_by_a_renegotiation() {
    let question = Question::new();
    let apache = Apache::start_with(&question.scene, Tls::V1_2, "SSLVerifyClient optional\n");
    let mut terminal = in_terminal(&question, &apache.url("/require/page"), &["--tls", "openssl"]);
    terminal.wait_for(SEND_NONE);
    choose(&mut terminal, SEND_NONE);
    choose(&mut terminal, ONCE);
    answer(&mut terminal, "firefox", "alice", ONCE);
    assert_ends(&mut terminal, 0);
    assert_eq!(names(&apache, 1, "/require/page"), ["alice"]);
    let sent = question.scene.machine.json("history")["uses"].clone();
    let sent: Vec<_> = sent.as_array().unwrap().iter().map(|used| !used["identity"].is_null()).collect();
    assert_eq!(sent, [true, false]);
}

#[test]
fn what_may_have_been_done_is_not_done_again() {
    let scene = Scene::new();
    scene.hire("alice");
    let post = ["-d", "x"];
    for tls in BOTH_VERSIONS {
        let apache = Apache::start(&scene, tls);
        let url = apache.url("/require/page");
        scene.remember(&apache.destination(), "alice");
        // Apache says that it did nothing in TLS 1.3 alone
        let outcome = scene.fetch(&url, &post);
        match tls {
            Tls::V1_2 => drop(outcome.expect(1).says(&["renegotiating", "--tls openssl"])),
            Tls::V1_3 => drop(outcome.expect(0)),
        }
        scene.fetch(&url, &[&post[..], &OPENSSL].concat()).expect(0);
        let by_alice = |served: &[(String, u16, String, String)]| {
            served.iter().filter(|(.., status_name)| status_name == "alice").count()
        };
        let served = apache.served(2);
        assert_eq!(by_alice(&served), if tls == Tls::V1_2 { 1 } else { 2 }, "{tls:?}: {served:?}");
        scene.machine.run("forget --all").expect(0);
    }
}

#[test]
fn rustls_where_it_is_asked_for_says_what_it_cannot_do() {
    let scene = Scene::new();
    scene.hire("alice");
    for (tls, code) in [(Tls::V1_2, 1), (Tls::V1_3, 0)] {
        let apache = Apache::start(&scene, tls);
        let outcome = scene.fetch(&apache.url("/require/page"), &["--tls", "rustls"]).expect(code);
        outcome.says(&["to ask for a certificate only now", "--tls openssl"]);
    }
}

#[test]
fn a_directory_asks_over_http_1_where_http_2_was_spoken() {
    let scene = Scene::new();
    scene.hire("alice");
    for tls in BOTH_VERSIONS {
        let apache = Apache::start_with(&scene, tls, "Protocols h2 http/1.1\n");
        scene.remember(&apache.destination(), "alice");
        scene.fetch(&apache.url("/require/page"), &[]).expect(0);
        assert_eq!(names(&apache, 1, "/require/page"), ["alice"], "{tls:?}");
        scene.machine.run("forget --all").expect(0);
    }
}

/// Types a response in two halves, and a server's command before, between or after them.
struct Halves {
    server: Typed,
    tls: Tls,
}

const FIRST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello\n";
const SECOND: &str = "world\n";

impl Halves {
    fn start(scene: &Scene, tls: Tls) -> Halves {
        let flag = format!("-tls{}", tls.number().replace('.', "_"));
        Halves { server: Typed::start(scene, &flag), tls }
    }

    fn destination(&self) -> String {
        format!("localhost:{}", self.server.port)
    }

    /// Renegotiation with a request for a certificate, or a request after the handshake.
    fn ask(&mut self) {
        self.server.type_now(if self.tls == Tls::V1_2 { "R\n" } else { "c\n" });
    }

    /// Waits until the server has verified so many certificates with this name.
    fn verified(&self, name: &str) {
        let found = self.server.log.wait_for(Duration::from_secs(20), |line| {
            (line.starts_with("depth=0") && line.contains(name)).then_some(())
        });
        found.unwrap_or_else(|said| panic!("{name} never came:\n{said}"));
    }
}

#[test]
fn a_server_asks_before_the_headers_in_both_modes() {
    let question = Question::new();
    for mode in MODES {
        for tls in BOTH_VERSIONS {
            let mut halves = Halves::start(&question.scene, tls);
            let mut terminal = in_terminal(&question, &halves.server.url(), &["--mode", mode, "--tls", "openssl"]);
            halves.server.seen("GET / HTTP/1.1");
            halves.ask();
            terminal.wait_for(SEND_NONE);
            answer(&mut terminal, mode, "bob", PERMANENT);
            halves.verified("bob");
            halves.server.type_now(FIRST);
            halves.server.type_now(SECOND);
            assert_ends(&mut terminal, 0);
            question.scene.machine.run(&format!("forget --all --mode {mode}")).expect(0);
        }
    }
}

#[test]
fn within_the_body_a_server_asks_in_firefox_mode_alone() {
    let question = Question::new();
    for tls in BOTH_VERSIONS {
        let mut halves = Halves::start(&question.scene, tls);
        let url = halves.server.url();
        let mut terminal = in_terminal(&question, &url, &["--mode", "firefox", "--tls", "openssl"]);
        halves.server.type_after("GET / HTTP/1.1", FIRST);
        terminal.wait_for("hello");
        halves.ask();
        terminal.wait_for(SEND_NONE);
        answer(&mut terminal, "firefox", "bob", ONCE);
        halves.verified("bob");
        halves.server.type_now(SECOND);
        assert_ends(&mut terminal, 0);
        assert!(terminal.text().contains("world"), "{tls:?}: {}", terminal.text());
        let used = &question.scene.machine.json("history")["uses"][0];
        assert_eq!((&used["outcome"], &used["source"]), (&json!("accepted"), &json!("ask")), "{tls:?}");

        // Not even what is remembered goes out there
        let mut halves = Halves::start(&question.scene, tls);
        question.scene.remember_as(&halves.destination(), "bob", "--mode chrome");
        let url = halves.server.url();
        let mut terminal = in_terminal(&question, &url, &["--mode", "chrome", "--tls", "openssl"]);
        halves.server.type_after("GET / HTTP/1.1", FIRST);
        terminal.wait_for("hello");
        halves.ask();
        assert_ends(&mut terminal, 1);
        assert!(terminal.text().contains("which is not done in chrome mode"), "{tls:?}: {}", terminal.text());
        assert!(!halves.server.log.lines().iter().any(|line| line.contains("bob")), "{tls:?}: sent all the same");
    }
}

/// In TLS 1.3 `s_server` asks as often as it is told to.
#[test]
fn once_is_asked_again_by_every_request_after_the_handshake() {
    let question = Question::new();
    let mut halves = Halves::start(&question.scene, Tls::V1_3);
    let url = halves.server.url();
    let mut terminal = in_terminal(&question, &url, &["--mode", "firefox", "--tls", "openssl"]);
    halves.server.seen("GET / HTTP/1.1");
    for name in ["alice", "bob"] {
        halves.ask();
        terminal.wait_for(SEND_NONE);
        answer(&mut terminal, "firefox", name, ONCE);
        halves.verified(name);
        terminal.wait_until("the question to go", |screen| !screen.contains(SEND_NONE));
    }
    halves.server.type_now(FIRST);
    halves.server.type_now(SECOND);
    assert_ends(&mut terminal, 0);
    // What the second answer left out is not sent along: every message holds the chain of one of them
    let names: Vec<_> = halves.server.log.lines().into_iter().filter(|line| line.starts_with("depth=0")).collect();
    assert!(names[0].contains("alice") && names.iter().skip(1).any(|name| name.contains("bob")), "{names:?}");
}
