//! `cardcase doctor`: it finds what is wrong, fails in no state of the store, asks nobody, and changes nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::support::ca::{Authority, Validity, write};
use crate::support::command::{Cardcase, Outcome, Run};
use crate::support::scene::Scene;
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use serde_json::Value;
use time::{Duration as Days, OffsetDateTime};

/// The codes of an outcome that depend on the machine that runs the tests.
const OF_THE_MACHINE: [&str; 2] = ["no_system_authorities", "keyring_unreachable"];

fn findings(outcome: &Outcome) -> Vec<Value> {
    let mut findings = outcome.json()["findings"].as_array().unwrap().clone();
    findings.retain(|finding| !OF_THE_MACHINE.contains(&finding["code"].as_str().unwrap()));
    findings
}

/// Runs `doctor --json`. The exit code must fit what it found, and no file may change.
#[track_caller]
fn examined(machine: &Cardcase) -> Vec<Value> {
    let before = state(machine);
    let outcome = machine.run("doctor --json");
    assert_eq!(state(machine), before, "doctor changed something");
    let found = outcome.json()["findings"].as_array().unwrap().clone();
    let is_wrong = found.iter().any(|finding| finding["severity"] != "note");
    let outcome = outcome.expect(i32::from(is_wrong));
    assert_eq!(outcome.stderr, "");
    for finding in &found {
        assert!(["error", "warning", "note"].contains(&finding["severity"].as_str().unwrap()), "{finding}");
        assert!(!finding["text"].as_str().unwrap().is_empty(), "{finding}");
    }
    findings(&outcome)
}

#[track_caller]
fn codes(machine: &Cardcase) -> BTreeSet<String> {
    examined(machine).iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

/// Every file in the directory of the store and in the runtime directory: its name, mode and content.
fn state(machine: &Cardcase) -> Vec<(String, u32, Vec<u8>)> {
    let directories = [machine.store().parent().unwrap().to_owned(), machine.runtime()];
    let entries = directories.iter().flat_map(|directory| std::fs::read_dir(directory).into_iter().flatten());
    let mut state: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let mode = path.symlink_metadata().unwrap().permissions().mode();
            let content = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            (path.display().to_string(), mode, content)
        })
        .collect();
    state.sort();
    state
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What is found, and the findings without those that were there before.
#[track_caller]
fn assert_finds(machine: &Cardcase, what: &str, expected: &[&str]) {
    let found = codes(machine);
    for code in expected {
        assert!(found.contains(*code), "{what}: no {code} in {found:?}");
    }
}

#[test]
fn a_new_machine_and_a_good_store_have_nothing_wrong() {
    let scene = Scene::new();
    let machine = &scene.machine;
    assert_eq!(codes(machine), BTreeSet::from(["no_store".to_owned()]));
    assert!(!machine.store().exists());
    let named = machine.command(["doctor", "--json", "--store", "/nowhere/cards.db"]).run().expect(1);
    assert_eq!(findings(&named)[0]["code"], "store_not_found");
    scene.hire("alice");
    assert_eq!(codes(machine), BTreeSet::from(["not_protected".to_owned()]));
    let found = examined(machine);
    assert_eq!((&found[0]["severity"], &found[0]["command"]), (&"note".into(), &"cardcase password".into()));
    let text = machine.run("doctor").text();
    assert!(
        text.contains("note     the private keys are not protected") && text.contains("cardcase password"),
        "{text}"
    );
}

/// Each in a store of its own.
#[test]
fn a_damaged_store_is_found_and_stays_as_it_is() {
    let cases: [(&str, &str); 13] = [
        ("DELETE FROM settings", "store_damaged"),
        ("DELETE FROM vault", "store_damaged"),
        ("UPDATE vault SET data_key = x'00'", "store_damaged"),
        ("PRAGMA user_version = 0", "store_damaged"),
        ("PRAGMA user_version = 7", "newer_store"),
        ("PRAGMA application_id = 0", "not_a_store"),
        ("DROP TABLE rules", "store_damaged"),
        ("CREATE TABLE more (id)", "store_damaged"),
        ("UPDATE identities SET certificate = x'3000'", "row_damaged"),
        ("UPDATE identities SET name = 'mallory'", "key_does_not_open"),
        ("UPDATE vault SET data_key = randomblob(32)", "key_does_not_open"),
        ("UPDATE settings SET select_automatically = 1", "not_authentic"),
        ("UPDATE decisions SET host = 'evil.example'", "not_authentic"),
    ];
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice");
    scene.remember("a.example", &alice.fingerprint());
    let good = std::fs::read(machine.store()).unwrap();
    for (damage, code) in cases {
        machine.database().execute_batch(damage).unwrap();
        assert_finds(machine, damage, &[code]);
        std::fs::write(machine.store(), &good).unwrap();
    }
    // Pages of zeros, a file that ends too early, and files that are no database
    let mut holed = good.clone();
    holed[8192..12_288].fill(0);
    for (content, codes) in [
        (&holed[..], &["store_damaged"][..]),
        (&good[..good.len() / 2], &["store_damaged"]),
        (&[b'x'; 5000], &["not_a_store"]),
        (b"", &["not_a_store"]),
    ] {
        std::fs::write(machine.store(), content).unwrap();
        assert_finds(machine, &format!("{} bytes", content.len()), codes);
    }
}

