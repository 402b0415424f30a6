//! Invalid input: each case gives a clear error and an exit code, and nothing is lost or half stored.

use std::path::Path;
use std::time::Duration;

use crate::support::ca::{self, Authority, P12, PASSWORD};
use crate::support::command::{Cardcase, Outcome};
use crate::support::scene::Scene;
use crate::support::server::{BOTH_VERSIONS, Kind, Setup};
use serde_json::json;

fn import(machine: &Cardcase, file: &Path, password: &str) -> Outcome {
    let password = machine.password_file(password);
    machine.command(["--batch", "import"]).arg(file).arg("--password-file").arg(password).run()
}

#[track_caller]
fn assert_nothing_stored(machine: &Cardcase) {
    assert_eq!(machine.json("list")["identities"], json!([]));
    assert_eq!(machine.json("authorities")["authorities"], json!([]));
}

/// Checks that the error names the file, so that a person finds the bad one among many.
#[track_caller]
fn assert_names(outcome: &Outcome, file: &Path) {
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(outcome.stderr.contains("cardcase: error: "), "{}", outcome.stderr);
    assert!(outcome.stderr.contains(name), "{name} is not named: {}", outcome.stderr);
}

#[test]
fn a_file_that_holds_no_identity_is_not_imported() {
    let machine = Cardcase::new();
    let cases: [(&str, &[u8]); 7] = [
        ("empty", b""),
        ("text", b"this is not a certificate\n"),
        ("zeros", &[0; 3000]),
        ("sequence", &[0x30, 0x82, 0xff, 0xff]),
        ("huge-length", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 2, 1, 3]),
        ("pem-frame", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
        ("pem-cut", b"-----BEGIN CERTIFICATE-----\nMIIB"),
    ];
    for (what, content) in cases {
        let file = ca::write(machine.dir(), what, "p12", content);
        let outcome = import(&machine, &file, PASSWORD);
        assert_eq!(outcome.code(), Some(1), "{what}: {}", outcome.stderr);
        assert_names(&outcome.expect(1), &file);
    }
    assert_nothing_stored(&machine);
}

/// One DER element.
fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], &length[..], body].concat()
}

/// A PFX without a MAC.
fn pfx(safes: &[u8]) -> Vec<u8> {
    let content = [DATA, &der(0xa0, &der(0x04, &der(0x30, safes)))].concat();
    der(0x30, &[&[0x02, 0x01, 0x03], &der(0x30, &content)[..]].concat())
}

/// A safe in a PFX, with these bags.
fn safe(bags: &[u8]) -> Vec<u8> {
    der(0x30, &[DATA, &der(0xa0, &der(0x04, &der(0x30, bags)))].concat())
}

/// PKCS#7 with these certificates.
fn pkcs7(certificates: &[u8]) -> Vec<u8> {
    let fields = [&[0x02, 0x01, 0x01, 0x31, 0x00, 0x30, 0x00], &der(0xa0, certificates)[..]].concat();
    der(0x30, &[SIGNED_DATA, &der(0xa0, &der(0x30, &fields))].concat())
}

/// 1.2.840.113549.1.7.1
const DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// 1.2.840.113549.1.7.2
const SIGNED_DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];

/// Files of the maximum size with as many entries as possible. One of them once took 2.5 GB.
#[test]
fn memory_use_is_a_small_multiple_of_the_file_size() {
    let machine = Cardcase::new();
    let size = (16 << 20) - 200;
    let full_of = |unit: &[u8]| unit.repeat(size / unit.len());
    let bag = [0x30, 0x08, 0x06, 2, 0x2a, 3, 0xa0, 2, 0x05, 0];
    let attributes = der(0x30, &[&bag[2..], &der(0x31, &full_of(&[0x05, 0]))].concat());
    let cases = [
        ("bags", pfx(&safe(&full_of(&bag))), "entries"),
        ("attributes", pfx(&safe(&attributes)), "damaged"),
        ("safes", pfx(&full_of(&[0x30, 4, 0x06, 2, 0x2a, 3])), "entries"),
        (
            "one bag",
            pfx(&safe(&der(0x30, &[&bag[2..6], &der(0xa0, &der(0x04, &full_of(b"x")))].concat()))),
            "an entry of the type 1.2.3",
        ),
        ("certificates", pkcs7(&full_of(&[0x30, 0])), "entries"),
        ("one certificate", pkcs7(&der(0x30, &full_of(b"x"))), "damaged"),
        ("blocks", full_of(b"-----BEGIN A----------END A-----"), "another kind"),
    ];
    let password = machine.password_file(PASSWORD);
    for (what, content, word) in cases {
        let file = ca::write(machine.dir(), what, "p12", content);
        let run = machine.command(["--batch", "import", "--password-file"]).arg(&password).arg(file);
        run.memory(192).run().expect(1).says(&[word]);
    }
}

