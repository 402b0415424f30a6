//! Files as people have them: with more in them than an identity, under two passwords, and in every kind of wrapping. `import`,
//! `trust` and `--cacert` read the same.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::ca::{self, Issued, P12, PASSWORD, openssl};
use crate::support::command::{Cardcase, Outcome};
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind};
use crate::support::terminal::{Terminal, key};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

fn import(machine: &Cardcase, files: &[PathBuf], more: &[&str]) -> Outcome {
    let password = machine.password_file(PASSWORD);
    let run = machine.command(["--batch", "--json", "import", "--password-file"]).arg(password);
    run.args(files).args(more).run()
}

/// The fingerprints in one list of the answer.
fn fingerprints(answer: &Value, list: &str) -> Vec<String> {
    let each = answer[list].as_array().unwrap().iter();
    each.map(|entry| entry["fingerprint"].as_str().unwrap().to_owned()).collect()
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect()
}

/// Base64 in lines, as `base64` writes it.
fn in_lines(bytes: &[u8], before: &str) -> String {
    let text = BASE64_STANDARD.encode(bytes);
    text.as_bytes().chunks(76).map(|line| format!("{before}{}\n", str::from_utf8(line).unwrap())).collect()
}

/// PEM text in every wrapping.
fn wrapped(pem: &str) -> Vec<(&'static str, Vec<u8>)> {
    let base64 = BASE64_STANDARD.encode(pem);
    let windows = pem.replace('\n', "\r\n");
    vec![
        ("a byte order mark", format!("\u{feff}{pem}").into()),
        ("CRLF and a byte order mark", format!("\u{feff}{windows}").into()),
        ("UTF-16, little-endian", utf16(&windows, u16::to_le_bytes)),
        ("UTF-16, big-endian", utf16(pem, u16::to_be_bytes)),
        ("indented", pem.lines().map(|line| format!("    {line}\n")).collect::<String>().into()),
        ("one line", pem.replace('\n', " ").into()),
        ("one line with escapes", format!("CERT=\"{}\"", pem.replace('\n', "\\n")).into()),
        ("the lines of a C string", pem.lines().map(|line| format!("\"{line}\\n\"\n")).collect::<String>().into()),
        ("strings that are joined", pem.lines().map(|line| format!("  '{line}\\n' +\n")).collect::<String>().into()),
        ("a JSON array of lines", json!(pem.lines().collect::<Vec<_>>()).to_string().replace(',', ",\n").into()),
        ("quoted mail", pem.lines().map(|line| format!("> {line}\n")).collect::<String>().into()),
        ("JSON", json!({ "pem": windows }).to_string().into()),
        ("percent escapes", pem.replace(' ', "%20").replace('\n', "%0A").replace('+', "%2B").into()),
        ("a data: URI", format!("data:application/x-pem-file;base64,{base64}").into()),
        ("a data: URI with escapes", format!("data:,{}", pem.replace('\n', "%0A").replace('+', "%2B")).into()),
        ("YAML", format!("data:\n  file: {base64}\n  other: x\n").into()),
        ("YAML in lines", format!("data:\n  file: |\n{}  other: x\n", in_lines(pem.as_bytes(), "    ")).into()),
        ("base64 in base64", format!("kubeconfig: {}", BASE64_STANDARD.encode(format!("a: {base64}\n"))).into()),
    ]
}

