//! Who is asked for the primary password, where, and how often.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use pty_process::blocking::Command;
use support::command::{Cardcase, Outcome};
use support::pinentry::{Pinentry, SILENT, executable};
use support::question::assert_ends;
use support::terminal::{Terminal, key};

const PASSWORD: &str = "correct horse 50% ä";

/// What takes the primary password, and needs nothing else.
const NEEDS_IT: [&str; 3] = ["config", "use-single-candidate", "on"];

/// A store with a primary password.
fn protected() -> Cardcase {
    let machine = Cardcase::new();
    set(&machine, PASSWORD);
    machine
}

fn set(machine: &Cardcase, password: &str) {
    let new = machine.password_file(password);
    machine.command(["--batch", "password", "--new-password-file"]).arg(new).run().expect(0);
}

fn is_done(machine: &Cardcase) -> bool {
    machine.json("config")["use_single_candidate"] == true
}

/// Without a terminal, with this program to ask.
fn with_pinentry(machine: &Cardcase, program: &Path) -> Outcome {
    machine.command(NEEDS_IT).env("PINENTRY_PROGRAM", program).detached().run()
}

#[test]
fn a_pinentry_needs_no_terminal() {
    let machine = protected();
    let pinentry =
        Pinentry::replying(machine.dir(), &["D nope\nOK", "D wrong\nOK", "D correct horse 50%25 %C3%a4\nOK"]);
    let outcome = with_pinentry(&machine, &pinentry.program).expect(0);
    assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("", ""));
    assert!(is_done(&machine));
    let told = pinentry.told();
    let count = |start: &str| told.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((count("GETPIN"), count("SETERROR"), count("SETDESC")), (3, 2, 3), "{told:#?}");
    let store = format!("SETDESC The certificate store {}", machine.store().display());
    assert!(told.contains(&store) && told.contains(&"SETPROMPT Primary password:".to_owned()), "{told:#?}");
    assert!(told.contains(&"OPTION lc-ctype=C.UTF-8".to_owned()), "{told:#?}");
    assert_eq!(count("OPTION ttyname"), 0, "it has no terminal: {told:#?}");
    assert!(!told.concat().contains("horse"));
}

#[test]
fn three_tries_at_a_pinentry() {
    let machine = protected();
    let pinentry = Pinentry::replying(machine.dir(), &["OK", "D x\nOK", "D y\nOK", "D never asked\nOK"]);
    with_pinentry(&machine, &pinentry.program).expect(6).says(&["primary password is wrong"]);
    assert!(!is_done(&machine));
}

#[test]
fn a_pinentry_that_is_cancelled_ends_it() {
    let machine = protected();
    for code in [83_886_179, 99, 83_886_278] {
        let pinentry = Pinentry::replying(machine.dir(), &[&format!("ERR {code} Operation cancelled <Pinentry>")]);
        with_pinentry(&machine, &pinentry.program).expect(130).says(&["aborted"]);
        std::fs::remove_file(machine.dir().join("told.txt")).unwrap();
    }
    assert!(!is_done(&machine));
}

#[test]
fn a_pinentry_that_does_not_work_is_named() {
    let machine = protected();
    let dir = machine.dir();
    let python = |body: &str| format!("#!/usr/bin/env python3\nimport time\nprint('OK', flush=True)\n{body}\n");
    let bad = [
        ("gone", None, "No such file"),
        ("not-executable", None, "Permission denied"),
        ("no-program", Some("junk"), "exec format"),
        ("ends", Some("#!/bin/sh\nexit 1\n"), "ended"),
        ("chatters", Some("#!/bin/sh\nexec yes\n"), "Assuan"),
        ("one-line", Some("#!/bin/sh\nexec cat /dev/zero\n"), "Assuan"),
        ("hangs", Some(SILENT), "does not answer"),
        (
            "no-display",
            Some(&*python("for _ in open(0): print('ERR 83886340 \\x1b[2Jno display', flush=True)")),
            "no display",
        ),
        ("not-utf8", Some(&*python("for _ in open(0): print('D %ff\\nOK', flush=True)")), "UTF-8"),
    ];
    std::fs::write(dir.join("not-executable"), "").unwrap();
    for (name, script, word) in bad {
        let program = script.map_or_else(|| dir.join(name), |script| executable(dir, name, script));
        let start = Instant::now();
        let outcome = with_pinentry(&machine, &program).expect(4);
        assert!(start.elapsed() < Duration::from_secs(20), "{name}");
        let outcome = outcome.says(&[name, word, "hint: give the password in a file"]);
        assert!(!outcome.stderr.contains('\u{1b}'), "{name}: {:?}", outcome.stderr);
    }
    assert!(!is_done(&machine));
}

