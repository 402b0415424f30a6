//! The chooser in a real pseudo-terminal, and what happens without one.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use crate::support::ca::{self, Authority, Issued};
use crate::support::command::Cardcase;
use crate::support::gate::Gate;
use crate::support::program;
use crate::support::question::{Question, assert_ends};
use crate::support::scene::Scene;
use crate::support::screen::{self, BACK, ONCE, PERMANENT, SEND_NONE, choose, go_to, marked};
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server, Setup};
use crate::support::terminal::{Terminal, key};
use rustix::process::Signal;

/// Long enough for a wrong answer to take effect.
const A_WHILE: Duration = Duration::from_millis(700);

#[test]
fn back_returns_to_the_identities() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = question.asked(&server, &[]);
    choose(&mut terminal, "alice");
    choose(&mut terminal, BACK);
    choose(&mut terminal, "bob");
    choose(&mut terminal, ONCE);
    assert_ends(&mut terminal, 0);
    assert_eq!(server.chains(), [question.bob.sent_chain()]);
}

#[test]
fn enter_alone_answers_nothing() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = question.asked(&server, &[]);
    assert_eq!(marked(&terminal.text()), None, "a line is chosen already:\n{}", terminal.text());
    terminal.send(key::ENTER);
    terminal.stays_for(A_WHILE);
    assert!(terminal.running(), "Enter ended it:\n{}", terminal.text());
    terminal.send(key::CTRL_C);
    assert_ends(&mut terminal, 130);
    question.assert_nothing_came_of_it(&server);
}

/// Keys typed while the server is still silent are not meant for the chooser.
#[test]
fn keys_typed_before_the_question_do_not_answer_it() {
    let question = Question::new();
    let server = question.server();
    for mode in ["chrome", "firefox"] {
        for keys in ["\t\r\t\r", "\x1b[B\r\x1b[B\r"] {
            let gate = Gate::before(&server);
            let mut arguments = question.scene.fetch_arguments(&format!("https://localhost:{}/", gate.port));
            arguments.extend(["--mode".to_owned(), mode.to_owned()]);
            let mut terminal = Terminal::open(&question.scene.machine, arguments);
            gate.wait_for_the_client();
            terminal.send(keys);
            // The terminal echoes in order: once this is on the screen, everything before it waits to be read
            terminal.send(key::DOWN);
            terminal.send(key::DOWN);
            terminal.wait_for("^[[B^[[B");
            gate.open();
            terminal.wait_for(SEND_NONE);
            terminal.stays_for(A_WHILE);
            assert!(terminal.running(), "{mode} {keys:?}: it was answered:\n{}", terminal.text());
            assert_eq!(marked(&terminal.text()), None, "{mode} {keys:?}: moved:\n{}", terminal.text());
            terminal.send(key::CTRL_C);
            assert_ends(&mut terminal, 130);
            question.assert_nothing_came_of_it(&server);
        }
    }
}

/// Different paths to the same store: the second command waits for the first.
#[test]
fn one_question_at_a_time_even_if_the_paths_to_the_store_differ() {
    for name in ["store/cardcase.db", "store/../store/cardcase.db", "linked/cardcase.db"] {
        let question = Question::new();
        let machine = &question.scene.machine;
        std::os::unix::fs::symlink("store", machine.dir().join("linked")).unwrap();
        let server = question.server();
        let mut first = question.asked(&server, &[]);
        let arguments = question.scene.fetch_arguments(&server.url());
        let command = program::in_terminal(env!("CARGO_BIN_EXE_cardcase"));
        let command = command.args(arguments).args(["--store", name]).current_dir(machine.dir());
        let command = command.env_clear().envs(machine.environment());
        let mut second = Terminal::start(command, Terminal::ROWS, Terminal::COLUMNS);
        second.wait_until("waiting", |screen| screen.contains("waiting") || screen.contains(SEND_NONE));
        assert!(!second.text().contains(SEND_NONE), "{name}: asked as well");
        choose(&mut first, "bob");
        choose(&mut first, PERMANENT);
        assert_ends(&mut first, 0);
        assert_ends(&mut second, 0);
        assert!(!second.text().contains(SEND_NONE), "{name}: asked after all");
        let bob = question.bob.sent_chain();
        assert_eq!(server.chains(), [bob.clone(), bob], "{name}");
    }
}