#[test]
fn one_ca_certificate_is_the_same_in_every_form_for_import_trust_and_cacert() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let server = scene.server(Kind::Go).ask(Ask::Never).start();
    let (pem, der) = (scene.server_root.pem(), scene.server_root.der());
    let source = scene.server_root.file(dir);
    let form = |line: &str| openssl(&line.replace("ROOT", source.to_str().unwrap()));
    let mut forms = wrapped(&pem);
    forms.extend([
        ("PEM", pem.clone().into_bytes()),
        ("DER", der.to_vec()),
        ("X509 CERTIFICATE", pem.replace(" CERTIFICATE", " X509 CERTIFICATE").into()),
        ("TRUSTED CERTIFICATE", form("x509 -in ROOT -trustout -addtrust serverAuth -setalias alias")),
        ("text before it", form("x509 -in ROOT -text")),
        ("PKCS#7", form("crl2pkcs7 -nocrl -certfile ROOT")),
        ("PKCS#7 in DER", form("crl2pkcs7 -nocrl -certfile ROOT -outform DER")),
        ("PKCS#12", form("pkcs12 -export -nokeys -in ROOT -passout pass:")),
        ("base64", BASE64_STANDARD.encode(der).into()),
        ("base64 in lines", in_lines(der, "").into()),
        ("base64 with a byte order mark", format!("\u{feff}{}", in_lines(der, "")).into()),
        ("base64 in XML", format!("<data>\n{}</data>", in_lines(der, "\t")).into()),
        ("a byte order mark before DER", [b"\xef\xbb\xbf", der].concat()),
        ("DER, one after the other", [der, scene.staff_root.der()].concat()),
    ]);
    for (form, content) in forms {
        let machine = Cardcase::new();
        let file = ca::write(dir, "root", "any", content);
        let run = |arguments: &[&str]| {
            let outcome = machine.command(["--batch"]).args(arguments).run();
            assert_eq!(outcome.code(), Some(0), "{form}: {arguments:?}: {}", outcome.stderr);
            outcome
        };
        let path = file.to_str().unwrap();
        run(&["fetch", &server.url(), "--cacert", path]);
        let answer = run(&["--json", "import", path]).json();
        assert_eq!(fingerprints(&answer, "authorities")[0], scene.server_root.fingerprint(), "{form}");
        assert_eq!(answer["left_out"], json!([]), "{form}");
        run(&["trust", path]);
        run(&["fetch", &server.url()]);
    }
}

#[test]
fn one_identity_is_imported_from_every_wrapping() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let alice = scene.employee("alice").issue();
    let p12 = std::fs::read(alice.p12(dir, P12::Default)).unwrap();
    let encoded = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    let mut forms = wrapped(&(alice.key_pem() + &alice.pem() + &alice.chain_pem()));
    let secret = json!({ "data": {
        "tls.crt": encoded((alice.pem() + &alice.chain_pem()).as_bytes()),
        "tls.key": encoded(alice.key_pem().as_bytes()),
        "ca.crt": encoded(scene.server_root.pem().as_bytes()),
    }});
    forms.extend([
        ("a secret in JSON", secret.to_string().into()),
        ("a PKCS#12 data: URI", format!("data:application/x-pkcs12;base64,{}", encoded(&p12)).into()),
        (
            "a data: URI with escapes",
            format!("data:application/x-pkcs12;base64,{}", encoded(&p12).replace('+', "%2B")).into(),
        ),
        (
            "PKCS#12 in a profile",
            format!("<plist><data>\n{}</data>\n<key>a</key></plist>", in_lines(&p12, "\t\t")).into(),
        ),
        ("PKCS#12 in a configuration", format!("client\n<pkcs12>\n{}</pkcs12>\nverb 3\n", in_lines(&p12, "")).into()),
        ("PKCS#12 in PEM", format!("-----BEGIN PFX-----\n{}-----END PFX-----\n", in_lines(&p12, "")).into()),
        ("PKCS#12 in base64 in UTF-16", utf16(&in_lines(&p12, ""), u16::to_le_bytes)),
    ]);
    for (form, content) in forms {
        let file = ca::write(dir, "identity", "any", content);
        let outcome = import(&Cardcase::new(), &[file], &[]);
        assert_eq!(outcome.code(), Some(0), "{form}: {}", outcome.stderr);
        assert_eq!(fingerprints(&outcome.json(), "imported"), [alice.fingerprint()], "{form}");
    }
}

fn user(name: &str, identity: &Issued) -> String {
    let encoded = |text: String| BASE64_STANDARD.encode(text);
    format!(
        "- name: {name}\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
        encoded(identity.pem()),
        encoded(identity.key_pem())
    )
}

