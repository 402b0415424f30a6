//! Private keys in the forms in which programs write them: each that `openssl s_client` can use is used.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::support::command::{Cardcase, Outcome};
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server, Tls};
use crate::support::tunnel::Tunnel;

/// Accepts any key, also those that Debian finds too weak. In TLS 1.2, it has to support the curve of the key itself.
fn lenient_server(scene: &Scene, tls: Tls) -> Server {
    let groups = "X25519:P-256:X448:P-521:P-384:P-224:secp256k1:brainpoolP256r1:brainpoolP384r1:brainpoolP512r1";
    let lenient = ["-cipher", "DEFAULT@SECLEVEL=0", "-groups", groups];
    scene.server(Kind::OpenSsl).tls(tls).ask(Ask::Unchecked).without_hints().arguments(&lenient).start()
}

/// What `import --json` says of the only identity in a file.
fn import(scene: &Scene, file: &Path) -> Value {
    let outcome = scene.machine.command(["import", "--json"]).arg(file).run().expect(0);
    outcome.json()["imported"][0].clone()
}

/// Whether the page of `openssl s_server -www` shows this client's certificate.
fn shows(page: &str, name: &str) -> bool {
    page.contains(&format!("Subject: CN={name}\n"))
}

/// Whether `openssl s_client` signs in with the key and the certificate in a file.
fn openssl_signs_in(server: &Server, file: &Path, name: &str) -> bool {
    let mut client = program::named("openssl");
    client.args(["s_client", "-quiet", "-cipher", "DEFAULT@SECLEVEL=0", "-connect", &server.address().to_string()]);
    client.arg("-cert").arg(file).arg("-key").arg(file);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = client.spawn().unwrap();
    // It may have ended already, because it cannot read the key
    let _ = running.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n");
    shows(&String::from_utf8_lossy(&running.wait_with_output().unwrap().stdout), name)
}

fn signs_in(scene: &Scene, server: &Server, identity: &Value, name: &str) -> (bool, Outcome) {
    let id = identity["fingerprint"].as_str().unwrap();
    let outcome = scene.fetch(&server.url(), &["--as", id]);
    if outcome.code() != Some(3) {
        return (outcome.code() == Some(0) && shows(&outcome.text(), name), outcome);
    }
    // rustls signs with it, but not in this version of TLS: RSASSA-PSS keys in TLS 1.2
    let outcome = scene.fetch(&server.url(), &["--as", id, "--tls", "openssl"]);
    (outcome.code() == Some(0) && shows(&outcome.text(), name), outcome)
}

/// The files that tests/odd-keys.py makes of these types of keys.
fn odd_keys(scene: &Scene, types: &[&str]) -> Vec<PathBuf> {
    let dir = scene.machine.dir().join("odd");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/odd-keys.py");
    let (ca, key) = (scene.staff.file(scene.machine.dir()), scene.staff.key_file(scene.machine.dir()));
    let made = program::named("python3").arg(script).args([&dir, &ca, &key]).args(types).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|name| name == "pem")).collect();
    files.sort();
    files
}

