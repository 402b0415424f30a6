//! The menu of the chooser as a terminal shows it: in small windows, while the window changes, with names in every script, and its search.

use std::time::Duration;

use crate::support::ca::Validity;
use crate::support::question::{Question, assert_ends};
use crate::support::scene::Scene;
use crate::support::screen::{BACK, ONCE, SEND_NONE, choose, go_to, marked};
use crate::support::server::{Ask, Kind, Server, Setup, Tls};
use crate::support::terminal::{Terminal, key};

/// Long enough for a wrong answer to take effect.
const A_WHILE: Duration = Duration::from_millis(700);

/// What is always on the screen.
const ALWAYS: [&str; 4] = ["↑↓", "Enter pick", "Esc", SEND_NONE];

/// FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE.
const ISOLATES: [char; 2] = ['\u{2068}', '\u{2069}'];

fn asked_in(scene: &Scene, server: &Server, rows: u16, columns: u16) -> Terminal {
    let arguments = scene.fetch_arguments(&server.url());
    let mut terminal = Terminal::open_sized(&scene.machine, arguments, rows, columns);
    terminal.wait_until("the menu", |text| text.contains(SEND_NONE) && ALWAYS.iter().all(|part| text.contains(part)));
    terminal
}

/// What was read may end in the middle of a picture.
fn assert_whole(terminal: &mut Terminal, server: &Server) {
    let host = format!("localhost:{}", server.port());
    let once = |text: &str| ALWAYS.into_iter().chain([&*host]).all(|part| text.matches(part).count() == 1);
    terminal.wait_until("each part once", once);
    assert!(!terminal.any_row_wrapped(), "a line wraps:\n{}", terminal.text());
}

#[track_caller]
fn cancel(mut terminal: Terminal) {
    terminal.send(key::CTRL_C);
    assert_ends(&mut terminal, 130);
}

/// In TLS 1.2, with an issuer that is missing, a note stands in the details.
#[test]
fn the_keys_and_the_marked_row_stay_in_every_window() {
    let question = Question::new();
    let scene = &question.scene;
    scene.bring(scene.employee("late").validity(Validity::Expired).issue());
    let server = scene.server(Kind::Go).ask(Ask::Unchecked).tls(Tls::V1_2).start();
    for (rows, columns) in [(24, 80), (10, 40), (12, 60), (50, 200)] {
        let mut terminal = asked_in(scene, &server, rows, columns);
        assert_whole(&mut terminal, &server);
        go_to(&mut terminal, "late", 10);
        assert_whole(&mut terminal, &server);
        let text = terminal.text();
        assert!(marked(&text).unwrap().contains("EXPIRED") && text.contains("Note     expired"), "{text}");
        assert!(rows < 24 || (text.contains("visible on the network") && text.contains("SHA-256  ")), "{text}");
        terminal.send("zzz");
        terminal.wait_for("no match");
        assert_whole(&mut terminal, &server);
        cancel(terminal);
    }
    question.assert_nothing_came_of_it(&server);
}

#[test]
fn the_menu_is_drawn_anew_when_the_window_changes() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = asked_in(&question.scene, &server, 24, 80);
    go_to(&mut terminal, "bob", 10);
    for (rows, columns) in [(10, 40), (40, 120), (24, 80), (12, 60), (24, 80)] {
        terminal.resize(rows, columns);
        let is_drawn = |text: &str| {
            let details = text.lines().find(|line| line.starts_with("Subject  ")).unwrap_or_default();
            ALWAYS.iter().all(|part| text.contains(part)) && details.contains("CN=bob")
        };
        terminal.wait_until("the menu", is_drawn);
        terminal.stays_for(A_WHILE);
        assert_whole(&mut terminal, &server);
        assert!(marked(&terminal.text()).unwrap().contains("bob"), "{}", terminal.text());
    }
    terminal.send(key::ENTER);
    choose(&mut terminal, ONCE);
    assert_ends(&mut terminal, 0);
    assert_eq!(server.chains(), [question.bob.sent_chain()]);
}

