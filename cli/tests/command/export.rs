//! `cardcase export`: other programs read the files, and their copies of the key can sign.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::ca::{self, Issued, Key, P12, PASSWORD};
use crate::support::command::{Cardcase, Outcome};
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server};
use crate::support::terminal::Terminal;
use serde_json::json;

/// Runs another program, which must succeed, and returns its stdout.
fn run(program: &str, package: &str, arguments: &[&str]) -> Vec<u8> {
    let mut command = program::named(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8");
    let output =
        command.output().unwrap_or_else(|error| panic!("{}", crate::support::missing(program, package, &error)));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {stdout}{stderr}");
    output.stdout
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn export(machine: &Cardcase, id: &str, file: &Path, password: &str, more: &[&str]) -> Outcome {
    let password = machine.password_file(password);
    let arguments = ["--batch", "export", id, "-o", text(file), "--password-file", text(&password)];
    machine.command(arguments).args(more).run()
}

/// Another program that reads the file and writes what it read to a file that `import` accepts.
type Reader = fn(dir: &Path, file: &Path, password: &str) -> PathBuf;

fn openssl(dir: &Path, file: &Path, password: &str) -> PathBuf {
    let password = format!("file:{}", text(&ca::write(dir, "password", "txt", password)));
    // 3DES does not need -legacy; only RC2 does
    let printed = run("openssl", "openssl", &["pkcs12", "-in", text(file), "-nodes", "-passin", &password]);
    ca::write(dir, "openssl", "pem", printed)
}

fn nss(dir: &Path, file: &Path, password: &str) -> PathBuf {
    let database = ca::unused(dir, "nss", "db");
    std::fs::create_dir(&database).unwrap();
    let (database, copy) = (format!("sql:{}", text(&database)), ca::unused(dir, "nss", "p12"));
    let password = ca::write(dir, "password", "txt", password);
    let none = ca::write(dir, "none", "txt", "\n");
    run("certutil", "libnss3-tools", &["-N", "-d", &database, "--empty-password"]);
    let import = ["-i", text(file), "-d", &database, "-w", text(&password), "-k", text(&none)];
    run("pk12util", "libnss3-tools", &import);
    let listed = String::from_utf8(run("certutil", "libnss3-tools", &["-L", "-d", &database])).unwrap();
    let line = listed.lines().find(|line| line.ends_with("u,u,u")).unwrap_or_else(|| panic!("no key: {listed}"));
    let name = line.trim_end_matches("u,u,u").trim();
    let export = ["-o", text(&copy), "-n", name, "-d", &database, "-w", text(&password), "-k", text(&none)];
    run("pk12util", "libnss3-tools", &export);
    copy
}

fn keytool(dir: &Path, file: &Path, password: &str) -> PathBuf {
    let copy = ca::unused(dir, "keytool", "p12");
    let password = ca::write(dir, "password", "txt", password);
    let arguments = [
        "-importkeystore",
        "-noprompt",
        "-srcstoretype",
        "PKCS12",
        "-deststoretype",
        "PKCS12",
        "-srckeystore",
        text(file),
        "-destkeystore",
        text(&copy),
        "-srcstorepass:file",
        text(&password),
        "-deststorepass:file",
        text(&password),
    ];
    run("keytool", "default-jre-headless", &arguments);
    copy
}

fn certtool(dir: &Path, file: &Path, password: &str) -> PathBuf {
    let arguments = ["--p12-info", "--inder", "--infile", text(file), "--password", password];
    let printed = run("certtool", "gnutls-bin", &arguments);
    // It prints the encrypted key too, and marks it with a line of its own
    ca::write(dir, "certtool", "pem", printed)
}

const READERS: [(&str, Reader); 4] = [("openssl", openssl), ("nss", nss), ("keytool", keytool), ("certtool", certtool)];

/// Imports the copy on another machine: it holds the identity with its chain, and its key signs.
#[track_caller]
fn works(scene: &Scene, server: &Server, identity: &Issued, copy: &Path, password: &str, case: &str) {
    let machine = Cardcase::new();
    let password = machine.password_file(password);
    let command = machine.command(["--batch", "--json", "import", "--password-file"]);
    let outcome = command.arg(password).arg(copy).run();
    assert_eq!(outcome.code(), Some(0), "{case}: {}", outcome.stderr);
    let id = identity.fingerprint();
    assert_eq!(outcome.json()["imported"][0]["fingerprint"], id, "{case}");
    let outcome = machine.fetch(&server.url(), &scene.server_root_file, &["--as", &id]);
    assert_eq!(outcome.code(), Some(0), "{case}: {}", outcome.stderr);
    assert_eq!(server.chains().last(), Some(&identity.sent_chain()), "{case}");
}

/// Exports a new identity and reads it with these programs.
fn is_read(scene: &Scene, server: &Server, key: Key, more: &[&str], readers: &[(&str, Reader)]) {
    let dir = scene.machine.dir();
    let identity = scene.bring(scene.employee(key.name()).key(key).issue());
    let file = ca::unused(dir, "exported", "p12");
    export(&scene.machine, &identity.fingerprint(), &file, PASSWORD, more).expect(0);
    for (reader, read) in readers {
        let case = format!("{key:?} {more:?} {reader}");
        works(scene, server, &identity, &read(dir, &file, PASSWORD), PASSWORD, &case);
    }
    works(scene, server, &identity, &file, PASSWORD, "our own");
}

#[test]
fn other_programs_read_every_kind_of_key() {
    let scene = Scene::new();
    let server = scene.server(Kind::Go).start();
    for key in [Key::P256, Key::P384, Key::P521, Key::Rsa2048] {
        is_read(&scene, &server, key, &[], &READERS);
    }
    // NSS 3.87 of Debian 12 does not support Ed25519: it refuses openssl's file too
    let others: Vec<_> = READERS.into_iter().filter(|(reader, _)| *reader != "nss").collect();
    is_read(&scene, &server, Key::Ed25519, &[], &others);
}

#[test]
fn other_programs_read_legacy_files() {
    let scene = Scene::new();
    let server = scene.server(Kind::Go).start();
    for key in [Key::P256, Key::Rsa2048] {
        is_read(&scene, &server, key, &["--legacy"], &READERS);
    }
}

#[test]
fn keys_that_tls_rarely_or_never_uses_are_exported_too() {
    let machine = Cardcase::new();
    let dir = machine.dir();
    let password = machine.password_file(PASSWORD);
    let algorithms = [
        "RSA-PSS -pkeyopt rsa_keygen_bits:2048",
        "RSA-PSS -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_pss_keygen_md:sha256 -pkeyopt rsa_pss_keygen_mgf1_md:sha256",
        "RSA-PSS -pkeyopt rsa_keygen_bits:1024",
        "EC -pkeyopt ec_paramgen_curve:secp256k1",
        "EC -pkeyopt ec_paramgen_curve:brainpoolP256r1",
    ];
    for algorithm in algorithms {
        let (key, certificate) = (ca::unused(dir, "key", "pem"), ca::unused(dir, "certificate", "pem"));
        let name = key.file_stem().unwrap().to_str().unwrap();
        let make = format!("genpkey -algorithm {algorithm} -out {}", text(&key));
        run("openssl", "openssl", &make.split(' ').collect::<Vec<_>>());
        let sign = format!("req -x509 -key {} -subj /CN={name} -addext basicConstraints=CA:FALSE -out", text(&key));
        run("openssl", "openssl", &sign.split(' ').chain([text(&certificate)]).collect::<Vec<_>>());
        machine.command(["import"]).arg(&key).arg(&certificate).run().expect(0);
        for more in [&[][..], &["--legacy"]] {
            let file = ca::unused(dir, "exported", "p12");
            export(&machine, name, &file, PASSWORD, more).expect(0);
            let copy = openssl(dir, &file, PASSWORD);
            let key_of = |file: &Path| run("openssl", "openssl", &["pkey", "-in", text(file), "-outform", "DER"]);
            assert_eq!(key_of(&copy), key_of(&key), "{algorithm} {more:?}");
            let again = Cardcase::new();
            again.command(["import", "--password-file"]).arg(&password).arg(&file).run().expect(0);
            assert_eq!(again.json("list")["identities"], machine.json("list")["identities"], "{algorithm}");
        }
        machine.run(&format!("remove {name} --yes")).expect(0);
    }
}

#[test]
fn names_and_passwords_may_be_in_any_script() {
    let scene = Scene::new();
    let server = scene.server(Kind::Go).start();
    let identity = scene.employee("Алиса 😀").issue();
    // openssl cannot write names beyond the BMP into a .p12 file
    scene.machine.import_file(&identity.pem_file(scene.machine.dir()));
    let password = "пароль é 😀";
    for more in [&[][..], &["--legacy"]] {
        let file = ca::unused(scene.machine.dir(), "exported", "p12");
        export(&scene.machine, "Алиса 😀", &file, password, more).expect(0);
        let machine = Cardcase::new();
        let run = machine.command(["--batch", "--json", "import", "--password-file"]);
        let outcome = run.arg(machine.password_file(password)).arg(&file).run().expect(0);
        assert_eq!(outcome.json()["imported"][0]["name"], "Алиса 😀");
        for (reader, read) in [("openssl", openssl as Reader), ("nss", nss)] {
            let copy = read(scene.machine.dir(), &file, password);
            works(&scene, &server, &identity, &copy, password, &format!("{more:?} {reader}"));
        }
    }
}

#[test]
fn the_file_uses_the_requested_algorithms() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for (more, words) in [
        (
            &[][..],
            ["MAC: sha256, Iteration 150000", "PBES2, PBKDF2, AES-256-CBC, Iteration 150000, PRF hmacWithSHA256"],
        ),
        (&["--legacy"], ["MAC: sha1, Iteration 50000", "pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 50000"]),
    ] {
        let file = ca::unused(scene.machine.dir(), "exported", "p12");
        export(&scene.machine, &alice.fingerprint(), &file, PASSWORD, more).expect(0);
        let line = format!("openssl pkcs12 -info -noout -passin pass:{PASSWORD} -in {} 2>&1", text(&file));
        let said = String::from_utf8(run("sh", "dash", &["-c", &line])).unwrap();
        for word in words {
            assert!(said.contains(word), "{more:?}: no {word:?} in {said}");
        }
        assert!(!std::fs::read(&file).unwrap().windows(5).any(|bytes| bytes == b"alice"), "certificates are encrypted");
    }
}

#[test]
fn the_file_is_private_and_is_overwritten_only_with_force() {
    let scene = Scene::new();
    scene.hire("alice");
    let file = scene.machine.dir().join("out.p12");
    export(&scene.machine, "alice", &file, PASSWORD, &[]).expect(0);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&file).unwrap();
    export(&scene.machine, "alice", &file, PASSWORD, &[]).expect(1).says(&["out.p12", "--force"]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    export(&scene.machine, "alice", &file, PASSWORD, &["--force"]).expect(0);
    assert_ne!(std::fs::read(&file).unwrap(), before);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    export(&scene.machine, "alice", Path::new("/dev/null"), PASSWORD, &["--force"]).expect(1).says(&["regular"]);
    export(&scene.machine, "alice", Path::new("/no/such/place.p12"), PASSWORD, &[]).expect(1).says(&["place.p12"]);
    export(&scene.machine, "nobody", &scene.machine.dir().join("x"), PASSWORD, &[]).expect(3);
    let left: Vec<_> =
        std::fs::read_dir(scene.machine.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".tmp")), "{left:?}");
}

