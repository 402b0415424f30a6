//! PEM and DER files as `openssl` writes them: each is imported by the command and used once.

use std::path::{Path, PathBuf};

use crate::support::ca::{self, Issued, Key, P12, PASSWORD};
use crate::support::command::{Cardcase, Outcome};
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server};
use serde_json::json;

/// Runs `openssl` with the words of `line`, then `-in FILE`; returns what it wrote.
fn openssl(line: &str, file: &Path) -> Vec<u8> {
    let mut command = program::named("openssl");
    command.args(line.split_whitespace()).arg("-in").arg(file);
    let output =
        command.output().unwrap_or_else(|error| panic!("{}", crate::support::missing("openssl", "openssl", &error)));
    assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn import(machine: &Cardcase, files: &[PathBuf], password: &str) -> Outcome {
    let password = machine.password_file(password);
    machine.command(["--batch", "--json", "import", "--password-file"]).arg(password).args(files).run()
}

/// A server, and machines on which one identity is imported and used.
struct Trial {
    scene: Scene,
    server: Server,
}

impl Trial {
    fn new() -> Trial {
        let scene = Scene::new();
        let server = scene.server(Kind::Go).start();
        Trial { scene, server }
    }

    fn dir(&self) -> &Path {
        self.scene.machine.dir()
    }

    /// Imports the files on a new machine: they hold exactly this identity, and a server accepts it.
    #[track_caller]
    fn works(&self, identity: &Issued, files: &[PathBuf], case: &str) {
        let machine = Cardcase::new();
        let outcome = import(&machine, files, PASSWORD);
        assert_eq!(outcome.code(), Some(0), "{case}: {}", outcome.stderr);
        let imported = outcome.json()["imported"].clone();
        assert_eq!(imported.as_array().unwrap().len(), 1, "{case}");
        assert_eq!(imported[0]["fingerprint"], identity.fingerprint(), "{case}");
        let id = identity.fingerprint();
        let more = ["--as", &id];
        let outcome = machine.fetch(&self.server.url(), &self.scene.server_root_file, &more);
        assert_eq!(outcome.code(), Some(0), "{case}: {}", outcome.stderr);
        assert_eq!(self.server.chains().last(), Some(&identity.sent_chain()), "{case}");
    }

    /// The key in every form: in a file of its own, and in one with the certificates.
    #[track_caller]
    fn keys_work(&self, identity: &Issued, forms: &[&str]) {
        let plain = identity.key_file(self.dir());
        let certificate = identity.certificate_file(self.dir());
        for form in forms {
            let key = openssl(form, &plain);
            let files = [certificate.clone(), ca::write(self.dir(), "key", "any", &key)];
            self.works(identity, &files, &format!("{form}, two files"));
            if key.starts_with(b"-----") {
                let both = [key, std::fs::read(&certificate).unwrap()].concat();
                let file = ca::write(self.dir(), "both", "any", both);
                self.works(identity, &[file], &format!("{form}, one file"));
            }
        }
    }
}

const PKCS8: [&str; 9] = [
    "pkcs8 -topk8 -nocrypt",
    "pkcs8 -topk8 -nocrypt -outform DER",
    "pkcs8 -topk8 -passout pass:cardcase",
    "pkcs8 -topk8 -passout pass:cardcase -outform DER",
    "pkcs8 -topk8 -passout pass:cardcase -v2 des3",
    "pkcs8 -topk8 -passout pass:cardcase -v2 aes-128-cbc -v2prf hmacWithSHA512",
    "pkcs8 -topk8 -passout pass:cardcase -scrypt -scrypt_N 1024",
    "pkcs8 -topk8 -passout pass:cardcase -v1 PBE-SHA1-3DES",
    "pkcs8 -topk8 -passout pass:cardcase -v1 PBE-SHA1-RC2-40 -provider legacy -provider default",
];

#[test]
fn pkcs8_keys_of_every_kind_are_imported() {
    let trial = Trial::new();
    // With the public key inside (RFC 5958), which openssl 3.0 cannot read
    let ed25519 = trial.scene.employee("ed25519").key(Key::Ed25519).issue();
    trial.works(&ed25519, &[ed25519.pem_file(trial.dir())], "Ed25519");
    for key in [Key::P256, Key::P384, Key::P521, Key::Rsa2048] {
        let forms = if key == Key::P256 { &PKCS8[..] } else { &PKCS8[..3] };
        trial.keys_work(&trial.scene.employee(key.name()).key(key).issue(), forms);
    }
}

#[test]
fn pkcs1_keys_are_imported() {
    let trial = Trial::new();
    let identity = trial.scene.employee("rsa").key(Key::Rsa2048).issue();
    let forms = [
        "rsa -traditional",
        "rsa -traditional -outform DER",
        "rsa -traditional -passout pass:cardcase -aes256",
        "rsa -traditional -passout pass:cardcase -aes192",
        "rsa -traditional -passout pass:cardcase -aes128",
        "rsa -traditional -passout pass:cardcase -des3",
        "rsa -traditional -passout pass:cardcase -des -provider legacy -provider default",
        "rsa -traditional -passout pass:cardcase -camellia256",
        "rsa -traditional -passout pass:cardcase -aria128",
    ];
    trial.keys_work(&identity, &forms);
}

#[test]
fn sec1_keys_are_imported() {
    let trial = Trial::new();
    for key in [Key::P256, Key::P384, Key::P521] {
        let identity = trial.scene.employee(key.name()).key(key).issue();
        let forms = [
            "ec",
            "ec -outform DER",
            "ec -no_public",
            "ec -conv_form compressed",
            "ec -passout pass:cardcase -aes256",
            "ec -passout pass:cardcase -des3",
        ];
        trial.keys_work(&identity, &forms);
    }
}

#[test]
fn certificates_in_every_form_are_imported() {
    let trial = Trial::new();
    let identity = trial.scene.employee("alice").issue();
    let all = identity.certificate_file(trial.dir());
    let chain = ca::write(trial.dir(), "chain", "pem", identity.chain_pem());
    let leaf = ca::write(trial.dir(), "leaf", "pem", identity.pem());
    let key = identity.key_file(trial.dir());
    let pkcs7 = format!("crl2pkcs7 -nocrl -certfile {}", all.display());
    let forms = [
        "x509",
        "x509 -outform DER",
        "x509 -text",
        "x509 -trustout -addtrust clientAuth -setalias alias",
        &pkcs7,
        &format!("{pkcs7} -outform DER"),
    ];
    for form in forms {
        let certificate = ca::write(trial.dir(), "certificate", "any", openssl(form, &leaf));
        trial.works(&identity, &[certificate, key.clone(), chain.clone()], form);
    }
    let carriage_returns = [&leaf, &key, &chain].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let carriage_returns = format!("\u{feff}{}", carriage_returns.replace('\n', "\r\n"));
    trial.works(&identity, &[ca::write(trial.dir(), "crlf", "pem", carriage_returns)], "CRLF");
    let base64 = identity.pem().lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>().join("\n");
    trial.works(&identity, &[ca::write(trial.dir(), "bare", "cer", base64), key, chain], "bare base64");
}

#[test]
fn the_output_of_openssl_pkcs12_keeps_its_name() {
    let trial = Trial::new();
    let identity = trial.scene.employee("alice").issue();
    let p12 = identity.p12(trial.dir(), P12::Default);
    for form in ["-nodes", "-passout pass:cardcase"] {
        let printed = openssl(&format!("pkcs12 -passin pass:cardcase {form}"), &p12);
        assert!(String::from_utf8_lossy(&printed).contains("friendlyName: alice"));
        let renamed = String::from_utf8(printed).unwrap().replace("friendlyName: alice", "friendlyName: Alice's card");
        let file = ca::write(trial.dir(), "printed", "txt", renamed);
        trial.works(&identity, std::slice::from_ref(&file), form);
        let machine = Cardcase::new();
        assert_eq!(import(&machine, &[file], PASSWORD).json()["imported"][0]["name"], "Alice's card");
    }
}

#[test]
fn ec_parameters_and_public_keys_in_a_file_are_ignored() {
    let trial = Trial::new();
    let identity = trial.scene.employee("alice").issue();
    let key = identity.key_file(trial.dir());
    let parameters = openssl("ecparam -name prime256v1", Path::new("/dev/null"));
    let public = openssl("pkey -pubout", &key);
    let all = [parameters, public, identity.key_pem().into(), identity.pem().into(), identity.chain_pem().into()];
    trial.works(&identity, &[ca::write(trial.dir(), "all", "pem", all.concat())], "beside");
    let alone = ca::write(trial.dir(), "public", "pem", openssl("pkey -pubout", &key));
    import(&Cardcase::new(), &[alone], PASSWORD).expect(1).says(&["no certificate and no private key", "a public key"]);
}

#[test]
fn a_wrong_password_is_exit_6_and_a_missing_one_is_exit_4() {
    let scene = Scene::new();
    let identity = scene.employee("alice").key(Key::Rsa2048).issue();
    let (plain, certificate) = (identity.key_file(scene.machine.dir()), identity.certificate_file(scene.machine.dir()));
    for form in PKCS8[2..].iter().chain(&["rsa -traditional -passout pass:cardcase -aes256"]) {
        let key = ca::write(scene.machine.dir(), "key", "pem", openssl(form, &plain));
        let name = key.file_name().unwrap().to_str().unwrap().to_owned();
        let files = [certificate.clone(), key];
        for password in ["wrong", "", "cardcas", "Cardcase"] {
            import(&scene.machine, &files, password).expect(6).says(&[&name, "wrong password"]);
        }
        scene.machine.command(["--batch", "import"]).args(&files).run().expect(4).says(&[&name, "password"]);
    }
    assert_eq!(scene.machine.json("list")["identities"], json!([]));
}

/// They are imported and listed, but no handshake uses them.
#[test]
fn keys_that_tls_cannot_use_are_imported_with_their_certificates() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let issuer = [dir.join("ca.key"), dir.join("ca.pem")];
    let config = ca::write(dir, "leaf", "cnf", "basicConstraints=CA:FALSE");
    let ca = |line: &str| shell(&format!("openssl {line}"));
    ca(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=CA -keyout {} -out {}",
        issuer[0].display(),
        issuer[1].display()
    ));
    for (kind, make) in [
        ("ed448", "genpkey -algorithm ED448"),
        ("ec-secp256k1", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1"),
    ] {
        let (key, request, leaf) = (dir.join(kind), dir.join("request"), dir.join("leaf"));
        ca(&format!("{make} -out {}", key.display()));
        ca(&format!("req -new -key {} -subj /CN={kind} -out {}", key.display(), request.display()));
        ca(&format!(
            "x509 -req -in {} -CA {} -CAkey {} -CAcreateserial -days 9 -extfile {} -out {}",
            request.display(),
            issuer[1].display(),
            issuer[0].display(),
            config.display(),
            leaf.display()
        ));
        let answer = import(&scene.machine, &[key, leaf, issuer[1].clone()], PASSWORD).expect(0).json();
        assert_eq!(answer["imported"][0]["key"], kind);
    }
}

