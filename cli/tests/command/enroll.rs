//! `cardcase enroll`: a key that never leaves the store, a request that openssl verifies and signs, and the certificate
//! that completes the identity.

use std::path::{Path, PathBuf};

use crate::support::ca::{self, Authority, openssl};
use crate::support::command::{Cardcase, Outcome};
use crate::support::question::assert_ends;
use crate::support::scene::Scene;
use crate::support::server::{Kind, Tls};
use crate::support::terminal::{Terminal, key};

const KINDS: [(&str, &str); 5] = [
    ("ec-p256", "ecdsa-with-SHA256"),
    ("ec-p384", "ecdsa-with-SHA384"),
    ("rsa-2048", "sha256WithRSAEncryption"),
    ("rsa-4096", "sha256WithRSAEncryption"),
    ("ed25519", "ED25519"),
];

fn enroll_as(machine: &Cardcase, subject: &str, kind: &str) -> (PathBuf, Outcome) {
    let request = ca::unused(machine.dir(), "request", "csr");
    let words = ["enroll", "--subject", subject, "--key", kind, "-o", request.to_str().unwrap()];
    (request.clone(), machine.command(words).run())
}

fn enroll(machine: &Cardcase, subject: &str) -> PathBuf {
    let (request, outcome) = enroll_as(machine, subject, "ec-p256");
    outcome.expect(0).says(&["cardcase import"]);
    request
}

/// Issues a certificate with the requested extensions, followed by the CA's own certificate.
fn certify(dir: &Path, request: &Path, authority: &Authority) -> PathBuf {
    let (ca_file, key_file) = (authority.file(dir), authority.key_file(dir));
    let certificate = openssl(&format!(
        "x509 -req -in {} -CA {} -CAkey {} -days 30 -copy_extensions copyall",
        request.display(),
        ca_file.display(),
        key_file.display()
    ));
    ca::write(dir, "issued", "pem", [certificate, authority.pem().into_bytes()].concat())
}

fn waiting(machine: &Cardcase) -> Vec<String> {
    let list = machine.json("list");
    let enrollments = list["enrollments"].as_array().cloned().unwrap_or_default();
    enrollments.iter().map(|each| each["subject"].as_str().unwrap().to_owned()).collect()
}

/// The ID in the hint to remove it.
fn removable(told: &str) -> String {
    told.split("cardcase remove ").nth(1).unwrap().split(';').next().unwrap().to_owned()
}

fn stored_keys(machine: &Cardcase) -> i64 {
    machine.database().query_row("SELECT count(*) FROM enrollments", [], |row| row.get(0)).unwrap()
}

#[test]
fn the_certificate_completes_an_identity_that_can_be_sent() {
    for (kind, signature) in KINDS {
        let scene = Scene::new();
        let machine = &scene.machine;
        let (request, outcome) = enroll_as(machine, "CN=alice,O=Staff", kind);
        outcome.expect(0).says(&[kind, "CN=alice,O=Staff", "cardcase import"]);
        let shown = String::from_utf8(openssl(&format!("req -verify -noout -text -in {}", request.display()))).unwrap();
        for text in [signature, "O = Staff, CN = alice", "TLS Web Client Authentication", "Digital Signature"] {
            assert!(shown.contains(text), "{kind}: no {text:?} in\n{shown}");
        }
        assert_eq!(waiting(machine), ["CN=alice,O=Staff"], "{kind}");
        machine.run("list").expect(0).says(&["waiting for its certificate: CN=alice,O=Staff", kind]);

        let certificate = certify(machine.dir(), &request, &scene.staff);
        let imported = machine.command(["import", certificate.to_str().unwrap()]).run().expect(0).text();
        assert!(imported.contains(&format!("imported: alice ({kind}")), "{imported}");
        assert!(waiting(machine).is_empty() && stored_keys(machine) == 0, "{kind} still waits");
        let shown = machine.json("show alice");
        assert_eq!(shown["key"], kind);
        assert_eq!(shown["extended_key_usage"][0], "clientAuth", "{kind}");

        let server = scene.server(Kind::Go).tls(Tls::V1_3).start();
        scene.fetch(&server.url(), &["--as", "alice"]).expect(0);
        assert_eq!(server.chains()[0][0], shown["fingerprint"].as_str().unwrap(), "{kind}");
    }
}

