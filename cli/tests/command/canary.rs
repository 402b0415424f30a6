//! Searches everything that the command leaves behind or prints for secrets that the test knows: private keys,
//! passwords, and how they were sealed before they were removed or the password changed.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::ca::{self, Issued, Key, P12};
use crate::support::command::{Cardcase, Outcome, Run};
use crate::support::scene::Scene;
use crate::support::server::Kind;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tempfile::TempDir;

const P12_PASSWORD: &str = "canary of the p12 file: 5fe2c4";
const WRONG: &str = "canary that opens nothing: 1b09d7";
const PRIMARY: [&str; 2] = ["canary of the vault, the first: 88ac31", "canary of the vault, the second: 4d7e05"];

const DATA_KEY: &str = "SELECT 'the data key', data_key FROM vault";
const PRIVATE_KEYS: &str = "SELECT name, private_key FROM identities";

/// What must not be found, in every form in which it might be written, by its first bytes.
#[derive(Clone, Default)]
struct Secrets(HashMap<[u8; 8], Vec<(String, Vec<u8>)>>);

impl Secrets {
    /// Any 16 bytes of the secret are enough.
    fn add_bytes(&mut self, name: &str, secret: &[u8]) {
        for (number, part) in secret.chunks_exact(16).enumerate() {
            self.add_forms(&format!("{name}, part {number}"), forms(part));
        }
    }

    fn add_text(&mut self, name: &str, secret: &str) {
        self.add_forms(name, forms(secret.as_bytes()));
        // As in PKCS#12
        let units = || secret.encode_utf16();
        let wide = [units().flat_map(u16::to_be_bytes).collect(), units().flat_map(u16::to_le_bytes).collect()];
        self.add_forms(name, wide.to_vec());
    }

    fn add_forms(&mut self, name: &str, forms: Vec<Vec<u8>>) {
        for form in forms {
            self.0.entry(*form.first_chunk().unwrap()).or_default().push((name.to_owned(), form));
        }
    }

    fn found_in(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let begins = |at: usize| self.0.get(bytes[at..].first_chunk::<8>()?).map(|forms| (at, forms));
        let begun = (0..bytes.len()).filter_map(begins);
        let found = |(at, forms)| {
            let forms: &Vec<(String, Vec<u8>)> = forms;
            forms.iter().filter(move |(_, form)| bytes[at..].starts_with(form))
        };
        begun.flat_map(found).map(|(name, _)| name.as_str()).collect()
    }
}

/// Raw, as hexadecimal, and as base64 at every offset.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hexadecimal: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![secret.to_vec(), hexadecimal.to_uppercase().into_bytes(), hexadecimal.into_bytes()];
    for skip in 0..3 {
        let whole = &secret[skip..];
        forms.push(STANDARD_NO_PAD.encode(&whole[..whole.len() / 3 * 3]).into_bytes());
    }
    forms
}

/// The secret numbers of a private key.
fn private_numbers(pkcs8: &[u8], key: Key) -> Vec<Vec<u8>> {
    // The bytes before them: version and tag of ECPrivateKey (RFC 5915), the public exponent in RSAPrivateKey
    let before: &[u8] = if key == Key::P256 { &[2, 1, 1, 4, 32] } else { &[2, 3, 1, 0, 1] };
    let at = pkcs8.windows(before.len()).position(|window| window == before).unwrap() + before.len();
    if key == Key::P256 {
        return vec![pkcs8[at..at + 32].to_vec()];
    }
    // d, p, q, and the numbers derived from them
    let mut rest = &pkcs8[at..];
    let mut numbers = Vec::new();
    while let [2, long, more @ ..] = rest {
        let octets = usize::from(long & 0x7f);
        let length = more[..octets].iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
        numbers.push(more[octets..octets + length].to_vec());
        rest = &more[octets + length..];
    }
    assert_eq!(numbers.len(), 6);
    numbers
}

/// A machine on which only the command writes, and where everything that it writes is searched.
struct Watched {
    scene: Scene,
    /// Everything on it is searched.
    machine: Cardcase,
    /// The files that the test gives to the command.
    hands: TempDir,
    secrets: RefCell<Secrets>,
}

impl Watched {
    fn new() -> Watched {
        let (machine, hands) = (Cardcase::new(), tempfile::tempdir().unwrap());
        std::fs::create_dir(machine.dir().join("tmp")).unwrap();
        let mut secrets = Secrets::default();
        secrets.add_text("the password of the .p12 file", P12_PASSWORD);
        secrets.add_text("a wrong password", WRONG);
        PRIMARY.iter().for_each(|password| secrets.add_text("a primary password", password));
        Watched { scene: Scene::new(), machine, hands, secrets: RefCell::new(secrets) }
    }

