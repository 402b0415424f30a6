//! Removed data is overwritten before its file is unlinked, and a process that is killed leaves no private key that cannot be found.
//! `tests/blocks` also searches the blocks of a file system.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::command::{Cardcase, Run, wait};
use crate::support::scene::Scene;
use crate::support::server::Kind;
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(15);

fn journal(machine: &Cardcase) -> PathBuf {
    machine.store().with_file_name("cardcase.db-journal")
}

/// The bytes that a query finds.
fn stored(machine: &Cardcase, query: &str) -> Vec<u8> {
    machine.database().query_row(query, [], |row| row.get(0)).unwrap()
}

fn contains(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}

/// The content of an open file, which may be unlinked.
fn content(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Runs a change up to its commit, which waits for a reader. Then calls `then` with the process and its journal, which holds the secret.
fn with_journal<T>(machine: &Cardcase, change: &Run, secret: &[u8], then: impl FnOnce(Child, File) -> T) -> T {
    let reader = machine.database();
    reader.execute_batch("BEGIN; SELECT * FROM settings").unwrap();
    let child = change.process().spawn().unwrap();
    let began = Instant::now();
    let file = loop {
        match File::options().read(true).open(journal(machine)) {
            Ok(file) if contains(&content(&file), secret) => break file,
            _ => assert!(began.elapsed() < LIMIT, "the journal does not hold the secret"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let done = then(child, file);
    drop(reader);
    done
}

/// The commands that remove or replace data, each with a query for the data that must be gone afterwards.
fn changes(machine: &Cardcase) -> Vec<(Run, &'static str)> {
    let (first, second) = (machine.password_file("first"), machine.password_file("second"));
    let with = |words: &[&str]| machine.command(["--batch", "--primary-password-file"]).arg(&first).args(words);
    let (data_key, key) = ("SELECT data_key FROM vault", "SELECT private_key FROM identities WHERE name = 'alice'");
    let set = || machine.command(["--batch", "password", "--new-password-file"]).arg(&first);
    vec![
        (set(), data_key),
        (with(&["password", "--new-password-file"]).arg(&second), data_key),
        (
            machine
                .command(["--batch", "--primary-password-file"])
                .arg(&second)
                .args(["password", "--new-password-file"])
                .arg(&first),
            data_key,
        ),
        (with(&["min-tls", "alice", "1.3"]), key),
        (with(&["rename", "alice", "alicia"]), key),
        (
            machine.command(["--batch", "remove", "--yes", "alicia"]),
            "SELECT private_key FROM identities WHERE name = 'alicia'",
        ),
    ]
}

#[test]
fn the_journal_is_overwritten_before_it_is_unlinked() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    for (number, (change, query)) in changes(machine).into_iter().enumerate() {
        let secret = stored(machine, query);
        let file = with_journal(machine, &change, &secret, |child, file| (child, file));
        let (child, file) = file;
        assert!(wait(child, LIMIT).unwrap().success(), "change {number}");
        assert!(content(&file).iter().all(|byte| *byte == 0), "change {number}: the journal kept something");
        assert!(!journal(machine).exists(), "change {number}");
        assert!(!contains(&std::fs::read(machine.store()).unwrap(), &secret), "change {number}: in the store");
    }
}

/// Every command that opens the store overwrites it, even one that only reads.
#[test]
fn the_journal_of_a_killed_process_is_overwritten_by_the_next_one() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    let secret = stored(machine, "SELECT private_key FROM identities");
    let remove = || machine.command(["--batch", "remove", "--yes", "alice"]);
    let before = machine.json("list");
    for next in ["list", "decisions", "remember elsewhere none"] {
        let file = with_journal(machine, &remove(), &secret, |child, file| {
            kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
            assert!(!wait(child, LIMIT).unwrap().success());
            file
        });
        assert!(contains(&content(&file), &secret), "{next}: it was killed too late");
        machine.run(next).expect(0);
        assert!(content(&file).iter().all(|byte| *byte == 0), "{next}");
        assert!(!journal(machine).exists(), "{next}");
        assert_eq!(machine.json("list"), before, "{next}");
    }
}

/// The system calls at which a process that writes a file with a key is killed.
const STEPS: [&str; 6] = ["linkat", "rename", "fsync", "fdatasync", "unlink", "write"];

/// For each kind of system call, runs a command repeatedly and kills it at its first such call, its second, and so on, until it completes.
/// Calls `check` after each kill.
fn killed_at_each_step(run: impl Fn() -> Run, check: impl Fn(&str)) {
    for call in STEPS {
        let mut kills = 0;
        loop {
            kills += 1;
            let inject = format!("inject={call}:signal=KILL:when={kills}");
            let outcome =
                run().under(["strace", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=none", "-e", &inject]).run();
            if outcome.code() == Some(0) {
                break;
            }
            assert_eq!(outcome.code(), None, "{call} {kills}: {}", outcome.stderr);
            check(&format!("killed at {call} {kills}"));
        }
    }
}

/// The files below a directory whose content matches.
fn files_with(directory: &Path, any: impl Fn(&[u8]) -> bool + Copy) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| match path.is_dir() {
        true => files_with(&path, any),
        false => std::fs::read(&path).ok().filter(|bytes| any(bytes)).map(|_| path).into_iter().collect(),
    });
    found.collect()
}

#[test]
fn a_killed_credential_leaves_no_key_that_is_not_removed() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice").fingerprint();
    let server = scene.server(Kind::Go).start();
    let run = || {
        let root = scene.server_root_file.to_str().unwrap();
        machine.command(["--batch", "credential", "curl", &server.destination(), "--as", &alice, "--cacert", root])
    };
    let left = || files_with(&machine.dir().join("run"), |bytes| contains(bytes, b"PRIVATE KEY"));
    run().run().expect(0);
    for replaces in [true, false] {
        killed_at_each_step(run, |what| {
            let forgotten = machine.run("credential --forget");
            assert!(matches!(forgotten.code(), Some(0 | 3)), "{what}: {}", forgotten.stderr);
            assert_eq!(left(), Vec::<PathBuf>::new(), "{what}, replacing: {replaces}");
            if replaces {
                run().run().expect(0);
            }
        });
    }
    // A draft that was left is found by the name of its identity too
    let run = machine.dir().join("run").join("cardcase");
    std::fs::write(run.join(format!("credential-{alice}.new.pem")), "PRIVATE KEY").unwrap();
    assert_eq!(left().len(), 2);
    machine.run("remove alice --yes").expect(0);
    assert_eq!(left(), Vec::<PathBuf>::new());
}

#[test]
fn a_killed_export_leaves_the_file_or_none() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    let out = machine.dir().join("out");
    std::fs::create_dir(&out).unwrap();
    let (file, empty) = (out.join("alice.p12"), machine.password_file(""));
    let names = || {
        let entries = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.collect::<Vec<_>>()
    };
    let run = || machine.command(["--batch", "export", "alice", "-o"]).arg(&file).arg("--password-file").arg(&empty);
    killed_at_each_step(
        || {
            let _ = std::fs::remove_file(&file);
            run()
        },
        |what| assert!(names().is_empty() || names() == ["alice.p12"], "{what}: {:?}", names()),
    );
    // The old file stays until it is replaced. A draft that is left always has the same name, and the next export removes it
    let old = std::fs::read(&file).unwrap();
    killed_at_each_step(
        || run().arg("--force"),
        |what| {
            let whole = std::fs::read(&file).unwrap();
            assert!(whole == old || whole.len() == old.len(), "{what}");
            assert!(
                names().iter().all(|name| name == "alice.p12" || name == ".alice.p12.cardcase-new"),
                "{what}: {:?}",
                names()
            );
        },
    );
    run().arg("--force").run().expect(0);
    assert_eq!(names(), ["alice.p12"]);
}

