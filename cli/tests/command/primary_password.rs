//! How the primary password is asked for: where, and how often.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::ca::{self, P12};
use crate::support::command::{Cardcase, Outcome};
use crate::support::executable::executable;
use crate::support::pinentry::{Pinentry, SILENT};
use crate::support::program;
use crate::support::question::assert_ends;
use crate::support::scene::Scene;
use crate::support::terminal::{Terminal, key};
use rustix::process::Signal;

const PASSWORD: &str = "correct horse 50% ä";

const OFFER: &str = "New primary password (empty for none)";
const AGAIN: &str = "Repeat it";
const NOT_PROTECTED: &str = "not protected by a password";

/// A command that needs the primary password and nothing else.
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

/// Without a terminal, using this program to ask.
fn with_pinentry(machine: &Cardcase, program: &Path) -> Outcome {
    machine.command(NEEDS_IT).env("PINENTRY_PROGRAM", program).run()
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
fn a_damaged_vault_is_described_with_a_next_step() {
    let cases = [
        ("memory = 4", &["4 KiB of memory", "65536"][..]),
        ("memory = -1", &["-1 KiB of memory", "65536"]),
        ("memory = 1 << 40", &["1099511627776 KiB"]),
        ("passes = 1", &["1 passes"]),
        ("passes = 1 << 32", &["4294967296 passes"]),
        ("memory = NULL", &["columns are empty"]),
        ("protection = 'none'", &["columns are empty"]),
    ];
    for (change, words) in cases {
        let machine = protected();
        machine.database().execute(&format!("UPDATE vault SET {change}"), []).unwrap();
        let password = machine.password_file(PASSWORD);
        let run = machine.command(["--batch", "--primary-password-file"]).arg(password).args(NEEDS_IT);
        run.run().expect(1).says(&["the vault of the store is damaged", "from a backup", "--store FILE"]).says(words);
    }
}

/// Only an import that stores a private key or moves decisions needs the primary password.
#[test]
fn an_import_that_stores_no_key_asks_for_no_password() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    set(&scene.machine, PASSWORD);
    let (dir, password) = (scene.machine.dir(), ca::write(scene.machine.dir(), "file", "txt", Scene::password()));
    let import = |file: &Path, more: &[&str]| {
        scene.machine.command(["--batch", "import"]).arg(file).arg("--password-file").arg(&password).args(more).run()
    };
    let file = alice.p12(dir, P12::Default);
    for more in [&[][..], &["--renew"]] {
        let again = import(&file, more).expect(0);
        assert!(again.text().contains("already present: alice"), "{}", again.text());
    }
    import(&scene.guests_root.file(dir), &[]).expect(0);
    assert!(scene.machine.run("authorities").expect(0).text().contains("Guests Root"));
    let new = scene.employee("alice").email("alice@example.com").issue();
    for more in [&[][..], &["--renew"]] {
        import(&new.p12(dir, P12::Default), more).expect(4).says(&["primary password"]);
    }
}

#[test]
fn a_pinentry_gives_three_tries() {
    let machine = protected();
    let pinentry = Pinentry::replying(machine.dir(), &["OK", "D x\nOK", "D y\nOK", "D never asked\nOK"]);
    with_pinentry(&machine, &pinentry.program).expect(6).says(&["primary password is wrong"]);
    assert!(!is_done(&machine));
}

#[test]
fn cancelling_a_pinentry_ends_the_command() {
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
        let outcome = outcome.says(&[name, word, "give the password in a file"]);
        assert!(!outcome.stderr.contains('\u{1b}'), "{name}: {:?}", outcome.stderr);
    }
    assert!(!is_done(&machine));
}

#[test]
fn batch_does_not_use_a_pinentry() {
    let machine = protected();
    let pinentry = Pinentry::replying(machine.dir(), &["D correct horse 50%25 %C3%a4\nOK"]);
    let run = machine.command(NEEDS_IT).env("PINENTRY_PROGRAM", &pinentry.program);
    run.arg("--batch").run().expect(4).says(&["nobody can be asked"]);
    assert!(pinentry.told().is_empty());
}