/// Subjects as people write them, and how openssl reads them. An invalid subject is refused with exit 2, and no key is
/// made.
#[test]
fn subjects_are_read_as_people_write_them() {
    let machine = Cardcase::new();
    for (given, read) in [
        ("CN=Alice Example, O=Example Ltd, C=DE", "C = DE, O = Example Ltd, CN = Alice Example"),
        ("CN=alice,DC=example,DC=com", "DC = com, DC = example, CN = alice"),
        ("CN=Müller\\, Jürgen,OU=a,OU=b", r#"OU = b, OU = a, CN = "Müller, Jürgen""#),
        ("UID=alice+CN=Alice", "UID = alice + CN = Alice"),
        ("emailAddress=alice@example.com,CN=alice", "CN = alice, emailAddress = alice@example.com"),
        ("2.5.4.5=17,CN=alice", "CN = alice, serialNumber = 17"),
    ] {
        let request = enroll(&machine, given);
        let shown = openssl(&format!("req -noout -subject -nameopt oneline,utf8,-esc_msb -in {}", request.display()));
        let shown = String::from_utf8(shown).unwrap();
        let parts = |text: &str| {
            let mut parts: Vec<String> = text.split(" + ").map(str::to_owned).collect();
            parts.sort();
            parts
        };
        assert_eq!(parts(shown.trim().strip_prefix("subject=").unwrap()), parts(read), "{given}");
    }
    let before = stored_keys(&machine);
    for wrong in
        ["", "alice", "/CN=alice/O=Staff", "CN=", "nonsense=alice", "CN=alice,C=Germany", "CN=a,,O=b", "CN=\\", "=a"]
    {
        let (request, outcome) = enroll_as(&machine, wrong, "ec-p256");
        outcome.expect(2).says(&["is no subject", "--subject"]);
        assert!(!request.exists(), "{wrong:?}");
    }
    assert_eq!(stored_keys(&machine), before);
}

#[test]
fn a_request_that_cannot_be_written_leaves_no_key() {
    let machine = Cardcase::new();
    let there = ca::write(machine.dir(), "there", "csr", "mine");
    let directory = machine.dir().join("nowhere").join("request.csr");
    for (path, says) in
        [(&there, "it already exists"), (&directory, "No such file"), (&machine.dir().to_owned(), "regular file")]
    {
        let words = ["enroll", "--subject", "CN=alice", "-o", path.to_str().unwrap()];
        machine.command(words).run().expect(1).says(&[says]);
    }
    assert_eq!(std::fs::read(&there).unwrap(), b"mine");
    assert!(machine.json("list").get("enrollments").is_none());
    let words = ["enroll", "--subject", "CN=alice", "--force", "-o", there.to_str().unwrap()];
    machine.command(words).run().expect(0);
    openssl(&format!("req -verify -noout -in {}", there.display()));
    let printed = machine.command(["enroll", "--subject", "CN=bob", "-o", "-"]).run().expect(0);
    assert!(printed.stdout.starts_with(b"-----BEGIN CERTIFICATE REQUEST-----"));
}

/// The key is under the primary password, whether it was set before or after.
#[test]
fn the_primary_password_protects_the_key_of_an_enrollment() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let early = enroll(machine, "CN=early");
    let password = machine.password_file("correct horse");
    let password = password.to_str().unwrap();
    machine.command(["password", "--new-password-file", password]).run().expect(0);
    machine.command(["enroll", "--subject", "CN=late", "-o", "late.csr"]).run().expect(4);
    let knowing = ["--primary-password-file", password];
    let late = ca::unused(machine.dir(), "late", "csr");
    let words = ["enroll", "--subject", "CN=late", "-o", late.to_str().unwrap()];
    machine.command(knowing.iter().chain(&words)).run().expect(0);
    for (name, request) in [("early", early), ("late", late)] {
        let certificate = certify(machine.dir(), &request, &scene.staff);
        let import = ["import", certificate.to_str().unwrap()];
        machine.command(import).run().expect(4).says(&["primary password"]);
        let imported = machine.command(knowing.iter().chain(&import)).run().expect(0).text();
        assert!(imported.contains(&format!("imported: {name}")), "{imported}");
    }
}

