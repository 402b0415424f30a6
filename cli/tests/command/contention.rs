//! Many processes on one store: each waits for its turn, and no change is lost.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::ca::write;
use crate::support::command::{Cardcase, Outcome, wait};
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Server};
use cardcase::Error;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::file;
use cardcase::manage::Session;
use cardcase::manage::Timestamp;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use zeroize::Zeroizing;

/// Processes at the same time.
const PROCESSES: usize = 32;

/// Changes by each process, one after the other.
const ROUNDS: usize = 3;

fn fingerprints(listed: &Value) -> BTreeSet<String> {
    let all = listed["identities"].as_array().unwrap();
    all.iter().map(|identity| identity["fingerprint"].as_str().unwrap().to_owned()).collect()
}

fn decided(decisions: &Value) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = decisions["decisions"].as_array().unwrap();
    all.iter().map(|decision| (text(&decision["host"]), text(&decision["identity"]))).collect()
}

/// The store does not exist at first, so many processes also create it and migrate it at the same time.
#[test]
fn nothing_is_lost_when_32_processes_write_at_once() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let issue = |process: usize, round| {
        let identity = scene.employee(&format!("person {process} {round}")).issue();
        (identity.fingerprint(), identity.pem_file(machine.dir()))
    };
    let issued: Vec<Vec<_>> =
        (0..PROCESSES).map(|process| (0..ROUNDS).map(|round| issue(process, round)).collect()).collect();
    std::thread::scope(|scope| {
        for (process, mine) in issued.iter().enumerate() {
            scope.spawn(move || {
                for (round, (fingerprint, file)) in mine.iter().enumerate() {
                    machine.command(["--batch", "import"]).arg(file).run().expect(0);
                    machine.run(&format!("remember host{process}-{round}.example {fingerprint}")).expect(0);
                    // An acknowledged change is visible to everybody at once
                    assert!(fingerprints(&machine.json("list")).contains(fingerprint));
                }
            });
        }
    });
    let imported: BTreeSet<String> = issued.iter().flatten().map(|(fingerprint, _)| fingerprint.clone()).collect();
    assert_eq!(fingerprints(&machine.json("list")), imported);
    let expected = issued.iter().enumerate().flat_map(|(process, mine)| {
        let decision = move |(round, (fingerprint, _)): (usize, &(String, _))| {
            (format!("host{process}-{round}.example"), fingerprint.clone())
        };
        mine.iter().enumerate().map(decision).collect::<Vec<_>>()
    });
    assert_eq!(decided(&machine.json("decisions")), expected.collect());
    assert_is_intact(machine);
}

/// Everybody writes to the same row: the last one wins, and there is only one decision.
#[test]
fn processes_that_make_the_same_decision_leave_one_decision() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice").fingerprint();
    std::thread::scope(|scope| {
        for _ in 0..PROCESSES {
            scope.spawn(|| machine.run(&format!("remember localhost {alice}")).expect(0));
        }
    });
    assert_eq!(decided(&machine.json("decisions")), BTreeSet::from([("localhost".to_owned(), alice)]));
    assert_is_intact(machine);
}

/// The password changes while others import: the current password opens every key.
#[test]
fn no_imported_key_is_lost_while_the_password_changes() {
    let scene = Scene::new();
    let machine = &scene.machine;
    machine.run("config mode firefox").expect(0);
    let passwords = ["first", "second"].map(|password| machine.password_file(password));
    let empty = machine.password_file("");
    let files: Vec<_> = (0..12)
        .map(|number| scene.employee(&format!("person {number}")).issue())
        .map(|identity| (identity.fingerprint(), identity.pem_file(machine.dir())))
        .collect();
    // Tries each password, because the current one is not known
    let with_a_password = |words: &[&str], last: &std::path::Path| {
        let with = |password| {
            let run = machine.command(["--batch", "--primary-password-file"]).arg(password);
            run.args(words).arg(last).limit(Duration::from_secs(120)).run()
        };
        let began = Instant::now();
        loop {
            for password in passwords.iter().chain([&empty]) {
                let outcome = with(password);
                match outcome.code() {
                    Some(0) => return,
                    // The password was another one, or it changed meanwhile
                    Some(6) => {}
                    // It has no password at this moment
                    Some(1) if outcome.stderr.contains("the store has none") => {}
                    Some(1) => drop(outcome.says(&["try again"])),
                    Some(4) => drop(outcome.says(&["password"])),
                    _ => drop(outcome.expect(0)),
                }
            }
            assert!(began.elapsed() < Duration::from_secs(120), "no password opens it for long");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for new in [&passwords[0], &passwords[1], &empty, &passwords[0]] {
                with_a_password(&["password", "--new-password-file"], new);
            }
        });
        for half in files.chunks(6) {
            scope.spawn(move || half.iter().for_each(|(_, file)| with_a_password(&["import"], file)));
        }
    });
    let password = passwords[0].to_str().unwrap();
    for (fingerprint, _) in &files {
        let copy = machine.dir().join(format!("{fingerprint}.p12"));
        let run = machine.command(["--batch", "--primary-password-file", password, "export", fingerprint, "-o"]);
        run.arg(copy).args(["--password-file", password]).run().expect(0);
    }
    assert_is_intact(machine);
}

