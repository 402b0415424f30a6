//! A disk that is full or read-only: a clear error, and the store is unchanged.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::ca::PASSWORD;
use crate::support::command::{Cardcase, Outcome, Run};
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind};
use serde_json::Value;

/// A store with some contents, and every way to change it.
struct Case {
    scene: Scene,
    commands: Vec<Vec<String>>,
}

/// What could be lost.
#[derive(Debug, PartialEq)]
struct Contents {
    identities: Value,
    decisions: Value,
    authorities: Value,
}

impl Case {
    fn new() -> Case {
        Case::of(Scene::new())
    }

    fn of(scene: Scene) -> Case {
        let (alice, bob) = (scene.hire("alice").fingerprint(), scene.hire("bob").fingerprint());
        scene.remember("localhost", &alice);
        let dir = scene.machine.dir();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let stranger = text(scene.guests.client("stranger").issue().pem_file(dir));
        let (new, root) = (text(scene.machine.password_file("new")), text(scene.server_root_file.clone()));
        let (other, own) = (Scene::new(), text(scene.machine.password_file("own")));
        other.hire("dora");
        let backup = text(dir.join("other.backup"));
        other.machine.command(["--batch", "backup", &backup, "--password-file", &own]).run().expect(0);
        let filter = r#"{"SUBJECT":{"CN":"bob"}}"#;
        let commands = [
            &["import", &stranger][..],
            &["restore", &backup, "--password-file", &own],
            &["remember", "localhost", &bob],
            &["remember", "elsewhere", "none"],
            &["forget", "--all"],
            &["remove", &alice, "--yes"],
            &["trust", &root],
            &["rules", "add", "https://localhost", filter],
            &["config", "mode", "chrome"],
            &["min-tls", &bob, "1.3"],
            // Last, because it locks the store
            &["password", "--new-password-file", &new],
        ];
        let words = |words: &&[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Case { commands: commands.iter().map(words).collect(), scene }
    }

    fn machine(&self) -> &Cardcase {
        &self.scene.machine
    }

    fn store(&self) -> &Path {
        self.machine().store()
    }

    fn directory(&self) -> &Path {
        self.store().parent().unwrap()
    }

    fn contents(&self) -> Contents {
        let json = |line| self.machine().json(line);
        Contents { identities: json("list"), decisions: json("decisions"), authorities: json("authorities") }
    }

    /// Under these conditions, every command that writes fails with these words and changes nothing, and commands that
    /// only read succeed. Afterwards the commands succeed, so the conditions were the only reason for the failures.
    fn nothing_is_written(&self, bound: impl Fn(Run) -> Run, words: &[&str], free: impl FnOnce()) {
        let (before, bytes) = (self.contents(), std::fs::read(self.store()).unwrap());
        for command in &self.commands {
            let outcome = bound(self.machine().command(["--batch"]).args(command)).run();
            assert_eq!(outcome.code(), Some(1), "{command:?}: {}", outcome.stderr);
            fails_clearly(outcome, self.store(), words);
            assert_eq!(std::fs::read(self.store()).unwrap(), bytes, "{command:?} wrote");
            bound(self.machine().command(["list"])).run().expect(0);
        }
        free();
        self.is_intact();
        assert_eq!(self.contents(), before);
        for command in &self.commands {
            self.machine().command(["--batch"]).args(command).run().expect(0);
        }
    }

    fn is_intact(&self) {
        let said: String = self.machine().database().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(said, "ok");
        let left: Vec<_> =
            std::fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().ends_with("-journal")), "{left:?}");
    }
}