    fn password_file(&self, password: &str) -> PathBuf {
        ca::write(self.hands.path(), "password", "txt", password)
    }

    /// The command with the most verbose output.
    fn command(&self, words: &[&str]) -> Run {
        let run = self.machine.command(["--batch"]).args(words).env("TMPDIR", self.machine.dir().join("tmp"));
        run.env("RUST_BACKTRACE", "full").env("RUST_LOG", "trace").in_directory(self.machine.dir())
    }

    fn with(&self, password: Option<&str>, words: &[&str]) -> Run {
        match password {
            None => self.command(words),
            Some(password) => self.command(&["--primary-password-file"]).arg(self.password_file(password)).args(words),
        }
    }

    /// Runs the command. Searches the files while it runs, and its output at the end.
    fn run(&self, run: Run) -> Outcome {
        let secrets = self.secrets.borrow().clone();
        let (directory, ended) = (self.machine.dir(), AtomicBool::new(false));
        let outcome = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    assert_not_in(&secrets, directory);
                }
            });
            let outcome = run.run();
            ended.store(true, Ordering::Relaxed);
            watcher.join().unwrap();
            outcome
        });
        assert_eq!(secrets.found_in(&outcome.stdout), BTreeSet::new(), "on stdout");
        assert_eq!(secrets.found_in(outcome.stderr.as_bytes()), BTreeSet::new(), "on stderr: {}", outcome.stderr);
        self.is_clean();
        outcome
    }

    fn is_clean(&self) {
        assert_not_in(&self.secrets.borrow(), self.machine.dir());
    }

    fn issue(&self, name: &str, key: Key) -> Issued {
        let issued = self.scene.employee(name).key(key).issue();
        let pkcs8 = issued.key_der();
        let mut secrets = self.secrets.borrow_mut();
        for (number, secret) in private_numbers(&pkcs8, key).iter().enumerate() {
            secrets.add_bytes(&format!("number {number} of the key of {name}"), secret);
        }
        issued
    }

    /// Makes the current results of this query secret: each a name and the bytes stored under it.
    fn must_go(&self, query: &str, stage: &str) {
        let database = self.machine.database();
        let mut query = database.prepare(query).unwrap();
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
        for (name, sealed) in rows.map(Result::unwrap) {
            // The beginning may be the same for all: names of algorithms
            let end = &sealed[sealed.len().saturating_sub(48)..];
            self.secrets.borrow_mut().add_bytes(&format!("{name} as it was {stage}"), end);
        }
    }

    fn remove(&self, name: &str, primary: Option<&str>) {
        let query = format!("SELECT name, private_key FROM identities WHERE name = '{name}'");
        self.must_go(&query, "before it was removed");
        self.with(primary, &["remove", "--yes", name]).run().expect(0);
        self.is_clean();
    }

    fn set_password(&self, from: Option<&str>, to: &str) {
        // Not searched meanwhile: during the change, the journal holds what must be gone afterwards
        self.with(from, &["password", "--new-password-file"]).arg(self.password_file(to)).run().expect(0);
        self.is_clean();
    }

    fn import(&self, issued: &Issued, primary: Option<&str>) {
        let file = issued.p12_with_password(self.hands.path(), P12::Default, P12_PASSWORD);
        let run = self.with(primary, &["import", "--password-file"]).arg(self.password_file(P12_PASSWORD));
        self.run(run.arg(file)).expect(0);
    }

    fn fetch(&self, identity: &Issued, primary: Option<&str>) {
        let server = self.scene.server(Kind::Go).start();
        let root = self.scene.server_root_file.to_str().unwrap();
        let words = ["fetch", &server.url(), "--cacert", root, "--as", &identity.fingerprint()];
        self.run(self.with(primary, &words)).expect(0);
        assert_eq!(server.chains(), [identity.sent_chain()]);
    }
}

/// Searches all files below the directory, as they are now.
#[track_caller]
fn assert_not_in(secrets: &Secrets, directory: &Path) {
    // A file that was removed meanwhile holds nothing
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            assert_not_in(secrets, &path);
        } else if let Ok(bytes) = std::fs::read(&path) {
            assert_eq!(secrets.found_in(&bytes), BTreeSet::new(), "in {}", path.display());
        }
    }
}