/// A process that opened the store before the password was set would seal under a data key that no longer exists.
#[test]
fn an_open_store_loses_no_key_when_another_process_sets_a_password() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice").fingerprint();
    let store = Store::open_in_session(machine.store(), Session::in_directory(machine.dir().join("session"))).unwrap();
    let password = machine.password_file("secret");
    machine.command(["--batch", "password", "--new-password-file"]).arg(&password).run().expect(0);

    let bob = scene.employee("bob").issue();
    let bytes = std::fs::read(bob.pem_file(machine.dir())).unwrap();
    let import = || file::read(&bytes, "").unwrap();
    assert!(store.import(vec![import()], None, Timestamp::now()).is_err());
    assert_eq!(fingerprints(&machine.json("list")), BTreeSet::from([alice.clone()]));
    let alice = store.find_identity(&alice).unwrap();
    let export = |unlocker| store.export(std::slice::from_ref(&alice), "x", unlocker).map(drop);
    assert!(matches!(export(&Nobody), Err(Error::VaultLocked)));
    assert!(matches!(export(&Known("wrong")), Err(Error::WrongPrimaryPassword)));
    export(&Known("secret")).unwrap();
    store.import(vec![import()], None, Timestamp::now()).unwrap();
    let run = machine.command(["--batch", "export", "bob", "-o"]).arg(machine.dir().join("bob.p12"));
    run.arg("--password-file").arg(&password).arg("--primary-password-file").arg(&password).run().expect(0);
}

/// Cannot ask for the primary password.
struct Nobody;

impl Unlocker for Nobody {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

struct Known(&'static str);

impl Unlocker for Known {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Ok(Zeroizing::new(self.0.to_owned()))
    }
}

fn assert_is_intact(machine: &Cardcase) {
    let said: String = machine.database().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok");
}

#[test]
fn a_store_that_stays_locked_is_a_clear_error() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice").fingerprint();
    let before = machine.json("list");
    let bob = scene.employee("bob").issue().pem_file(machine.dir());
    let database = machine.database();
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let lines = ["list".to_owned(), format!("remember localhost {alice}"), format!("import {}", bob.display())];
    let refused = |line: &String| -> Outcome {
        let began = Instant::now();
        let outcome = machine.run(line).expect(1).says(&[machine.store().to_str().unwrap(), "another process", "hint"]);
        assert!(began.elapsed() > Duration::from_secs(15), "{line}: it did not wait");
        outcome
    };
    std::thread::scope(|scope| {
        for line in &lines {
            scope.spawn(move || refused(line));
        }
    });
    database.execute_batch("ROLLBACK").unwrap();
    assert_eq!(machine.json("list"), before);
    assert_eq!(machine.json("decisions")["decisions"], serde_json::json!([]));
    assert_is_intact(machine);
    lines.iter().for_each(|line| drop(machine.run(line).expect(0)));
}

/// The lock ends before the time limit of a command.
#[test]
fn a_command_waits_for_a_store_that_is_locked_briefly() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice").fingerprint();
    let database = machine.database();
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    std::thread::scope(|scope| {
        for line in ["list".to_owned(), format!("remember localhost {alice}")] {
            scope.spawn(move || machine.run(&line).expect(0));
        }
        std::thread::sleep(Duration::from_secs(2));
        database.execute_batch("COMMIT").unwrap();
    });
}

/// Less than the time that a command waits for another process.
const AT_ONCE: Duration = Duration::from_secs(15);