/// The rows that are shown, without "Send no certificate".
fn listed<'n>(terminal: &Terminal, names: &[&'n str]) -> Vec<&'n str> {
    let text = terminal.text();
    let place = |name: &str| text.lines().position(|line| line.trim_start_matches(['>', ' ']).starts_with(name));
    let mut found: Vec<_> = names.iter().filter_map(|name| Some((place(name)?, *name))).collect();
    found.sort();
    found.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn words_are_searched_in_everything_that_the_details_show() {
    let question = Question::new();
    let scene = &question.scene;
    let dave = scene.bring(scene.employee("dave").serial(&[0x5e, 0x21, 0xa1]).issue());
    let server = question.server();
    let fingerprint = dave.fingerprint();
    let with_colons =
        fingerprint.as_bytes()[10..30].chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect::<Vec<_>>();
    let with_colons = with_colons.join(":").to_uppercase();
    let cases: [(&str, &[&str], &str); 13] = [
        ("bob", &["bob"], "bob"),
        ("BOB", &["bob"], "bob"),
        ("bob@example.com", &["bob"], "bob@example.com"),
        ("issuing carol", &["carol"], "carol"),
        ("carol issuing", &["carol"], "carol"),
        ("crl", &["carol"], "crl"),
        ("5e21a1", &["dave"], "5e21a1"),
        (&fingerprint, &["dave"], &fingerprint[..20]),
        (&with_colons, &["dave"], &fingerprint[10..30]),
        ("ec-p256 alice", &["alice"], "alice"),
        ("nobody", &[], ""),
        // Stands for an e-mail address that is missing
        ("none", &[], ""),
        ("bob carol", &[], ""),
    ];
    let mut terminal = asked_in(scene, &server, 24, 120);
    for (query, found, marked) in cases {
        terminal.send(query);
        terminal.wait_for(&format!("({} of 4)", found.len()));
        let text = terminal.text();
        assert_eq!(listed(&terminal, &["alice", "bob", "carol", "dave"]), found, "{query}:\n{text}");
        assert!(terminal.underlined().contains(marked), "{query}: {:?} is marked:\n{text}", terminal.underlined());
        assert_eq!(text.contains("no match"), found.is_empty(), "{query}:\n{text}");
        assert!(text.contains(SEND_NONE), "{query}:\n{text}");
        // Nothing is preselected
        terminal.send(key::ENTER);
        terminal.send(key::CTRL_U);
        terminal.wait_until("all of them", |text| !text.contains("Search:"));
    }
    terminal.send("dave");
    terminal.wait_for("(1 of 4)");
    choose(&mut terminal, "dave");
    choose(&mut terminal, ONCE);
    assert_ends(&mut terminal, 0);
    assert_eq!(server.chains(), [dave.sent_chain()]);
}

#[test]
fn keys_edit_the_search_and_move_the_mark() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = asked_in(&question.scene, &server, 24, 80);
    let is_marked = |name: &'static str| move |text: &str| marked(text).is_some_and(|row| row.starts_with(name));
    let names = listed(&terminal, &["alice", "bob", "carol"]);
    let (first, last) = (names[0], names[2]);
    for (typed, row) in [
        (key::END, SEND_NONE),
        (key::HOME, first),
        (key::UP, SEND_NONE),
        (key::PAGE_UP, first),
        (key::PAGE_DOWN, SEND_NONE),
        (key::UP, last),
    ] {
        terminal.send(typed);
        terminal.wait_until(row, is_marked(row));
    }
    for (typed, query) in [
        ("alice staf", "alice staf"),
        (key::CTRL_W, "alice "),
        ("\x7f\x7f", "alic"),
        (key::CTRL_U, ""),
        ("bob", "bob"),
        (key::ESCAPE, ""),
    ] {
        terminal.send(typed);
        let expected = format!("Search: {query}").trim_end().to_owned();
        terminal.wait_until(&expected, |text| match query {
            "" => !text.contains("Search:"),
            _ => text.lines().any(|line| line.split(" (").next().map(str::trim_end) == Some(&*expected)),
        });
        assert_eq!(marked(&terminal.text()), None, "{query}: a row stays marked");
    }
    terminal.send(key::ESCAPE);
    assert_ends(&mut terminal, 130);
    question.assert_nothing_came_of_it(&server);
}

#[test]
fn a_key_shows_those_that_do_not_fit_and_why() {
    let question = Question::new();
    let scene = &question.scene;
    scene.bring(scene.guests.client("guest").issue());
    let server = question.server();
    for columns in [80, 40] {
        let mut terminal = asked_in(scene, &server, 24, columns);
        terminal.send(key::CTRL_O);
        terminal.wait_for("These do not fit:");
        assert_eq!(listed(&terminal, &["alice", "guest"]), ["guest"], "{}", terminal.text());
        go_to(&mut terminal, "guest", 2);
        terminal.wait_until("why, and the keys", |text| {
            let text: String = text.lines().map(|row| format!("{} ", row.trim())).collect();
            let why = "Why not  not issued under an authority the server asks for";
            [why, SEND_NONE, "Esc back"].iter().all(|part| text.contains(part))
        });
        // What does not fit cannot be picked
        terminal.send(key::ENTER);
        terminal.stays_for(A_WHILE);
        assert!(terminal.text().contains("These do not fit:"), "{}", terminal.text());
        terminal.send("alice");
        terminal.wait_for("no match");
        terminal.send(key::ESCAPE);
        terminal.wait_for("guest");
        terminal.send(key::ESCAPE);
        terminal.wait_until("those that fit", |text| text.contains("alice") && !text.contains("These do not fit"));
        cancel(terminal);
    }
    question.assert_nothing_came_of_it(&server);
}