#[test]
fn export_can_write_to_stdout() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let outcome = export(&scene.machine, "alice", Path::new("-"), PASSWORD, &[]).expect(0);
    let machine = Cardcase::new();
    let password = machine.password_file(PASSWORD);
    let run = machine.command(["--batch", "--json", "import", "-", "--password-file"]).arg(password);
    let answer = run.stdin(outcome.stdout).run().expect(0).json();
    assert_eq!(answer["imported"][0]["fingerprint"], alice.fingerprint());
}

#[test]
fn passwords_that_differ_are_asked_for_again_and_three_times_in_all() {
    let scene = Scene::new();
    scene.hire("alice");
    let file = scene.machine.dir().join("out.p12");
    for (again, code) in [(["right", "right"], 0), (["three", "four"], 1)] {
        let mut terminal = Terminal::open(&scene.machine, ["export", "alice", "--force", "-o", text(&file)]);
        let typed =
            [("New password", "one"), ("Repeat it", "two"), ("They differ. New", again[0]), ("Repeat it", again[1])];
        let more = [("They differ. New", "five"), ("Repeat it", "six")];
        for (prompt, password) in typed.iter().chain(more.iter().filter(|_| code == 1)) {
            terminal.wait_until(prompt, |shown| {
                shown.trim_end().lines().last().is_some_and(|line| line.starts_with(prompt))
            });
            terminal.stays_for(Duration::from_millis(300));
            terminal.send(&format!("{password}\r"));
        }
        assert_eq!(terminal.end().code(), Some(code), "{}", terminal.text());
        assert_eq!(file.exists(), code == 0);
        drop(std::fs::remove_file(&file));
    }
}

