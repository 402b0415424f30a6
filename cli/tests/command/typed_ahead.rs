//! Keys that were typed before a question do not answer it, and a password is never shown, however early it is typed.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use crate::support::ca::{P12, PASSWORD};
use crate::support::command::Cardcase;
use crate::support::executable::executable;
use crate::support::question::{Question, assert_ends};
use crate::support::scene::Scene;
use crate::support::screen::SEND_NONE;
use crate::support::terminal::{Terminal, key};
use rustix::process::Signal;

const PRIMARY: &str = "correct horse";

/// Long enough for a wrong answer to take effect.
const A_WHILE: Duration = Duration::from_millis(700);

const OFFER: &str = "New primary password (empty for none)";

fn protect(machine: &Cardcase, password: &str) {
    let new = machine.password_file(password);
    machine.command(["--batch", "password", "--new-password-file"]).arg(new).run().expect(0);
}

/// Types before the command starts, and waits until the command asks.
fn asked_after(machine: &Cardcase, arguments: &str, typed: &str, question: &str) -> Terminal {
    started_after(machine, &format!(r#""$cardcase" {arguments}"#), typed, question)
}

/// The same for a command line that the shell runs.
fn started_after(machine: &Cardcase, command: &str, typed: &str, question: &str) -> Terminal {
    let go = machine.dir().join("go");
    let _ = std::fs::remove_file(&go);
    let script = format!(r#"echo ready; while ! test -e {}; do sleep 0.02; done; exec {command}"#, go.display());
    let mut terminal = Terminal::script(machine, &script);
    terminal.wait_for("ready");
    terminal.send(typed);
    // The terminal echoes in order: once this is on the screen, everything that was typed before it is in the input queue
    terminal.send("~~");
    terminal.wait_for("~~");
    std::fs::write(&go, "").unwrap();
    terminal.wait_for(question);
    terminal
}

#[test]
fn no_key_typed_ahead_answers_a_question() {
    let question = Question::new();
    let server = question.server();
    let scene = &question.scene;
    let (machine, dir) = (&scene.machine, scene.machine.dir());
    let fetch = scene.fetch_arguments(&server.url()).join(" ");
    let file = scene.employee("dave").issue().p12(dir, P12::Default).display().to_string();
    let out = dir.join("out.p12");
    let export = format!("export alice -o {}", out.display());
    let import = format!("import {file}");
    let right_and_more = format!("{PASSWORD}\r\r\r\r");
    let unprotected = [
        ("remove alice", "y\ry\ry", "Remove \"alice\""),
        ("remove alice", "yyy", "Remove \"alice\""),
        (&export, "\r\ry", "New password of"),
        (&export, "pw\rpw\r", "New password of"),
        ("password", "\r\r", OFFER),
        ("password", "x\rx\r", OFFER),
        (&import, &right_and_more, "Password of"),
        (&fetch, "\t\r\t\r", SEND_NONE),
        (&fetch, "\x1b[B\r\x1b[B\r", SEND_NONE),
    ];
    let primary = format!("{PRIMARY}\r{PRIMARY}\r{PRIMARY}\r");
    let protected = [
        ("accept", &*primary, "Primary password:"),
        ("unlock", &primary, "Primary password:"),
        ("config use-single-candidate on", &primary, "Primary password:"),
        ("password", &primary, "Primary password:"),
        (&export, &primary, "Primary password:"),
        ("enroll --subject CN=x -o x.csr", &primary, "Primary password:"),
    ];
    let before = machine.json("list")["identities"].clone();
    let check = |(command, typed, asked): (&str, &str, &str)| {
        let mut terminal = asked_after(machine, command, typed, asked);
        let shown = terminal.stays_for(A_WHILE);
        assert!(terminal.running(), "{command} after {typed:?}: it was answered:\n{shown}");
        assert_eq!(shown.matches(asked).count(), 1, "{command} after {typed:?}: it asks again:\n{shown}");
        terminal.send(key::CTRL_C);
        assert_ends(&mut terminal, 130);
        assert!(terminal.echoes(), "{command}");
        assert!(!out.exists(), "{command}");
        assert_eq!(machine.json("list")["identities"], before, "{command} after {typed:?}");
    };
    unprotected.into_iter().for_each(check);
    assert_eq!(machine.json("list")["protected"], false);
    protect(machine, PRIMARY);
    protected.into_iter().for_each(check);
    question.assert_nothing_came_of_it(&server);
}

/// The offer comes with the first private key of a store. Enter alone would mean no password.
#[test]
fn no_key_typed_ahead_answers_the_offer_of_a_password() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let file = scene.employee("alice").issue().p12(machine.dir(), P12::Default);
    let password = machine.password_file(PASSWORD);
    let import = format!("import {} --password-file {}", file.display(), password.display());
    for command in [&import, "enroll --subject CN=x -o x.csr"] {
        for typed in ["\r\r\r", "x\rx\r"] {
            let mut terminal = asked_after(machine, command, typed, OFFER);
            let shown = terminal.stays_for(A_WHILE);
            assert!(terminal.running() && shown.matches(OFFER).count() == 1, "{command} after {typed:?}:\n{shown}");
            terminal.send(key::CTRL_C);
            assert_ends(&mut terminal, 130);
        }
    }
    assert_eq!(machine.json("list")["identities"], serde_json::json!([]));
}

/// Types the next password while the previous one is still being tried.
#[test]
fn a_password_typed_too_early_is_not_shown() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    protect(machine, PRIMARY);
    let file = scene.employee("bob").issue().p12(machine.dir(), P12::Default);
    let import = format!("import {}", file.display());
    let out = machine.dir().join("out.p12");
    let export = format!("export alice -o {}", out.display());
    let right = format!("{PRIMARY}\r");
    for (command, asked, first, next) in [
        ("unlock", "Primary password", "wrong1\r", "Wrong. Primary password"),
        ("password", "Primary password", "wrong1\r", "Wrong. Primary password"),
        ("password", "Primary password", &right, OFFER),
        (&export, "Primary password", &right, "New password of"),
        (&import, "Password of", "wrong1\r", "Wrong. Password of"),
    ] {
        let mut terminal = Terminal::open(machine, command.split(' '));
        terminal.wait_for(asked);
        assert!(!terminal.echoes(), "{command}");
        terminal.send(first);
        terminal.send("early-secret\rearlier");
        terminal.wait_for(next);
        assert!(!terminal.echoes(), "{command}");
        terminal.send("more");
        terminal.send(key::CTRL_C);
        assert_ends(&mut terminal, 130);
        assert!(terminal.echoes(), "{command}");
        let received = String::from_utf8_lossy(terminal.received()).into_owned();
        for secret in ["wrong1", "horse", "early", "more"] {
            assert!(!received.contains(secret), "{command}: {secret} in {received:?}");
        }
    }
}

/// The empty password is tried before the question, which takes long for a file with many rounds.
#[test]
fn a_password_typed_while_the_empty_one_is_tried_is_not_shown() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let file = scene.employee("alice").issue().p12(machine.dir(), P12::Rounds(3_000_000));
    let mut terminal = Terminal::open(machine, ["import".as_ref(), file.as_os_str()]);
    terminal.wait_for("many rounds");
    terminal.send("early-secret\r");
    terminal.wait_for("Password of");
    terminal.send(key::CTRL_C);
    assert_ends(&mut terminal, 130);
    assert!(terminal.echoes());
    let received = String::from_utf8_lossy(terminal.received()).into_owned();
    assert!(!received.contains("early"), "{received:?}");
}