#[test]
fn each_user_of_a_kubeconfig_is_an_identity() {
    let scene = Scene::new();
    let (alice, bob) = (scene.employee("alice").issue(), scene.employee("bob").issue());
    let authority = BASE64_STANDARD.encode(scene.server_root.pem());
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority-data: {authority}\n    \
         server: https://localhost:6443\n  name: one\nusers:\n{}{}- name: carol\n  user:\n    \
         client-certificate: carol's.crt\n    client-key: /etc/carol.key\n",
        user("alice", &alice),
        user("bob", &bob)
    );
    let file = ca::write(scene.machine.dir(), "config", "yaml", text);
    let name = file.to_str().unwrap();
    let outcome = import(&scene.machine, std::slice::from_ref(&file), &[]).expect(0);
    let answer = outcome.says(&[name, "left out carol's.crt", "left out /etc/carol.key", "import that file"]).json();
    assert_eq!(fingerprints(&answer, "imported"), [alice.fingerprint(), bob.fingerprint()]);
    assert_eq!(fingerprints(&answer, "authorities"), [scene.server_root.fingerprint()]);
    assert_eq!(answer["left_out"][0]["file"], name);
}

/// The values of one user are cut off, so the PEM in their base64 has no end.
#[test]
fn a_damaged_user_of_a_kubeconfig_does_not_hide_the_others() {
    let scene = Scene::new();
    let (alice, bob) = (scene.employee("alice").issue(), scene.employee("bob").issue());
    let cut = |text: String| BASE64_STANDARD.encode(&text[..text.len() / 2]);
    let text = format!(
        "users:\n{}- name: bob\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
        user("alice", &alice),
        cut(bob.pem()),
        cut(bob.key_pem())
    );
    let file = ca::write(scene.machine.dir(), "config", "yaml", text);
    let outcome = import(&scene.machine, std::slice::from_ref(&file), &[]).expect(0);
    let answer = outcome.says(&["left out a certificate", "the CERTIFICATE that begins in line 1 has no end"]).json();
    assert_eq!(fingerprints(&answer, "imported"), [alice.fingerprint()]);
}

/// The files are relative to the kubeconfig, and the command can be copied.
#[test]
fn a_kubeconfig_that_only_names_files_leads_to_them() {
    let scene = Scene::new();
    let directory = scene.machine.dir().join("my kube");
    std::fs::create_dir(&directory).unwrap();
    let alice = scene.employee("alice").issue();
    std::fs::write(directory.join("alice.crt"), alice.pem()).unwrap();
    std::fs::write(directory.join("alice.key"), alice.key_pem()).unwrap();
    let yaml = "users:\n- name: alice\n  user:\n    client-certificate: alice.crt\n    client-key: alice.key # hers\n";
    let json = json!({ "users": [{ "user": { "client-certificate": "alice.crt", "client-key": "alice.key" } }] });
    for text in [yaml.to_owned(), json.to_string()] {
        let machine = Cardcase::new();
        let file = ca::write(&directory, "config", "any", text);
        let outcome = import(&machine, &[file], &[]).expect(1).says(&["names the files", "alice.crt, alice.key"]);
        let files = format!("'{0}/alice.crt' '{0}/alice.key'", directory.display());
        outcome.says(&[&format!("hint: cardcase import {files}\n")]);
        let files = ["alice.crt", "alice.key"].map(|name| directory.join(name));
        assert_eq!(fingerprints(&import(&machine, &files, &[]).expect(0).json(), "imported"), [alice.fingerprint()]);
    }
}

#[test]
fn text_is_called_text() {
    let machine = Cardcase::new();
    let cases: [(&[u8], &str); 9] = [
        (b"a:", "text that begins with 'a:'"),
        (b"\xef\xbb\xbfapiVersion: v1\r\nkind: Config\r\n", "text that begins with 'apiVersion: v1'"),
        (b"\xff\xfea\0:\0 \0b\0", "text that begins with 'a: b'"),
        (
            b"Dear colleague,\n\nmy certificate is in the attachment of this letter.\n",
            "text that begins with 'Dear colleague,'",
        ),
        (b"{\"key\": \"\x1b[31m\xe2\x80\xaeevil\"}", "evil"),
        (b"hunter2\n", "it looks like text\n"),
        (b"", "an empty file"),
        (b"\xef\xbb\xbf\r\n", "an empty file"),
        (b"<html>\n", "a web page"),
    ];
    for (content, words) in cases {
        for command in ["import", "trust"] {
            let file = ca::write(machine.dir(), "text", "any", content);
            let outcome = machine.command(["--batch", command]).arg(file).run().expect(1).says(&["neither", words]);
            assert!(!outcome.stderr.contains(['\x1b', '\u{202e}']), "{}", outcome.stderr);
        }
    }
}

