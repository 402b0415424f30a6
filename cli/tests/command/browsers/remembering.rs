//! What is remembered, under which key, for how long, and when it ends.

use serde_json::json;

use super::{answers, decisions, fetch, optional, remember};
use crate::support::MODES;
use crate::support::ca::Validity;
use crate::support::question::{Question, answer, assert_ends};
use crate::support::scene::Scene;
use crate::support::screen::{ONCE, PERMANENT, SEND_NONE, SESSION};
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Setup};
use crate::support::terminal::{Terminal, key};

#[test]
fn key_of_a_remembered_decision() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for (mode, code_at_the_other_port) in [("firefox", 0), ("chrome", 4)] {
        for (decided, seen) in answers(&alice) {
            let (first, second) = (optional(&scene), optional(&scene));
            remember(&scene, mode, &first.destination(), &decided);
            fetch(&scene, mode, &first.url(), &[]).expect(0);
            fetch(&scene, mode, &second.url(), &[]).expect(code_at_the_other_port);
            fetch(&scene, mode, &first.url_at("127.0.0.1", "/"), &[]).expect(4);
            assert_eq!(first.chains(), seen, "{mode} {decided}");
            let seen = if mode == "firefox" { seen } else { Vec::new() };
            assert_eq!(second.chains(), seen, "{mode} {decided}");
            scene.machine.run("forget --all").expect(0);
        }
    }
}

#[test]
fn what_is_remembered() {
    let question = Question::new();
    let bob = &question.bob;
    for mode in MODES {
        let cases = [("bob", json!(bob.fingerprint()), bob.sent_chain()), (SEND_NONE, json!(null), Vec::new())];
        for (row, identity, chain) in cases {
            let server = question.server();
            let mut terminal = question.asked(&server, &["--mode", mode]);
            answer(&mut terminal, mode, row, PERMANENT);
            assert_ends(&mut terminal, 0);
            fetch(&question.scene, mode, &server.url(), &[]).expect(0);
            let seen: Vec<_> = server.requests().iter().map(|request| request["chain"].clone()).collect();
            assert_eq!(seen, [json!(chain), json!(chain)], "{mode} {row}");
            let remembered = question.scene.machine.json(&format!("decisions --mode {mode}"));
            assert_eq!(remembered["decisions"][0]["identity"], identity, "{mode} {row}");
            question.scene.machine.run("forget --all").expect(0);
        }
    }
}

#[test]
fn how_long() {
    let question = Question::new();
    let scene = &question.scene;
    let cases = [
        ("firefox", ONCE, [4, 4]),
        ("firefox", SESSION, [0, 4]),
        ("firefox", PERMANENT, [0, 0]),
        // Chrome mode does not ask for a lifetime, and keeps the decision until it is forgotten
        ("chrome", "", [0, 0]),
    ];
    for (mode, lifetime, [in_the_session, in_the_next]) in cases {
        let server = question.server();
        let mut terminal = question.asked(&server, &["--mode", mode]);
        answer(&mut terminal, mode, "alice", lifetime);
        assert_ends(&mut terminal, 0);
        fetch(scene, mode, &server.url(), &[]).expect(in_the_session);
        scene.machine.log_in_anew();
        fetch(scene, mode, &server.url(), &[]).expect(in_the_next);
        let answered = 1 + [in_the_session, in_the_next].iter().filter(|code| **code == 0).count();
        assert_eq!(server.chains(), vec![question.alice.sent_chain(); answered], "{mode} {lifetime}");
        scene.machine.run("forget --all").expect(0);
    }
}

/// The next handshake asks again, even within the same command. Chrome mode does not offer it: `how_long`.
#[test]
fn just_this_once() {
    let question = Question::new();
    let server = question.server();
    let mut arguments = question.scene.fetch_arguments(&server.redirect_to("localhost", &server.url()));
    arguments.push("-L".to_owned());
    let mut terminal = Terminal::open(&question.scene.machine, arguments);
    for row in ["alice", "bob"] {
        terminal.wait_for(SEND_NONE);
        answer(&mut terminal, "firefox", row, ONCE);
    }
    assert_ends(&mut terminal, 0);
    assert_eq!(server.chains(), [question.alice.sent_chain(), question.bob.sent_chain()]);
    question.assert_nothing_stored();
}

#[test]
fn remembered_and_the_server_refuses_the_certificate() {
    let scene = Scene::new();
    let guest = scene.bring(scene.guests.client("guest").issue());
    // Firefox mode keeps sending it; chrome mode has forgotten it and asks
    for (mode, again, sent) in [("firefox", 5, 2), ("chrome", 4, 1)] {
        for tls in BOTH_VERSIONS {
            let server = scene.server(Kind::OpenSsl).tls(tls).without_hints().start();
            remember(&scene, mode, &server.destination(), &guest.fingerprint());
            fetch(&scene, mode, &server.url(), &[]).expect(5).says(&["guest", "unknown_ca"]);
            fetch(&scene, mode, &server.url(), &[]).expect(again);
            assert_eq!(server.chains(), vec![guest.sent_chain(); sent], "{mode} {tls:?}");
            let history = scene.machine.json("history localhost");
            let refused = history["uses"].as_array().unwrap().iter().filter(|used| used["port"] == server.port());
            let outcomes: Vec<_> = refused.map(|used| used["outcome"].clone()).collect();
            assert_eq!(outcomes, vec!["refused"; sent], "{mode} {tls:?}");
            // In chrome mode it is no longer stored
            let _ = scene.machine.run(&format!("forget {} --mode {mode}", server.destination()));
        }
    }
}

