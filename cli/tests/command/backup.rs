//! `backup` and `restore`: everything comes back, on another machine too; nothing that is not whole does.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::ca::{self, Key, PASSWORD};
use crate::support::command::{Cardcase, Outcome, Run};
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind};
use crate::support::terminal::Terminal;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const OWN: &str = "the backup's own";

/// A store with one of everything.
fn full() -> Scene {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.hire("alice");
    scene.bring(scene.employee("bob").key(Key::Rsa2048).issue());
    machine.run(&format!("rename bob {}", "робот-😀")).expect(0);
    machine.run("min-tls робот-😀 1.3").expect(0);
    scene.remember("localhost", &alice.fingerprint());
    scene.remember("elsewhere.example", "none");
    scene.remember_as("[2001:db8::1]:8443", "робот-😀", "--mode chrome");
    machine.run(&format!("remember session.example {} --for session", alice.fingerprint())).expect(0);
    machine.command(["trust"]).arg(&scene.server_root_file).run().expect(0);
    machine.run("rules add https://[*.]example.com --subject CN=alice").expect(0);
    machine.run("rules add https://never.example --deny").expect(0);
    machine.run("config prompt-on-multiple on").expect(0);
    machine.command(["enroll", "--subject", "CN=carol", "-o"]).arg(machine.dir().join("carol.csr")).run().expect(0);
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    scene.fetch(&server.url(), &[]).expect(0);
    scene
}

/// Everything that a backup holds, as the command shows it.
fn shown(machine: &Cardcase) -> Value {
    let mut decisions = machine.json("decisions");
    decisions["decisions"].as_array_mut().unwrap().retain(|decision| decision["lifetime"] == "permanent");
    let mut list = machine.json("list");
    // The primary password is in no backup
    list.as_object_mut().unwrap().remove("protected");
    json!({
        "list": list,
        "decisions": decisions,
        "rules": machine.json("rules"),
        "authorities": machine.json("authorities"),
        "config": machine.json("config"),
        "alice": machine.json("show alice")["requires_tls13"],
        "bob": machine.json("show робот-😀")["requires_tls13"],
    })
}

fn backup(machine: &Cardcase, file: &Path, more: &[&str]) -> Outcome {
    let own = machine.password_file(OWN);
    machine.command(["--batch", "backup"]).arg(file).arg("--password-file").arg(own).args(more).run()
}

fn restoring(machine: &Cardcase, file: &Path, password: &str) -> Run {
    let own = machine.password_file(password);
    machine.command(["--batch", "restore", "--yes"]).arg(file).arg("--password-file").arg(own)
}

fn made(scene: &Scene, more: &[&str]) -> PathBuf {
    let file = ca::unused(scene.machine.dir(), "store", "backup");
    backup(&scene.machine, &file, more).expect(0);
    file
}

#[test]
fn everything_comes_back_on_another_machine() {
    let scene = full();
    let file = made(&scene, &["--with-history"]);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let (before, history) = (shown(&scene.machine), scene.machine.json("history"));
    assert_eq!(history["uses"].as_array().unwrap().len(), 1);

    let other = Cardcase::new();
    let said = restoring(&other, &file, OWN).run().expect(0);
    for line in
        ["restored: alice (ec-p256", "restored: робот-😀 (rsa-2048", "decision: localhost: \"alice\"", "trusted: "]
    {
        assert!(said.text().contains(line), "{line}: {}", said.text());
    }
    assert_eq!(shown(&other), before);
    assert_eq!(other.json("history"), history);

    // The keys sign, and decisions, rules and settings are authentic
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    other.fetch(&server.url(), &scene.server_root_file, &[]).expect(0);
    assert_eq!(server.chains().len(), 1);
    other.run("rules remove 1").expect(0);
    // The key still waits for its certificate
    let carol = other.json("list")["enrollments"][0]["subject"].clone();
    assert_eq!(carol, "CN=carol");
}