/// It is neither shown nor read by the shell as the next command.
#[test]
fn what_is_typed_after_the_last_password_is_thrown_away() {
    let machine = Cardcase::new();
    let script = r#""$cardcase" password; echo "ended with $?"; read line; echo "got <$line>""#;
    let mut terminal = Terminal::script(&machine, script);
    terminal.wait_for(OFFER);
    terminal.send("new-secret\r");
    terminal.wait_for("Repeat it");
    terminal.send("new-secret\r");
    // The next program that reads the terminal is the shell
    terminal.send("new-secret\r");
    terminal.wait_for("ended with 0");
    terminal.send("next\r");
    terminal.wait_for("got <next>");
    let received = String::from_utf8_lossy(terminal.received()).into_owned();
    assert!(!received.contains("secret"), "{received:?}");
}

/// A pinentry that reads lines from the terminal, as pinentry-tty does, but leaves the echo to the command.
#[test]
fn no_key_typed_ahead_answers_a_pinentry_and_none_is_shown() {
    let machine = Cardcase::new();
    protect(&machine, PRIMARY);
    let script = "#!/bin/sh\necho OK\nwhile read -r line; do case $line in\nGETPIN) echo asked > /dev/tty; read -r pin < /dev/tty; \
                  echo \"D $pin\"; echo OK;;\n*) echo OK;;\nesac; done\n";
    let pinentry = executable(machine.dir(), "pinentry", script);
    let command = format!("env PINENTRY_PROGRAM={} \"$cardcase\" unlock", pinentry.display());
    let mut terminal = started_after(&machine, &command, &format!("{PRIMARY}\r"), "asked");
    let shown = terminal.stays_for(A_WHILE);
    assert!(terminal.running() && shown.matches("asked").count() == 1, "{shown}");
    terminal.send("wrong1\r");
    terminal.send("early-secret\r");
    terminal.wait_until("the next prompt", |screen| screen.matches("asked").count() == 2);
    terminal.send(key::CTRL_C);
    assert_ends(&mut terminal, 130);
    assert!(terminal.echoes());
    let received = String::from_utf8_lossy(terminal.received()).into_owned();
    assert!(!received.contains("wrong1") && !received.contains("early"), "{received:?}");
}

#[test]
fn the_echo_is_on_again_however_the_command_ends() {
    let machine = Cardcase::new();
    protect(&machine, PRIMARY);
    let right = format!("{PRIMARY}\r");
    let asks = ["config", "use-single-candidate", "on"];
    for (typed, code) in [(key::CTRL_C, 130), (key::CTRL_D, 4), ("a\r", 6), (&right, 0)] {
        let mut terminal = Terminal::open(&machine, asks);
        for tries in 1..=3 {
            let asked = |screen: &str| screen.matches("Primary password:").count() == tries;
            terminal.wait_until("the next prompt", asked);
            terminal.send(typed);
            if code != 6 {
                break;
            }
        }
        assert_ends(&mut terminal, code);
        assert!(terminal.echoes(), "{code}");
    }
    // At a prompt, and while a password is tried
    for (typed, signal) in [
        ("", Signal::TERM),
        ("a\r", Signal::TERM),
        ("", Signal::ALARM),
        ("", Signal::ABORT),
        ("", Signal::USR1),
        ("", Signal::USR2),
        ("", Signal::VTALARM),
        ("", Signal::PROF),
        ("", Signal::XCPU),
        ("", Signal::IO),
    ] {
        let mut terminal = Terminal::open(&machine, asks);
        terminal.wait_for("Primary password:");
        terminal.send(typed);
        terminal.signal(signal);
        let status = terminal.end();
        // As a shell has it
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        assert_eq!(code, Some(128 + signal.as_raw()), "{typed:?} {signal:?}");
        assert!(terminal.echoes(), "{typed:?} {signal:?}");
    }
}
