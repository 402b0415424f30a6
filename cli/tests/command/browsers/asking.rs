//! When a person is asked, what the screen shows, and what each answer does.

use std::time::Duration;

use serde_json::json;

use super::{decisions, fetch, optional};
use crate::support::MODES;
use crate::support::ca::Validity;
use crate::support::gate::hanging_up_after;
use crate::support::question::{Question, answer, assert_ends};
use crate::support::scene::Scene;
use crate::support::screen::{ONCE, PERMANENT, SEND_NONE, SESSION, go_to};
use crate::support::server::{Ask, BOTH_VERSIONS, Kind};
use crate::support::terminal::{Terminal, key};

/// The names of the identities on the screen, from top to bottom.
fn listed(terminal: &mut Terminal, names: &[&str]) -> Vec<String> {
    terminal.wait_for(SEND_NONE);
    let rows = terminal.rows();
    let name = |row: &String| names.iter().find(|name| row.trim_start().starts_with(&format!("{name} ·")));
    rows.iter().filter_map(name).map(|name| (*name).to_owned()).collect()
}

/// A fetch in a terminal.
fn started(scene: &Scene, url: &str, mode: &str) -> Terminal {
    let arguments = scene.fetch_arguments(url).into_iter();
    Terminal::open(&scene.machine, arguments.chain(["--mode".to_owned(), mode.to_owned()]))
}

/// A fetch in a terminal, with the chooser on its screen.
fn asked(scene: &Scene, url: &str, mode: &str) -> Terminal {
    let mut terminal = started(scene, url, mode);
    terminal.wait_for(SEND_NONE);
    terminal
}

/// src/select/matching/tests.rs has the complete order.
#[test]
fn order_of_the_list() {
    let scene = Scene::new();
    let soon = scene.bring(scene.employee("soon").validity(Validity::Soon).issue());
    for (name, validity) in [("late", Validity::Expired), ("early", Validity::NotYet)] {
        scene.bring(scene.employee(name).validity(validity).issue());
    }
    scene.hire("later");
    let names = ["soon", "late", "early", "later"];
    // Chrome's order: "early" and "later" expire at the same time, "late" has expired
    for (used, order) in [(false, ["later", "soon", "early", "late"]), (true, ["soon", "later", "early", "late"])] {
        if used {
            let server = optional(&scene);
            scene.fetch(&server.url(), &["--as", &soon.fingerprint()]).expect(0);
        }
        for mode in MODES {
            let server = optional(&scene);
            let mut terminal = asked(&scene, &server.url(), mode);
            assert_eq!(listed(&mut terminal, &names), order, "{mode} used: {used}\n{}", terminal.text());
            terminal.send(key::CTRL_C);
            assert_ends(&mut terminal, 130);
        }
    }
}

/// Last in the list, labelled, and never sent unless a person picks it.
#[test]
fn expired_or_not_yet_valid() {
    let scene = Scene::new();
    scene.hire("alice");
    let cases = [(Validity::Expired, "EXPIRED", "expired"), (Validity::NotYet, "not valid until", "not yet valid")];
    for (validity, label, why) in cases {
        let odd = scene.bring(scene.employee("odd").validity(validity).issue());
        for mode in MODES {
            let server = scene.server(Kind::Go).ask(Ask::Unchecked).start();
            let mut terminal = asked(&scene, &server.url(), mode);
            assert_eq!(listed(&mut terminal, &["alice", "odd"]), ["alice", "odd"]);
            let row = terminal.rows().into_iter().find(|row| row.contains("odd ·")).unwrap();
            assert!(row.contains(label), "{mode} {validity:?}: {row}");
            answer(&mut terminal, mode, "odd", PERMANENT);
            assert_ends(&mut terminal, 0);
            assert_eq!(server.chains(), [odd.sent_chain()], "{mode} {validity:?}: picked");
            // Even an identity that a person picked is not sent again without asking
            fetch(&scene, mode, &server.url(), &[]).expect(4).says(&["odd", why]);
            assert_eq!(server.chains().len(), 1, "{mode} {validity:?}");
            scene.machine.run("forget --all").expect(0);
        }
        scene.machine.run(&format!("remove {} --yes", odd.fingerprint())).expect(0);
    }
}

#[test]
fn no_candidate() {
    let scene = Scene::new();
    scene.bring(scene.guests.client("guest").issue());
    for mode in MODES {
        let server = optional(&scene);
        let mut terminal = started(&scene, &server.url(), mode);
        assert_ends(&mut terminal, 0);
        // The text is wider than the window
        let text = terminal.rows().join(" ");
        assert!(text.contains("no identity fits") && !text.contains(SEND_NONE), "{mode}: {text}");
        let required = scene.server(Kind::Go).start();
        fetch(&scene, mode, &required.url(), &[]).expect(3).says(&["no identity fits"]);
        assert!(server.chains().is_empty() && required.chains().is_empty(), "{mode}");
        assert_eq!(decisions(&scene), 0, "{mode}");
        assert_eq!(scene.machine.json("history")["uses"][0]["source"], "no_candidate", "{mode}");
    }
}

/// Neither an abort nor the end of input is an answer. In the browsers, cancelling means "none".
#[test]
fn cancel() {
    let question = Question::new();
    for mode in MODES {
        let server = question.server();
        for (how, code) in [(key::ESCAPE, 130), (key::CTRL_C, 130), (key::CTRL_D, 4)] {
            let mut terminal = question.asked(&server, &["--mode", mode]);
            go_to(&mut terminal, "bob", 5);
            terminal.send(how);
            assert_ends(&mut terminal, code);
            question.assert_nothing_came_of_it(&server);
        }
    }
}