/// Checks that the error names the store, the cause and a remedy.
#[track_caller]
fn fails_clearly(outcome: Outcome, store: &Path, words: &[&str]) {
    let outcome = outcome.expect(1).says(&[store.to_str().unwrap(), "hint: "]).says(words);
    assert_eq!(outcome.text(), "");
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_read_only_directory_is_a_clear_error() {
    let case = Case::new();
    let directory = case.directory();
    set_mode(directory, 0o500);
    let words = ["cannot be changed", &format!("{} is read-only", directory.display()), "chmod"];
    case.nothing_is_written(Run::bound, &words, || set_mode(directory, 0o700));
}

#[test]
fn a_store_that_cannot_be_created_is_a_clear_error() {
    let machine = Cardcase::new();
    let directory = machine.store().parent().unwrap();
    set_mode(directory, 0o500);
    let outcome = machine.command(["remember", "a.example", "none"]).bound().run();
    fails_clearly(outcome, machine.store(), &["permission denied", "--store"]);
}

#[test]
fn a_read_only_store_is_a_clear_error() {
    let case = Case::new();
    let store = case.store();
    set_mode(store, 0o400);
    let words = ["cannot be changed", &format!("{} is read-only", store.display()), "chmod"];
    case.nothing_is_written(Run::bound, &words, || set_mode(store, 0o600));
}

/// As with a quota: SQLite can write its journal but not the store, or not even the journal.
#[test]
fn a_file_size_limit_is_a_clear_error() {
    let case = Case::new();
    for limit in [0, 600, 1500] {
        let before = (case.contents(), std::fs::read(case.store()).unwrap());
        for command in &case.commands {
            let outcome = case.machine().command(["--batch"]).args(command).file_size(limit).run();
            fails_clearly(outcome, case.store(), &["ulimit"]);
            // The next command replays the journal
            assert_eq!(case.contents(), before.0, "{limit} {command:?}");
        }
        case.is_intact();
        assert_eq!(std::fs::read(case.store()).unwrap(), before.1);
    }
}

/// The limit is one of the shell, which sends SIGXFSZ.
#[test]
fn a_written_file_that_exceeds_the_limit_is_a_clear_error() {
    let scene = Scene::new();
    scene.hire("alice");
    let server = scene.server(Kind::OpenSsl).ask(Ask::Require).start();
    scene.remember(&server.destination(), "alice");
    let (dir, root) = (scene.machine.dir(), scene.server_root_file.display().to_string());
    let (password, out) = (scene.machine.password_file(PASSWORD), dir.join("out"));
    let (password, out) = (password.display(), out.display());
    let by_stdout = format!("exec \"$@\" > {out}");
    for (command, named, before) in [
        (format!("export alice -o {out} --password-file {password}"), out.to_string(), &[][..]),
        (format!("fetch {} --cacert {root} -o {out}", server.url()), out.to_string(), &[]),
        (
            format!("credential git {} --cacert {root}", server.destination()),
            scene.machine.store().display().to_string(),
            &[],
        ),
        ("show alice --pem".to_owned(), "stdout".to_owned(), &["sh", "-c", &by_stdout, "sh"]),
        (format!("fetch {} --cacert {root}", server.url()), "stdout".to_owned(), &["sh", "-c", &by_stdout, "sh"]),
    ] {
        // Uses of an identity are written to the store, which is larger
        let run = scene.machine.command(["--batch"]).args(command.split_whitespace()).under(before).file_size(10);
        run.run().expect(1).says(&[&named, "ulimit -f"]);
    }
}

/// The store exceeds the limit in the middle of an import.
#[test]
fn an_import_that_exceeds_the_limit_stores_nothing() {
    let case = Case::new();
    let dir = case.machine().dir();
    let many: String = (0..60).map(|number| many_pem(&case, number)).collect();
    let file = crate::support::ca::write(dir, "many", "pem", many);
    let (before, bytes) = (case.contents(), std::fs::read(case.store()).unwrap());
    let import = || case.machine().command(["--batch", "import"]).arg(&file);
    let limit = bytes.len() as u64 + 8192;
    fails_clearly(import().file_size(limit).run(), case.store(), &["ulimit"]);
    case.is_intact();
    assert_eq!(case.contents(), before);
    import().run().expect(0);
}

fn many_pem(case: &Case, number: usize) -> String {
    let identity = case.scene.employee(&format!("number {number}")).issue();
    identity.key_pem() + &identity.pem()
}

/// Runs the test with this name again in its own namespaces, where it may mount file systems that nobody else sees.
/// Returns true there.
fn is_where_it_may_mount(test: &str) -> bool {
    const INSIDE: &str = "CARDCASE_TEST_MAY_MOUNT";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = |words: &[&std::ffi::OsStr]| {
        let mut command = program::named("unshare");
        command.args(["--map-root-user", "--mount"]).args(words).env(INSIDE, "1");
        command.output().unwrap()
    };
    if !unshare(&["true".as_ref()]).status.success() {
        eprintln!("WARNING: {test}: this system lets nobody mount; only limits on file sizes stand for a full disk");
        return false;
    }
    let program = std::env::current_exe().unwrap();
    let test = format!("disk::{test}");
    let output = unshare(&[program.as_os_str(), "--exact".as_ref(), "--nocapture".as_ref(), test.as_ref()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// Mounts a small file system for the store.
fn mount(directory: &Path, options: &str) {
    let mut command = program::named("mount");
    command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory);
    assert!(command.status().unwrap().success(), "mount -o {options}");
}

#[test]
fn a_full_disk_is_a_clear_error() {
    if !is_where_it_may_mount("a_full_disk_is_a_clear_error") {
        return;
    }
    let scene = Scene::new();
    mount(scene.machine.store().parent().unwrap(), "size=1m,mode=700");
    let case = Case::of(scene);
    let ballast = case.directory().join("ballast");
    // Fills the disk completely
    let filled = program::named("dd").args(["if=/dev/zero", "bs=4k"]).arg(format!("of={}", ballast.display())).output();
    assert!(!filled.unwrap().status.success());
    let words = ["cannot be changed", "the disk is full", "df"];
    // Its answer came, and only the history lacks it
    let server = case.scene.server(Kind::Go).ask(Ask::Require).start();
    case.scene.fetch(&server.url(), &[]).expect(0).says(&["not written to the history", "the disk is full"]);
    case.nothing_is_written(|run| run, &words, || std::fs::remove_file(&ballast).unwrap());
}

/// Unlike a full disk, this one fills up during an import.
#[test]
fn a_disk_that_fills_up_loses_nothing() {
    if !is_where_it_may_mount("a_disk_that_fills_up_loses_nothing") {
        return;
    }
    let scene = Scene::new();
    mount(scene.machine.store().parent().unwrap(), "size=256k,mode=700");
    let case = Case::of(scene);
    let password = case.machine().password_file(PASSWORD);
    let mut acknowledged = case.contents();
    // The disk has room for fewer
    for number in 0..200 {
        assert!(number < 199, "the disk does not fill up");
        let file = crate::support::ca::write(case.machine().dir(), "next", "pem", many_pem(&case, number));
        let command = case.machine().command(["--batch", "import"]).arg(file).arg("--password-file").arg(&password);
        let outcome = command.run();
        if outcome.code() != Some(0) {
            fails_clearly(outcome, case.store(), &["the disk is full"]);
            break;
        }
        acknowledged = case.contents();
    }
    case.is_intact();
    assert_eq!(case.contents(), acknowledged);
    mount(case.directory(), "remount,size=1m");
    case.machine().run("remove alice --yes").expect(0);
}

#[test]
fn a_read_only_file_system_is_a_clear_error() {
    if !is_where_it_may_mount("a_read_only_file_system_is_a_clear_error") {
        return;
    }
    let scene = Scene::new();
    mount(scene.machine.store().parent().unwrap(), "size=1m,mode=700");
    let case = Case::of(scene);
    mount(case.directory(), "remount,ro");
    let words = ["cannot be changed", &format!("{} is read-only", case.store().display())];
    case.nothing_is_written(|run| run, &words, || mount(case.directory(), "remount,rw"));
}