#[test]
fn other_certificates_beside_an_identity_are_left_out_and_named() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let alice = scene.employee("alice").issue();
    let stranger = scene.server_certificate.pem();
    let whole = alice.key_pem() + &alice.pem() + &alice.chain_pem();
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let more = ca::write(dir, "more", "pem", alice.pem() + &alice.chain_pem() + &stranger);
    let line = format!(
        "pkcs12 -export -passout pass:{PASSWORD} -inkey {} -in {}",
        alice.key_file(dir).display(),
        more.display()
    );
    let no_key = "its private key is not there";
    let cases = [
        ("PEM", whole.clone() + &stranger, "CN=localhost", no_key),
        ("damaged", whole.clone() + broken, "a certificate", "is damaged"),
        ("no base64", whole.clone() + &broken.replace("MAA=", "!"), "a certificate", "is not base64"),
        ("no end", broken.replace("-----END CERTIFICATE-----", "") + &whole, "a certificate", "has no end"),
    ];
    let mut cases: Vec<_> = cases.map(|(case, text, what, why)| (case, text.into_bytes(), what, why)).into();
    cases.push(("PKCS#12", openssl(&line), "CN=localhost", no_key));
    for (case, content, what, why) in cases {
        let file = ca::write(dir, "file", "any", content);
        let machine = Cardcase::new();
        let outcome = import(&machine, std::slice::from_ref(&file), &[]);
        assert_eq!(outcome.code(), Some(0), "{case}: {}", outcome.stderr);
        let answer = outcome.json();
        assert_eq!(fingerprints(&answer, "imported"), [alice.fingerprint()], "{case}");
        assert_eq!(answer["authorities"].as_array().unwrap().len(), 1, "{case}");
        let [left_out] = answer["left_out"].as_array().unwrap().as_slice() else { panic!("{case}: {answer}") };
        assert_eq!(left_out["file"], file.to_str().unwrap(), "{case}");
        assert!(left_out["what"].as_str().unwrap().starts_with(what), "{case}: {left_out}");
        assert!(left_out["why"].as_str().unwrap().contains(why), "{case}: {left_out}");
        outcome.says(&[file.to_str().unwrap(), "left out", what, why]);
        // And once more, when everything is there already
        import(&machine, &[file], &[]).expect(0).says(&["left out"]);
    }
}

#[test]
fn a_keystore_with_a_trusted_server_is_imported_without_it() {
    let machine = Cardcase::new();
    let answer = import(&machine, &[fixture("identities/trusted-server.p12")], &[]).expect(0).json();
    assert_eq!(answer["imported"][0]["subject"], "CN=Alice Example,O=Cardcase Fixtures");
    assert_eq!(answer["authorities"].as_array().unwrap().len(), 2);
    assert_eq!(answer["left_out"].as_array().unwrap().len(), 1);
    assert_eq!(answer["left_out"][0]["what"], "CN=localhost,O=Cardcase Fixtures");
}

/// A truststore, or a chain that comes before its key.
#[test]
fn ca_certificates_are_imported_from_a_file_without_keys() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    let file = ca::write(scene.machine.dir(), "chain", "pem", alice.pem() + &alice.chain_pem());
    let answer = import(&scene.machine, std::slice::from_ref(&file), &[]).expect(0).says(&["left out CN=alice"]).json();
    assert_eq!((&answer["imported"], answer["authorities"].as_array().unwrap().len()), (&json!([]), 1));
    // The CA certificate is there already, and the certificate alone is still nothing
    import(&scene.machine, &[file], &[]).expect(0);
    let alone = ca::write(scene.machine.dir(), "alone", "pem", alice.pem());
    import(&scene.machine, &[alone], &[]).expect(1).says(&["CN=alice", "no private key", "hint"]);
}