#[test]
fn a_store_in_a_place_that_is_not_right_is_found() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    let (store, directory) = (machine.store(), machine.store().parent().unwrap());
    set_mode(store, 0o644);
    assert_finds(machine, "readable by others", &["open_to_others"]);
    set_mode(store, 0o600);
    set_mode(directory, 0o777);
    assert_finds(machine, "a shared directory", &["shared_directory"]);
    set_mode(directory, 0o700);
    let good = std::fs::read(store).unwrap();
    std::fs::remove_file(store).unwrap();
    symlink("elsewhere.db", store).unwrap();
    assert_finds(machine, "a link", &["store_refused"]);
    std::fs::remove_file(store).unwrap();
    std::fs::create_dir(store).unwrap();
    assert_finds(machine, "a directory", &["store_refused"]);
    std::fs::remove_dir(store).unwrap();
    std::fs::write(store, &good).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(store, Some(65534), None).unwrap();
        assert_finds(machine, "another owner", &["store_refused"]);
        chown(store, Some(0), None).unwrap();
    }
    for (place, mode, code) in
        [(store, 0o400, "read_only"), (directory, 0o500, "read_only"), (store, 0o000, "store_unusable")]
    {
        let before = place.metadata().unwrap().permissions().mode();
        set_mode(place, mode);
        let outcome = machine.command(["doctor", "--json"]).bound().run().expect(1);
        let found: Vec<_> = findings(&outcome).iter().map(|finding| finding["code"].clone()).collect();
        assert!(found.contains(&code.into()), "{mode:o}: {found:?}");
        set_mode(place, before);
    }
    let runtime = machine.runtime().join("cardcase");
    std::fs::create_dir_all(&runtime).unwrap();
    set_mode(&runtime, 0o755);
    assert_finds(machine, "a runtime directory that others can enter", &["runtime_directory"]);
}

#[test]
fn a_store_that_another_process_locks_is_found() {
    let scene = Scene::new();
    scene.hire("alice");
    let other = scene.machine.database();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let found = scene.machine.run("doctor --json").expect(1);
    assert_eq!(findings(&found)[0]["code"], "store_locked");
}

/// What a process leaves that is killed while it writes: pages that it wrote, and the journal that undoes them.
#[test]
fn a_write_that_was_interrupted_is_found_and_not_undone() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    let (store, journal) = (machine.store(), machine.store().with_extension("db-journal"));
    let writer = machine.database();
    writer.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN").unwrap();
    writer.execute_batch("UPDATE identities SET certificate = zeroblob(100000); DELETE FROM authorities").unwrap();
    let [written, undoes] = [store, &journal].map(|file| std::fs::read(file).unwrap());
    drop(writer);
    std::fs::write(store, written).unwrap();
    std::fs::write(&journal, undoes).unwrap();
    set_mode(&journal, 0o600);
    assert_finds(machine, "a journal", &["interrupted_write"]);
    machine.run("show alice").expect(0);
    assert_eq!(codes(machine), BTreeSet::from(["not_protected".to_owned()]));
}

#[test]
fn nobody_is_asked_for_the_primary_password() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice");
    scene.remember("a.example", &alice.fingerprint());
    let password = machine.password_file("secret");
    machine.command(["--batch", "password", "--new-password-file"]).arg(&password).run().expect(0);
    assert_eq!(codes(machine), BTreeSet::from(["not_checked".to_owned()]));
    machine.command(["unlock", "--primary-password-file"]).arg(&password).run().expect(0);
    assert_eq!(codes(machine), BTreeSet::new());
    machine.database().execute_batch("UPDATE decisions SET host = 'evil.example'").unwrap();
    assert_finds(machine, "with an agent", &["not_authentic"]);
    machine.run("lock").expect(0);
}

#[test]
fn identities_and_decisions_that_are_of_no_use_are_found() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let gone = scene.bring(scene.employee("gone").validity(Validity::Expired).issue());
    assert_finds(machine, "expired", &["expired"]);
    scene.remember("a.example", &gone.fingerprint());
    assert_finds(machine, "a decision for it", &["decision_unfit"]);
    scene.bring(scene.employee("soon").validity(Validity::Soon).issue());
    assert_finds(machine, "expires soon", &["expires_soon"]);
    scene.bring(scene.employee("later").validity(Validity::NotYet).issue());
    assert_finds(machine, "not yet valid", &["not_yet_valid"]);
    scene.bring(scene.employee("mailer").extended_key_usages(&[ExtendedKeyUsagePurpose::EmailProtection]).issue());
    assert_finds(machine, "not for clients", &["not_for_clients"]);
    scene.bring(scene.employee("encrypter").key_usages(&[KeyUsagePurpose::KeyEncipherment]).issue());
    let found = examined(machine);
    assert_eq!(found.iter().filter(|finding| finding["code"] == "not_for_clients").count(), 2);
    machine.run("enroll --subject CN=waiting -o -").expect(0);
    assert_finds(machine, "an enrollment", &["waiting_for_certificate"]);

    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    // As a server does that refuses it
    machine.database().execute_batch("UPDATE decisions SET last_outcome = 'refused' WHERE host = 'localhost'").unwrap();
    let found = examined(machine);
    let refused = found.iter().find(|finding| finding["code"] == "decision_refused").unwrap();
    assert_eq!(refused["command"], "cardcase forget localhost");
}