#[test]
fn remembered_but_gone_expired_or_not_under_the_authorities() {
    let question = Question::new();
    let scene = &question.scene;
    let late = scene.bring(scene.employee("late").validity(Validity::Expired).issue());
    let guest = scene.bring(scene.guests.client("guest").issue());
    let gone = scene.hire("gone");
    // The remembered identity, and why it no longer fits. For a removed identity there is nothing to say
    let cases = [(&late, Some("\"late\": expired")), (&guest, Some("not issued under an authority")), (&gone, None)];
    for mode in MODES {
        for (remembered, why) in cases {
            if why.is_none() {
                scene.machine.import(remembered);
            }
            let server = question.server();
            remember(scene, mode, &server.destination(), &remembered.fingerprint());
            if why.is_none() {
                scene.machine.run(&format!("remove {} --yes", remembered.fingerprint())).expect(0);
            }
            fetch(scene, mode, &server.url(), &[]).expect(4);
            let mut terminal = question.asked(&server, &["--mode", mode]);
            match why {
                Some(why) => terminal.wait_for(why),
                None => assert!(!terminal.text().contains("remembered certificate"), "{}", terminal.text()),
            }
            terminal.send(key::ESCAPE);
            assert_ends(&mut terminal, 130);
            server.assert_nothing_came(&format!("{mode} {}", remembered.name));
            assert_eq!(decisions(scene), usize::from(why.is_some()), "{mode} {}: the entry stays", remembered.name);
            // The decisions of a removed identity are gone
            let _ = scene.machine.run("forget --all");
        }
    }
}

#[test]
fn answers_403_after_tls_accepted() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for mode in MODES {
        for tls in BOTH_VERSIONS {
            let server = scene.server(Kind::Go).tls(tls).start();
            remember(&scene, mode, &server.destination(), &alice.fingerprint());
            for _ in 0..2 {
                let response = fetch(&scene, mode, &server.url_at("localhost", "/forbidden"), &["-i"]).expect(0);
                assert!(response.text().contains(" 403"), "{}", response.text());
            }
            assert_eq!(server.chains(), vec![alice.sent_chain(); 2], "{mode} {tls:?}");
            assert_eq!(decisions(&scene), 1, "{mode} {tls:?}");
            assert_eq!(scene.machine.json("history")["uses"][0]["outcome"], "accepted", "{mode} {tls:?}");
            scene.machine.run("forget --all").expect(0);
        }
    }
}

/// Firefox's preference and Chrome's policy. Neither stores anything.
#[test]
fn select_automatically() {
    for mode in MODES {
        let scene = Scene::new();
        scene.bring(scene.employee("soon").validity(Validity::Soon).issue());
        let (best, guest) = (scene.hire("best"), scene.bring(scene.guests.client("guest").issue()));
        let server = optional(&scene);
        scene.machine.run("config select-automatically on").expect(0);
        fetch(&scene, mode, &server.url(), &[]).expect(0);
        assert_eq!(server.chains(), [best.sent_chain()], "{mode}");
        remember(&scene, mode, &server.destination(), "none");
        fetch(&scene, mode, &server.url(), &[]).expect(0);
        assert_eq!(server.chains().len(), 1, "{mode}: what is remembered goes before it");
        scene.machine.run("forget --all").expect(0);
        scene.machine.run("config select-automatically off").expect(0);
        fetch(&scene, mode, &server.url(), &[]).expect(4);

        let setup =
            Setup::new(Kind::Go, &scene.server_certificate).authorities(&[&scene.staff_root, &scene.guests_root]);
        let server = setup.ask(Ask::Optional).start();
        let rule = format!(
            r#"{{"pattern":"https://localhost:{}","filter":{{"ISSUER":{{"CN":"Guests Issuing"}}}}}}"#,
            server.port()
        );
        scene.machine.command(["rules", "add", &rule]).run().expect(0);
        fetch(&scene, mode, &server.url(), &[]).expect(0);
        assert_eq!(server.chains(), [guest.sent_chain()], "{mode}");
        assert_eq!(scene.machine.json("history")["uses"][0]["source"], "rule", "{mode}");
        assert_eq!(decisions(&scene), 0, "{mode}");
        scene.machine.run("rules remove 1").expect(0);
        fetch(&scene, mode, &server.url(), &[]).expect(4);
    }
}