#[test]
fn the_removed_key_file_is_overwritten() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice").fingerprint();
    let server = scene.server(Kind::Go).start();
    let root = scene.server_root_file.to_str().unwrap();
    for remove in ["credential --forget", "remove alice --yes"] {
        let words = ["--batch", "credential", "curl", &server.destination(), "--as", &alice, "--cacert", root];
        machine.command(words).run().expect(0);
        let path = machine.dir().join("run").join("cardcase").join(format!("credential-{alice}.pem"));
        let replaced = File::options().read(true).open(&path).unwrap();
        machine.command(words).run().expect(0);
        assert!(content(&replaced).iter().all(|byte| *byte == 0), "replaced");
        let file = File::options().read(true).open(&path).unwrap();
        assert!(contains(&content(&file), b"PRIVATE KEY"));
        machine.run(remove).expect(0);
        assert!(content(&file).iter().all(|byte| *byte == 0), "{remove}");
        assert!(!path.exists());
    }
}

/// But not where the file has another name, which a person may need.
#[test]
fn the_file_that_export_replaces_is_overwritten() {
    let scene = Scene::new();
    let (machine, alice) = (&scene.machine, scene.hire("alice").fingerprint());
    let (password, file) = (machine.dir().join("password"), machine.dir().join("alice.p12"));
    std::fs::write(&password, "secret").unwrap();
    let export =
        || machine.command(["export", &alice, "--force", "--password-file"]).arg(&password).arg("-o").arg(&file);
    export().run().expect(0);
    let replaced = File::open(&file).unwrap();
    export().run().expect(0);
    assert!(content(&replaced).iter().all(|byte| *byte == 0));
    std::fs::hard_link(&file, machine.dir().join("copy.p12")).unwrap();
    let before = std::fs::read(&file).unwrap();
    export().run().expect(0);
    assert_eq!(std::fs::read(machine.dir().join("copy.p12")).unwrap(), before);
}
