//! What other programs have signed through the PKCS#11 module: who permits it, who is asked, and what is recorded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::agent::wait_until;
use crate::support::command::{Cardcase, Outcome};
use crate::support::pinentry::Pinentry;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind};
use cardcase::manage::{Session, ToSign};
use cardcase::{Error, Store};
use rustls::SignatureScheme;
use serde_json::{Value, json};

const PRIMARY: &str = "correct horse";

/// A module that is there to be installed: that of p11-kit, with the CA certificates of the system.
const MODULE: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-trust.so";

/// "Not confirmed", of pinentry.
const NO: &str = "ERR 83886194 Not confirmed <Pinentry>";

fn protect(machine: &Cardcase) {
    let password = machine.password_file(PRIMARY);
    machine.command(["password", "--new-password-file"]).arg(password).run().expect(0);
}

/// Runs the command as the module does, with this program for questions.
fn unlock_for_pkcs11(machine: &Cardcase, pinentry: &Pinentry) -> Outcome {
    machine.command(["unlock", "--for", "pkcs11"]).env("PINENTRY_PROGRAM", &pinentry.program).run()
}

/// This process as the other program.
struct Program(Arc<Store>);

impl Program {
    fn on(machine: &Cardcase) -> Program {
        let session = Session::in_directory(machine.runtime().join("cardcase"));
        Program(Arc::new(Store::open_in_session(machine.store(), session).unwrap()))
    }

    fn sign(&self, what: ToSign<'_>) -> Result<Vec<u8>, Error> {
        let alice = self.0.find_identity("alice").unwrap();
        self.0.sign_for_program(&alice, SignatureScheme::ECDSA_NISTP256_SHA256, what)
    }
}

/// What a client signs in TLS 1.3.
fn message() -> Vec<u8> {
    [&[b' '; 64][..], b"TLS 1.3, client CertificateVerify\0", &[5; 32]].concat()
}

#[test]
fn a_permission_is_given_shown_and_taken_back_with_the_primary_password() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let machine = &scene.machine;
    protect(machine);
    machine.run("--batch pkcs11 allow alice any").expect(4);
    let password = machine.password_file(PRIMARY);
    let knowing = |line: &str| {
        let run = machine.command(line.split_whitespace()).env("CARDCASE_PRIMARY_PASSWORD_FILE", &password);
        run.arg("--json").run()
    };
    let id: String =
        alice.fingerprint().as_bytes().chunks(2).map(|byte| format!("%{}", String::from_utf8_lossy(byte))).collect();
    let uris = json!({
        "uri": "pkcs11:token=cardcase;object=alice",
        "uri_of_certificate": format!("pkcs11:token=cardcase;id={}", id.to_uppercase()),
    });
    let permitted = |permission: &str, confirmation: &str| {
        let mut permitted = json!({"fingerprint": alice.fingerprint(), "name": "alice"});
        let all = [json!({"permission": permission, "confirmation": confirmation}), uris.clone()];
        all.iter().for_each(|part| permitted.as_object_mut().unwrap().extend(part.as_object().unwrap().clone()));
        permitted
    };
    for (line, permission, confirmation) in [
        ("pkcs11 allow alice tls", "tls", "never"),
        ("pkcs11 allow alice any --confirm each", "any", "each"),
        ("pkcs11 allow alice tls --confirm 15m", "tls", "15m"),
    ] {
        assert_eq!(knowing(line).expect(0).json(), permitted(permission, confirmation));
        assert_eq!(machine.json("pkcs11 status")["identities"], json!([permitted(permission, confirmation)]));
        let shown = &machine.json("show alice")["pkcs11"];
        assert_eq!((&shown["permission"], &shown["uri"]), (&json!(permission), &uris["uri"]));
    }
    let server = scene.server(Kind::OpenSsl).ask(Ask::Optional).start();
    let explain = |json| {
        scene
            .machine
            .command(["explain", &server.destination(), "--cacert"])
            .arg(&scene.server_root_file)
            .args(json)
            .run()
    };
    assert_eq!(explain(vec!["--json"]).expect(0).json()["identities"][0]["uri"], uris["uri"]);
    assert!(explain(vec![]).expect(0).text().contains(uris["uri"].as_str().unwrap()));
    knowing("min-tls alice 1.3").expect(0);
    knowing("pkcs11 allow alice any").expect(1).says(&["TLS 1.3", "cardcase pkcs11 allow alice tls"]);
    assert_eq!(knowing("pkcs11 deny alice").expect(0).json()["permission"], "off");
    assert_eq!(machine.json("pkcs11 status")["identities"], json!([]));
    assert_eq!(machine.json("show alice")["pkcs11"], Value::Null);
}

