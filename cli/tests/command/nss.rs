//! Databases of browsers: `import --from-firefox` and the like, and `export --to-nss`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::ca::{Key, P12, PASSWORD};
use crate::support::command::{Cardcase, Outcome};
use crate::support::missing;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::terminal::Terminal;

pub(super) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/nss").join(name)
}

/// A copy of a database of the fixtures, also with what the browser remembers.
pub(super) fn copy(name: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(fixture(name)).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(super) fn import(machine: &Cardcase, arguments: &[&str]) -> Outcome {
    machine.command(["--batch", "import"]).args(arguments).run()
}

/// NSS's own programs.
pub(super) fn nss(name: &str, arguments: &[&str]) -> String {
    let output = program::named(name).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{}", missing(name, "libnss3-tools", &error)));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
    said
}

/// An empty database with a password.
pub(super) fn new_database(machine: &Cardcase, name: &str, password: &str) -> (PathBuf, PathBuf) {
    let directory = machine.dir().join(name);
    fs::create_dir(&directory).unwrap();
    let password_file = machine.dir().join(format!("{name}.password"));
    fs::write(&password_file, format!("{password}\n")).unwrap();
    let database = format!("sql:{}", directory.display());
    match password.is_empty() {
        true => nss("certutil", &["-N", "-d", &database, "--empty-password"]),
        false => nss("certutil", &["-N", "-d", &database, "-f", text(&password_file)]),
    };
    (directory, password_file)
}

/// The private key of a PKCS#12 file, as OpenSSL prints its numbers, with the subject of the certificate. It signs, and its certificate
/// verifies that.
fn key(machine: &Cardcase, file: &Path, password: &str) -> (String, String) {
    let openssl = |arguments: &[&str]| {
        let output = program::named("openssl").args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{}", missing("openssl", "openssl", &error)));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let password = format!("pass:{password}");
    let [pem, certificate, public, signature] =
        ["one-key.pem", "one-certificate.pem", "one-public.pem", "signature"].map(|name| machine.dir().join(name));
    let from = ["pkcs12", "-in", text(file), "-passin", &password];
    let printed = openssl(&[&from[..], &["-nokeys", "-clcerts"]].concat());
    let subject = printed.lines().find(|line| line.starts_with("subject=")).unwrap().to_owned();
    fs::write(&certificate, printed).unwrap();
    fs::write(&pem, openssl(&[&from[..], &["-nocerts", "-nodes"]].concat())).unwrap();
    openssl(&["x509", "-in", text(&certificate), "-noout", "-pubkey", "-out", text(&public)]);
    // NSS writes the key of such a certificate as any RSA key
    let is_pss = openssl(&["x509", "-in", text(&certificate), "-noout", "-text"]).contains("Algorithm: rsassaPss");
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"];
    let digest = [&["dgst", "-sha256"][..], if is_pss { &pss } else { &[] }].concat();
    openssl(&[&digest[..], &["-sign", text(&pem), "-out", text(&signature), text(&certificate)]].concat());
    let verify = ["-verify", text(&public), "-signature", text(&signature), text(&certificate)];
    openssl(&[&digest[..], &verify].concat());
    // Its numbers alone: whoever writes it has another form
    let printed = openssl(&["pkey", "-in", text(&pem), "-text", "-noout"]);
    let numbers: Vec<&str> = printed.lines().filter(|line| line.starts_with("    ")).collect();
    assert!(numbers.len() > 4, "{printed}");
    (subject, numbers.join("\n"))
}

#[test]
fn what_certutil_and_pk12util_made_is_imported_and_equals_what_they_export() {
    for password in ["", "primär日本 pw"] {
        let scene = Scene::new();
        let machine = &scene.machine;
        let (directory, password_file) = new_database(machine, "made", password);
        let database = format!("sql:{}", directory.display());
        let given: Vec<&str> = if password.is_empty() { vec!["-K", ""] } else { vec!["-k", text(&password_file)] };
        // Those that other programs made
        let mut originals = BTreeMap::new();
        for (person, kind) in [("alice", Key::P256), ("bob", Key::P384), ("carol", Key::P521), ("dave", Key::Rsa2048)] {
            let issued = scene.employee(person).key(kind).issue();
            let file = issued.p12(machine.dir(), P12::Default);
            nss("pk12util", &[&["-i", text(&file), "-W", PASSWORD, "-d", &database], &given[..]].concat());
            originals.extend([key(machine, &file, PASSWORD)]);
        }
        // And those that NSS makes itself
        let noise = machine.dir().join("noise");
        fs::write(&noise, [7; 64]).unwrap();
        for (person, kind) in [
            ("erin", &["-k", "rsa", "-g", "2048"][..]),
            ("frank", &["-k", "rsa", "-g", "2048", "--pss", "--pss-sign"]),
            ("grace", &["-k", "ec", "-q", "nistp256"]),
            ("heidi", &["-k", "ec", "-q", "nistp384"]),
            ("ivan", &["-k", "ec", "-q", "nistp521"]),
        ] {
            let subject = format!("CN={person}");
            let new = ["-S", "-n", person, "-s", &subject, "-x", "-t", ",,", "-z", text(&noise), "-d", &database];
            let unlocked = if password.is_empty() { vec![] } else { vec!["-f", text(&password_file)] };
            nss("certutil", &[&new[..], kind, &unlocked].concat());
        }
        let flags: Vec<&str> = if password.is_empty() { vec![] } else { vec!["--password-file", text(&password_file)] };
        let from = ["--from-nss", text(&directory)];
        let done = import(machine, &[&from[..], &flags, &["--json"]].concat()).expect(0).json();
        let imported = done["imported"].as_array().unwrap();
        assert_eq!(imported.len(), 9, "{done}");
        // Each key signs: `import` tries it
        let can_sign = |one: &Value| one["usable"]["rustls"] == json!(true) || one["usable"]["openssl"] == json!(true);
        assert!(imported.iter().all(can_sign), "{done}");
        let mut equal = 0;
        for identity in imported {
            let (id, name) = (identity["fingerprint"].as_str().unwrap(), identity["name"].as_str().unwrap());
            let (file, theirs) = (machine.dir().join("back.p12"), machine.dir().join("theirs.p12"));
            let new = machine.password_file(PASSWORD);
            let arguments = ["--batch", "export", id, "-o", text(&file), "--force", "--password-file", text(&new)];
            machine.command(arguments).run().expect(0);
            nss(
                "pk12util",
                &[&["-o", text(&theirs), "-n", name, "-W", PASSWORD, "-d", &database], &given[..]].concat(),
            );
            let found = key(machine, &file, PASSWORD);
            assert_eq!(found, key(machine, &theirs, PASSWORD), "{name}");
            if let Some(original) = originals.get(&found.0) {
                assert_eq!(&found.1, original, "{name}");
                equal += 1;
            }
        }
        assert_eq!(equal, originals.len());
        // A second time changes nothing
        let again = import(machine, &[&from[..], &flags, &["--json"]].concat()).expect(0).json();
        assert_eq!((&again["imported"], again["already_present"].as_array().unwrap().len()), (&json!([]), 9));
    }
}

#[test]
fn a_profile_comes_with_what_firefox_remembers() {
    let machine = Cardcase::new();
    let directory = fixture("firefox-esr-153");
    let password = directory.join("password");
    let from = ["--from-nss", text(&directory), "--password-file", text(&password)];
    let planned = import(&machine, &[&from[..], &["--dry-run", "--json"]].concat()).expect(0).json();
    assert_eq!(planned["imported"].as_array().unwrap().len(), 17, "{planned}");
    assert_eq!(machine.json("list")["identities"], json!([]));
    assert_eq!(machine.json("decisions")["decisions"], json!([]));

    let outcome = import(&machine, &[&from[..], &["--json"]].concat()).expect(0);
    let done = outcome.json();
    let remembered: Vec<(&str, &str)> = done["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["host"].as_str().unwrap(), one["identity"].as_str().map_or("none", |id| &id[..8])))
        .collect();
    assert_eq!(remembered, [("127.0.0.1", "83a0219e"), ("a.test", "2ee6597e"), ("x.a.test", "none")]);
    let stored = machine.json("decisions");
    assert_eq!(stored["decisions"].as_array().unwrap().len(), 3, "{stored}");
    assert!(stored["decisions"].as_array().unwrap().iter().all(|one| one["lifetime"] == "permanent"));
    let left_out: Vec<&Value> = done["left_out"].as_array().unwrap().iter().collect();
    let what: Vec<&str> = left_out.iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["the decision for a.test", "the decision for a.test"], "{done}");
    // Its name is its subject's where Firefox only numbers it
    let names = machine.json("list").to_string();
    assert!(!names.contains("Imported Certificate"), "{names}");
    outcome.says(&["trusts", "Oracle Server Root S", "(SHA-256 a0233622", "to trust it: cardcase trust a0233622"]);
    assert!(machine.json("authorities").to_string().contains("\"trusted\":false"));
    assert!(!machine.json("authorities").to_string().contains("\"trusted\":true"));
}

#[test]
fn what_is_remembered_already_stays_and_no_decisions_leaves_them_out() {
    let machine = Cardcase::new();
    let directory = fixture("nss-3.87");
    import(&machine, &["--from-nss", text(&directory), "--no-decisions"]).expect(0);
    assert_eq!(machine.json("decisions")["decisions"], json!([]));
    machine.run("remember old.example none").expect(0);
    let outcome = import(&machine, &["--from-nss", text(&directory)]).expect(0);
    let outcome = outcome.says(&["for 1 host, cardcase remembers another answer"]);
    assert!(outcome.text().contains("decision: none.example: none"), "{}", outcome.text());
    assert!(!outcome.text().contains("old.example: "), "{}", outcome.text());
    let decisions = machine.json("decisions");
    let hosts: Vec<_> =
        decisions["decisions"].as_array().unwrap().iter().map(|one| (&one["host"], &one["identity"])).collect();
    assert_eq!(hosts, [(&json!("none.example"), &Value::Null), (&json!("old.example"), &Value::Null)]);
}

#[test]
fn a_password_is_asked_for_by_the_name_of_the_profile() {
    let machine = Cardcase::new();
    let root = machine.dir().join(".config/mozilla/firefox");
    copy("nss-3.132-password", &root.join("x1y2.default-esr"));
    let ini = "[Profile0]\nName=default-esr\nIsRelative=1\nPath=x1y2.default-esr\n";
    fs::write(root.join("profiles.ini"), ini).unwrap();
    import(&machine, &["--from-firefox"])
        .expect(4)
        .says(&["Firefox's profile default-esr has a password", "cardcase import --from-firefox --password-file FILE"]);
    let wrong = machine.password_file("wrong");
    import(&machine, &["--from-firefox", "default-esr", "--password-file", text(&wrong)])
        .expect(6)
        .says(&["error: wrong password\n", "it is the password of Firefox's profile default-esr"]);
    let mut terminal = Terminal::open_sized(&machine, ["import", "--from-firefox"], 30, 150);
    terminal.wait_for("Primary password of Firefox's profile default-esr");
    terminal.stays_for(std::time::Duration::from_millis(300));
    let password = fs::read_to_string(fixture("nss-3.132-password").join("password")).unwrap();
    terminal.send(&format!("{password}\r"));
    // No primary password for the store
    terminal.wait_for("assword");
    terminal.wait_until("another question", |text| text.matches("assword").count() > 1);
    terminal.kill();
}

#[test]
fn a_profile_that_is_given_as_a_file_is_named_with_its_flag() {
    let machine = Cardcase::new();
    let directory = machine.dir().join("profile");
    copy("nss-3.87", &directory);
    let flag = format!("cardcase import --from-nss {}", directory.display());
    import(&machine, &[text(&directory.join("key4.db"))]).expect(1).says(&[&flag]);
    import(&machine, &[text(&directory)]).expect(1).says(&[&flag]);
    for other in [directory.join("cert9.db"), PathBuf::from(format!("sql:{}", directory.display()))] {
        import(&machine, &["--from-nss", text(&other), "--dry-run"]).expect(0);
    }
    import(&machine, &["--from-nss", text(&directory), "x.p12"]).expect(2);
    import(&machine, &["--from-firefox", "--from-chromium"]).expect(2);
    import(&machine, &["--no-decisions", "x.p12"]).expect(2);
}

#[test]
fn what_cannot_be_read_says_what_to_do() {
    let machine = Cardcase::new();
    let at = |name: &str| machine.dir().join(name);
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("old")).unwrap();
    fs::write(at("old").join("cert8.db"), "").unwrap();
    fs::write(at("old").join("key3.db"), "").unwrap();
    new_database(&machine, "fresh", "");
    copy("nss-3.87", &at("damaged"));
    fs::copy(fixture("bad/iv16/key4.db"), at("damaged").join("key4.db")).unwrap();
    copy("nss-3.87", &at("costly"));
    fs::copy(fixture("bad/rounds-1e9/key4.db"), at("costly").join("key4.db")).unwrap();
    for (name, damage) in [("no-der", "cert-garbage"), ("one-byte-more", "cert-trailing"), ("endless", "table-bomb")] {
        copy("nss-3.87", &at(name));
        fs::copy(fixture(&format!("bad/{damage}/cert9.db")), at(name).join("cert9.db")).unwrap();
    }
    copy("nss-3.87", &at("keys-alone"));
    fs::remove_file(at("keys-alone").join("ClientAuthRememberList.txt")).unwrap();
    change(&at("keys-alone").join("cert9.db"), "DELETE FROM nssPublic");
    for name in ["profiles", ".thunderbird"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("profiles.ini"), "").unwrap();
    }
    for name in ["no-der", "one-byte-more"] {
        fs::remove_file(at(name).join("ClientAuthRememberList.txt")).unwrap();
    }
    for (name, code, says) in [
        ("nowhere", 1, &["nowhere: No such file or directory"][..]),
        ("empty", 1, &["there is no cert9.db in", "security.nocertdb"]),
        ("old", 1, &["the old form", "certutil --upgrade-merge --source-dir", "cardcase import --from-nss new"]),
        ("fresh", 3, &["holds no certificates", "smart cards"]),
        ("damaged", 1, &["key4.db is damaged: an initialisation vector", "get another copy"]),
        (
            "no-der",
            1,
            &[
                "left out the certificate \"id r2048\": a certificate is damaged",
                "left out the private key",
                "cert9.db is damaged: none of its certificates can be read",
                "get another copy",
            ],
        ),
        ("one-byte-more", 1, &["a byte follows the certificate", "none of its certificates can be read"]),
        (
            "keys-alone",
            3,
            &[
                "holds 3 private keys without a certificate",
                "does not show either",
                "certutil -A -n NAME -t ,, -i FILE.crt",
            ],
        ),
        ("profiles", 1, &["there is no cert9.db", "cardcase import --from-firefox"]),
        (".thunderbird", 1, &["there is no cert9.db", "cardcase import --from-thunderbird"]),
        ("endless", 1, &["cert9.db is damaged: it makes more work than a file of its size can"]),
        ("costly", 1, &["1000000000 rounds", "--max-iterations 1000000000"]),
    ] {
        import(&machine, &["--from-nss", text(&at(name))]).expect(code).says(says);
    }
    import(&machine, &["--from-firefox"]).expect(3);
    // Nothing was imported, so no store was made
    assert!(!machine.store().exists());
}