#[test]
fn a_damaged_certificate_that_a_key_needs_is_an_error() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let file = ca::write(scene.machine.dir(), "file", "pem", alice.key_pem() + broken + &alice.chain_pem());
    import(&scene.machine, std::slice::from_ref(&file), &[]).expect(1).says(&[
        file.to_str().unwrap(),
        "CERTIFICATE",
        "damaged",
    ]);
    assert_eq!(scene.machine.json("authorities")["authorities"], json!([]));
}

/// One certificate in a bundle that cannot be read, or that no TLS library accepts, must not hide the others.
#[test]
fn one_odd_root_does_not_hide_the_others_of_a_bundle() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let server = scene.server(Kind::Go).ask(Ask::Never).start();
    let good = scene.server_root.pem();
    for (what, text) in [
        ("damaged", format!("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n{good}")),
        ("no end", format!("{good}-----BEGIN CERTIFICATE-----\nMIIB\n")),
        ("no end in the middle", format!("-----BEGIN CERTIFICATE-----\nMIIB\n{good}")),
        ("no PKCS#12", format!("{good}-----BEGIN PKCS12-----\nMAA=\n-----END PKCS12-----\n")),
    ] {
        let machine = Cardcase::new();
        let file = ca::write(dir, "bundle", "pem", text);
        let path = file.to_str().unwrap();
        let run = |arguments: &[&str]| machine.command(["--batch"]).args(arguments).run().expect(0);
        let left_out = ["warning", path, "left out a certificate", "damaged"];
        run(&["fetch", &server.url(), "--cacert", path]).says(&left_out);
        run(&["trust", path]).says(&[&left_out[..], &["Server Root"]].concat());
        run(&["fetch", &server.url()]);
        assert!(machine.run("list --json").expect(0).text().contains("[]"), "{what}");
    }
}

/// Java's keystores, PKCS#8 in PEM, and OpenSSL's own encryption.
#[test]
fn a_second_password_opens_the_private_keys() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let (alice, bob) = (scene.employee("alice").issue(), scene.employee("bob").issue());
    let locked = |line: &str, identity: &Issued| {
        let key = openssl(&format!("{line} -in {}", identity.key_file(dir).display()));
        [key, identity.pem().into()].concat()
    };
    let pkcs8 = |password: &str| format!("pkcs8 -topk8 -iter 2 -passout pass:{password}");
    let traditional = |password: &str| format!("ec -aes256 -passout pass:{password}");
    let pem = |line: &dyn Fn(&str) -> String, first: &str, second: &str| {
        [locked(&line(first), &alice), locked(&line(second), &bob)].concat()
    };
    let files = [
        (fixture("identities/two-passwords.p12"), 1),
        (ca::write(dir, "pkcs8", "pem", pem(&pkcs8, PASSWORD, "key-password")), 2),
        (ca::write(dir, "reversed", "pem", pem(&pkcs8, "key-password", PASSWORD)), 2),
        (ca::write(dir, "traditional", "pem", pem(&traditional, "key-password", PASSWORD)), 2),
    ];
    let right = ca::write(dir, "right", "txt", "key-password\n");
    let (right, wrong) = (right.to_str().unwrap(), ca::write(dir, "wrong", "txt", "neither"));
    for (file, identities) in files {
        let machine = Cardcase::new();
        let name = file.to_str().unwrap();
        let again = import(&machine, std::slice::from_ref(&file), &[]).expect(4);
        let again =
            again.says(&[name, "a password of its own", &format!("hint: cardcase import {name} --password-file ")]);
        assert!(again.stderr.trim_end().ends_with("--key-password-file FILE"), "{}", again.stderr);
        import(&machine, std::slice::from_ref(&file), &["--key-password-file", wrong.to_str().unwrap()]).expect(6);
        assert_eq!(machine.json("list")["identities"], json!([]), "{name}");
        let answer = import(&machine, std::slice::from_ref(&file), &["--key-password-file", right]).expect(0).json();
        assert_eq!(answer["imported"].as_array().unwrap().len(), identities, "{name}");
    }
    let run = scene.machine.command(["--batch", "import", "-", "--password-file=-", "--key-password-file", right]);
    run.stdin("x").run().expect(2);
    let run = scene.machine.command(["--batch", "import", "--password-file=-", "--key-password-file=-"]);
    run.arg(fixture("identities/two-passwords.p12")).stdin("x").run().expect(2);
}

