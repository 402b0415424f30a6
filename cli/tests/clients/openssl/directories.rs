//! Apache, which asks for a directory: by renegotiation in TLS 1.2, after the handshake in TLS 1.3.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::openssl::{OPENSSL, in_terminal};
use crate::support::MODES;
use crate::support::apache::Apache;
use crate::support::ca::Validity;
use crate::support::question::{Question, answer, assert_ends};
use crate::support::scene::Scene;
use crate::support::screen::{ONCE, PERMANENT, SEND_NONE, choose};
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Tls};

/// Without a flag: the command finds out what rustls cannot do, and uses OpenSSL.
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
fn a_refusal_of_a_directory_is_reported_and_another_identity_may_be_chosen() {
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

/// Servers wait for people only for so long.
#[test]
fn the_answer_is_kept_when_the_connection_is_lost_meanwhile() {
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

#[test]
fn the_answer_is_kept_when_the_first_handshake_is_lost_meanwhile() {
    let question = Question::new();
    for tls in BOTH_VERSIONS {
        let apache = Apache::start_with(&question.scene, tls, "SSLVerifyClient require\nTimeout 1\n");
        let mut terminal = in_terminal(&question, &apache.url("/open/page"), &OPENSSL);
        terminal.wait_for(SEND_NONE);
        terminal.stays_for(Duration::from_secs(4));
        answer(&mut terminal, "firefox", "alice", ONCE);
        assert_ends(&mut terminal, 0);
        assert_eq!(names(&apache, 1, "/open/page"), ["alice"], "{tls:?}");
    }
}

/// A choice for once answers one request of the server, even if two are made for one page.
#[test]
fn a_choice_for_once_is_asked_again_by_a_renegotiation() {
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

/// The same once there is one: Apache writes down a request after it has answered, and those it refused before as well.
fn names_at_last(apache: &Apache, path: &str) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let names = names(apache, 1, path);
        if !names.is_empty() || Instant::now() > until {
            return names;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A choice for once is kept when the request needs another library or another connection; a renegotiation asks again.
#[test]
fn a_choice_for_once_is_kept_when_the_library_changes() {
    let question = Question::new();
    let apache = Apache::start_with(&question.scene, Tls::V1_2, "SSLVerifyClient optional\n");
    let mut terminal = in_terminal(&question, &apache.url("/require/page"), &[]);
    terminal.wait_for(SEND_NONE);
    answer(&mut terminal, "firefox", "alice", ONCE);
    terminal.wait_for("with OpenSSL");
    // The next question is that of the renegotiation: another answer than in the first handshake is what counts
    terminal.wait_for(SEND_NONE);
    answer(&mut terminal, "firefox", "bob", ONCE);
    assert_ends(&mut terminal, 0);
    assert_eq!(names_at_last(&apache, "/require/page"), ["bob"]);
    assert_eq!(sent(&question), ["bob", "alice", "alice"].map(Some));
    question.assert_nothing_stored();
    // Another request is another question
    let mut terminal = in_terminal(&question, &apache.url("/open/page"), &[]);
    terminal.wait_for(SEND_NONE);
    choose(&mut terminal, SEND_NONE);
    choose(&mut terminal, ONCE);
    assert_ends(&mut terminal, 0);
}

/// With a proxy, every connection to the server is another connection to the proxy, whose question was already answered.
#[test]
fn a_choice_for_once_at_a_proxy_is_kept_for_the_same_request() {
    let question = Question::new();
    for tls in BOTH_VERSIONS {
        let proxy = question.scene.server(Kind::Python).tls(tls).ask(Ask::Optional).start();
        let apache = Apache::start(&question.scene, tls);
        let through = ["--proxy", &proxy.url_at("127.0.0.1", "")];
        let mut terminal = in_terminal(&question, &apache.url("/require/page"), &through);
        terminal.wait_for(SEND_NONE);
        assert!(terminal.text().contains("127.0.0.1"), "{tls:?}:\n{}", terminal.text());
        answer(&mut terminal, "firefox", "alice", ONCE);
        terminal.wait_for("with OpenSSL");
        terminal.wait_for(SEND_NONE);
        answer(&mut terminal, "firefox", "bob", ONCE);
        assert_ends(&mut terminal, 0);
        let leaves: Vec<_> = proxy.chains().into_iter().map(|chain| chain[0].clone()).collect();
        assert_eq!(leaves, [question.alice.fingerprint(), question.alice.fingerprint()], "{tls:?}");
        assert_eq!(names_at_last(&apache, "/require/page"), ["bob"], "{tls:?}");
    }
}

/// The names of what was sent, the last first.
fn sent(question: &Question) -> Vec<Option<&'static str>> {
    let known = [("alice", &question.alice), ("bob", &question.bob)];
    let uses = question.scene.machine.json("history")["uses"].clone();
    let name = |used: &Value| {
        known.iter().find(|(_, who)| used["identity"] == json!(who.fingerprint())).map(|(name, _)| *name)
    };
    uses.as_array().unwrap().iter().map(name).collect()
}

#[test]
fn a_request_that_may_have_been_processed_is_not_sent_again() {
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
            Tls::V1_2 => drop(outcome.expect(1).says(&["renegotiation", "--tls openssl"])),
            Tls::V1_3 => drop(outcome.expect(0)),
        }
        scene.fetch(&url, &[&post[..], &OPENSSL].concat()).expect(0);
        let by_alice = |served: &[(String, u16, String, String)]| {
            served.iter().filter(|(.., status_name)| status_name == "alice").count()
        };
        let (requests, of_alice) = if tls == Tls::V1_2 { (2, 1) } else { (3, 2) };
        let served = apache.served(requests);
        assert_eq!(by_alice(&served), of_alice, "{tls:?}: {served:?}");
        scene.machine.run("forget --all").expect(0);
    }
}

#[test]
fn rustls_says_what_it_cannot_do_when_it_is_required() {
    let scene = Scene::new();
    scene.hire("alice");
    for (tls, code) in [(Tls::V1_2, 1), (Tls::V1_3, 0)] {
        let apache = Apache::start(&scene, tls);
        let outcome = scene.fetch(&apache.url("/require/page"), &["--tls", "rustls"]).expect(code);
        outcome.says(&["asks for a certificate in the middle of the connection", "--tls openssl"]);
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