/// A hostile file costs neither time nor memory. That it ends is limited by what SQLite may do, and not by a clock.
#[test]
fn every_damaged_database_is_told_in_little_memory() {
    let machine = Cardcase::new();
    let names: Vec<_> = fs::read_dir(fixture("bad")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.len() > 20);
    for name in names {
        let name = name.to_str().unwrap();
        let directory = machine.dir().join(name);
        copy("nss-3.87", &directory);
        for file in ["cert9.db", "key4.db"] {
            // Most are one of the two
            let _ = fs::copy(fixture(&format!("bad/{name}")).join(file), directory.join(file));
        }
        let arguments = ["--batch", "import", "--dry-run", "--from-nss", text(&directory)];
        let outcome = machine.command(arguments).memory(64).run();
        let is_refused = outcome.code() == Some(1) && outcome.stderr.contains("error: ");
        assert!(is_refused || outcome.code() == Some(0), "{name}: {:?}: {}", outcome.status, outcome.stderr);
    }
}

#[test]
fn a_password_does_not_matter_where_none_is_set() {
    let machine = Cardcase::new();
    let (any, directory) = (machine.password_file("any"), fixture("nss-3.87"));
    let done = import(&machine, &["--from-nss", text(&directory), "--password-file", text(&any), "--json"]).expect(0);
    assert_eq!(done.json()["imported"].as_array().unwrap().len(), 3);
}

