//! Stores that were written before keys were bound to their rows: `fixtures/stores`, of which `fixtures/README.md` says how
//! they were made.

use std::path::{Path, PathBuf};

use crate::support::ca;
use crate::support::command::{Cardcase, Outcome, Run};
use crate::support::server::{Kind, Server, Setup};
use serde_json::json;

const ALICE: &str = "Alice Example's card";
const CAROL: &str = "Carol Example's card";

/// What opens `form1-password.db`.
const PRIMARY: &str = "correct horse";

const FILES: [&str; 2] = ["form1.db", "form1-password.db"];

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

/// A machine whose store is a copy of one of the fixtures.
fn machine(file: &str) -> Cardcase {
    let machine = Cardcase::new();
    std::fs::copy(fixture("stores").join(file), machine.store()).unwrap();
    machine
}

fn with_password(machine: &Cardcase, password: &str) -> Run {
    let password = machine.password_file(password);
    machine.command(["--batch", "--primary-password-file"]).arg(password)
}

/// Of the table that says it; there is no such column before.
fn is_outdated(machine: &Cardcase) -> bool {
    let form = machine.database().query_row("SELECT form FROM vault", [], |row| row.get::<_, i64>(0));
    form.map_or(true, |form| form == 1)
}

/// The private key in a PKCS#12 file, as openssl has it.
fn key_of(file: &Path, password: &str) -> String {
    let arguments = format!("pkcs12 -in {} -passin pass:{password} -nocerts -nodes", file.display());
    let text = String::from_utf8(ca::openssl(&arguments)).unwrap();
    text[text.find("-----BEGIN").unwrap()..].to_owned()
}

/// A server that the authority trusted in the fixtures has issued, and that asks for what that authority issued.
fn server() -> Server {
    let files = (fixture("server/localhost.pem"), fixture("server/localhost.key"));
    Setup::with_files(Kind::Go, files, fixture("server/root.pem")).start()
}

fn fetch(machine: &Cardcase, server: &Server) -> Outcome {
    with_password(machine, PRIMARY).args(["fetch", &server.url()]).run()
}

#[test]
fn what_is_in_it_stays_and_its_keys_open() {
    for file in FILES {
        let machine = machine(file);
        assert!(is_outdated(&machine), "{file}");
        let decisions = machine.json("decisions");
        assert_eq!(decisions["decisions"].as_array().map(Vec::len), Some(2), "{file}");

        let exported = machine.dir().join("alice.p12");
        let export = with_password(&machine, PRIMARY).args(["export", ALICE, "--password-file"]);
        export.arg(machine.password_file("new")).arg("-o").arg(&exported).run().expect(0);
        assert_eq!(key_of(&exported, "new"), key_of(&fixture("identities/openssl.p12"), "cardcase"), "{file}");

        assert!(!is_outdated(&machine), "{file}");
        assert_eq!(machine.json("decisions"), decisions, "{file}");
        assert_eq!(machine.json("rules")["rules"].as_array().map(Vec::len), Some(1), "{file}");
        let carol = machine.command(["show", CAROL, "--json"]).run().expect(0).json();
        assert_eq!(carol["requires_tls13"], json!(true), "{file}");
    }
}

#[test]
fn its_decisions_rules_and_trust_count() {
    let server = server();
    for file in FILES {
        let machine = machine(file);
        let alice = machine.command(["show", ALICE, "--json"]).run().expect(0).json()["fingerprint"].clone();
        fetch(&machine, &server).expect(0);
        let sent = server.chains().pop().unwrap();
        assert_eq!(json!(sent[0]), alice, "{file}");
        // Twice: once brought to the new form, once found in it
        fetch(&machine, &server).expect(0);
        with_password(&machine, PRIMARY).args(["rules", "add", "localhost", "--deny"]).run().expect(0);
        fetch(&machine, &server).expect(5);
    }
}

/// Each finds it outdated, and one brings it to the new form; to the others that is no reason to fail.
#[test]
fn many_bring_it_to_the_new_form_at_once() {
    let machine = machine("form1-password.db");
    let password = machine.password_file(PRIMARY);
    let machine = &machine;
    std::thread::scope(|threads| {
        for number in 0..8 {
            let run = machine.command(["--batch", "--primary-password-file"]).arg(&password);
            let run = run.args(["remember", &format!("host{number}.example"), ALICE, "--for", "permanent"]);
            threads.spawn(|| run.run().expect(0));
        }
    });
    assert!(!is_outdated(machine));
    assert_eq!(machine.json("decisions")["decisions"].as_array().map(Vec::len), Some(2 + 8));
}

#[test]
fn without_its_password_it_stays_as_it_is() {
    let server = server();
    let machine = machine("form1-password.db");
    let before = std::fs::read(machine.store()).unwrap();
    with_password(&machine, "wrong").args(["fetch", &server.url()]).run().expect(6);
    machine.command(["--batch", "fetch", &server.url()]).run().expect(4);
    server.assert_nothing_came("locked");
    assert!(is_outdated(&machine));
    // The migration adds columns; what was sealed is as it was
    let sealed = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let database = rusqlite::Connection::open(file.path()).unwrap();
        let keys: Vec<u8> = database.query_row("SELECT data_key FROM vault", [], |row| row.get(0)).unwrap();
        keys
    };
    assert_eq!(sealed(&std::fs::read(machine.store()).unwrap()), sealed(&before));
}