#[test]
fn a_truncated_file_is_not_imported() {
    let scene = Scene::new();
    for form in [P12::Default, P12::Legacy] {
        let file = scene.employee("alice").issue().p12(scene.machine.dir(), form);
        let whole = std::fs::read(file).unwrap();
        for part in 0..20 {
            let length = whole.len() * part / 20 + part % 2;
            let cut = ca::write(scene.machine.dir(), "cut", "p12", &whole[..length]);
            let outcome = import(&scene.machine, &cut, PASSWORD);
            assert_eq!(outcome.code(), Some(1), "{form:?} {length}: {}", outcome.stderr);
            assert_names(&outcome.expect(1), &cut);
        }
    }
    assert_nothing_stored(&scene.machine);
}

#[test]
fn a_wrong_password_is_exit_6_and_stores_nothing() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    for form in [P12::Default, P12::Legacy] {
        let file = alice.p12(scene.machine.dir(), form);
        for password in ["wrong", "", "cardcas", "cardcase1", "Cardcase"] {
            let outcome = import(&scene.machine, &file, password).expect(6);
            assert_names(&outcome, &file);
            assert!(!outcome.stderr.contains("cardcas1"), "the password is shown");
        }
    }
    assert_nothing_stored(&scene.machine);
}

#[test]
fn a_file_password_that_cannot_be_asked_for_is_exit_4() {
    let scene = Scene::new();
    let file = scene.employee("alice").issue().p12(scene.machine.dir(), P12::Default);
    scene.machine.command(["--batch", "import"]).arg(&file).run().expect(4);
    scene.machine.command(["import"]).arg(&file).run().expect(4);
    assert_nothing_stored(&scene.machine);
}

#[test]
fn the_empty_password_is_tried_first() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    let file = alice.p12_with_password(scene.machine.dir(), P12::Default, "");
    let answer = scene.machine.command(["--batch", "--json", "import"]).arg(&file).run().expect(0);
    assert_eq!(answer.json()["imported"][0]["fingerprint"], alice.fingerprint());
}

#[test]
fn a_key_without_its_certificate_is_not_imported() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let (alice, bob) = (scene.employee("alice").issue(), scene.employee("bob").issue());
    let cases = [
        ca::write(dir, "key-of-another", "pem", bob.key_pem() + &alice.pem()),
        ca::write(dir, "key-alone", "pem", alice.key_pem()),
        ca::write(dir, "key-alone", "der", alice.key_der()),
    ];
    for file in cases {
        assert_names(&import(&scene.machine, &file, PASSWORD).expect(1), &file);
    }
    assert_nothing_stored(&scene.machine);
}

#[test]
fn a_certificate_without_its_key_is_not_imported() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let alice = scene.employee("alice").issue();
    let cases = [
        ca::write(dir, "certificate-alone", "pem", alice.pem()),
        ca::write(dir, "certificate-alone", "der", alice.der()),
    ];
    for file in cases {
        assert_names(&import(&scene.machine, &file, PASSWORD).expect(1).says(&["key"]), &file);
    }
    assert_eq!(scene.machine.json("list")["identities"], json!([]));
}

