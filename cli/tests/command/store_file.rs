//! The store as a file: its permissions, what remains of old keys in it, and the names of identities.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::ca::{P12, PASSWORD};
use crate::support::command::{Cardcase, Outcome};
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind};
use serde_json::json;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn assert_mode(path: &Path, mode: u32) {
    let found = path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(found, mode, "{} is {found:o}", path.display());
}

/// Writes to this store, which is made if it is missing, under a umask that removes no permissions.
fn write_to(machine: &Cardcase, store: &str) -> Outcome {
    machine.command(["config", "mode", "firefox", "--store", store]).in_directory(machine.dir()).open_handed().run()
}

#[test]
fn only_the_owner_can_access_a_new_store() {
    let machine = Cardcase::new();
    write_to(&machine, "new/deep/cards.db").expect(0);
    for (path, mode) in [("new", 0o700), ("new/deep", 0o700), ("new/deep/cards.db", 0o600)] {
        assert_mode(&machine.dir().join(path), mode);
    }
}

#[test]
fn an_existing_store_becomes_accessible_only_to_its_owner() {
    let machine = Cardcase::new();
    write_to(&machine, "store.db").expect(0);
    std::fs::write(machine.dir().join("empty.db"), []).unwrap();
    for name in ["empty.db", "store.db"] {
        set_mode(&machine.dir().join(name), 0o644);
        write_to(&machine, name).expect(0);
        assert_mode(&machine.dir().join(name), 0o600);
    }
}

#[test]
fn a_store_path_that_looks_like_a_uri_is_a_file_name() {
    let machine = Cardcase::new();
    for name in ["file:u.db", "file:u.db?mode=memory"] {
        write_to(&machine, name).expect(0);
        assert_mode(&machine.dir().join(name), 0o600);
        assert!(!machine.dir().join("u.db").exists(), "{name}");
    }
}

/// Another user, if the system lets the test change the owner of files.
const SOMEBODY: u32 = 65534;

#[test]
fn the_permissions_of_a_new_store_do_not_depend_on_the_umask() {
    for mask in ["000", "022", "077", "277"] {
        let machine = Cardcase::new();
        let directory = if mask == "277" { "" } else { "new/" };
        let run = machine
            .command(["config", "mode", "firefox", "--store", &format!("{directory}cards.db")])
            .in_directory(machine.dir());
        run.umask(mask).run().expect(0);
        assert_mode(&machine.dir().join(directory).join("cards.db"), 0o600);
        if !directory.is_empty() {
            assert_mode(&machine.dir().join(directory), 0o700);
        }
    }
}

/// Also the files that SQLite creates beside the store while it writes.
#[test]
fn files_beside_the_store_are_private_from_their_creation() {
    let scene = Scene::new();
    let (machine, directory) = (&scene.machine, scene.machine.store().parent().unwrap().to_owned());
    let alice = scene.hire("alice").fingerprint();
    let look = || {
        let entries = std::fs::read_dir(&directory).unwrap().map(Result::unwrap);
        // A file that was removed meanwhile has no permissions
        let mode = |entry: std::fs::DirEntry| Some((entry.file_name(), entry.metadata().ok()?.permissions().mode()));
        entries.filter_map(mode).collect::<Vec<_>>()
    };
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                seen.extend(look());
            }
            seen
        });
        for number in 0..20 {
            let host = format!("host{number}.example");
            machine.command(["remember", &host, &alice]).open_handed().run().expect(0);
        }
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    assert!(seen.iter().any(|(name, _)| name == "cardcase.db-journal"), "no journal was seen: {seen:?}");
    assert!(seen.iter().all(|(_, mode)| mode & 0o7777 == 0o600), "{seen:?}");
}