#[test]
fn ctrl_c_is_exit_130_and_leaves_nothing_behind() {
    let question = Question::new();
    let server = question.server();
    // At the first question, with a marked line, and at the second question
    for moment in ["asked", "marked", "how long"] {
        let mut terminal = question.asked(&server, &[]);
        match moment {
            "marked" => go_to(&mut terminal, "bob", 10),
            "how long" => {
                choose(&mut terminal, "bob");
                terminal.wait_for(PERMANENT);
            }
            _ => {}
        }
        terminal.send(key::CTRL_C);
        assert_ends(&mut terminal, 130);
        question.assert_nothing_came_of_it(&server);
    }
}

#[test]
fn the_end_of_input_is_exit_4_and_leaves_nothing_behind() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = question.asked(&server, &[]);
    terminal.send(key::CTRL_D);
    assert_ends(&mut terminal, 4);
    question.assert_nothing_came_of_it(&server);
}

#[test]
fn a_lost_terminal_leaves_nothing_behind() {
    let question = Question::new();
    let server = question.server();
    for marked in [false, true] {
        let mut terminal = question.asked(&server, &[]);
        if marked {
            go_to(&mut terminal, "bob", 10);
        }
        terminal.hang_up();
        let status = terminal.end();
        let hung_up = status.signal() == Some(rustix::process::Signal::HUP.as_raw());
        assert!(hung_up || status.code() == Some(4), "{status}");
        question.assert_nothing_came_of_it(&server);
    }
}

#[test]
fn a_terminated_command_leaves_nothing_behind() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = question.asked(&server, &[]);
    terminal.signal(Signal::TERM);
    let status = terminal.end();
    assert!(!status.success(), "{status}");
    assert!(!terminal.cursor_hidden(), "the cursor stays hidden");
    question.assert_nothing_came_of_it(&server);
}

#[test]
fn without_a_terminal_fetch_ends_at_once_with_exit_4() {
    let question = Question::new();
    let server = question.server();
    let arguments = question.scene.fetch_arguments(&server.url());
    let run = |more: &[&str]| {
        let arguments = arguments.iter().map(String::as_str).chain(more.iter().copied());
        question.scene.machine.command(arguments).limit(Duration::from_secs(20))
    };
    let started = Instant::now();
    for outcome in [
        run(&[]).run(),
        run(&[]).stdin("\n\n\n1\n").run(),
        run(&["--batch"]).run(),
        run(&[]).env("CARDCASE_BATCH", "1").run(),
    ] {
        outcome.expect(4).says(&["error", "hint", "remember"]);
    }
    assert!(started.elapsed() < Duration::from_secs(20), "slow: {:?}", started.elapsed());
    question.assert_nothing_came_of_it(&server);
}