#[test]
fn a_bad_file_among_several_leaves_no_file_half_imported() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let good = scene.employee("alice").issue().p12(dir, P12::Default);
    let bad = ca::write(dir, "bad", "p12", "nothing");
    let password = scene.machine.password_file(PASSWORD);
    let run = scene.machine.command(["--batch", "import"]).arg(&good).arg(&bad);
    let outcome = run.arg("--password-file").arg(password).run().expect(1);
    assert_names(&outcome, &bad);
    assert_eq!(scene.machine.json("list")["identities"].as_array().unwrap().len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_is_named_once() {
    let machine = Cardcase::new();
    let gone = machine.dir().join("gone.p12");
    for file in [gone.as_path(), machine.dir()] {
        for command in ["import", "trust"] {
            let outcome = machine.command(["--batch", command]).arg(file).run().expect(1);
            assert_eq!(outcome.stderr.matches(file.to_str().unwrap()).count(), 1, "{}", outcome.stderr);
        }
    }
}

#[test]
fn importing_again_changes_nothing() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let file = alice.p12(scene.machine.dir(), P12::Legacy);
    let password = scene.machine.password_file(PASSWORD);
    let run = scene.machine.command(["import", "--json"]).arg(file);
    let answer = run.arg("--password-file").arg(password).run().expect(0).json();
    assert_eq!(answer["imported"], json!([]));
    assert_eq!(answer["already_present"][0]["fingerprint"], alice.fingerprint());
    assert_eq!(scene.machine.json("list")["identities"].as_array().unwrap().len(), 1);
}

#[test]
fn a_file_that_is_not_a_database_is_left_unchanged() {
    let machine = Cardcase::new();
    for content in [&b"a letter, not a database\n"[..], &[0xff; 8192], b"SQLite format 3\0cut"] {
        std::fs::write(machine.store(), content).unwrap();
        for command in ["list", "decisions", "remember localhost none"] {
            let outcome = machine.run(command).expect(1);
            assert_names(&outcome, machine.store());
        }
        assert_eq!(std::fs::read(machine.store()).unwrap(), content);
    }
}

#[test]
fn a_database_of_another_program_is_left_unchanged() {
    let machine = Cardcase::new();
    let database = rusqlite::Connection::open(machine.store()).unwrap();
    database.execute_batch("CREATE TABLE bookmarks(url TEXT)").unwrap();
    drop(database);
    let before = std::fs::read(machine.store()).unwrap();
    for command in ["list", "remember localhost none"] {
        assert_names(&machine.run(command).expect(1), machine.store());
    }
    assert_eq!(std::fs::read(machine.store()).unwrap(), before);
}

#[test]
fn a_store_of_a_newer_version_is_left_unchanged() {
    let scene = Scene::new();
    scene.hire("alice");
    let database = rusqlite::Connection::open(scene.machine.store()).unwrap();
    database.execute_batch("PRAGMA user_version = 999").unwrap();
    // Checkpoints a write-ahead log, if there is one, so that the file holds everything
    let _ = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    drop(database);
    let before = std::fs::read(scene.machine.store()).unwrap();
    for command in ["list", "remember localhost none", "remove alice --yes"] {
        let outcome = scene.machine.run(command).expect(1).says(&["update cardcase"]);
        assert_names(&outcome, scene.machine.store());
    }
    assert_eq!(std::fs::read(scene.machine.store()).unwrap(), before);
}

/// A certificate request has room for 65535 bytes of names. 10,000 names fit only if each is empty. Go sends them
/// unchanged.
#[test]
fn a_request_with_ten_thousand_authorities_is_read() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let nameless: Vec<_> = (1..=10_000).map(Authority::nameless_root).collect();
    let mut authorities: Vec<_> = nameless.iter().collect();
    let without = Setup::new(Kind::Go, &scene.server_certificate).authorities(&authorities).start();
    authorities.push(&scene.staff_root);
    scene.remember("localhost", &alice.fingerprint());
    for tls in BOTH_VERSIONS {
        let setup = Setup::new(Kind::Go, &scene.server_certificate).authorities(&authorities);
        let server = setup.tls(tls).start();
        let outcome = scene.machine.fetch(&server.url(), &scene.server_root_file, &[]);
        outcome.expect(0);
        assert_eq!(server.chains(), [alice.sent_chain()], "{tls:?}");
    }
    scene.fetch(&without.url(), &[]);
    assert!(without.chains().is_empty());
}

/// As many different names as one request can carry.
#[test]
fn a_request_with_900_different_authorities_is_read() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let others: Vec<_> = (0..900).map(|number| Authority::root(&format!("Other {number}"))).collect();
    let mut authorities: Vec<_> = others.iter().collect();
    authorities.push(&scene.staff_root);
    scene.remember("localhost", &alice.fingerprint());
    for kind in [Kind::Go, Kind::OpenSsl] {
        let setup = Setup::new(kind, &scene.server_certificate).authorities(&authorities);
        let server = setup.start();
        scene.fetch(&server.url(), &[]).expect(0);
        assert_eq!(server.chains(), [alice.sent_chain()], "{kind:?}");
        let root = scene.server_root_file.to_str().unwrap();
        let line = format!("--batch explain {} --cacert {root}", server.destination());
        let named = scene.machine.json(&line)["authorities"].as_array().unwrap().len();
        assert_eq!(named, 901, "{kind:?}");
    }
}

