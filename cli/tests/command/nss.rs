//! Databases of browsers: `import --from-firefox` and the like, and `export --to-nss`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use serde_json::{Value, json};

use crate::support::ca::{Key, P12, PASSWORD};
use crate::support::command::{Cardcase, Outcome};
use crate::support::missing;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::terminal::Terminal;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/nss").join(name)
}

/// A copy of a database of the fixtures, also with what the browser remembers.
fn copy(name: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(fixture(name)).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn import(machine: &Cardcase, arguments: &[&str]) -> Outcome {
    machine.command(["--batch", "import"]).args(arguments).run()
}

/// NSS's own programs.
fn nss(name: &str, arguments: &[&str]) -> String {
    let output = program::named(name).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{}", missing(name, "libnss3-tools", &error)));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
    said
}

/// An empty database with a password.
fn new_database(machine: &Cardcase, name: &str, password: &str) -> (PathBuf, PathBuf) {
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

/// The private keys of a PKCS#12 file, as OpenSSL prints them, by the subjects of the certificates.
fn keys(machine: &Cardcase, file: &Path, password: &str) -> BTreeMap<String, String> {
    let openssl = |arguments: &[&str]| {
        let output = program::named("openssl").args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{}", missing("openssl", "openssl", &error)));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let password = format!("pass:{password}");
    let subject = openssl(&["pkcs12", "-in", text(file), "-passin", &password, "-nokeys", "-clcerts"]);
    let subject = subject.lines().find(|line| line.starts_with("subject=")).unwrap().to_owned();
    let pem = machine.dir().join("one-key.pem");
    fs::write(&pem, openssl(&["pkcs12", "-in", text(file), "-passin", &password, "-nocerts", "-nodes"])).unwrap();
    // In one form, whoever wrote it
    BTreeMap::from([(subject, openssl(&["pkey", "-in", text(&pem), "-text"]))])
}

#[test]
fn what_certutil_and_pk12util_made_is_imported_and_equals_what_they_export() {
    for password in ["", "primär日本 pw"] {
        let scene = Scene::new();
        let machine = &scene.machine;
        let (directory, password_file) = new_database(machine, "made", password);
        let database = format!("sql:{}", directory.display());
        let given: Vec<&str> = if password.is_empty() { vec!["-K", ""] } else { vec!["-k", text(&password_file)] };
        let people = ["alice", "bob", "carol"];
        let mut expected = BTreeMap::new();
        for (person, key) in people.into_iter().zip([Key::P256, Key::P384, Key::Rsa2048]) {
            let issued = scene.employee(person).key(key).issue();
            let file = issued.p12(machine.dir(), P12::Default);
            nss("pk12util", &[&["-i", text(&file), "-W", PASSWORD, "-d", &database], &given[..]].concat());
            expected.extend(keys(machine, &file, PASSWORD));
        }
        let flags: Vec<&str> = if password.is_empty() { vec![] } else { vec!["--password-file", text(&password_file)] };
        let from = ["--from-nss", text(&directory)];
        let done = import(machine, &[&from[..], &flags, &["--json"]].concat()).expect(0).json();
        assert_eq!(done["imported"].as_array().unwrap().len(), people.len(), "{done}");
        // Each key signs: `import` tries it
        assert!(
            done["imported"].as_array().unwrap().iter().all(|one| one["usable"]["rustls"] != json!(false)),
            "{done}"
        );
        let mut found = BTreeMap::new();
        for identity in done["imported"].as_array().unwrap() {
            let (id, file) = (identity["fingerprint"].as_str().unwrap(), machine.dir().join("back.p12"));
            let new = machine.password_file(PASSWORD);
            let arguments = ["--batch", "export", id, "-o", text(&file), "--force", "--password-file", text(&new)];
            machine.command(arguments).run().expect(0);
            found.extend(keys(machine, &file, PASSWORD));
        }
        assert_eq!(found, expected);
        // A second time changes nothing
        let again = import(machine, &[&from[..], &flags, &["--json"]].concat()).expect(0).json();
        assert_eq!(
            (&again["imported"], again["already_present"].as_array().unwrap().len()),
            (&json!([]), people.len())
        );
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
    outcome.says(&["trusts", "Oracle Server Root S", "to trust it: cardcase trust a0233622"]);
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
        .says(&["wrong password", "it is the password of Firefox's profile default-esr"]);
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
fn the_profile_in_use_is_found_and_several_are_listed() {
    let machine = Cardcase::new();
    import(&machine, &["--from-firefox"]).expect(3).says(&[
        "no profile of Firefox",
        ".config/mozilla/firefox",
        "snap/firefox",
        "about:profiles",
    ]);
    // An older Firefox, and a snap
    let old = machine.dir().join(".mozilla/firefox");
    copy("nss-3.87", &old.join("a.default"));
    fs::create_dir(old.join("b.unused")).unwrap();
    let ini = "[Install1]\nDefault=a.default\n[Profile0]\nName=unused\nIsRelative=1\nPath=b.unused\nDefault=1\n\
        [Profile1]\nName=default\nIsRelative=1\nPath=a.default\n";
    fs::write(old.join("profiles.ini"), ini).unwrap();
    let planned = import(&machine, &["--from-firefox", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(planned["imported"].as_array().unwrap().len(), 3, "{planned}");
    let snap = machine.dir().join("snap/firefox/common/.mozilla/firefox");
    copy("chromium-156", &snap.join("c.default"));
    fs::write(snap.join("profiles.ini"), "[Profile0]\nName=snapped\nIsRelative=1\nPath=c.default\n").unwrap();
    import(&machine, &["--from-firefox"]).expect(2).says(&[
        "default: ",
        "(3 identities, last used ",
        "snapped: ",
        "(1 identity, ",
        "Firefox has several profiles",
        "--from-firefox NAME",
    ]);
    for wanted in ["snapped", "c.default", text(&snap.join("c.default")), text(&snap)] {
        let planned = import(&machine, &["--from-firefox", wanted, "--dry-run", "--json"]).expect(0).json();
        assert_eq!(planned["imported"].as_array().unwrap().len(), 1, "{wanted}: {planned}");
    }
    import(&machine, &["--from-firefox", "nobody"]).expect(3).says(&["Firefox has no profile \"nobody\"", "snapped: "]);
    import(&machine, &["--from-thunderbird"]).expect(3).says(&["no profile of Thunderbird"]);
    copy("chromium-156", &machine.dir().join(".local/share/pki/nssdb"));
    let planned = import(&machine, &["--from-chromium", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(planned["imported"].as_array().unwrap().len(), 1, "{planned}");
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
    for (name, code, says) in [
        ("nowhere", 1, &["nowhere: No such file or directory"][..]),
        ("empty", 1, &["there is no cert9.db in", "security.nocertdb"]),
        ("old", 1, &["the old form", "certutil --upgrade-merge --source-dir", "cardcase import --from-nss new"]),
        ("fresh", 3, &["holds no certificates", "smart cards"]),
        ("damaged", 1, &["key4.db is damaged: an initialisation vector", "get another copy"]),
        ("costly", 1, &["1000000000 rounds", "--max-iterations 1000000000"]),
    ] {
        import(&machine, &["--from-nss", text(&at(name))]).expect(code).says(says);
    }
    assert_eq!(machine.json("list")["identities"], json!([]));
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
fn a_store_without_identities_is_told_of_those_in_a_browser() {
    let machine = Cardcase::new();
    let root = machine.dir().join(".config/mozilla/firefox");
    copy("nss-3.87", &root.join("x.default"));
    fs::write(root.join("profiles.ini"), "[Profile0]\nName=default\nIsRelative=1\nPath=x.default\n").unwrap();
    let told = "to import the 3 identities of Firefox's profile default:";
    let said = machine.run("").expect(0).text();
    assert!(said.contains(told) && said.contains("cardcase import --from-firefox default"), "{said}");
    let findings = machine.json("doctor");
    let found: Vec<&Value> = findings["findings"].as_array().unwrap().iter().collect();
    let found: Vec<_> = found.iter().filter(|finding| finding["code"] == "in_browser").collect();
    assert_eq!(found.len(), 1, "{findings}");
    assert_eq!(found[0]["command"], "cardcase import --from-firefox default");
    import(&machine, &["--from-firefox"]).expect(0);
    assert!(!machine.run("").expect(0).text().contains("Firefox"));
    assert!(!machine.json("doctor").to_string().contains("in_browser"));
}

#[test]
fn the_users_of_a_kubeconfig_have_the_names_of_their_contexts() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let (alice, bob) = (scene.employee("alice").issue(), scene.employee("bob").issue());
    fs::write(machine.dir().join("bob.crt"), bob.pem()).unwrap();
    fs::write(machine.dir().join("bob.key"), bob.key_pem()).unwrap();
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: staging\n\
         contexts:\n- name: production\n  context: {{cluster: p, user: admin}}\n- name: staging\n  context:\n    user: developer\n\
         users:\n- name: admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n\
         - name: developer\n  user:\n    client-certificate: bob.crt\n    client-key: bob.key\n\
         - name: robot\n  user: {{token: secret}}\n- name: broken\n  user: {{client-certificate-data: '!', client-key-data: '!'}}\n",
        base64(alice.pem().as_bytes()),
        base64(alice.key_pem().as_bytes()),
    );
    let file = machine.dir().join("config.yaml");
    fs::write(&file, config).unwrap();
    let done = import(machine, &["--from-kubeconfig", text(&file), "--json"]).expect(0).json();
    let imported = done["imported"].as_array().unwrap();
    let names: BTreeMap<&str, &str> =
        imported.iter().map(|one| (one["name"].as_str().unwrap(), one["fingerprint"].as_str().unwrap())).collect();
    let expected = [("production", alice.fingerprint()), ("staging", bob.fingerprint())];
    assert_eq!(names, expected.iter().map(|(name, fingerprint)| (*name, fingerprint.as_str())).collect());
    assert_eq!(done["left_out"][0]["what"], "the user \"broken\"", "{done}");
    // kubectl's own places
    let other = Cardcase::new();
    import(&other, &["--from-kubeconfig"]).expect(1).says(&[".kube/config"]);
    let run = other.command(["--batch", "import", "--from-kubeconfig"]).env("KUBECONFIG", &file).run();
    let said = run.expect(0).text();
    assert!(said.contains("imported: production") && said.contains("imported: staging"), "{said}");
    fs::write(&file, "users: []\n").unwrap();
    import(machine, &["--from-kubeconfig", text(&file)]).expect(3).says(&["no user with a client certificate"]);
    fs::write(&file, "- no\n: kubeconfig").unwrap();
    import(machine, &["--from-kubeconfig", text(&file)]).expect(1).says(&["it is no kubeconfig"]);
}

fn base64(bytes: &[u8]) -> String {
    base64::prelude::BASE64_STANDARD.encode(bytes)
}