/// Nothing of a question goes to the streams of the command.
#[test]
fn a_question_is_asked_on_the_terminal_even_if_all_streams_are_redirected() {
    let question = Question::new();
    let server = question.server();
    let machine = &question.scene.machine;
    let (out, err) = (machine.dir().join("out"), machine.dir().join("err"));
    let run = |command: &str| {
        let streams = format!("< /dev/null > {} 2> {}", out.display(), err.display());
        Terminal::script(machine, &format!(r#""$cardcase" {command} {streams}; echo "ended with $?""#))
    };
    let mut terminal = run(&question.scene.fetch_arguments(&server.url()).join(" "));
    choose(&mut terminal, "alice");
    choose(&mut terminal, ONCE);
    terminal.wait_for("ended with 0");
    assert_eq!(server.chains(), [question.alice.sent_chain()]);
    assert_eq!(std::fs::read_to_string(&err).unwrap(), "");
    assert!(std::fs::read_to_string(&out).unwrap().contains("CN=alice"));

    let mut terminal = run("remove alice");
    terminal.wait_for("Remove \"alice\"");
    terminal.send("y");
    terminal.wait_for("ended with 0");
    for file in [&out, &err] {
        assert_eq!(std::fs::read_to_string(file).unwrap(), "");
    }
}

#[test]
fn batch_does_not_ask_even_in_a_terminal() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = question.fetch(&server, &["--batch"]);
    assert_ends(&mut terminal, 4);
    assert!(!terminal.text().contains(SEND_NONE));
    question.assert_nothing_came_of_it(&server);
}

#[test]
fn an_unverified_server_causes_no_question() {
    let question = Question::new();
    let scene = &question.scene;
    let elsewhere = scene.server_root.server(&["elsewhere.example"]);
    let stranger = Authority::root("Stranger Root").server(&["localhost"]);
    for certificate in [&elsewhere, &stranger] {
        for tls in BOTH_VERSIONS {
            let setup = Setup::new(Kind::Go, certificate).authorities(&[&scene.staff_root]);
            let server = setup.tls(tls).start();
            let mut terminal = question.fetch(&server, &[]);
            assert_ends(&mut terminal, 1);
            assert!(!terminal.text().contains(SEND_NONE), "{tls:?}: asked");
            question.assert_nothing_came_of_it(&server);
        }
    }
}

#[test]
fn without_a_candidate_there_is_no_question() {
    let scene = Scene::new();
    scene.bring(scene.guests.client("guest").issue());
    let server = scene.server(Kind::Go).start();
    let mut terminal = Terminal::open(&scene.machine, scene.fetch_arguments(&server.url()));
    assert_ends(&mut terminal, 3);
    assert!(server.chains().is_empty());
}

/// The server goes away while the person thinks: the fetch fails, but a permanent answer is kept.
#[test]
fn a_permanent_answer_is_kept_when_the_server_goes_away() {
    let question = Question::new();
    let server = question.scene.server(Kind::Go).start();
    let mut terminal = question.asked(&server, &[]);
    choose(&mut terminal, "alice");
    terminal.wait_for(PERMANENT);
    drop(server);
    choose(&mut terminal, PERMANENT);
    assert_ends(&mut terminal, 1);
    let decisions = question.scene.machine.json("decisions");
    assert_eq!(decisions["decisions"][0]["identity"], question.alice.fingerprint());
}

#[test]
fn two_hundred_identities_fit_a_window_of_80_by_24() {
    let scene = Scene::new();
    let names: Vec<_> = (0..200).map(long_name).collect();
    let identities: Vec<_> = names.iter().map(|name| scene.employee(name).issue()).collect();
    import_together(&scene.machine, &identities);
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    for (rows, columns) in [(24, 80), (24, 40), (50, 200)] {
        let arguments = scene.fetch_arguments(&server.url());
        let mut terminal = Terminal::open_sized(&scene.machine, arguments, rows, columns);
        terminal.wait_for("person 0");
        terminal.stays_for(A_WHILE);
        assert!(!terminal.any_row_wrapped(), "{columns}: a line wraps:\n{}", terminal.text());
        let text = terminal.text();
        assert!(text.contains(&server.port().to_string()), "the header is gone:\n{text}");
        terminal.send(key::CTRL_C);
        assert_ends(&mut terminal, 130);
    }
    assert!(server.chains().is_empty());
    reach_the_last(&scene, &server, &identities);
}

/// Uses only the arrow keys, line by line. No line may wrap on the way.
fn reach_the_last(scene: &Scene, server: &Server, identities: &[Issued]) {
    let mut terminal = Terminal::open(&scene.machine, scene.fetch_arguments(&server.url()));
    terminal.wait_for("person 0");
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < identities.len() {
        let here = step(&mut terminal);
        assert!(!terminal.any_row_wrapped(), "a line wraps:\n{}", terminal.text());
        let person = identities.iter().find(|each| here.contains(&each.name[..10]));
        let new = person.is_none_or(|person| seen.insert(person.name.clone()));
        assert!(new, "came round to {here:?} after {} of them", seen.len());
    }
    let last = marked(&terminal.text()).unwrap()[..10].to_owned();
    terminal.send(key::ENTER);
    choose(&mut terminal, ONCE);
    assert_ends(&mut terminal, 0);
    let chosen = identities.iter().find(|each| each.name.starts_with(&last)).unwrap();
    assert_eq!(server.chains(), [chosen.sent_chain()]);
}

/// Goes one line down and returns that line.
fn step(terminal: &mut Terminal) -> String {
    let here = marked(&terminal.text()).map(str::to_owned);
    terminal.send(key::DOWN);
    terminal.wait_until("the next line", |text| screen::marked(text).is_some_and(|line| Some(line) != here.as_deref()));
    marked(&terminal.text()).unwrap().to_owned()
}

/// The first ten characters are unique, and the name is wider than any window.
fn long_name(number: usize) -> String {
    format!("person {number:03} of the Department of Redundancy {}", "Department, ".repeat(9))
}

fn import_together(machine: &Cardcase, identities: &[Issued]) {
    let pem: String = identities.iter().map(|each| each.key_pem() + &each.pem()).collect();
    let above = identities[0].chain_pem();
    machine.import_file(&ca::write(machine.dir(), "department", "pem", pem + &above));
}