#[test]
fn batch_asks_no_pinentry() {
    let machine = protected();
    let pinentry = Pinentry::replying(machine.dir(), &["D correct horse 50%25 %C3%a4\nOK"]);
    let run = machine.command(NEEDS_IT).env("PINENTRY_PROGRAM", &pinentry.program);
    run.arg("--batch").detached().run().expect(4).says(&["nobody can be asked"]);
    assert!(pinentry.told().is_empty());
}

/// On a terminal the program is told which, so that it can draw there.
#[test]
fn a_pinentry_is_told_the_terminal_and_ends_with_us() {
    let machine = protected();
    let pid = machine.dir().join("pid");
    let script = r#"#!/bin/sh
echo $$ > PID; echo OK
while read line; do
    echo "[$line]" > /dev/tty
    case $line in GETPIN*) exec sleep 100;; esac
    echo OK
done
"#;
    let script = script.replace("PID", pid.to_str().unwrap());
    let program = executable(machine.dir(), "pinentry", &script);
    let command = Command::new(env!("CARGO_BIN_EXE_cardcase")).args(NEEDS_IT).env_clear();
    let command = command.envs(machine.environment()).env("PINENTRY_PROGRAM", &program);
    let mut terminal = Terminal::start(command, Terminal::ROWS, Terminal::COLUMNS);
    terminal.wait_for("[GETPIN");
    let told = terminal.text();
    assert!(told.contains("[OPTION ttyname=/dev/pts/") && told.contains("[OPTION ttytype=xterm-256color]"), "{told}");
    terminal.terminate();
    assert_eq!(terminal.end().code(), Some(128 + 15));
    let pid = std::fs::read_to_string(pid).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    let until = Instant::now() + Duration::from_secs(5);
    while process.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!process.exists(), "the pinentry still runs");
}

/// Under a shell that sends every stream elsewhere.
#[test]
fn the_terminal_is_asked_wherever_the_streams_go() {
    let machine = protected();
    let (out, err) = (machine.dir().join("out"), machine.dir().join("err"));
    let mut shell = Command::new("sh");
    shell = shell.args([
        "-c",
        r#"out=$1 err=$2; shift 2; "$@" < /dev/null > "$out" 2> "$err"; echo "ended with $?"; read wait"#,
        "sh",
    ]);
    shell = shell.arg(&out).arg(&err).arg(env!("CARGO_BIN_EXE_cardcase")).args(NEEDS_IT);
    shell = shell.env_clear().envs(machine.environment());
    let mut terminal = Terminal::start(shell, Terminal::ROWS, Terminal::COLUMNS);
    terminal.wait_for("Primary password");
    terminal.send("nope\r");
    terminal.wait_for("Wrong. Primary password");
    terminal.send(&format!("{PASSWORD}\r"));
    terminal.wait_for("ended with 0");
    assert!(!terminal.text().contains("horse"), "{}", terminal.text());
    assert!(is_done(&machine));
    let said = [&out, &err].map(|file| std::fs::read_to_string(file).unwrap());
    assert_eq!(said, ["", ""]);
}

#[test]
fn three_tries_at_a_terminal_and_one_with_a_file() {
    let machine = protected();
    let mut terminal = Terminal::open(&machine, ["password"]);
    for tries in 1..=3 {
        terminal.wait_until("the next prompt", |screen| screen.matches("Primary password:").count() == tries);
        terminal.send("hopeless\r");
    }
    terminal.wait_for("the primary password is wrong");
    assert!(!terminal.text().contains("hopeless"));
    assert_ends(&mut terminal, 6);

    let wrong = machine.password_file("hopeless");
    let outcome = machine.command(NEEDS_IT).arg("--primary-password-file").arg(wrong).run().expect(6);
    assert!(!outcome.stderr.contains("hopeless"));
    assert!(!is_done(&machine));
}

/// The end of input is no empty password.
#[test]
fn interrupted_or_ended_at_the_password_it_leaves_everything() {
    let machine = protected();
    for (key, code) in [(key::CTRL_C, 130), (key::CTRL_D, 4)] {
        let mut terminal = Terminal::open(&machine, NEEDS_IT);
        terminal.wait_for("Primary password");
        terminal.send(key);
        assert_ends(&mut terminal, code);
    }
    assert!(!is_done(&machine));
}