#[test]
fn a_person_is_asked_in_a_window_and_the_history_has_what_was_signed() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let machine = &scene.machine;
    machine.run("pkcs11 allow alice any --confirm each").expect(0);
    let pinentry = Pinentry::replying(machine.dir(), &["OK", "OK", NO]);
    let program = Program::on(machine);
    assert!(matches!(program.sign(ToSign::Digest(&[7; 32])), Err(Error::VaultLocked)), "no agent runs");
    // The store has no primary password: nobody is asked for one
    unlock_for_pkcs11(machine, &pinentry).expect(0);
    program.sign(ToSign::Message(&message())).unwrap();
    program.sign(ToSign::Digest(&[7; 32])).unwrap();
    assert!(matches!(program.sign(ToSign::Digest(&[8; 32])), Err(Error::NotConfirmed { .. })));
    // A no is good for a while
    assert!(matches!(program.sign(ToSign::Digest(&[8; 32])), Err(Error::NotConfirmed { .. })));
    let told = pinentry.told();
    assert_eq!(told.iter().filter(|line| *line == "CONFIRM").count(), 3, "{told:?}");
    assert!(!told.iter().any(|line| line.starts_with("GETPIN")), "{told:?}");
    let own = std::env::current_exe().unwrap().display().to_string();
    let asked: Vec<_> = told.iter().filter(|line| line.starts_with("SETDESC")).collect();
    assert!(asked.iter().all(|line| line.contains(&own) && line.contains("\"alice\"")), "{asked:?}");
    assert!(asked[0].contains("whole message") && asked[1].contains("digest"), "{asked:?}");
    machine.run("lock").expect(0);
    // The agent writes them while nobody waits
    let uses = || machine.json("history")["uses"].as_array().unwrap().clone();
    wait_until("both are in the history", || uses().len() == 2);
    let uses = uses();
    let expected = ["program_digest", "program_message"];
    assert_eq!(uses.iter().map(|used| used["source"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    for used in &uses {
        assert_eq!((&used["host"], &used["port"]), (&Value::Null, &Value::Null));
        assert_eq!((&used["program"], &used["identity"]), (&json!(own), &json!(alice.fingerprint())));
    }
    let shown = machine.run("history").expect(0).text();
    assert!(shown.contains(&format!("unknown, by {own}")) && shown.contains("program_digest"), "{shown}");
    let shown = machine.run("show alice").expect(0).text();
    assert!(shown.contains("sign anything; you are asked each time") && shown.contains(&own), "{shown}");
}

#[test]
fn a_program_that_needs_a_locked_store_has_one_person_asked_once() {
    let scene = Scene::new();
    scene.hire("alice");
    let machine = &scene.machine;
    machine.run("pkcs11 allow alice tls").expect(0);
    protect(machine);
    let program = Program::on(machine);
    let replies = ["ERR 83886179 Operation cancelled <Pinentry>", &format!("D {PRIMARY}\nOK")];
    let pinentry = Pinentry::replying(machine.dir(), &replies);
    let questions = || pinentry.told().iter().filter(|line| line.starts_with("GETPIN")).count();
    unlock_for_pkcs11(machine, &pinentry).expect(130);
    unlock_for_pkcs11(machine, &pinentry).expect(4).says(&["a moment ago", "cardcase unlock"]);
    assert_eq!(questions(), 1, "a no is good for a while");
    assert!(matches!(program.sign(ToSign::Message(&message())), Err(Error::VaultLocked)));
    // Ends that while, as time would
    std::fs::write(machine.runtime().join("cardcase/unlocking-for-programs"), "").unwrap();
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| unlock_for_pkcs11(machine, &pinentry).expect(0));
        }
    });
    assert_eq!(questions(), 2, "{:?}", pinentry.told());
    assert!(pinentry.told().iter().any(|line| line.starts_with("SETDESC") && line.contains("is needed by")));
    program.sign(ToSign::Message(&message())).unwrap();
    assert!(matches!(program.sign(ToSign::Digest(&[7; 32])), Err(Error::NotPermitted { .. })));
    machine.run("lock").expect(0);
    assert!(matches!(program.sign(ToSign::Message(&message())), Err(Error::VaultLocked)));
}

/// A database as Chromium and Firefox have one.
fn new_database(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    let mut command = program::named("certutil");
    let made = command.args(["-N", "--empty-password", "-d"]).arg(format!("sql:{}", directory.display())).output();
    assert!(made.unwrap().status.success());
}