#[test]
fn wrong_usage_is_exit_2_and_missing_files_or_identities_are_not() {
    let machine = Cardcase::new();
    let cases = [
        ("nonsense", 2),
        ("list --nonsense", 2),
        ("import", 2),
        ("fetch", 2),
        ("fetch http://[::1", 2),
        ("fetch ftp://localhost/", 2),
        ("fetch https://[fe80::1%25eth0]:8443/", 2),
        ("remember [::1%25lo]:8443 none", 2),
        ("list --mode netscape", 2),
        ("remember localhost", 2),
        ("remember localhost none --for ever", 2),
        ("remember local..host none", 2),
        ("remember localhost:99999 none", 2),
        ("import no-such-file.p12", 1),
        ("trust no-such-file.pem", 1),
        ("show abcd", 3),
        ("show nobody", 3),
        ("remove nobody --yes", 3),
        ("remember localhost nobody", 3),
        ("forget localhost", 3),
    ];
    for (line, code) in cases {
        let outcome = machine.run(line);
        assert_eq!(outcome.code(), Some(code), "{line:?}: {}", outcome.stderr);
        let outcome = outcome.expect(code);
        assert_eq!(outcome.text(), "", "{line:?}: an error is on stdout");
        assert!(!outcome.stderr.is_empty(), "{line:?}: no word of what is wrong");
    }
}

#[test]
fn a_zone_in_a_url_is_refused_with_a_hint_at_connect_to() {
    let outcome = Cardcase::new().run("fetch https://[fe80::1%25eth0]:8443/").expect(2);
    for words in ["has no zone", "as in browsers", "--connect-to"] {
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
}

#[test]
fn control_characters_in_a_name_do_not_reach_the_terminal() {
    let scene = Scene::new();
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[31m\u{202e}evil\r\n";
    let evil = scene.employee(evil).issue();
    scene.machine.import_file(&evil.pem_file(scene.machine.dir()));
    let show = format!("show {}", evil.fingerprint());
    for line in ["list", "list --color always", &show] {
        let outcome = scene.machine.run(line).expect(0);
        let said = outcome.text() + &outcome.stderr;
        assert!(said.contains("evil"), "{line}: {said:?}");
        for forbidden in ["\u{1b}]0", "\u{7}", "\u{202e}", "\r"] {
            assert!(!said.contains(forbidden), "{line}: {said:?}");
        }
    }
}

#[test]
fn a_refused_connection_is_exit_1_without_delay() {
    let scene = Scene::new();
    scene.hire("alice");
    // A port that was free just now
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("https://localhost:{port}/");
    let run = scene.machine.command(scene.fetch_arguments(&url)).limit(Duration::from_secs(20));
    run.run().expect(1).says(&["localhost", &port.to_string()]);
}

#[test]
fn a_hint_quotes_the_import_command_for_a_shell() {
    let scene = Scene::new();
    let directory = scene.machine.dir().join("Alice's keys");
    std::fs::create_dir(&directory).unwrap();
    let file = scene.employee("alice").issue().p12(&directory, P12::Default);
    let run = scene.machine.command(["--batch", "import", file.to_str().unwrap(), "--name", "my own", "--renew"]).run();
    let quoted = file.to_str().unwrap().replace('\'', r"'\''");
    run.expect(4).says(&[&format!("cardcase import '{quoted}' --name='my own' --renew --password-file FILE")]);
}

#[test]
fn a_store_that_cannot_be_created_is_an_error_with_a_hint() {
    let machine = Cardcase::new();
    let file = ca::write(machine.dir(), "no directory", "txt", "");
    let store = file.join("cardcase.db");
    let run = machine.command(["--store", store.to_str().unwrap(), "remember", "a.example", "none"]).run();
    run.expect(1).says(&[store.to_str().unwrap(), "hint: use a place that you can write to: --store FILE"]);
}