/// Offered before the first key is made, as before the first import; but not with an invalid subject, and only once.
#[test]
fn the_first_enrollment_at_a_terminal_offers_a_primary_password() {
    const OFFER: &str = "New primary password";
    let machine = Cardcase::new();
    let enrolled_in_a_terminal = |subject: &str| {
        let request = ca::unused(machine.dir(), "request", "csr");
        Terminal::open(&machine, ["enroll", "--subject", subject, "-o", request.to_str().unwrap()])
    };
    let mut terminal = enrolled_in_a_terminal("alice");
    assert_ends(&mut terminal, 2);
    assert!(!terminal.text().contains(OFFER), "{}", terminal.text());
    let mut terminal = enrolled_in_a_terminal("CN=alice");
    terminal.wait_for(OFFER);
    assert_eq!(stored_keys(&machine), 0, "stored before the answer");
    terminal.send(key::ENTER);
    assert_ends(&mut terminal, 0);
    let mut terminal = enrolled_in_a_terminal("CN=bob");
    assert_ends(&mut terminal, 0);
    assert!(!terminal.text().contains(OFFER), "{}", terminal.text());
    assert_eq!(waiting(&machine), ["CN=alice", "CN=bob"]);
}

/// A key opens only in its own row and with its own request.
#[test]
fn swapped_keys_and_requests_are_detected() {
    let scene = Scene::new();
    let machine = &scene.machine;
    for column in ["request", "private_key"] {
        let requests = [enroll(machine, "CN=alice"), enroll(machine, "CN=bob")];
        let swap = format!(
            "CREATE TEMP TABLE old AS SELECT id, {column} AS value FROM enrollments;
             UPDATE enrollments SET {column} = randomblob(16);
             UPDATE enrollments SET {column} = (SELECT value FROM old WHERE old.id != enrollments.id);"
        );
        machine.database().execute_batch(&swap).unwrap();
        for request in &requests {
            let certificate = certify(machine.dir(), request, &scene.staff);
            let import = machine.command(["import", certificate.to_str().unwrap()]).run().expect(1);
            import.says(&["an enrollment", "does not open", "cardcase remove"]);
        }
        let new = machine.password_file("new");
        let protect = machine.command(["password", "--new-password-file", new.to_str().unwrap()]).run().expect(1);
        let id = removable(&protect.says(&["an enrollment"]).stderr);
        assert!(machine.run("list --json").expect(0).text().contains(&id), "{id} is none of those");
        assert_eq!(machine.json("list")["identities"].as_array().unwrap().len(), 0, "{column}");
        for enrollment in machine.json("list")["enrollments"].as_array().unwrap() {
            let id = enrollment["fingerprint"].as_str().unwrap();
            machine.run(&format!("remove {id} --yes")).expect(0);
        }
    }
}

#[test]
fn a_damaged_request_is_skipped_and_can_be_removed() {
    let machine = Cardcase::new();
    enroll(&machine, "CN=alice");
    enroll(&machine, "CN=bob");
    machine.database().execute("UPDATE enrollments SET request = substr(request, 3) WHERE id = 1", []).unwrap();
    assert_eq!(machine.run("list --json").expect(1).stdout, b"");
    let words = ["enrollments, row 1", "skipped", "cardcase remove", "waiting for its certificate: CN=bob"];
    let told = machine.run("list").expect(1).says(&words).stderr;
    let id = removable(&told);
    machine.run(&format!("remove {id} --yes")).expect(0);
    assert_eq!(stored_keys(&machine), 1);
    assert!(!machine.run("list").expect(0).stderr.contains("damaged"));
}

/// A key is bound to the number of its row, and the file determines that number.
#[test]
fn an_invalid_row_number_causes_no_key_and_no_panic() {
    let machine = Cardcase::new();
    enroll(&machine, "CN=alice");
    let count =
        |last: &str| machine.database().execute_batch(&format!("UPDATE sqlite_sequence SET seq = {last}")).unwrap();
    count("0");
    enroll(&machine, "CN=bob");
    for wrong in [i64::MAX.to_string(), "'x'".to_owned()] {
        count(&wrong);
        let (request, outcome) = enroll_as(&machine, "CN=carol", "ec-p256");
        outcome.expect(1).says(&["damaged"]);
        assert!(!request.exists(), "{wrong}");
    }
    assert_eq!(waiting(&machine), ["CN=alice", "CN=bob"]);
}

#[test]
fn an_enrollment_can_be_removed() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let request = enroll(machine, "CN=alice");
    let id = machine.json("list")["enrollments"][0]["fingerprint"].as_str().unwrap()[..8].to_owned();
    machine.run(&format!("remove {id}")).expect(4);
    assert_eq!(waiting(machine), ["CN=alice"]);
    machine.run(&format!("remove {id} --yes")).expect(0);
    assert!(waiting(machine).is_empty());
    let certificate = certify(machine.dir(), &request, &scene.staff);
    let left_out = ["left out CN=alice", "its private key is not there"];
    machine.command(["import", certificate.to_str().unwrap()]).run().expect(0).says(&left_out);
    assert_eq!(machine.json("list")["identities"], serde_json::json!([]));
}