#[test]
fn a_symbolic_link_is_refused_and_its_target_is_not_created() {
    let machine = Cardcase::new();
    write_to(&machine, "store.db").expect(0);
    for (target, link) in [("target.db", "dangling.db"), ("store.db", "link.db")] {
        std::os::unix::fs::symlink(target, machine.dir().join(link)).unwrap();
        write_to(&machine, link).expect(1).says(&[link, "symbolic link", "hint", "--store"]);
    }
    assert!(machine.dir().join("target.db").symlink_metadata().is_err(), "the target was made");
    std::fs::create_dir(machine.dir().join("directory.db")).unwrap();
    for other in ["directory.db", "/dev/null"] {
        write_to(&machine, other).expect(1).says(&[other, "regular file", "hint", "--store"]);
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    let machine = Cardcase::new();
    write_to(&machine, "store.db").expect(0);
    let is_root = rustix::process::geteuid().is_root();
    let theirs = machine.dir().join("store.db");
    // Without root's privileges, the test uses a file of root that everybody can read
    let theirs = if is_root { theirs.as_path() } else { Path::new("/etc/passwd") };
    if is_root {
        set_mode(theirs, 0o644);
        std::os::unix::fs::chown(theirs, Some(SOMEBODY), None).unwrap();
    }
    let before = std::fs::read(theirs).unwrap();
    let name = theirs.to_str().unwrap();
    write_to(&machine, name).expect(1).says(&[name, "belongs to the user", "hint", "--store"]);
    assert_eq!(std::fs::read(theirs).unwrap(), before);
    assert_mode(theirs, 0o644);
}

#[test]
fn a_hard_link_is_refused() {
    let machine = Cardcase::new();
    write_to(&machine, "store.db").expect(0);
    std::fs::hard_link(machine.dir().join("store.db"), machine.dir().join("other.db")).unwrap();
    for name in ["store.db", "other.db"] {
        write_to(&machine, name).expect(1).says(&[name, "hard link", "hint", "--store"]);
    }
    std::fs::remove_file(machine.dir().join("other.db")).unwrap();
    write_to(&machine, "store.db").expect(0);
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let machine = Cardcase::new();
    let directory = machine.dir().join("shared place");
    std::fs::create_dir(&directory).unwrap();
    for mode in [0o770, 0o707, 0o1777, 0o722] {
        set_mode(&directory, mode);
        let refused = write_to(&machine, "shared place/store.db").expect(1);
        let hint = format!("chmod go-w '{}'", "shared place");
        refused.says(&["other users can write to it", &format!("{:03o}", mode & 0o777), &hint]);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "{mode:o}: something was created");
    }
    set_mode(&directory, 0o755);
    write_to(&machine, "shared place/store.db").expect(0);
    set_mode(&directory, 0o777);
    write_to(&machine, "shared place/store.db").expect(1).says(&["chmod go-w"]);
    if rustix::process::geteuid().is_root() {
        set_mode(&directory, 0o755);
        std::os::unix::fs::chown(&directory, Some(SOMEBODY), None).unwrap();
        write_to(&machine, "shared place/store.db").expect(1).says(&["belongs to the user 65534"]);
    }
}

/// A program that keeps a store open finds a journal that appears later, too.
#[test]
fn a_journal_that_appears_later_is_not_replayed() {
    let machine = Cardcase::new();
    write_to(&machine, "store.db").expect(0);
    let store = cardcase::Store::open(machine.dir().join("store.db")).unwrap();
    store.identities().unwrap();
    let journal = machine.dir().join("store.db-journal");
    std::fs::write(machine.dir().join("prepared"), b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7").unwrap();
    std::os::unix::fs::symlink("prepared", &journal).unwrap();
    let is_refused = |error: cardcase::Error| matches!(error, cardcase::Error::NotYours { .. });
    assert!(is_refused(store.identities().unwrap_err()));
    assert!(is_refused(store.forget_all().unwrap_err()));
    std::fs::remove_file(&journal).unwrap();
    store.identities().unwrap();
}

/// SQLite replays a journal that it finds into the store.
#[test]
fn a_journal_that_another_user_may_have_left_is_not_replayed() {
    let machine = Cardcase::new();
    for suffix in ["-journal", "-wal", "-shm"] {
        let (store, beside) = (format!("{suffix}.db"), machine.dir().join(format!("{suffix}.db{suffix}")));
        write_to(&machine, &format!("./{store}")).expect(0);
        let refused = |why: &str| {
            let before = std::fs::read(machine.dir().join(&store)).unwrap();
            write_to(&machine, &format!("./{store}")).expect(1).says(&[&format!("{store}{suffix}"), why]);
            assert_eq!(std::fs::read(machine.dir().join(&store)).unwrap(), before);
            std::fs::remove_file(&beside).unwrap();
        };
        std::os::unix::fs::symlink("elsewhere", &beside).unwrap();
        refused("symbolic link");
        if rustix::process::geteuid().is_root() {
            std::fs::write(&beside, b"theirs").unwrap();
            std::os::unix::fs::chown(&beside, Some(SOMEBODY), None).unwrap();
            refused("belongs to the user");
        }
        write_to(&machine, &format!("./{store}")).expect(0);
    }
}

/// The data key as stored in the file, and every sealed private key.
fn secrets(machine: &Cardcase) -> (Vec<u8>, Vec<Vec<u8>>) {
    let database = machine.database();
    let data_key = database.query_row("SELECT data_key FROM vault", [], |row| row.get(0)).unwrap();
    let mut query = database.prepare("SELECT private_key FROM identities ORDER BY id").unwrap();
    let keys = query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    (data_key, keys)
}

/// Changes the password; an empty one means none.
fn change_password(machine: &Cardcase, from: &str, to: &str) -> Outcome {
    let (from, to) = (machine.password_file(from), machine.password_file(to));
    let run = machine.command(["--batch", "password", "--primary-password-file"]).arg(from);
    run.arg("--new-password-file").arg(to).run()
}

#[test]
fn the_first_primary_password_creates_a_new_data_key() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice");
    scene.hire("bob");
    scene.remember("localhost", &alice.fingerprint());
    let (open_key, before) = secrets(machine);
    assert_eq!(open_key.len(), 32);
    let holds = |bytes: &[u8]| std::fs::read(machine.store()).unwrap().windows(bytes.len()).any(|part| part == bytes);
    assert!(holds(&open_key), "it is looked for in the wrong way");

    let first = machine.password_file("first");
    machine.command(["--batch", "password", "--new-password-file"]).arg(first).run().expect(0);
    assert!(!holds(&open_key), "the old data key is still in the file");
    let (_, after) = secrets(machine);
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before, after);
        assert!(!holds(before), "a private key under the old data key is still in the file");
    }
    assert_fetches(&scene, "first", &[alice.sent_chain()]);
}