#[test]
fn an_empty_password_must_be_confirmed() {
    let scene = Scene::new();
    scene.hire("alice");
    let file = scene.machine.dir().join("out.p12");
    let arguments = ["export", "alice", "-o", text(&file)];
    scene.machine.command(["--batch"]).args(arguments).run().expect(4).says(&["--password-file"]);
    assert!(!file.exists());
    for (answers, code) in [(&["", "", "n"][..], 130), (&["", "", "y"], 0)] {
        let mut terminal = Terminal::open(&scene.machine, arguments.map(str::to_owned).to_vec());
        for (answer, prompt) in answers.iter().zip(["New password", "Repeat it", "without a password"]) {
            terminal.wait_for(prompt);
            // The prompt appears before the terminal is ready to read a password. Input in between may be lost
            terminal.stays_for(Duration::from_millis(300));
            terminal.send(answer);
            if prompt != "without a password" {
                terminal.send("\r");
            }
        }
        assert_eq!(terminal.end().code(), Some(code), "{answers:?}: {}", terminal.text());
        assert_eq!(file.exists(), code == 0, "{answers:?}");
    }
    std::fs::remove_file(&file).unwrap();
    export(&scene.machine, "alice", &file, "", &[]).expect(0);
    let machine = Cardcase::new();
    machine.command(["--batch", "import"]).arg(&file).run().expect(0);
}