/// What is picked was on the screen: keys that came before the result of a search mark nothing.
#[test]
fn a_search_that_is_typed_at_once_with_enter_picks_nothing() {
    let question = Question::new();
    let server = question.server();
    for typed in ["bob\x1b[B\r", "zzz\x1b[B\r", "bob\x1b[F\r", "bob\x1b[A\r", "bob\x1bOB\r"] {
        let mut terminal = question.asked(&server, &["--mode", "chrome"]);
        terminal.send(typed);
        terminal.wait_until("the result", |text| text.contains(" of 3)"));
        terminal.stays_for(A_WHILE);
        assert!(terminal.running() && marked(&terminal.text()).is_none(), "{typed:?}:\n{}", terminal.text());
        cancel(terminal);
    }
    question.assert_nothing_came_of_it(&server);
}

#[test]
fn in_the_smallest_windows_enter_picks_only_what_is_shown() {
    let question = Question::new();
    let server = question.server();
    for (rows, columns) in [(1, 1), (2, 20), (3, 20), (5, 8), (5, 20), (8, 20), (10, 40)] {
        let mut terminal = asked_in(&question.scene, &server, 24, 80);
        terminal.resize(rows, columns);
        terminal.stays_for(A_WHILE);
        terminal.send(key::DOWN);
        terminal.stays_for(A_WHILE);
        let text = terminal.text();
        assert!(!terminal.any_row_wrapped(), "{rows}x{columns}:\n{text}");
        let is_shown = rows > 2 && columns > 10;
        assert!(!is_shown || marked(&text).is_some_and(|row| !row.is_empty()), "{rows}x{columns}:\n{text}");
        let keys = if columns < 40 { "↑↓" } else { "Enter pick" };
        assert!(rows < 5 || columns < 20 || text.contains(keys), "{rows}x{columns}:\n{text}");
        terminal.send(key::ENTER);
        terminal.stays_for(A_WHILE);
        terminal.resize(24, 80);
        terminal.wait_for(if is_shown { ONCE } else { SEND_NONE });
        cancel(terminal);
    }
    question.assert_nothing_came_of_it(&server);
}

#[test]
fn long_names_leave_the_list_and_the_questions_in_the_window() {
    let scene = Scene::new();
    let long = format!("{}@example.com", "x".repeat(700));
    scene.machine.import_file(&scene.employee(&long).issue().pem_file(scene.machine.dir()));
    let host = format!("{}example.com", "intranet.".repeat(26));
    let certificate = scene.server_root.server(&[&host]);
    let server = Setup::new(Kind::Go, &certificate).authorities(&[&scene.staff_root]).ask(Ask::Optional).start();
    let mut arguments = scene.fetch_arguments(&server.url_at(&host, "/"));
    arguments.extend(["--connect-to".to_owned(), format!("{host}:{0}:127.0.0.1:{0}", server.port())]);
    let end = format!("example.com:{}", server.port());
    for (rows, columns) in [(8, 40), (10, 40), (24, 80)] {
        let mut terminal = Terminal::open_sized(&scene.machine, &arguments, rows, columns);
        let has = |part: &str, text: &str| text.replace('\n', "").contains(part);
        terminal.wait_until("the list", |text| has(SEND_NONE, text) && has(&end, text));
        go_to(&mut terminal, "xxx", 3);
        terminal.send(key::ENTER);
        terminal.wait_until("the question", |text| has("Remember this answer for", text) && has("example.com?", text));
        go_to(&mut terminal, ONCE, 4);
        assert!(!terminal.any_row_wrapped(), "{}", terminal.text());
        cancel(terminal);
    }
}

/// It fits, but was not offered.
#[test]
fn an_identity_that_is_imported_meanwhile_cannot_be_picked() {
    let question = Question::new();
    let scene = &question.scene;
    let server = question.server();
    let mut terminal = question.asked(&server, &[]);
    scene.hire("late");
    terminal.send(key::CTRL_O);
    terminal.wait_for("These do not fit:");
    go_to(&mut terminal, "imported meanwhile", 2);
    terminal.send(key::ENTER);
    terminal.stays_for(A_WHILE);
    assert!(terminal.running() && terminal.text().contains("These do not fit:"), "{}", terminal.text());
    cancel(terminal);
    question.assert_nothing_came_of_it(&server);
}