fn shell(line: &str) {
    let output = program::named("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_error_names_the_file_that_caused_it() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let (alice, bob) = (scene.employee("alice").issue(), scene.employee("bob").issue());
    let whole = alice.pem_file(dir);
    let bob_alone = ca::write(dir, "bob", "pem", bob.pem());
    let bobs_key = ca::write(dir, "bobs-key", "pem", bob.key_pem());
    let broken = ca::write(dir, "broken", "pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    let named = |files: &[&PathBuf], culprit: &PathBuf, word: &str| {
        let files: Vec<_> = files.iter().map(|file| (*file).clone()).collect();
        let name = culprit.file_name().unwrap().to_str().unwrap();
        // The other file is imported
        let machine = Cardcase::new();
        let answer = import(&machine, &files, PASSWORD).expect(1).says(&[&format!("{name}: "), word]).json();
        assert_eq!(answer["imported"].as_array().unwrap().len(), 1);
        assert!(answer["left_out"][0]["file"].as_str().unwrap().ends_with(name), "{answer}");
    };
    named(&[&whole, &bob_alone], &bob_alone, "no private key");
    named(&[&whole, &bobs_key], &bobs_key, "no certificate");
    named(&[&whole, &broken], &broken, "line 1");
    let all = [whole, bobs_key, bob_alone];
    assert_eq!(import(&scene.machine, &all, PASSWORD).expect(0).json()["imported"].as_array().unwrap().len(), 2);
}

#[test]
fn unsupported_formats_are_named() {
    let machine = Cardcase::new();
    let pem = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n").into_bytes();
    let cases: [(Vec<u8>, &[&str]); 9] = [
        (b"\xce\xce\xce\xce\0\0\0\x02".to_vec(), &["JCEKS", "keytool"]),
        (b"PK\x03\x04".to_vec(), &["ZIP"]),
        (pem("OPENSSH PRIVATE KEY"), &["unsupported", "OPENSSH PRIVATE KEY", "ssh-keygen"]),
        (pem("PGP PUBLIC KEY BLOCK"), &["OpenPGP"]),
        (pem("DSA PRIVATE KEY"), &["DSA"]),
        (pem("CERTIFICATE REQUEST"), &["a certificate request"]),
        (b"-----BEGIN RSA PRIVATE KEY-----\nMIIE".to_vec(), &["cut short", "RSA PRIVATE KEY", "line 1"]),
        (
            b"\n-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: RC5-CBC,00\n\nMAA=\n-----END RSA PRIVATE KEY-----".to_vec(),
            &["unsupported", "RC5-CBC", "openssl pkcs8"],
        ),
        (b"hello\n".to_vec(), &["neither", "text"]),
    ];
    for (content, words) in cases {
        let file = ca::write(machine.dir(), "other", "pem", content);
        import(&machine, &[file], PASSWORD).expect(1).says(words);
    }
}

#[test]
fn an_imported_ca_certificate_is_not_trusted() {
    let scene = Scene::new();
    let answer = import(&scene.machine, &[scene.staff_root.file(scene.machine.dir())], PASSWORD).expect(0).json();
    assert_eq!(answer["authorities"][0]["fingerprint"], scene.staff_root.fingerprint());
    assert_eq!(scene.machine.json("authorities")["authorities"][0]["trusted"], false);
}

#[test]
fn a_certificate_renewed_for_a_key_in_the_store_makes_an_identity() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let alice = scene.hire("alice");
    let (certificate, key) = (alice.certificate_file(dir), alice.key_file(dir));
    let renewed = openssl(&format!("x509 -days 9 -signkey {}", key.display()), &certificate);
    let renewed = ca::write(dir, "renewed", "pem", renewed);
    let answer = import(&scene.machine, std::slice::from_ref(&renewed), PASSWORD).expect(0).json();
    assert_eq!(answer["imported"].as_array().unwrap().len(), 1);
    let id = answer["imported"][0]["fingerprint"].as_str().unwrap().to_owned();
    assert_ne!(id, alice.fingerprint());
    let answer = import(&scene.machine, &[renewed], PASSWORD).expect(0).json();
    assert_eq!(answer["already_present"][0]["fingerprint"], id);
    // A server that names no authority accepts any certificate
    let server = crate::support::server::Setup::new(Kind::OpenSsl, &scene.server_certificate);
    let server = server.ask(crate::support::server::Ask::Optional).start();
    scene.fetch(&server.url(), &["--as", &id]);
    assert_eq!(server.chains(), [[id]]);
}