#[test]
fn export_requires_the_primary_password() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let primary = scene.machine.password_file("primary");
    scene.machine.command(["password", "--new-password-file"]).arg(&primary).run().expect(0);
    let file = scene.machine.dir().join("out.p12");
    export(&scene.machine, "alice", &file, PASSWORD, &[]).expect(4);
    let wrong = scene.machine.password_file("wrong");
    export(&scene.machine, "alice", &file, PASSWORD, &["--primary-password-file", text(&wrong)]).expect(6);
    assert!(!file.exists());
    export(&scene.machine, "alice", &file, PASSWORD, &["--primary-password-file", text(&primary)]).expect(0);
    let machine = Cardcase::new();
    machine.import_file(&file);
    assert_eq!(machine.json("list")["identities"][0]["fingerprint"], alice.fingerprint());
}

#[test]
fn a_swapped_key_is_not_exported() {
    let scene = Scene::new();
    let (alice, _bob) = (scene.hire("alice"), scene.hire("bob"));
    let database = rusqlite::Connection::open(scene.machine.store()).unwrap();
    let swap = "UPDATE identities SET private_key = (SELECT private_key FROM identities WHERE name = 'bob')";
    database.execute(swap, []).unwrap();
    drop(database);
    let file = scene.machine.dir().join("out.p12");
    export(&scene.machine, &alice.fingerprint(), &file, PASSWORD, &[]).expect(1).says(&["does not open"]);
    assert!(!file.exists());
}