/// On a terminal, the program is told which one, so that it can draw there.
#[test]
fn a_pinentry_is_told_the_terminal_and_ends_with_the_command() {
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
    let command = program::in_terminal(env!("CARGO_BIN_EXE_cardcase")).args(NEEDS_IT).env_clear();
    let command = command.envs(machine.environment()).env("PINENTRY_PROGRAM", &program);
    let mut terminal = Terminal::start(command, Terminal::ROWS, Terminal::COLUMNS);
    terminal.wait_for("[GETPIN");
    let told = terminal.text();
    assert!(told.contains("[OPTION ttyname=/dev/pts/") && told.contains("[OPTION ttytype=xterm-256color]"), "{told}");
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.end().code(), Some(128 + 15));
    let pid = std::fs::read_to_string(pid).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    let until = Instant::now() + Duration::from_secs(5);
    while process.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!process.exists(), "the pinentry still runs");
}

/// Under a shell that redirects every stream.
#[test]
fn the_terminal_is_used_even_if_all_streams_are_redirected() {
    let machine = protected();
    let (out, err) = (machine.dir().join("out"), machine.dir().join("err"));
    let mut shell = program::in_terminal("sh");
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
fn a_terminal_gives_three_tries_and_a_file_gives_one() {
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

/// The end of input is not an empty password.
#[test]
fn ctrl_c_or_ctrl_d_at_the_password_prompt_changes_nothing() {
    let machine = protected();
    for (key, code) in [(key::CTRL_C, 130), (key::CTRL_D, 4)] {
        let mut terminal = Terminal::open(&machine, NEEDS_IT);
        terminal.wait_for("Primary password");
        terminal.send(key);
        assert_ends(&mut terminal, code);
    }
    assert!(!is_done(&machine));
}

/// A new machine, and arguments that import an identity without asking for the file's password.
fn newcomer() -> (Scene, Vec<PathBuf>) {
    let scene = Scene::new();
    let file = scene.employee("alice").issue().p12(scene.machine.dir(), P12::Default);
    let password = scene.machine.password_file(ca::PASSWORD);
    let arguments = vec!["import".into(), file, "--password-file".into(), password];
    (scene, arguments)
}

fn identities(machine: &Cardcase) -> usize {
    machine.json("list")["identities"].as_array().unwrap().len()
}

fn is_protected(machine: &Cardcase) -> bool {
    machine.json("list")["protected"] == true
}

#[test]
fn the_first_import_at_a_terminal_offers_a_primary_password() {
    let (scene, arguments) = newcomer();
    let machine = &scene.machine;
    let mut terminal = Terminal::open(machine, &arguments);
    terminal.wait_for(OFFER);
    assert_eq!(identities(machine), 0, "stored before the answer");
    terminal.send("password1\r");
    terminal.wait_for(AGAIN);
    terminal.send("password2\r");
    terminal.wait_for(&format!("The passwords differ. {OFFER}"));
    terminal.send("password1\r");
    terminal.wait_until("the repetition", |screen| screen.matches(AGAIN).count() == 2);
    terminal.send("password1\r");
    terminal.wait_for("imported: alice");
    assert_ends(&mut terminal, 0);
    let screen = terminal.text();
    assert!(screen.contains("is weak") && !screen.contains("password1") && !screen.contains(NOT_PROTECTED), "{screen}");
    assert!(is_protected(machine));
    assert_eq!(identities(machine), 1);
    let listed = machine.run("list").expect(0);
    assert!(!listed.stderr.contains(NOT_PROTECTED), "{}", listed.stderr);
    set_from(machine, "password1", "").expect(0);
}

#[test]
fn an_empty_password_at_the_first_import_means_no_password() {
    let (scene, arguments) = newcomer();
    let machine = &scene.machine;
    let mut terminal = Terminal::open(machine, &arguments);
    terminal.wait_for(OFFER);
    terminal.send(key::ENTER);
    terminal.wait_for("imported: alice");
    terminal.wait_for(NOT_PROTECTED);
    assert_ends(&mut terminal, 0);
    assert!(!is_protected(machine));
    machine.run("list").expect(0).says(&[NOT_PROTECTED, "cardcase password"]);
    assert_eq!(machine.run("list --json").expect(0).stderr, "");

    let file = scene.employee("bob").issue().p12(machine.dir(), P12::Default);
    let mut terminal =
        Terminal::open(machine, [arguments[0].clone(), file, arguments[2].clone(), arguments[3].clone()]);
    terminal.wait_for("imported: bob");
    assert_ends(&mut terminal, 0);
}

#[test]
fn aborting_the_offer_stores_nothing() {
    let (scene, arguments) = newcomer();
    for (key, code) in [(key::CTRL_C, 130), (key::CTRL_D, 4)] {
        let mut terminal = Terminal::open(&scene.machine, &arguments);
        terminal.wait_for(OFFER);
        terminal.send(key);
        assert_ends(&mut terminal, code);
    }
    assert_eq!(identities(&scene.machine), 0);
}

#[test]
fn scripts_are_offered_no_primary_password() {
    for flag in ["--batch", "--json"] {
        let (scene, arguments) = newcomer();
        let mut terminal = Terminal::open(&scene.machine, [vec![flag.into()], arguments].concat());
        // The JSON may be longer than the screen
        assert_ends(&mut terminal, 0);
        assert!(!terminal.text().contains(OFFER));
        assert_eq!(identities(&scene.machine), 1);
    }
    let (scene, arguments) = newcomer();
    scene.machine.command(&arguments).run().expect(0).says(&[NOT_PROTECTED]);
}

#[test]
fn a_weak_password_is_accepted_with_a_warning() {
    let machine = Cardcase::new();
    for (from, to, weak) in
        [("", "hunter2", true), ("hunter2", "Cardcase1", true), ("Cardcase1", "vole-parapet-umber-skein", false)]
    {
        let outcome = set_from(&machine, from, to).expect(0);
        assert_eq!(outcome.stderr.contains("is weak"), weak, "{to}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains(to), "{}", outcome.stderr);
        assert!(outcome.stdout.is_empty());
    }
    let outcome = set_from(&machine, "vole-parapet-umber-skein", "").expect(0);
    assert!(!outcome.stderr.contains("weak"), "{}", outcome.stderr);
}

fn set_from(machine: &Cardcase, from: &str, to: &str) -> Outcome {
    let (from, to) = (machine.password_file(from), machine.password_file(to));
    let run = machine.command(["--batch", "password", "--primary-password-file"]).arg(from);
    run.arg("--new-password-file").arg(to).run()
}

#[test]
fn of_several_processes_that_change_the_password_only_one_succeeds() {
    let machine = Cardcase::new();
    let mut late = Terminal::open(&machine, ["password"]);
    late.wait_for(OFFER);
    set(&machine, PASSWORD);
    late.send("too late\r");
    late.wait_for(AGAIN);
    late.send("too late\r");
    late.wait_for("another process changed the primary password");
    assert_ends(&mut late, 1);
    set_from(&machine, "too late", "x").expect(6);
    set_from(&machine, PASSWORD, "").expect(0);

    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let set = |n: usize| {
            let new = ca::write(machine.dir(), &format!("new{n}"), "txt", format!("password of {n}"));
            machine.command(["--batch", "password", "--new-password-file"]).arg(new).run()
        };
        let running: Vec<_> = (0..4).map(|n| scope.spawn(move || set(n))).collect();
        running.into_iter().map(|each| each.join().unwrap()).collect()
    });
    let winner = outcomes.iter().position(|outcome| outcome.code() == Some(0)).expect("one wins");
    for (n, outcome) in outcomes.into_iter().enumerate().filter(|(n, _)| *n != winner) {
        // A late process finds the store locked
        assert!(matches!(outcome.code(), Some(1 | 4)), "{n} and {winner}: {}", outcome.stderr);
        outcome.says(&["primary password"]);
    }
    set_from(&machine, &format!("password of {winner}"), "").expect(0);
}

#[test]
fn a_new_password_can_come_from_a_pinentry() {
    let machine = Cardcase::new();
    let pinentry = Pinentry::replying(machine.dir(), &["D first\nOK", "D other\nOK", "D first\nOK", "D first\nOK"]);
    machine.command(["password"]).env("PINENTRY_PROGRAM", &pinentry.program).run().expect(0);
    assert!(pinentry.told().iter().any(|line| line == "SETERROR The passwords differ"), "{:#?}", pinentry.told());
    set_from(&machine, "first", "").expect(0);
}