/// The value of the older list for the certificate "id r2048".
const R2048: &str =
    "AAAAAAAAAAAAAAAUAAAAKHm6wBAc5ca2ofAtNk/lXGTJSBmuMCYxFTATBgNVBAoMDEV4YW1wbGUgVGVzdDENMAsGA1UEAwwEUm9vdA==";
const NONE: &str = "no client certificate";

/// A database whose program remembers these answers for keys, in the older form.
fn remembering(machine: &Cardcase, name: &str, answers: &[(&str, &str)]) -> PathBuf {
    let directory = machine.dir().join(name);
    copy("nss-3.87", &directory);
    let lines: String = answers.iter().map(|(key, answer)| format!("{key}\t1\t20000\t{answer}\n")).collect();
    fs::write(directory.join("ClientAuthRememberList.txt"), lines).unwrap();
    directory
}

/// The hosts that are remembered, with whether an identity is.
fn remembered(machine: &Cardcase) -> BTreeMap<String, bool> {
    let decisions = machine.json("decisions");
    let each = decisions["decisions"].as_array().unwrap().iter();
    each.map(|one| (one["host"].as_str().unwrap().to_owned(), !one["identity"].is_null())).collect()
}

/// However the browser writes it.
#[test]
fn a_host_has_one_decision() {
    let machine = Cardcase::new();
    let answers = [
        ("a.example,,", NONE),
        ("a.example.,,", R2048),
        ("127.1,,", R2048),
        ("127.0.0.1,,", NONE),
        ("b\u{fc}cher.example,,", R2048),
        ("B\u{fc}cher.example.,,", NONE),
        ("c.example,,", R2048),
    ];
    let directory = remembering(&machine, "profile", &answers);
    let outcome = import(&machine, &["--from-nss", text(&directory)]).expect(0);
    let outcome = outcome.says(&["2 decisions are left out (127.0.0.1, a.example)", "written in an unusual way"]);
    assert!(!outcome.text().contains("a.example: id"), "{}", outcome.text());
    outcome.says(&["2 decisions are left out (xn--bcher-kva.example)", "contradict each other"]);
    let expected = [("127.0.0.1", false), ("a.example", false), ("c.example", true)];
    assert_eq!(remembered(&machine), expected.map(|(host, is_some)| (host.to_owned(), is_some)).into());
}