#[test]
fn a_second_restore_changes_nothing() {
    let scene = full();
    let file = made(&scene, &["--with-history"]);
    let other = Cardcase::new();
    restoring(&other, &file, OWN).run().expect(0);
    let (before, history) = (shown(&other), other.json("history"));
    let again = restoring(&other, &file, OWN).arg("--json").run().expect(0).json();
    assert_eq!(again["imported"], json!([]));
    assert_eq!(again["already_present"].as_array().unwrap().len(), 2);
    for empty in ["authorities", "trusted", "enrollments", "rules", "decisions", "contradicted"] {
        assert_eq!(again[empty], json!([]), "{empty}");
    }
    assert_eq!((shown(&other), other.json("history")), (before, history));
    restoring(&scene.machine, &file, OWN).run().expect(0).says(&["nothing of it is missing"]);
}

#[test]
fn what_the_store_has_stays_as_it_is() {
    let scene = full();
    let file = made(&scene, &[]);
    let other = Cardcase::new();
    let rival = scene.guests.client("alice").issue();
    other.import(&rival);
    other.run(&format!("remember localhost {}", rival.fingerprint())).expect(0);
    let before = other.json("config");
    let dry = restoring(&other, &file, OWN).args(["--dry-run", "--json"]).run().expect(0).json();
    assert_eq!(other.json("list")["identities"].as_array().unwrap().len(), 1);
    let said = restoring(&other, &file, OWN).arg("--json").run().expect(0);
    let answer = said.json();
    // The chain is counted in the store, which does not have the CA certificates yet
    let told = |answer: &Value| {
        let mut answer = answer.clone();
        for identity in answer["imported"].as_array_mut().unwrap() {
            identity.as_object_mut().unwrap().remove("chain_length");
        }
        answer
    };
    assert_eq!(told(&answer), told(&dry), "a rehearsal says what happens");
    said.says(&[
        "localhost: this store remembers \"alice\", which stays; the backup says \"alice (2)\"",
        "cardcase remember localhost",
        "cardcase config prompt-on-multiple on",
    ]);
    assert_eq!(answer["imported"][0]["name"], "alice (2)");
    assert_eq!(answer["contradicted"][0]["host"], "localhost");
    assert_eq!(answer["settings"], Value::Null);
    assert_eq!(other.json("config"), before);
    let decided = other.json("decisions")["decisions"].as_array().unwrap().clone();
    let localhost = decided.iter().find(|decision| decision["host"] == "localhost").unwrap();
    assert_eq!(localhost["identity"], rival.fingerprint());
    assert_eq!(decided.len(), 3);
}

#[test]
fn a_rehearsal_changes_nothing_and_needs_no_primary_password() {
    let scene = full();
    let file = made(&scene, &["--with-history"]);
    let other = Cardcase::new();
    other.command(["password", "--new-password-file"]).arg(other.password_file("primary")).run().expect(0);
    let before = std::fs::read(other.store()).unwrap();
    let said = restoring(&other, &file, OWN).arg("--dry-run").run().expect(0).says(&["nothing was changed"]);
    assert!(said.text().contains("would restore: alice"), "{}", said.text());
    assert_eq!(std::fs::read(other.store()).unwrap(), before);
    restoring(&other, &file, OWN).run().expect(4).says(&["primary password"]);
    assert_eq!(std::fs::read(other.store()).unwrap(), before);
    let primary = other.password_file("primary");
    restoring(&other, &file, OWN).arg("--primary-password-file").arg(primary).run().expect(0);
    assert_eq!(shown(&other), shown(&scene.machine));
}