/// Fetches with this primary password. The server must see these chains.
#[track_caller]
fn assert_fetches(scene: &Scene, password: &str, chains: &[Vec<String>]) {
    let server = scene.server(Kind::Go).start();
    let file = scene.machine.password_file(password);
    scene.fetch(&server.url(), &["--primary-password-file", file.to_str().unwrap()]).expect(0);
    assert_eq!(server.chains(), chains, "{password:?}");
}

#[test]
fn the_primary_password_can_be_changed_and_removed() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    for (from, to) in [("", "first"), ("first", "second"), ("second", ""), ("", "third")] {
        if !from.is_empty() {
            let before = secrets(machine);
            change_password(machine, "wrong", to).expect(6);
            assert_eq!(secrets(machine), before, "a wrong password changed something");
        }
        change_password(machine, from, to).expect(0);
        assert_fetches(&scene, to, &[alice.sent_chain()]);
    }
    change_password(machine, "third", "").expect(0);
    let server = scene.server(Kind::Go).start();
    scene.fetch(&server.url(), &[]).expect(0);
    assert_eq!(server.chains(), [alice.sent_chain()]);
}

#[test]
fn a_locked_store_sends_nothing() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    change_password(&scene.machine, "", "secret").expect(0);
    let wrong = scene.machine.password_file("wrong");
    let wrong = ["--primary-password-file", wrong.to_str().unwrap()];
    for kind in [Kind::OpenSsl, Kind::Go] {
        for tls in BOTH_VERSIONS {
            for (more, code) in [(&[][..], 4), (&wrong[..], 6)] {
                let server = scene.server(kind).tls(tls).start();
                scene.fetch(&server.url(), more).expect(code).says(&["password"]);
                server.assert_nothing_came(&format!("{kind:?} {tls:?} {code}"));
            }
        }
    }
    assert_eq!(scene.machine.json("history")["uses"], json!([]));
}

/// Two sessions on one store, as on two machines with a shared home.
#[test]
fn a_session_decision_is_not_changed_by_another_session() {
    let scene = Scene::new();
    let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
    let elsewhere = scene.machine.dir().join("run elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    set_mode(&elsewhere, 0o700);
    let there = |line: &str| {
        let run = scene.machine.command(line.split_whitespace());
        run.env("XDG_RUNTIME_DIR", &elsewhere).run().expect(0)
    };
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    let root = scene.server_root_file.to_str().unwrap();
    let fetch = format!("--batch fetch {} --cacert {root}", server.url());

    scene.machine.run(&format!("remember localhost {} --for session", alice.fingerprint())).expect(0);
    for lifetime in ["session", "permanent"] {
        there(&format!("remember localhost {} --for {lifetime}", bob.fingerprint()));
        there(&fetch);
        scene.machine.run(&fetch).expect(0);
    }
    there("forget localhost");
    scene.machine.run(&fetch).expect(0);
    let (alice, bob) = (alice.sent_chain(), bob.sent_chain());
    assert_eq!(server.chains(), [bob.clone(), alice.clone(), bob, alice.clone(), alice]);
}

fn import_named(machine: &Cardcase, file: &Path, name: &str) -> Outcome {
    let password = machine.password_file(PASSWORD);
    machine.command(["import", "--json", "--name", name]).arg(file).arg("--password-file").arg(password).run()
}

#[test]
fn a_name_belongs_to_one_identity() {
    let scene = Scene::new();
    let (machine, dir) = (&scene.machine, scene.machine.dir());
    let alice = scene.employee("alice").issue();
    let file = alice.p12(dir, P12::Default);
    for (fresh, other) in [("imported", "already_present"), ("already_present", "imported")] {
        let done = import_named(machine, &file, "work").expect(0).json();
        assert_eq!(done[fresh][0]["fingerprint"], alice.fingerprint(), "{done}");
        assert_eq!(done[fresh][0]["name"], "work", "{done}");
        assert_eq!(done[other], json!([]), "{done}");
    }
    let bob = scene.employee("bob").issue().p12(dir, P12::Default);
    import_named(machine, &bob, "work").expect(2).says(&["work"]);
    let identities = machine.json("list");
    assert_eq!(identities["identities"].as_array().unwrap().len(), 1, "{identities}");
}

#[test]
fn a_name_that_equals_the_fingerprint_of_another_identity_is_ambiguous() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let fingerprint = alice.fingerprint();
    let server = scene.server(Kind::Go).start();
    for id in [&fingerprint[..], &fingerprint[..8]] {
        // The name of an identity becomes the friendlyName in the file
        scene.bring(scene.employee(id).issue());
        scene.machine.run(&format!("remember localhost {id}")).expect(2).says(&[id]);
        scene.fetch(&server.url(), &["--as", id]).expect(2);
    }
    assert_eq!(scene.machine.json("decisions")["decisions"], json!([]));
    server.assert_nothing_came("");
}