#[test]
fn a_person_is_asked_for_the_second_password() {
    let machine = Cardcase::new();
    let file = fixture("identities/two-passwords.p12");
    let mut terminal = Terminal::open_sized(&machine, ["import", file.to_str().unwrap()], 24, 200);
    terminal.wait_for("Password of /");
    terminal.send(&format!("{PASSWORD}{}", key::ENTER));
    terminal.wait_for("Password of the private key in");
    terminal.send(&format!("typo{}", key::ENTER));
    terminal.wait_for("Wrong. Password of the private key in");
    terminal.send(&format!("key-password{}", key::ENTER));
    terminal.wait_for("New primary password");
    terminal.send(key::ENTER);
    terminal.wait_for("imported: alice");
}

/// A locked key and a damaged certificate in one file: the password comes first.
#[test]
fn a_missing_password_is_reported_before_damage() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let alice = scene.employee("alice").issue();
    let locked =
        openssl(&format!("pkcs8 -topk8 -iter 2 -passout pass:{PASSWORD} -in {}", alice.key_file(dir).display()));
    let broken = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_vec();
    let file = ca::write(dir, "file", "pem", [broken, locked, alice.pem().into()].concat());
    scene.machine.command(["--batch", "import"]).arg(&file).run().expect(4).says(&["it needs a password"]);
    import(&scene.machine, &[file], &[]).expect(0).says(&["left out a certificate"]);
}

#[test]
fn a_password_file_from_windows_is_read() {
    let file = [fixture("identities/openssl.p12")];
    for content in [
        format!("\u{feff}{PASSWORD}\r\n").into_bytes(),
        utf16(&format!("{PASSWORD}\r\n"), u16::to_le_bytes),
        utf16(PASSWORD, u16::to_be_bytes),
    ] {
        let machine = Cardcase::new();
        let password = ca::write(machine.dir(), "password", "txt", content);
        machine.command(["--batch", "import", "--password-file"]).arg(password).args(&file).run().expect(0);
    }
}

/// macOS types decomposed letters, the others composed ones.
#[test]
fn an_accented_password_is_right_in_both_normal_forms() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let alice = scene.employee("alice").issue();
    let certificate = alice.certificate_file(dir);
    for (typed, other) in
        [("g\u{e9}heim", "ge\u{301}heim"), ("ge\u{301}heim", "g\u{e9}heim"), ("\u{d55c}", "\u{1112}\u{1161}\u{11ab}")]
    {
        let key = |line: &str| {
            let key = openssl(&format!("{line} -passout pass:{typed} -in {}", alice.key_file(dir).display()));
            vec![certificate.clone(), ca::write(dir, "key", "pem", key)]
        };
        let files = [
            vec![alice.p12_with_password(dir, P12::Default, typed)],
            vec![alice.p12_with_password(dir, P12::Legacy, typed)],
            key("pkcs8 -topk8 -iter 2"),
            key("pkcs8 -topk8 -v1 PBE-SHA1-3DES"),
            key("ec -aes256"),
        ];
        for files in files {
            for password in [typed, other] {
                let machine = Cardcase::new();
                let password = machine.password_file(password);
                let run = machine.command(["--batch", "import", "--password-file"]).arg(password).args(&files);
                run.run().expect(0);
            }
        }
    }
}

/// `signCert.der` and `signPri.key`.
#[test]
fn keys_of_the_korean_pki_are_imported_with_their_certificates() {
    for key in ["seed-4.der", "seed-15.der", "seed-pbes2.der"] {
        let machine = Cardcase::new();
        let files = [fixture("alice/certificate.der"), fixture(&format!("pem/{key}"))];
        let answer = import(&machine, &files, &[]).expect(0).json();
        assert_eq!(answer["imported"].as_array().unwrap().len(), 1, "{key}");
        let wrong = machine.password_file("wrong");
        machine.command(["--batch", "import", "--password-file"]).arg(wrong).args(&files).run().expect(6);
    }
}