#[test]
fn a_wrong_password_and_damage_are_different_errors_and_store_nothing() {
    let scene = full();
    let file = made(&scene, &[]);
    let other = Cardcase::new();
    other.run("remember localhost none").expect(0);
    let before = std::fs::read(other.store()).unwrap();
    restoring(&other, &file, "wrong").run().expect(6).says(&["wrong password"]);
    other.command(["--batch", "restore"]).arg(&file).run().expect(4).says(&["--password-file"]);

    let bytes = std::fs::read(&file).unwrap();
    let broken = |bytes: &[u8]| ca::write(other.dir(), "broken", "backup", bytes);
    // Every position is tested where no process is needed for each; these are one of each kind
    let changed = |at: usize| {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        broken(&changed)
    };
    let cases = [
        (broken(&bytes[..bytes.len() - 1]), 1, "cut short"),
        (broken(&bytes[..20]), 1, "cut short"),
        (broken(b""), 1, "not a backup"),
        (broken(&[&bytes[..], b"\n"].concat()), 1, "1 bytes follow its end"),
        (scene.server_root_file.clone(), 1, "not a backup"),
        (changed(0), 1, "not a backup"),
        (changed(16), 1, "is damaged"),
        (changed(30), 6, "wrong password"),
        (changed(60), 6, "wrong password"),
        (changed(108), 1, "damaged"),
        (changed(bytes.len() - 1), 1, "changed after it was made"),
        (PathBuf::from("/dev/zero"), 1, "not a backup"),
    ];
    for (file, code, words) in cases {
        restoring(&other, &file, OWN).run().expect(code).says(&[words, file.to_str().unwrap()]);
    }
    let mut newer = bytes.clone();
    newer[16] = 2;
    restoring(&other, &broken(&newer), OWN).run().expect(1).says(&["version 2", "update cardcase"]);
    assert_eq!(std::fs::read(other.store()).unwrap(), before);
}

#[test]
fn a_backup_holds_only_what_is_authentic() {
    let scene = full();
    let database = scene.machine.database();
    let file = scene.machine.dir().join("forged.backup");
    database.execute("UPDATE decisions SET host = 'evil.example' WHERE host = 'localhost'", []).unwrap();
    backup(&scene.machine, &file, &[]).expect(1).says(&["evil.example", "not authentic"]);
    database.execute("UPDATE decisions SET host = 'localhost' WHERE host = 'evil.example'", []).unwrap();
    database.execute("INSERT INTO rules (rule, added_at) VALUES ('{\"pattern\":\"*\",\"filter\":{}}', 0)", []).unwrap();
    backup(&scene.machine, &file, &[]).expect(1).says(&["not authentic"]);
    assert!(!file.exists());
}

#[test]
fn a_backup_overwrites_no_file_and_needs_the_primary_password() {
    let scene = full();
    let file = made(&scene, &[]);
    let before = std::fs::read(&file).unwrap();
    backup(&scene.machine, &file, &[]).expect(1).says(&["already exists", "--force"]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    backup(&scene.machine, &file, &["--force"]).expect(0);
    assert_ne!(std::fs::read(&file).unwrap(), before);
    let primary = scene.machine.password_file("primary");
    scene.machine.command(["password", "--new-password-file"]).arg(&primary).run().expect(0);
    let locked = scene.machine.dir().join("locked.backup");
    backup(&scene.machine, &locked, &[]).expect(4);
    assert!(!locked.exists());
    backup(&scene.machine, &locked, &["--primary-password-file", primary.to_str().unwrap()]).expect(0);
    let other = Cardcase::new();
    restoring(&other, &locked, OWN).run().expect(0).says(&["had a primary password, and this one has none"]);
}

/// Decrypts a backup as docs/backup.md describes it, with other code than cardcase's.
fn decrypted(file: &[u8], password: &str) -> Value {
    let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!((&file[..16], file[16]), (&b"cardcase backup\n"[..], 1));
    let params = argon2::Params::new(number(17), number(21), 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut key = [0; 32];
    argon2.hash_password_into(password.as_bytes(), &file[25..41], &mut key).unwrap();
    let covered = |fields: &[&[u8]]| -> Vec<u8> {
        fields.iter().flat_map(|field| [&(field.len() as u64).to_be_bytes()[..], field].concat()).collect()
    };
    let open = |key: &[u8], covered: Vec<u8>, sealed: &[u8]| -> Vec<u8> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
        let nonce = Nonce::assume_unique_for_key(sealed[..12].try_into().unwrap());
        let mut text = sealed[12..].to_vec();
        key.open_in_place(nonce, Aad::from(covered), &mut text).unwrap().to_vec()
    };
    let (memory, passes) = (u64::from(number(17)).to_be_bytes(), u64::from(number(21)).to_be_bytes());
    let data_key = open(&key, covered(&[b"data key", &memory, &passes, &file[25..41]]), &file[41..101]);
    assert_eq!(u64::from_be_bytes(file[101..109].try_into().unwrap()) as usize, file.len() - 109);
    let mac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &data_key);
    let derived = ring::hmac::sign(&mac, b"cardcase backup\x01");
    serde_json::from_slice(&open(derived.as_ref(), covered(&[b"backup", &file[..109]]), &file[109..])).unwrap()
}

