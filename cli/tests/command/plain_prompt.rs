//! The question line by line, for terminals that cannot move their cursor, and for screen readers.

use std::time::Duration;

use crate::support::question::{Question, assert_ends};
use crate::support::scene::Scene;
use crate::support::screen::{ONCE, SEND_NONE};
use crate::support::server::{Ask, Kind, Server};
use crate::support::terminal::{Terminal, key};

/// Long enough for a wrong answer to take effect.
const A_WHILE: Duration = Duration::from_millis(700);

const PROMPT: &str = "q to cancel:";

/// A fetch with these variables and arguments.
fn fetch(question: &Question, server: &Server, variables: &str, more: &str) -> Terminal {
    let scene = &question.scene;
    let arguments = scene.fetch_arguments(&server.url()).join(" ");
    Terminal::script(&scene.machine, &format!(r#"exec env {variables} "$cardcase" {arguments} {more}"#))
}

fn asked(question: &Question, server: &Server, more: &str) -> Terminal {
    let mut terminal = fetch(question, server, "TERM=dumb", more);
    terminal.wait_for(PROMPT);
    terminal
}

/// The number of a name in the list.
fn number(terminal: &Terminal, name: &str) -> String {
    let text = terminal.text();
    let line =
        text.lines().rfind(|line| line.contains(&format!(" {name} ·"))).unwrap_or_else(|| panic!("{name}:\n{text}"));
    line.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn where_the_cursor_cannot_move_numbers_are_asked_for() {
    let question = Question::new();
    let server = question.server();
    let cases = [
        ("TERM=dumb", "", true),
        ("-u TERM", "", true),
        ("INSIDE_EMACS=29.1,comint", "", true),
        ("INSIDE_EMACS=30.0.50,eshell", "", true),
        ("INSIDE_EMACS=29.1,vterm", "", false),
        ("INSIDE_EMACS=29.1,term:0.96", "", false),
        ("CARDCASE_PLAIN=1", "", true),
        ("CARDCASE_PLAIN=0", "", false),
        ("LANG=C.UTF-8", "--plain", true),
        ("LANG=C.UTF-8", "", false),
    ];
    for (variables, more, is_plain) in cases {
        let mut terminal = fetch(&question, &server, variables, more);
        terminal.wait_until("a question", |text| text.contains(PROMPT) || text.contains("Enter pick"));
        assert_eq!(terminal.text().contains(PROMPT), is_plain, "{variables} {more}:\n{}", terminal.text());
        if is_plain {
            let number = number(&terminal, "bob");
            terminal.send(&format!("{number}\r"));
            terminal.wait_for("nothing to go back:");
            for part in ["You picked: bob · Staff Issuing", "E-mail   bob@example.com"] {
                assert!(terminal.text().contains(part), "{part}:\n{}", terminal.text());
            }
            terminal.send("1\r");
            assert_ends(&mut terminal, 0);
            assert_eq!(server.chains().last(), Some(&question.bob.sent_chain()), "{variables} {more}");
            assert!(!terminal.received().contains(&0x1b), "{variables} {more}: an escape sequence");
            assert!(terminal.echoes());
        } else {
            terminal.send(key::CTRL_C);
            assert_ends(&mut terminal, 130);
        }
    }
    question.assert_nothing_stored();
}

#[test]
fn words_are_searched_and_those_that_do_not_fit_are_shown() {
    let question = Question::new();
    let scene = &question.scene;
    scene.bring(scene.guests.client("guest").issue());
    let server = question.server();
    let mut terminal = asked(&question, &server, "");
    let mut prompts = 1;
    let mut said = |terminal: &mut Terminal, typed: &str| {
        prompts += 1;
        terminal.send(&format!("{typed}\r"));
        let expected = prompts;
        terminal.wait_until("the next prompt", |text| text.matches(PROMPT).count() >= expected.min(3));
        terminal.stays_for(A_WHILE);
        let text = terminal.text();
        let from = text.rmatch_indices(PROMPT).nth(1).map_or(0, |(at, _)| at);
        text[from..].to_owned()
    };
    for (typed, shown, hidden) in [
        ("", PROMPT, SEND_NONE),
        ("carol staff", "carol ·", "alice ·"),
        ("zzz", "No match.", "alice ·"),
        ("9", "There is no number 9.", SEND_NONE),
        ("?", "guest: not issued under an authority the server asks for", "carol ·"),
        ("1", "These do not fit, and have no numbers.", "You picked"),
        ("0", "These do not fit, and have no numbers.", "You picked"),
        ("?", "No match.", "guest"),
        ("/alice", "alice ·", "carol ·"),
        ("+", "There are no more.", SEND_NONE),
        ("/", "carol ·", "No match."),
        ("/alice", "alice ·", "carol ·"),
        ("+5", "No match.", "There is no number"),
        ("/1", SEND_NONE, "There is no number"),
    ] {
        let text = said(&mut terminal, typed);
        assert!(text.contains(shown) && !text.contains(hidden), "{typed:?}:\n{text}");
    }
    terminal.send("0\r");
    terminal.wait_for("nothing to go back:");
    for part in ["You picked: Send no certificate", ONCE] {
        assert!(terminal.text().contains(part), "{part}:\n{}", terminal.text());
    }
    terminal.send("1\r");
    assert_ends(&mut terminal, 0);
    assert_eq!(server.chains(), Vec::<Vec<String>>::new());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn the_next_page_after_the_last_one_is_the_first() {
    let scene = Scene::new();
    for number in 10..22 {
        scene.hire(&format!("user{number}"));
    }
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    let arguments = scene.fetch_arguments(&server.url()).join(" ");
    let mut terminal = Terminal::script(&scene.machine, &format!(r#"exec "$cardcase" {arguments} --plain"#));
    for (page, typed) in [("1 to 10 of 12", "+\r"), (" 12 user", "+\r"), ("1 to 10 of 12", "q\r")] {
        terminal.wait_until(page, |text| {
            let from = text.rfind("next page").map_or(0, |at| text[..at].rfind("q to cancel").unwrap_or(0));
            text[from..].contains(page) && text[from..].contains("  0 Send") && text.trim_end().ends_with(PROMPT)
        });
        terminal.send(typed);
    }
    assert_ends(&mut terminal, 130);
}

#[test]
fn a_confirmation_is_a_line_too() {
    let scene = Scene::new();
    scene.hire("alice");
    let question = "Remove \"alice\" and the private key? Type yes or no:";
    let cases: [(&[&str], i32, usize); 3] =
        [(&["maybe\r", "\r", "no\r"], 1, 1), (&[key::CTRL_C], 130, 1), (&["yes\r"], 0, 0)];
    for (typed, code, left) in cases {
        let mut terminal = Terminal::script(&scene.machine, r#"exec env NO_COLOR=1 "$cardcase" remove alice --plain"#);
        for (before, typed) in typed.iter().enumerate() {
            terminal.wait_until("the question", |text| text.matches(question).count() == before + 1);
            terminal.send(typed);
        }
        assert_ends(&mut terminal, code);
        assert!(!terminal.received().contains(&0x1b), "{typed:?}: an escape sequence");
        assert_eq!(scene.machine.json("list")["identities"].as_array().unwrap().len(), left, "{typed:?}");
    }
}

#[test]
fn no_line_that_was_not_meant_answers() {
    let question = Question::new();
    let server = question.server();
    // The last one also ends a search
    for (typed, code) in [("q\r", 130), (key::CTRL_C, 130), (key::CTRL_D, 4), ("alice\r\x03", 130)] {
        let mut terminal = asked(&question, &server, "");
        terminal.send("\r");
        terminal.wait_until("the next prompt", |text| text.matches(PROMPT).count() == 2);
        terminal.send(typed);
        assert_ends(&mut terminal, code);
        assert!(terminal.echoes(), "{typed:?}");
    }
    // In chrome mode there is no second question, so it is asked whether the number is meant
    for (typed, sent) in [("y\r", false), ("\r", false), ("yes\r", true)] {
        let mut terminal = asked(&question, &server, "--mode chrome");
        let alice = number(&terminal, "alice");
        terminal.send(&format!("{alice}\r"));
        terminal.wait_for("Type yes");
        terminal.send(typed);
        if sent {
            assert_ends(&mut terminal, 0);
            assert_eq!(server.chains(), [question.alice.sent_chain()]);
            question.scene.machine.run("forget --all --mode chrome").expect(0);
        } else {
            terminal.wait_until("the list", |text| text.matches(PROMPT).count() == 2);
            terminal.send(key::CTRL_C);
            assert_ends(&mut terminal, 130);
        }
    }
    question.assert_nothing_stored();
}

/// Both questions discard what was typed before them.
#[test]
fn no_line_typed_ahead_answers() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = {
        let machine = &question.scene.machine;
        let go = machine.dir().join("go");
        let fetch = question.scene.fetch_arguments(&server.url()).join(" ");
        let wait = format!("echo ready; while ! test -e {}; do sleep 0.02; done", go.display());
        let mut terminal = Terminal::script(machine, &format!(r#"{wait}; TERM=dumb exec "$cardcase" {fetch}"#));
        terminal.wait_for("ready");
        terminal.send("1\r1\r1\r~~");
        terminal.wait_for("~~");
        std::fs::write(&go, "").unwrap();
        terminal.wait_for(PROMPT);
        terminal
    };
    terminal.stays_for(A_WHILE);
    assert!(terminal.running() && terminal.text().matches(PROMPT).count() == 1, "{}", terminal.text());
    terminal.send("1\r3\r");
    terminal.wait_for("nothing to go back:");
    terminal.stays_for(A_WHILE);
    assert!(terminal.running(), "the second question was answered:\n{}", terminal.text());
    terminal.send(key::CTRL_C);
    assert_ends(&mut terminal, 130);
    question.assert_nothing_came_of_it(&server);
}
