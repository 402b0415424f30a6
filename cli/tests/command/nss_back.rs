//! `export --to-nss` and `--to-firefox`: back into the database of a browser.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::nss::{copy, fixture, import, new_database, nss, text};
use crate::support::ca::Key;
use crate::support::command::Cardcase;
use crate::support::program;
use crate::support::scene::Scene;

/// How many private keys there are.
fn keys(directory: &Path) -> usize {
    let database = format!("sql:{}", directory.display());
    let output = program::named("certutil").args(["-K", "-d", &database]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with('<')).count()
}

#[test]
fn an_identity_goes_back_and_comes_again() {
    for password in ["", "primär日本 pw"] {
        let scene = Scene::new();
        let machine = &scene.machine;
        let alice = scene.hire("alice");
        let (directory, password_file) = new_database(machine, "back", password);
        let to = ["--batch", "export", "alice", "--to-nss", text(&directory)];
        if !password.is_empty() {
            machine.command(to).run().expect(4).says(&["has a password", "--password-file FILE"]);
            let wrong = machine.password_file("wrong");
            machine.command(to).args(["--password-file", text(&wrong)]).run().expect(6);
        }
        let given: Vec<&str> = if password.is_empty() { vec![] } else { vec!["--password-file", text(&password_file)] };
        machine.command(to).args(&given).run().expect(0).says(&["added alice with its private key to"]);
        machine.command(to).args(&given).run().expect(0).says(&["alice is already in"]);
        let database = format!("sql:{}", directory.display());
        let keys = match password.is_empty() {
            true => nss("certutil", &["-K", "-d", &database]),
            false => nss("certutil", &["-K", "-d", &database, "-f", text(&password_file)]),
        };
        assert_eq!(keys.lines().filter(|line| line.starts_with('<')).count(), 1, "{keys}");
        let other = Cardcase::new();
        let done = import(&other, &[&["--from-nss", text(&directory), "--json"][..], &given].concat()).expect(0).json();
        assert_eq!(done["imported"][0]["fingerprint"], json!(alice.fingerprint()));
    }
}

#[test]
fn without_pk12util_the_package_is_named() {
    let scene = Scene::new();
    scene.hire("alice");
    let (directory, _) = new_database(&scene.machine, "back", "");
    let to = ["--batch", "export", "alice", "--to-nss", text(&directory)];
    // Only what starts the command
    let bin = scene.machine.dir().join("bin");
    fs::create_dir(&bin).unwrap();
    let setsid = std::env::split_paths(&program::path()).map(|path| path.join("setsid")).find(|path| path.exists());
    std::os::unix::fs::symlink(setsid.unwrap(), bin.join("setsid")).unwrap();
    let outcome = scene.machine.command(to).env("PATH", &bin).run().expect(1);
    outcome.says(&["pk12util is missing", "apt install libnss3-tools", "export ID -o FILE.p12"]);
    scene.machine.command(["export", "alice", "--to-nss", "x", "-o", "y"]).run().expect(2);
}

#[test]
fn the_primary_password_may_come_from_stdin() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let other = Cardcase::new();
    let (directory, _) = new_database(&scene.machine, "back", "");
    let to = ["export", "alice", "--to-nss", text(&directory)];
    let from = ["import", "--from-nss", text(&directory)];
    for (machine, command) in [(&scene.machine, &to[..]), (&other, &from)] {
        let new = machine.password_file("of the store");
        machine.command(["--batch", "password", "--new-password-file", text(&new)]).run().expect(0);
        let run = machine.command(["--batch", "--primary-password-file", "-"]).args(command);
        run.stdin("of the store\n").run().expect(0);
    }
    assert_eq!(other.json("list")["identities"][0]["fingerprint"], json!(alice.fingerprint()));
}

/// Firefox keeps a certificate whose key is gone, and may have it before the key.
#[test]
fn a_certificate_alone_is_not_the_identity() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice");
    let (directory, _) = new_database(machine, "back", "");
    let database = format!("sql:{}", directory.display());
    let certificate = alice.certificate_file(machine.dir());
    nss("certutil", &["-A", "-n", "alice", "-t", ",,", "-d", &database, "-i", text(&certificate)]);
    assert_eq!(keys(&directory), 0);
    let to = ["--batch", "export", "alice", "--to-nss", text(&directory)];
    machine.command(to).run().expect(0).says(&["added alice with its private key"]);
    assert_eq!(keys(&directory), 1);
    machine.command(to).run().expect(0).says(&["alice is already in"]);
}

/// NSS of Debian 12 has no Ed25519.
#[test]
fn what_nss_does_not_take_keeps_nothing_else_out() {
    let scene = Scene::new();
    let machine = &scene.machine;
    for (name, key) in [("alice", Key::P256), ("bob", Key::Ed25519), ("carol", Key::Rsa2048)] {
        scene.bring(scene.employee(name).key(key).issue());
    }
    let (directory, password_file) = new_database(machine, "back", "a password");
    let given = ["--password-file", text(&password_file)];
    let to = ["--batch", "export", "--all", "--json", "--to-nss", text(&directory)];
    let outcome = machine.command(to).args(given).run().expect(1).says(&[
        "added alice with its private key",
        "bob was not added to",
        "does not take a key of its kind",
        "cardcase export",
        "added carol with its private key",
        "1 identity of 3 was not added",
    ]);
    let exported = outcome.json()["exported"].as_array().unwrap().clone();
    let names: Vec<&str> = exported.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["alice", "carol"]);
    let other = Cardcase::new();
    let done = import(&other, &[&["--from-nss", text(&directory), "--json"][..], &given].concat()).expect(0).json();
    assert_eq!(done["imported"].as_array().unwrap().len(), 2);
}

#[test]
fn a_database_that_cannot_be_read_leads_to_a_command_of_export() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    for (name, code, says) in [
        ("rounds-1e9", 1, "cardcase export alice -o FILE.p12"),
        ("iv16", 1, "cardcase export alice -o FILE.p12"),
        ("old", 1, "cardcase export alice --to-nss new"),
        ("profiles", 1, "cardcase export alice --to-firefox"),
    ] {
        let directory = machine.dir().join(name);
        match name {
            "old" => {
                fs::create_dir(&directory).unwrap();
                fs::write(directory.join("cert8.db"), "").unwrap();
            }
            "profiles" => {
                fs::create_dir(&directory).unwrap();
                fs::write(directory.join("profiles.ini"), "").unwrap();
            }
            damage => {
                copy("nss-3.87", &directory);
                fs::copy(fixture(&format!("bad/{damage}/key4.db")), directory.join("key4.db")).unwrap();
            }
        }
        let outcome = machine.command(["--batch", "export", "alice", "--to-nss", text(&directory)]).run().expect(code);
        let told = outcome.stderr.clone();
        assert!(!told.contains("import --from") && !told.contains("--max-iterations"), "{name}: {told}");
        outcome.says(&[says]);
    }
    machine.command(["--batch", "export", "alice", "--to-firefox"]).run().expect(3).says(&["--to-firefox DIR"]);
}