#[test]
fn the_format_is_as_documented() {
    let scene = full();
    let contents = decrypted(&std::fs::read(made(&scene, &["--with-history"])).unwrap(), OWN);
    let document = include_str!("../../../docs/backup.md");
    let example = document.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let example: Value = serde_json::from_str(example).unwrap();
    let names = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&contents), names(&example));
    assert_eq!(names(&contents["settings"]), names(&example["settings"]));
    for part in ["identities", "authorities", "enrollments", "rules", "decisions", "history"] {
        assert_eq!(names(&contents[part][0]), names(&example[part][0]), "{part}");
    }
    assert_eq!(contents["decisions"].as_array().unwrap().len(), 3, "those for the session are left out");
}

/// A later version must read it too: docs/backup.md.
#[test]
fn a_backup_of_version_1_is_read() {
    let machine = Cardcase::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/backup-1");
    assert_eq!(std::fs::read(&file).unwrap()[16], 1);
    let answer = restoring(&machine, &file, "cardcase").arg("--json").run().expect(0).json();
    assert_eq!(answer["imported"][0]["name"], "Alice Example's card");
    assert_eq!(answer["imported"][1]["name"], "Bob Example's card");
    assert_eq!(answer["trusted"][0]["subject"], "CN=Fixture Root,O=Cardcase Fixtures");
    assert_eq!(answer["rules"].as_array().unwrap().len(), 1);
    assert_eq!(answer["settings"]["mode"], "chrome");
    assert_eq!(answer["enrollments"], json!(["CN=Carol Example"]));
    assert_eq!(answer["uses"], 1);
    let decided: Vec<Value> = answer["decisions"].as_array().unwrap().to_vec();
    assert_eq!(decided.len(), 3);
    // Every key opens
    let password = machine.password_file(PASSWORD);
    machine.command(["export", "--all", "-o", "-", "--password-file"]).arg(password).run().expect(0);
}

#[test]
fn two_restores_at_once_bring_everything_once() {
    let scene = full();
    let file = made(&scene, &["--with-history"]);
    let other = Cardcase::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| restoring(&other, &file, OWN).run().expect(0));
        }
    });
    assert_eq!(shown(&other), shown(&scene.machine));
    assert_eq!(other.json("history"), scene.machine.json("history"));
}

#[test]
fn a_restore_that_is_killed_leaves_all_or_nothing() {
    let scene = full();
    let file = made(&scene, &[]);
    let expected = shown(&scene.machine);
    let mut was_killed = 0;
    for attempt in 0..12 {
        let other = Cardcase::new();
        other.run("list").expect(0);
        let empty = other.json("list");
        let mut journal = other.store().as_os_str().to_owned();
        journal.push("-journal");
        let journal = PathBuf::from(journal);
        let mut process = restoring(&other, &file, OWN).process().spawn().unwrap();
        while !journal.exists() && process.try_wait().unwrap().is_none() {}
        std::thread::sleep(Duration::from_micros(400 * attempt));
        let signal = if attempt % 2 == 0 { Signal::KILL } else { Signal::INT };
        let _ = kill_process(Pid::from_child(&process), signal);
        let ended = process.wait_with_output().unwrap();
        was_killed += usize::from(!ended.status.success());
        match other.json("list") == empty {
            true => assert!(!ended.status.success()),
            false => assert_eq!(shown(&other), expected, "attempt {attempt}"),
        }
        restoring(&other, &file, OWN).run().expect(0);
        assert_eq!(shown(&other), expected, "attempt {attempt}");
    }
    assert!(was_killed > 0);
}