#[test]
fn two_hundred_identities_in_one_file_are_imported() {
    let scene = Scene::new();
    let identities: Vec<_> = (0..200).map(|number| scene.employee(&format!("person {number}")).issue()).collect();
    let text: String = identities.iter().map(|each| each.key_pem() + &each.pem() + &each.chain_pem()).collect();
    let file = ca::write(scene.machine.dir(), "department", "pem", text);
    let answer = import(&scene.machine, std::slice::from_ref(&file), PASSWORD).expect(0).json();
    assert_eq!(answer["imported"].as_array().unwrap().len(), 200);
    assert_eq!(answer["authorities"].as_array().unwrap().len(), 1);
    let answer = import(&scene.machine, &[file.clone(), file], PASSWORD).expect(0).json();
    assert_eq!(
        (answer["imported"].as_array().unwrap().len(), answer["already_present"].as_array().unwrap().len()),
        (0, 200)
    );
}

#[test]
fn more_rounds_than_usual_must_be_allowed() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    let dir = scene.machine.dir();
    let key = openssl("pkcs8 -topk8 -passout pass:cardcase -iter 3000", &alice.key_file(dir));
    let files = [alice.certificate_file(dir), ca::write(dir, "key", "pem", key)];
    let p12 = [alice.p12(dir, P12::Default)];
    let password = scene.machine.password_file(PASSWORD);
    let import = |files: &[PathBuf], rounds: &str| {
        let run = scene.machine.command(["--batch", "import", "--max-iterations", rounds, "--password-file"]);
        run.arg(&password).args(files).run()
    };
    import(&files, "2999").expect(1).says(&["3000 rounds", "the limit is 2999", "hint", "--max-iterations 3000"]);
    import(&p12, "2047").expect(1).says(&["2048 rounds", "--max-iterations 2048"]);
    import(&files, "3000").expect(0);
    import(&p12, "0").expect(2);
}