#[test]
fn each_decision_that_is_left_out_is_counted() {
    let machine = Cardcase::new();
    let frames: Vec<String> =
        (0..5).map(|number| format!("a.example,,^partitionKey=%28https%2C{number}.example%29")).collect();
    let answers: Vec<(&str, &str)> = frames.iter().map(|key| (key.as_str(), NONE)).collect();
    let directory = remembering(&machine, "profile", &answers);
    let outcome = import(&machine, &["--from-nss", text(&directory), "--json"]).expect(0);
    assert_eq!(outcome.json()["left_out"].as_array().unwrap().len(), 5);
    outcome.says(&["5 decisions are left out (a.example): the answer is for a frame"]);
}

#[test]
fn what_is_remembered_may_be_all_that_there_is() {
    let machine = Cardcase::new();
    let directory = remembering(&machine, "profile", &[("a.example,,", NONE)]);
    change(&directory.join("cert9.db"), "DELETE FROM nssPublic");
    change(&directory.join("key4.db"), "DELETE FROM nssPrivate");
    import(&machine, &["--from-nss", text(&directory), "--no-decisions"]).expect(3).says(&["holds no certificates"]);
    let outcome = import(&machine, &["--from-nss", text(&directory)]).expect(0).says(&["holds no identity"]);
    assert_eq!(outcome.text(), "decision: a.example: none (no certificate)\n");
    assert_eq!(remembered(&machine), BTreeMap::from([("a.example".to_owned(), false)]));
}