#[test]
fn a_backup_for_which_there_is_no_room_leaves_no_file() {
    let scene = full();
    let file = scene.machine.dir().join("big.backup");
    let own = scene.machine.password_file(OWN);
    let run = scene.machine.command(["--batch", "backup"]).arg(&file).arg("--password-file").arg(own);
    // The store needs no more; the file does
    run.file_size(1024).run().expect(1).says(&["big.backup"]);
    assert!(!file.exists());
    let left: Vec<_> =
        std::fs::read_dir(scene.machine.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("cardcase-new")), "{left:?}");
}

#[test]
fn a_person_types_the_password_and_may_interrupt() {
    let scene = full();
    let file = scene.machine.dir().join("typed.backup");
    let typed = |machine: &Cardcase, command: &str, answers: &[(&str, &str)]| {
        let mut terminal = Terminal::open(machine, [command, file.to_str().unwrap()]);
        for (prompt, answer) in answers {
            terminal.wait_for(prompt);
            // Input before the terminal is ready is discarded
            terminal.wait_until("the echo is off", |_| true);
            terminal.stays_for(Duration::from_millis(300));
            terminal.send(answer);
        }
        (terminal.end().code(), terminal.text())
    };
    let (code, text) = typed(&scene.machine, "backup", &[("New password", "one\r"), ("Repeat", "\x03")]);
    assert_eq!(code, Some(130), "{text}");
    assert!(!file.exists());
    let (code, text) = typed(&scene.machine, "backup", &[("New password", "one\r"), ("Repeat", "one\r")]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("cardcase restore"), "{text}");

    let other = Cardcase::new();
    let (code, text) = typed(&other, "restore", &[("Password of", "\x03")]);
    assert_eq!(code, Some(130), "{text}");
    let answers = [("Password of", "two\r"), ("Wrong.", "one\r"), ("with all of this?", "n")];
    let (code, text) = typed(&other, "restore", &answers);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(other.json("list")["identities"], json!([]));
    let answers = [("Password of", "one\r"), ("with all of this?", "y"), ("New primary password", "\r")];
    let (code, text) = typed(&other, "restore", &answers);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(shown(&other), shown(&scene.machine));
}

#[test]
fn what_is_trusted_or_decided_is_confirmed_once() {
    let scene = full();
    let file = made(&scene, &[]);
    let other = Cardcase::new();
    let own = other.password_file(OWN);
    let restore = || other.command(["--batch", "restore"]).arg(&file).arg("--password-file").arg(&own).run();
    let root = scene.server_root.fingerprint();
    restore().expect(4).says(&[
        &format!("({root})"),
        "decision: localhost: \"alice\"",
        "never.example",
        "setting: prompt-on-multiple on",
        "--yes",
    ]);
    assert_eq!(other.json("list")["identities"], json!([]));
    restoring(&other, &file, OWN).run().expect(0);
    // Nothing of it is new
    restore().expect(0);
    assert_eq!(shown(&other), shown(&scene.machine));
}

#[test]
fn a_restore_takes_no_trust_and_no_lack_of_restriction_back() {
    let scene = full();
    let file = made(&scene, &[]);
    let root = scene.machine.json("authorities")["authorities"]
        .as_array()
        .unwrap()
        .iter()
        .find(|authority| authority["trusted"] == true)
        .unwrap()["fingerprint"]
        .as_str()
        .unwrap()
        .to_owned();
    scene.machine.run(&format!("trust --remove {root}")).expect(0);
    scene.machine.run("min-tls робот-😀 1.2").expect(0);
    let before = shown(&scene.machine);
    restoring(&scene.machine, &file, OWN).run().expect(0).says(&[
        "is trusted in the backup",
        &format!("cardcase trust {}", &root[..8]),
        "is sent in TLS 1.3 only in the backup",
        "cardcase min-tls",
    ]);
    assert_eq!(shown(&scene.machine), before);
}