/// Runs every command that reads, while another process writes to the store. None waits for it. A command that would add to the history
/// warns that the entry is missing.
fn reading_goes_on(scene: &Scene, server: &Server) {
    let machine = &scene.machine;
    let (host, root) = (server.destination(), scene.server_root_file.to_str().unwrap());
    let (copy, empty) = (machine.dir().join("copy.p12"), machine.password_file(""));
    let (copy, empty) = (copy.to_str().unwrap(), empty.to_str().unwrap());
    let (url, as_alice) = (server.url(), ["--cacert", root, "--as", "alice"]);
    let quiet: [&[&str]; 11] = [
        &["list"],
        &["list", "--json"],
        &["show", "alice"],
        &["decisions"],
        &["history"],
        &["rules"],
        &["config"],
        &["authorities"],
        &["explain", &host, "--cacert", root],
        &["export", "alice", "-o", copy, "--force", "--password-file", empty],
        &["fetch", &url, "--cacert", root, "--credentials", "omit"],
    ];
    for words in quiet {
        machine.command(["--batch"]).args(words).limit(AT_ONCE).run().expect(0);
    }
    for words in [["fetch", &url], ["credential", "curl"]] {
        let run = machine.command(["--batch"]).args(words).args(as_alice);
        let run = if words[0] == "credential" { run.arg(&host) } else { run };
        let outcome =
            run.limit(AT_ONCE).run().expect(0).says(&["some uses were not written to the history", "another process"]);
        assert!(!outcome.text().is_empty(), "{words:?}");
    }
}

#[test]
fn reading_goes_on_while_another_process_writes() {
    let scene = Scene::new();
    scene.hire("alice");
    let server = scene.server(Kind::OpenSsl).ask(Ask::Optional).start();
    let writer = scene.machine.database();
    // It has changed something, so there is a journal
    writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO rules (rule, added_at) VALUES ('{}', 0)").unwrap();
    reading_goes_on(&scene, &server);
    writer.execute_batch("ROLLBACK").unwrap();
    assert_is_intact(&scene.machine);
}

/// Nobody can write to the store until the body has come.
#[test]
fn a_request_and_its_response_do_not_wait_for_the_history() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    let server = scene.server(Kind::OpenSsl).ask(Ask::Optional).start();
    let writer = machine.database();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let root = scene.server_root_file.to_str().unwrap();
    let fetch = machine.command(["--batch", "fetch", &server.url(), "--cacert", root, "--as", "alice"]);
    let mut fetch = fetch.process().stdout(Stdio::piped()).spawn().unwrap();
    let mut body = fetch.stdout.take().unwrap();
    body.read_exact(&mut [0]).unwrap();
    writer.execute_batch("ROLLBACK").unwrap();
    body.read_to_end(&mut Vec::new()).unwrap();
    assert!(fetch.wait().unwrap().success());
}

/// As after Ctrl-Z during a long import.
#[test]
fn reading_goes_on_while_another_process_is_stopped_in_the_middle_of_writing() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    let server = scene.server(Kind::OpenSsl).ask(Ask::Optional).start();
    let many: String = (0..200)
        .map(|number| scene.employee(&format!("person {number}")).issue())
        .map(|each| each.key_pem() + &each.pem())
        .collect();
    let file = write(machine.dir(), "many", "pem", many);
    let probe = machine.database();
    probe.busy_timeout(Duration::ZERO).unwrap();
    let import = stopped_while_it_writes(&probe, || {
        machine.command(["--batch", "import"]).arg(&file).process().spawn().unwrap()
    });
    reading_goes_on(&scene, &server);
    kill_process(Pid::from_child(&import), Signal::CONT).unwrap();
    assert!(wait(import, Duration::from_secs(60)).unwrap().success());
    assert_eq!(fingerprints(&machine.json("list")).len(), 201);
    assert_is_intact(machine);
}

/// A process that was stopped inside its transaction, so that no other can write, but before its commit, so that all others can read. If
/// it was stopped too early or too late, it is continued, or started again.
fn stopped_while_it_writes(probe: &Connection, start: impl Fn() -> std::process::Child) -> std::process::Child {
    let is_free = || probe.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
    let count = || probe.query_row("SELECT count(*) FROM identities", [], |row| row.get::<_, i64>(0)).ok();
    for _ in 0..50 {
        let before = count();
        let mut child = start();
        let process = Pid::from_child(&child);
        while child.try_wait().unwrap().is_none() {
            if is_free() {
                continue;
            }
            kill_process(process, Signal::STOP).unwrap();
            if !is_free() && before.is_some() && count() == before {
                return child;
            }
            kill_process(process, Signal::CONT).unwrap();
        }
        probe.execute("DELETE FROM identities WHERE name != 'alice'", []).unwrap();
    }
    panic!("it was never stopped in the middle of writing");
}