#[test]
fn the_menu_ends_when_the_store_cannot_be_read() {
    for plain in [false, true] {
        let question = Question::new();
        let server = question.server();
        let mut terminal = question.asked(&server, if plain { &["--plain"] } else { &[] });
        if plain {
            terminal.wait_for("q to cancel");
        }
        question.scene.machine.database().execute("ALTER TABLE identities RENAME TO gone", []).unwrap();
        terminal.send(if plain { "alice\r" } else { key::DOWN });
        assert_ends(&mut terminal, 1);
        server.assert_nothing_came("the store is gone");
    }
}

#[test]
fn back_from_the_second_question_keeps_the_search() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = question.asked(&server, &[]);
    terminal.send("carol");
    terminal.wait_for("(1 of 3)");
    choose(&mut terminal, "carol");
    choose(&mut terminal, BACK);
    terminal.wait_for("(1 of 3)");
    assert!(marked(&terminal.text()).is_none(), "{}", terminal.text());
    cancel(terminal);
    question.assert_nothing_came_of_it(&server);
}

#[test]
fn a_pasted_text_is_searched_for_up_to_a_limit() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = question.asked(&server, &[]);
    terminal.send(&format!("{}qqq", "z ".repeat(1000)));
    terminal.wait_for("(0 of 3)");
    terminal.stays_for(A_WHILE);
    assert!(!terminal.text().contains("qqq"), "{}", terminal.text());
    terminal.send(key::CTRL_U);
    terminal.wait_until("all of them", |text| text.contains("alice"));
    cancel(terminal);
}

/// Names in scripts with wide, combining and right-to-left characters. Nothing is reordered, and no line wraps.
#[test]
fn names_in_every_script_stand_in_their_columns() {
    let names = [
        ("田中 太郎", false),
        ("김철수", false),
        ("Zoe\u{308} Müller", false),
        ("😀 Smile", false),
        ("กิตติ", false),
        ("דוד לוי 7", true),
        ("أحمد (علي)", true),
    ];
    let scene = Scene::new();
    for (name, _) in names {
        // openssl writes no such names into a PKCS#12 file
        scene.machine.import_file(&scene.employee(name).issue().pem_file(scene.machine.dir()));
    }
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    for (rows, columns) in [(24, 80), (30, 40)] {
        let mut terminal = asked_in(&scene, &server, rows, columns);
        let text = terminal.text().replace(ISOLATES, "");
        for (name, _) in names {
            assert!(text.lines().any(|line| line.starts_with(&format!("  {name}"))), "{name}:\n{text}");
        }
        for _ in names {
            terminal.send(key::DOWN);
        }
        terminal.stays_for(A_WHILE);
        assert!(!terminal.any_row_wrapped(), "{}", terminal.text());
        let received = String::from_utf8_lossy(terminal.received()).into_owned();
        for (name, is_isolated) in names {
            let isolated = format!("{}{name}{}", ISOLATES[0], ISOLATES[1]);
            assert_eq!(received.contains(&isolated), is_isolated, "{name}");
        }
        let [begins, ends] = ISOLATES.map(|isolate| received.matches(isolate).count());
        assert_eq!(begins, ends, "an isolate stays open");
        terminal.send("לוי");
        terminal.wait_for(&format!("(1 of {})", names.len()));
        assert!(terminal.underlined().contains("לוי"), "{:?}", terminal.underlined());
        cancel(terminal);
    }
}

/// What is shown is what the store says when it is shown; what is picked has to be so still.
#[test]
fn an_identity_that_is_renamed_or_removed_while_it_is_marked_is_not_sent() {
    let question = Question::new();
    let server = question.server();
    for (change, then) in [("rename bob robert", "robert"), ("remove robert --yes", "alice")] {
        let name = change.split(' ').nth(1).unwrap();
        let mut terminal = question.asked(&server, &[]);
        go_to(&mut terminal, name, 10);
        question.scene.machine.run(change).expect(0);
        terminal.send(key::ENTER);
        choose(&mut terminal, ONCE);
        // It asks again
        terminal.wait_until("the question", |text| text.contains(SEND_NONE) && text.contains(then));
        assert!(!terminal.text().contains(&format!("  {name} ")), "{}", terminal.text());
        cancel(terminal);
        question.assert_nothing_came_of_it(&server);
    }
}