#[test]
fn an_exported_identity_is_recognised_on_import() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let file = scene.machine.dir().join("out.p12");
    export(&scene.machine, "alice", &file, PASSWORD, &["--legacy"]).expect(0);
    scene.machine.import_file(&file);
    assert_eq!(scene.machine.json("list")["identities"].as_array().unwrap().len(), 1);
    // With the same authorities as the file from the CA, including the root
    let machine = Cardcase::new();
    machine.import_file(&file);
    let machine_original = Cardcase::new();
    machine_original.import_file(&alice.p12(scene.machine.dir(), P12::Default));
    assert_eq!(machine.json("authorities"), machine_original.json("authorities"));
    assert_ne!(machine.json("authorities")["authorities"], json!([]));
}

#[test]
fn all_identities_go_into_one_file_that_others_read() {
    let scene = Scene::new();
    let server = scene.server(Kind::Go).start();
    let (alice, bob) = (scene.hire("alice"), scene.bring(scene.employee("bob").key(Key::Rsa2048).issue()));
    scene.machine.run("rename bob robert").expect(0);
    for more in [&[][..], &["--legacy"]] {
        let file = ca::unused(scene.machine.dir(), "all", "p12");
        let password = scene.machine.password_file(PASSWORD);
        let run = scene.machine.command(["--batch", "export", "--all", "-o", text(&file), "--password-file"]);
        run.arg(&password).args(more).run().expect(0).says(&["2 identities with their private keys"]);
        let printed = openssl(scene.machine.dir(), &file, PASSWORD);
        for copy in [&file, &printed] {
            let other = Cardcase::new();
            let run = other.command(["--batch", "--json", "import", "--password-file"]).arg(&password).arg(copy);
            let answer = run.run().expect(0).json();
            let of = |name: &str| {
                let all = answer["imported"].as_array().unwrap();
                let found = all.iter().find(|found| found["name"] == name).map(|found| found["fingerprint"].clone());
                found.unwrap_or_default()
            };
            assert_eq!((of("alice"), of("robert")), (alice.fingerprint().into(), bob.fingerprint().into()), "{more:?}");
            for identity in [&alice, &bob] {
                let outcome = other.fetch(&server.url(), &scene.server_root_file, &["--as", &identity.fingerprint()]);
                assert_eq!(outcome.code(), Some(0), "{}", outcome.stderr);
                assert_eq!(server.chains().last(), Some(&identity.sent_chain()));
            }
        }
    }
    let empty = Cardcase::new();
    empty.run("--batch export --all -o all.p12 --password-file /dev/null").expect(3).says(&["no identities"]);
    empty.run("export -o all.p12").expect(2);
    empty.run("export alice --all -o all.p12").expect(2);
}

#[test]
fn certificates_of_one_key_keep_their_names() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let dir = machine.dir();
    let key = ca::unused(dir, "shared", "key");
    run(
        "openssl",
        "openssl",
        &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", text(&key)],
    );
    for name in ["first", "second"] {
        let certificate = ca::unused(dir, name, "crt");
        let subject = format!("/CN={name}");
        let sign =
            ["req", "-x509", "-key", text(&key), "-subj", &subject, "-addext", "basicConstraints=CA:FALSE", "-out"];
        run("openssl", "openssl", &[&sign[..], &[text(&certificate)]].concat());
        machine.command(["import"]).arg(&key).arg(&certificate).run().expect(0);
        machine.run(&format!("rename {name} own-{name}")).expect(0);
    }
    let (file, password) = (dir.join("all.p12"), machine.password_file(PASSWORD));
    machine.command(["export", "--all", "-o", text(&file), "--password-file"]).arg(&password).run().expect(0);
    let other = Cardcase::new();
    other.command(["import", "--password-file"]).arg(&password).arg(&file).run().expect(0);
    assert_eq!(other.json("list")["identities"], machine.json("list")["identities"]);
}