#[test]
fn a_rehearsal_makes_no_store() {
    let scene = full();
    let file = made(&scene, &[]);
    let rules = ca::write(scene.machine.dir(), "policy", "json", r#"{"AutoSelectCertificateForUrls": []}"#);
    let rules = rules.to_str().unwrap();
    let new = scene.machine.dir().join("new.db");
    for typed in [false, true] {
        let other = Cardcase::new();
        let store = if typed { ["--store", new.to_str().unwrap()].to_vec() } else { Vec::new() };
        restoring(&other, &file, OWN).args(&store).arg("--dry-run").run().expect(0).says(&["there is no store yet"]);
        other.command(["rules", "import", rules, "--dry-run"]).args(&store).run().expect(0);
        assert!(!other.store().exists() && !new.exists());
    }
}

#[test]
fn a_backup_is_not_written_over_the_store_nor_beside_json() {
    let scene = full();
    let machine = &scene.machine;
    let link = machine.dir().join("link");
    std::os::unix::fs::symlink(machine.store(), &link).unwrap();
    let before = std::fs::read(machine.store()).unwrap();
    for path in [machine.store(), link.as_path()] {
        backup(machine, path, &["--force"]).expect(1).says(&["it is the store"]);
        let own = machine.password_file(OWN);
        let export = machine.command(["--batch", "export", "--all", "--force", "-o"]).arg(path);
        export.arg("--password-file").arg(own).run().expect(1).says(&["it is the store"]);
    }
    assert_eq!(std::fs::read(machine.store()).unwrap(), before);
    backup(machine, Path::new("-"), &["--json"]).expect(2).says(&["stdout"]);
    let empty = machine.command(["--batch", "backup"]).arg(machine.dir().join("open.backup"));
    empty.args(["--password-file", "/dev/null"]).run().expect(0).says(&["the backup has no password"]);
}

#[test]
fn the_decision_of_another_session_blocks_no_backup() {
    let scene = full();
    let insert =
        "INSERT INTO decisions (host, identity, session, decided_at) VALUES ('other.example', 1, 'another', 0)";
    scene.machine.database().execute(insert, []).unwrap();
    made(&scene, &[]);
}

/// A certificate came for the key since the backup was made.
#[test]
fn a_key_that_has_its_certificate_does_not_wait_again() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let request = machine.dir().join("carol.csr");
    machine.command(["enroll", "--subject", "CN=carol", "-o"]).arg(&request).run().expect(0);
    let file = made(&scene, &[]);
    let (ca, key) = (scene.guests_root.file(machine.dir()), scene.guests_root.key_file(machine.dir()));
    let (request, ca, key) = (request.display(), ca.display(), key.display());
    let issued =
        ca::openssl(&format!("x509 -req -in {request} -CA {ca} -CAkey {key} -days 30 -copy_extensions copyall"));
    let issued = ca::write(machine.dir(), "issued", "pem", issued);
    machine.command(["import"]).arg(issued).run().expect(0);
    let answer = restoring(machine, &file, OWN).arg("--json").run().expect(0).json();
    assert_eq!(answer["enrollments"], json!([]));
    assert_eq!(machine.json("list")["enrollments"], Value::Null);
    // The key that was lost with the primary password is only in the enrollment, which stays
    let with_it = made(&scene, &[]);
    machine.command(["password", "--new-password-file"]).arg(machine.password_file("forgotten")).run().expect(0);
    let new = machine.password_file("");
    machine.command(["--batch", "password", "--reset", "--yes", "--new-password-file"]).arg(new).run().expect(0);
    let without_it = made(&scene, &[]);
    let other = Cardcase::new();
    restoring(&other, &file, OWN).run().expect(0);
    assert_eq!(other.json("list")["enrollments"][0]["subject"], "CN=carol");
    restoring(&other, &without_it, OWN).run().expect(0);
    assert_eq!(other.json("list")["enrollments"][0]["subject"], "CN=carol");
    restoring(&other, &with_it, OWN).run().expect(0);
    assert_eq!(other.json("list")["enrollments"], Value::Null);
}