#[test]
fn dialog_shows() {
    let question = Question::new();
    let scene = &question.scene;
    let mail = scene.bring(scene.employee("dora").email("dora@example.com").serial(&[0x5e, 0x71, 0xa1]).issue());
    for mode in MODES {
        let server = question.server();
        let mut terminal = question.asked(&server, &["--mode", mode]);
        for text in [server.destination().as_str(), "Staff Root", "Test Authorities", "alice", "bob", "carol", "dora"] {
            assert!(terminal.text().contains(text), "{mode}: no {text:?} on:\n{}", terminal.text());
        }
        go_to(&mut terminal, "dora", 10);
        let short = &mail.fingerprint()[..8];
        let shown = mail_details(scene, &mail.fingerprint());
        // The screen is drawn line by line
        let names =
            ["CN=Staff Issuing", "CN=dora", "dora@example.com", "5e71a1", "digitalSignature", "clientAuth", "ec-p256"];
        for text in names.into_iter().chain([short]).chain(shown.iter().map(String::as_str)) {
            terminal.wait_for(text);
        }
        assert!(!terminal.any_row_wrapped(), "{}", terminal.text());
        terminal.send(key::ESCAPE);
        assert_ends(&mut terminal, 130);
    }
}

/// The days on which the validity begins and ends.
fn mail_details(scene: &Scene, id: &str) -> [String; 2] {
    let shown = scene.machine.json(&format!("show {id}"));
    ["not_before", "not_after"].map(|key| shown[key].as_str().unwrap()[..10].to_owned())
}

/// One prompt for all that ask for the same at the same time, for every answer. tests/library/selector.rs tests it
/// across threads.
#[test]
fn parallel_connections() {
    let question = Question::new();
    for mode in MODES {
        let alice = question.alice.sent_chain();
        let answers: [(&str, &str, i32, Vec<Vec<String>>); 4] = [
            ("alice", PERMANENT, 0, vec![alice.clone(), alice.clone()]),
            ("alice", ONCE, 0, vec![alice.clone(), alice]),
            (SEND_NONE, SESSION, 0, Vec::new()),
            ("", "", 130, Vec::new()),
        ];
        for (row, lifetime, code, seen) in answers {
            let case = format!("{mode} {row} {lifetime}");
            let server = question.server();
            let mut first = question.asked(&server, &["--mode", mode]);
            let mut second = question.fetch(&server, &["--mode", mode]);
            second.wait_for("waiting: another cardcase");
            match row {
                "" => first.send(key::ESCAPE),
                row => answer(&mut first, mode, row, lifetime),
            }
            assert_ends(&mut first, code);
            assert_ends(&mut second, code);
            assert!(!second.text().contains(SEND_NONE), "{case}: asked as well\n{}", second.text());
            assert_eq!(server.chains(), seen, "{case}");
            // Some of these answers are not stored
            let _ = question.scene.machine.run("forget --all");
        }
    }
}

/// The server hangs up after 5 seconds, and the person thinks for 6. The answer is sent in one new connection.
#[test]
fn waiting_for_the_user() {
    let question = Question::new();
    let mut waiting = MODES.into_iter().zip(BOTH_VERSIONS).map(|(mode, tls)| {
        let server = question.scene.server(Kind::Go).tls(tls).start();
        let port = hanging_up_after(Duration::from_secs(5), &server);
        let terminal = asked(&question.scene, &format!("https://localhost:{port}/"), mode);
        (mode, server, terminal)
    });
    let (mut one, mut two) = (waiting.next().unwrap(), waiting.next().unwrap());
    std::thread::sleep(Duration::from_secs(6));
    for (mode, server, terminal) in [&mut one, &mut two] {
        answer(terminal, mode, "alice", ONCE);
        assert_ends(terminal, 0);
        let requests: Vec<_> = server.requests().iter().map(|request| request["chain"].clone()).collect();
        assert_eq!(requests, [json!(question.alice.sent_chain())], "{mode}");
        assert_eq!(server.chains(), [question.alice.sent_chain()], "{mode}: {}", server.said());
    }
}

/// The next question shows which identities were added and removed. Removing an identity removes its decisions.
#[test]
fn certificate_store_changes() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let bob = scene.employee("bob").issue();
    for mode in MODES {
        let server = optional(&scene);
        for (here, names) in [(false, &["alice"][..]), (true, &["alice", "bob"])] {
            if here {
                scene.machine.import(&bob);
            }
            let mut terminal = asked(&scene, &server.url(), mode);
            let mut seen = listed(&mut terminal, &["alice", "bob"]);
            seen.sort();
            assert_eq!(seen, names, "{mode}");
            terminal.send(key::ESCAPE);
            assert_ends(&mut terminal, 130);
        }
        super::remember(&scene, mode, &server.destination(), &bob.fingerprint());
        fetch(&scene, mode, &server.url(), &[]).expect(0);
        scene.machine.run(&format!("remove {} --yes", bob.fingerprint())).expect(0);
        assert_eq!(decisions(&scene), 0, "{mode}");
        fetch(&scene, mode, &server.url(), &[]).expect(4);
        assert_eq!(server.chains(), [bob.sent_chain()], "{mode}: {}", alice.name);
    }
}