#[test]
fn a_missing_intermediate_is_found_unless_a_server_accepted_the_identity_without_it() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.employee("alice").issue();
    let (certificate, key) = (write(machine.dir(), "leaf", "pem", alice.pem()), alice.key_file(machine.dir()));
    machine.command(["import"]).arg(certificate).arg(key).run().expect(0);
    assert_finds(machine, "without its issuer", &["missing_intermediate"]);
    machine
        .database()
        .execute_batch(
            "INSERT INTO uses (at, host, port, identity, source, outcome)
             SELECT 1, 'a.example', 443, fingerprint, 'decision', 'accepted' FROM identities",
        )
        .unwrap();
    assert!(!codes(machine).contains("missing_intermediate"));
}

#[test]
fn what_is_around_the_store_is_examined_too() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    std::fs::create_dir(machine.policies()).unwrap();
    std::fs::write(machine.policies().join("a.json"), "nonsense").unwrap();
    assert_finds(machine, "a policy file", &["policy_unreadable"]);
    let skipped = r#"[{"pattern": "https://a.example", "filter": {"SUBJCET": {"CN": "a"}}}]"#;
    std::fs::write(machine.policies().join("a.json"), skipped).unwrap();
    assert_finds(machine, "an entry that is no rule", &["policy_skipped"]);
    std::fs::remove_dir_all(machine.policies()).unwrap();

    let later =
        "INSERT INTO uses (at, host, port, source, outcome) VALUES (9999999999, 'a.example', 443, 'ask', 'accepted')";
    machine.database().execute_batch(later).unwrap();
    assert_finds(machine, "an entry from the year 2286", &["clock_behind"]);
}

#[test]
fn a_system_without_ca_certificates_or_openssl_is_found() {
    let machine = Cardcase::new();
    let (nothing, libraries) = (machine.dir().join("nothing"), machine.dir().join("libraries"));
    for directory in [&nothing, &libraries] {
        std::fs::create_dir(directory).unwrap();
    }
    let codes = |run: Run| {
        let found = run.run().json()["findings"].clone();
        found.as_array().unwrap().iter().map(|finding| finding["code"].to_string()).collect::<String>()
    };
    let doctor = || machine.command(["doctor", "--json"]);
    let without = doctor().env("SSL_CERT_DIR", &nothing).env("SSL_CERT_FILE", nothing.join("no.pem"));
    assert!(codes(without).contains("no_system_authorities"));
    assert!(!codes(doctor()).contains("openssl_unloadable"));
    // Where OpenSSL is linked, nothing would start with this
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        std::fs::write(libraries.join("libssl.so.3"), [0; 4096]).unwrap();
        assert!(codes(doctor().env("LD_LIBRARY_PATH", &libraries)).contains("openssl_unloadable"));
    }
}

#[test]
fn a_trusted_ca_certificate_that_has_expired_is_found() {
    let scene = Scene::new();
    let root = Authority::root_as("Soon gone", |params| {
        params.not_after = OffsetDateTime::now_utc() + Days::days(10);
    });
    scene.machine.command(["trust"]).arg(root.file(scene.machine.dir())).run().expect(0);
    assert!(!codes(&scene.machine).contains("unusable_authority"));
    let later = scene.machine.command(["doctor", "--json"]).under(["faketime", "-f", "+30d"]).run();
    let found = findings(&later);
    let found =
        found.iter().find(|finding| finding["code"] == "unusable_authority").unwrap_or_else(|| panic!("{found:?}"));
    assert!(found["text"].as_str().unwrap().contains("Soon gone"), "{found}");
    let command = found["command"].as_str().unwrap().strip_prefix("cardcase ").unwrap();
    scene.machine.run(command).expect(0);
}

/// The policies are examined even where the store is no store.
#[test]
fn one_thing_that_is_wrong_does_not_hide_the_others() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.bring(scene.employee("gone").validity(Validity::Expired).issue());
    std::fs::create_dir(machine.policies()).unwrap();
    std::fs::write(machine.policies().join("a.json"), "nonsense").unwrap();
    set_mode(machine.store(), 0o640);
    machine.database().execute_batch("UPDATE settings SET select_automatically = 1").unwrap();
    assert_finds(machine, "all at once", &["policy_unreadable", "open_to_others", "not_authentic", "expired"]);
    std::fs::write(machine.store(), [b'x'; 5000]).unwrap();
    assert_finds(machine, "no store at all", &["policy_unreadable", "open_to_others", "not_a_store"]);
}