/// The other tests depend on this.
#[test]
fn the_search_finds_every_form_of_a_secret() {
    let watched = Watched::new();
    let alice = watched.issue("alice", Key::Rsa2048);
    let (pkcs8, pem) = (alice.key_der(), alice.key_pem());
    let utf16: Vec<u8> = PRIMARY[1].encode_utf16().flat_map(u16::to_be_bytes).collect();
    let hexadecimal: String = pkcs8.iter().map(|byte| format!("{byte:02X}")).collect();
    let unbroken: String = pem.lines().filter(|line| !line.starts_with("--")).collect();
    let texts: [&[u8]; 6] =
        [&pkcs8, pem.as_bytes(), unbroken.as_bytes(), hexadecimal.as_bytes(), &utf16, P12_PASSWORD.as_bytes()];
    for (number, text) in texts.iter().enumerate() {
        for skip in 0..3 {
            let text = [&b"xy "[..skip], text].concat();
            assert!(!watched.secrets.borrow().found_in(&text).is_empty(), "text {number}");
        }
    }
    assert!(watched.secrets.borrow().found_in(alice.pem().as_bytes()).is_empty());
}

#[test]
fn no_secret_is_left_in_files_or_output() {
    let watched = Watched::new();
    let (alice, bob) = (watched.issue("alice", Key::P256), watched.issue("bob", Key::Rsa2048));
    watched.import(&alice, None);
    watched.import(&bob, None);
    watched.fetch(&alice, None);

    let mut in_force = None;
    for (stage, password) in [PRIMARY[0], PRIMARY[1], "", PRIMARY[0]].into_iter().enumerate() {
        watched.must_go(DATA_KEY, &format!("at stage {stage}"));
        // If the data key was stored in the clear, the keys are sealed again too
        if in_force.is_none() {
            watched.must_go(PRIVATE_KEYS, &format!("at stage {stage}"));
        }
        watched.set_password(in_force, password);
        in_force = Some(password).filter(|password| !password.is_empty());
        watched.fetch(&alice, in_force);
        watched.fetch(&bob, in_force);
        if in_force.is_some() {
            let outcome = watched
                .run(watched.with(Some(WRONG), &["export", "bob", "-o", "-"]).arg("--password-file").arg("/dev/null"));
            outcome.expect(6);
        }
    }

    let out = watched.hands.path().join("out.p12");
    let export = watched.with(in_force, &["export", "bob", "--password-file"]).arg(watched.password_file(P12_PASSWORD));
    watched.run(export.arg("-o").arg(out)).expect(0);
    let carol = watched.issue("carol", Key::P256);
    watched.import(&carol, in_force);
    for name in ["alice", "carol", "bob"] {
        watched.run(watched.with(in_force, &["show", name])).expect(0);
        watched.remove(name, in_force);
    }
}

/// Errors say what is wrong with a file, but do not show its contents.
#[test]
fn errors_do_not_show_the_contents_of_a_file() {
    let watched = Watched::new();
    let alice = watched.issue("alice", Key::P256);
    let p12 = alice.p12_with_password(watched.hands.path(), P12::Default, P12_PASSWORD);
    let wrong = watched.password_file(WRONG);
    watched.run(watched.command(&["import", "--password-file"]).arg(&wrong).arg(p12)).expect(6);
    let not_utf8 = ca::write(watched.hands.path(), "password", "txt", [WRONG.as_bytes(), b"\xff"].concat());
    watched.run(watched.command(&["password", "--new-password-file"]).arg(&not_utf8)).expect(1);
    // A key without its certificate: whole, cut off, and damaged
    let pem = alice.key_pem();
    let (cut, damaged) = (pem[..pem.len() / 2].to_owned(), pem.replacen("MIG", "MIH", 1));
    for text in [pem, cut, damaged] {
        let file = ca::write(watched.hands.path(), "key", "pem", text);
        watched.run(watched.command(&["import"]).arg(file)).expect(1);
    }
    // A password file where a key file belongs
    watched.run(watched.command(&["import"]).arg(&wrong)).expect(1);
}

/// Pages are split, merged and freed. Their old contents must not remain on free pages.
#[test]
fn free_pages_hold_no_secrets() {
    let watched = Watched::new();
    let names: Vec<String> = (0..24).map(|number| format!("person {number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let issued = watched.issue(name, if number % 3 == 0 { Key::Rsa2048 } else { Key::P256 });
        let file = issued.pem_file(watched.hands.path());
        watched.command(&["import"]).arg(file).run().expect(0);
    }
    watched.must_go(DATA_KEY, "without a password");
    watched.must_go(PRIVATE_KEYS, "without a password");
    watched.set_password(None, PRIMARY[0]);
    for name in names.iter().step_by(2).chain(names.iter().skip(1).step_by(2)) {
        watched.remove(name, Some(PRIMARY[0]));
    }
}