/// What NSS itself says about the modules of a database.
fn modules(directory: &Path) -> String {
    let mut command = program::named("modutil");
    let listed = command.args(["-list", "-dbdir"]).arg(format!("sql:{}", directory.display())).output().unwrap();
    String::from_utf8(listed.stdout).unwrap()
}

#[test]
fn the_module_is_installed_where_programs_look_and_removed_again() {
    let machine = Cardcase::new();
    let (firefox, chromium) = (machine.dir().join("profile"), machine.dir().join(".pki/nssdb"));
    new_database(&firefox);
    new_database(&chromium);
    let file = machine.dir().join(".config/pkcs11/modules/cardcase.module");
    let run = |line: &str| {
        let line = line.replace("PROFILE", firefox.to_str().unwrap()).replace("MODULE", MODULE);
        machine.run(&line)
    };
    let all = "--p11-kit --chromium --firefox PROFILE";
    let printed = run(&format!("pkcs11 install {all} --print --module MODULE")).expect(0).text();
    assert!(!file.exists() && !modules(&chromium).contains("cardcase"), "--print changed something");
    // What it prints does it, and so does the command itself
    let as_printed = program::named("sh").arg("-ec").arg(commands(&printed)).output().unwrap();
    assert!(as_printed.status.success(), "{as_printed:?}");
    for round in ["as printed", "by the command", "again"] {
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("module: {MODULE}\n"), "{round}");
        for database in [&firefox, &chromium] {
            let listed = modules(database);
            assert!(listed.contains("cardcase") && listed.contains(MODULE), "{round}: {listed}");
        }
        run(&format!("pkcs11 install {all} --module MODULE")).expect(0);
    }
    let installed = machine.json("pkcs11 status")["installed"].clone();
    let files: Vec<&str> = installed.as_array().unwrap().iter().map(|one| one["file"].as_str().unwrap()).collect();
    assert_eq!(files, [file.to_str().unwrap(), chromium.join("pkcs11.txt").to_str().unwrap()]);
    run("pkcs11 remove --firefox PROFILE").expect(0);
    assert!(!modules(&firefox).contains("cardcase") && modules(&chromium).contains("cardcase"));
    run("pkcs11 remove").expect(0);
    assert!(!file.exists() && !modules(&chromium).contains("cardcase"));
    run("pkcs11 remove").expect(0).says(&["not installed"]);
    run("pkcs11 install --module /nowhere.so").expect(1).says(&["/nowhere.so"]);
}

/// The lines of stdout that a person copies.
fn commands(printed: &str) -> String {
    printed
        .lines()
        .filter(|line| ["mkdir", "echo", "modutil"].iter().any(|start| line.starts_with(start)))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn a_browser_that_runs_is_not_changed() {
    let machine = Cardcase::new();
    let firefox: PathBuf = machine.dir().join("profile");
    new_database(&firefox);
    let install = || machine.command(["pkcs11", "install", "--module", MODULE, "--firefox"]).arg(&firefox).run();
    let lock = firefox.join("lock");
    std::os::unix::fs::symlink(format!("127.0.1.1:+{}", std::process::id()), &lock).unwrap();
    install().expect(1).says(&["in use", "close Firefox"]);
    assert!(!modules(&firefox).contains("cardcase"));
    // One that has crashed leaves its lock behind; no process has this number
    std::fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink("127.0.1.1:+4194305", &lock).unwrap();
    install().expect(0);
    assert!(modules(&firefox).contains("cardcase"));
}

#[test]
fn doctor_knows_whether_the_module_is_installed() {
    let scene = Scene::new();
    scene.hire("alice");
    let machine = &scene.machine;
    let codes = || -> Vec<String> {
        let found = machine.run("doctor --json").json()["findings"].as_array().unwrap().clone();
        let codes = found.iter().map(|finding| finding["code"].as_str().unwrap().to_owned());
        codes.filter(|code| code.starts_with("module")).collect()
    };
    assert!(codes().is_empty());
    machine.run("pkcs11 allow alice tls").expect(0).says(&["cardcase pkcs11 install"]);
    assert_eq!(codes(), ["module_not_installed"]);
    let module = machine.dir().join("module.so");
    std::fs::write(&module, "").unwrap();
    machine.command(["pkcs11", "install", "--module"]).arg(&module).run().expect(0);
    assert!(codes().is_empty());
    std::fs::remove_file(&module).unwrap();
    assert_eq!(codes(), ["module_missing"]);
}