#[test]
fn every_key_that_openssl_uses_is_used_and_every_other_has_a_reason() {
    let scene = Scene::new();
    let servers = BOTH_VERSIONS.map(|tls| (tls, lenient_server(&scene, tls)));
    let mut wrong = Vec::new();
    let files = odd_keys(&scene, &["rsa", "ec", "ed25519", "ed448", "dsa"]);
    assert!(files.len() > 60, "{}", files.len());
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let identity = import(&scene, &file);
        let usable = &identity["usable"];
        let mut is_used = false;
        for (tls, server) in &servers {
            let (used, outcome) = signs_in(&scene, server, &identity, &name);
            is_used |= used;
            if openssl_signs_in(server, &file, &name) && !used {
                wrong.push(format!("{name} in TLS {}: {usable} {}", tls.number(), outcome.stderr));
            }
        }
        let is_usable = usable["rustls"] == true || usable["openssl"] == true;
        if is_usable != is_used || usable["rustls"] == true && !usable["why"].is_null() {
            wrong.push(format!("{name}: {usable}, but used: {is_used}"));
        }
        if usable["rustls"] == false && !usable["why"].is_string() {
            wrong.push(format!("{name}: {usable} without a reason"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/keys").join(name)
}

/// Keys and certificates that others wrote, each odd in one way; the kind of key, and whether s_server reads the certificate.
#[test]
fn keys_that_others_wrote_are_usable_and_named() {
    let cases = [
        ("ed-v2-explicit.pem", "ed25519", true),
        ("rsa-3primes.pem", "rsa-2048", true),
        ("rsa-bad-qinv.pem", "rsa-2048", true),
        ("rsa-e64.pem", "rsa-2048", true),
        ("rsa-nocrt-zero.pem", "rsa-2048", true),
        ("rsa-noparams-alg.pem", "rsa-2048", true),
        ("rsa-2047.pem", "rsa-2047", true),
        ("k-compressed.pem", "ec-p256", true),
        ("k-rsa-padmod.pem", "rsa-2048", false),
        ("kc.p12", "ec-p256", true),
        ("ec-cert-explicit.pem", "ec-explicit", true),
    ];
    let scene = Scene::new();
    let servers = BOTH_VERSIONS.map(|tls| lenient_server(&scene, tls));
    for (file, kind, is_readable) in cases {
        // Some of them hold the same certificate
        let machine = Cardcase::new();
        let imported = machine.command(["import", "--json"]).arg(fixture(file)).run().expect(0).json();
        let identity = &imported["imported"][0];
        assert_eq!(identity["key"], kind, "{file}");
        assert_eq!(identity["usable"]["rustls"], true, "{file}: {identity}");
        assert_eq!(identity["usable"]["why"], Value::Null, "{file}");
        let (id, name) = (identity["fingerprint"].as_str().unwrap(), identity["name"].as_str().unwrap());
        for server in servers.iter().filter(|_| is_readable) {
            let fetch = |tls| machine.fetch(&server.url(), &scene.server_root_file, &["--as", id, "--tls", tls]);
            let used = ["rustls", "openssl"].map(fetch).into_iter().any(|fetched| shows(&fetched.text(), name));
            assert!(used, "{file}: {}", server.said());
        }
    }
}

#[test]
fn a_key_that_only_openssl_can_use_is_marked_and_used_without_a_flag() {
    let scene = Scene::new();
    let file = odd_keys(&scene, &["ec"]).into_iter().find(|file| file.ends_with("ec-secp256k1.pem")).unwrap();
    let imported = scene.machine.command(["import"]).arg(&file).run().expect(0);
    imported.says(&["rustls cannot sign with its key, ec-secp256k1", "OpenSSL can", "--tls openssl"]);
    let shows_all = |outcome: Outcome, words: &[&str]| {
        let text = outcome.expect(0).text();
        words.iter().for_each(|word| assert!(text.contains(word), "no {word:?} in {text}"));
    };
    shows_all(scene.machine.run("list"), &["ec-secp256k1 (OpenSSL only)"]);
    let limit = ["rustls cannot sign with its key, ec-secp256k1", "OpenSSL can"];
    shows_all(scene.machine.run("show ec-secp256k1"), &[&limit[..], &["Unusable"]].concat());
    let server = lenient_server(&scene, Tls::V1_2);
    let ca = scene.server_root_file.to_str().unwrap();
    let explain = format!("explain {} --cacert {ca}", server.destination());
    shows_all(scene.machine.run(&explain), &["rustls cannot sign with its key", "OpenSSL can"]);
    let json = scene.machine.json(&explain);
    assert_eq!(json["identities"][0]["reasons"], serde_json::json!(["no_common_signature_scheme"]));

    scene.remember(&server.destination(), "ec-secp256k1");
    let fetched = scene.fetch(&server.url(), &[]).expect(0).says(&["with OpenSSL"]);
    assert!(shows(&fetched.text(), "ec-secp256k1"), "{}", fetched.text());
    scene.fetch(&server.url(), &["--tls", "rustls", "--as", "ec-secp256k1"]).expect(3);

    let to = server.destination();
    for command in [&["explain", &to][..], &["explain", &to, "--request"]] {
        let explained = scene.machine.command([command, &["--cacert", ca]].concat()).run().expect(0);
        let explained = explained.says(&["with OpenSSL"]);
        shows_all(explained, &["Remembered: ec-secp256k1 is sent."]);
        let demanded = scene.machine.command([command, &["--cacert", ca, "--tls", "rustls"]].concat()).run();
        shows_all(demanded, &["No identity fits"]);
    }
    let credential = ["credential", "curl", &to, "--cacert", ca];
    for given in [&[][..], &["--as", "ec-secp256k1"]] {
        let credential = scene.machine.command([&credential[..], given].concat()).run().expect(0);
        credential.says(&["with OpenSSL", "the private key of \"ec-secp256k1\" has left the store"]);
    }
    for given in [&[][..], &["--as", "ec-secp256k1"]] {
        let tunnel = Tunnel::start(&scene, &to, given);
        assert!(shows(&String::from_utf8_lossy(&tunnel.fetch().stdout), "ec-secp256k1"), "{}", tunnel.said());
        tunnel.says("with OpenSSL from now on");
    }
}

#[test]
fn a_key_of_another_certificate_does_not_pair_whatever_its_form() {
    let scene = Scene::new();
    let files = odd_keys(&scene, &["ec"]);
    let text = |name: &str| {
        let file = files.iter().find(|file| file.ends_with(name)).unwrap();
        std::fs::read_to_string(file).unwrap()
    };
    let (ours, other) = (text("ec-compressed.pem"), text("ec-P-384.pem"));
    let key = ours.split_inclusive("-----END PRIVATE KEY-----\n").next().unwrap();
    let certificate = other.split_inclusive("-----END PRIVATE KEY-----\n").nth(1).unwrap();
    let file = scene.machine.dir().join("mixed.pem");
    std::fs::write(&file, format!("{key}{certificate}")).unwrap();
    scene.machine.command(["import"]).arg(&file).run().expect(1).says(&["belongs to no certificate"]);
}