pub(super) fn make_fifo(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
}

/// A person sees how far it is.
#[test]
fn the_keys_of_a_database_are_counted() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let directory = machine.dir().join("slow");
    fs::create_dir(&directory).unwrap();
    let password = machine.password_file("a password");
    let database = format!("sql:{}", directory.display());
    let slow = |name: &str, arguments: &[&str]| {
        let status = program::named(name).args(arguments).env("NSS_MIN_MP_PBE_ITERATION_COUNT", "400000").status();
        assert!(status.unwrap_or_else(|error| panic!("{}", missing(name, "libnss3-tools", &error))).success());
    };
    slow("certutil", &["-N", "-d", &database, "-f", text(&password)]);
    for person in ["alice", "bob"] {
        let file = scene.employee(person).key(Key::Rsa2048).issue().p12(machine.dir(), P12::Default);
        slow("pk12util", &["-i", text(&file), "-W", PASSWORD, "-k", text(&password), "-d", &database]);
    }
    let arguments = ["--batch", "import", "--from-nss", text(&directory), "--password-file", text(&password)];
    let mut terminal = Terminal::open(machine, arguments);
    terminal.wait_for("1 of 2: many rounds of key derivation for");
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.text());
    assert!(terminal.text().contains("imported: alice"), "{}", terminal.text());
}

/// Changes a database by SQL.
pub(super) fn change(file: &Path, sql: &str) {
    rusqlite::Connection::open(file).unwrap().execute_batch(sql).unwrap();
}
