//! What commands print with `--json` is what docs/cardcase.schema.json says. The validator is Python's jsonschema.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::ca::{Issued, P12, Validity};
use crate::support::command::{Cardcase, Outcome};
use crate::support::missing;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind};

/// Commands that print no JSON: the response of a server, a script, pages; `agent` is not for people.
const WITHOUT_JSON: [&str; 4] = ["fetch", "completions", "man", "help"];

const VALIDATE: &str = r##"
import json, sys
from jsonschema import Draft202012Validator
definitions = json.load(open(sys.argv[1]))["$defs"]
for name, document in json.load(sys.stdin):
    if name not in definitions:
        sys.exit(f"{name}: there is no schema")
    schema = {"$ref": f"#/$defs/{name}", "$defs": definitions}
    Draft202012Validator.check_schema(schema)
    for error in Draft202012Validator(schema).iter_errors(document):
        sys.exit(f"{name}: {error.message} at {list(error.absolute_path)} of {json.dumps(document)}")
"##;

/// Fails unless each document is what the schema of its command says.
fn validate(documents: &[(String, Value)]) -> Result<(), String> {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cardcase.schema.json");
    let mut python = program::named("python3");
    python.args(["-c", VALIDATE]).arg(schema).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = python.spawn().unwrap_or_else(|error| panic!("{}", missing("python3", "python3", &error)));
    child.stdin.take().unwrap().write_all(json!(documents).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("ModuleNotFoundError"), "apt-get install python3-jsonschema: {said}");
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// Runs commands and keeps what they print.
struct Documents<'m> {
    machine: &'m Cardcase,
    all: Vec<(String, Value)>,
}

impl Documents<'_> {
    /// Runs words with `--json`; the schema is the one of this name.
    #[track_caller]
    fn add(&mut self, name: &str, words: &[&str]) {
        let outcome: Outcome = self.machine.command(words).arg("--json").run();
        // 1 is an answer of `expires` and `doctor`
        let answers: &[i32] = if ["expires", "doctor"].contains(&name) { &[0, 1] } else { &[0] };
        assert!(outcome.code().is_some_and(|code| answers.contains(&code)), "{name}: {}", outcome.stderr);
        self.all.push((name.to_owned(), outcome.json()));
    }
}

#[test]
fn every_command_prints_what_the_schema_says() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let dir = machine.dir();
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    let destination = server.destination();
    let cacert = scene.server_root_file.to_str().unwrap();
    let password = machine.password_file(Scene::password());
    let password = password.to_str().unwrap();
    let (alice, renewed) = (scene.employee("alice").validity(Validity::Soon).issue(), scene.employee("alice").issue());
    let path = |identity: &Issued| identity.p12(dir, P12::Default);
    let (alice_file, renewed_file) = (path(&alice), path(&renewed));
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let policy = file("policy.json");
    std::fs::write(
        &policy,
        r#"{"AutoSelectCertificateForUrls": ["{\"pattern\":\"https://a.example\",\"filter\":{}}"]}"#,
    )
    .unwrap();

    let mut documents = Documents { machine, all: Vec::new() };
    let mut add = |name: &str, words: &[&str]| documents.add(name, words);
    add("list", &["list"]);
    add("import", &["import", alice_file.to_str().unwrap(), "--password-file", password]);
    add("import", &["import", alice_file.to_str().unwrap(), "--password-file", password]);
    let old = alice.fingerprint();
    add("rename", &["rename", "alice", "old"]);
    add("remember", &["remember", &destination, "old"]);
    add("remember", &["remember", "b.example", "none", "--mode", "chrome", "--for", "session"]);
    add("explain", &["explain", &destination, "--cacert", cacert]);
    machine.fetch(&server.url(), &scene.server_root_file, &[]).expect(0);
    add("history", &["history"]);
    add("decisions", &["decisions"]);
    add("rules-add", &["rules", "add", "https://rule.example", "--issuer", "CN=Staff Issuing"]);
    add("rules-add", &["rules", "import", &policy]);
    add("rules", &["rules"]);
    add("show", &["show", "old"]);
    add("list", &["list"]);
    add("cardcase", &[]);
    add("where", &["where"]);
    add("expires", &["expires"]);
    add("doctor", &["doctor"]);
    add("backup", &["backup", &file("all.backup"), "--password-file", password]);
    add("restore", &["restore", &file("all.backup"), "--password-file", password]);
    add("export", &["export", "old", "-o", &file("old.p12"), "--password-file", password]);
    add("enroll", &["enroll", "--subject", "CN=new", "-o", &file("new.csr")]);
    add("list", &["list"]);
    add("pkcs11-allow", &["pkcs11", "allow", "old", "any", "--confirm", "each"]);
    add("show", &["show", "old"]);
    add("explain", &["explain", &destination, "--cacert", cacert]);
    add("pkcs11-install", &["pkcs11", "install", "--module", cacert]);
    add("pkcs11", &["pkcs11"]);
    add("pkcs11-install", &["pkcs11", "remove"]);
    add("pkcs11-allow", &["pkcs11", "deny", "old"]);
    add("min-tls", &["min-tls", "old", "1.3"]);
    machine.import_file(&renewed_file);
    add("renew", &["renew", &old[..12], &renewed.fingerprint()[..12]]);
    add("config", &["config"]);
    add("config", &["config", "prompt-on-multiple", "on"]);
    add("trust", &["trust", cacert]);
    add("authorities", &["authorities"]);
    add("explain", &["explain", &destination]);
    add("credential", &["credential", "curl", &destination]);
    add("credential-forget", &["credential", "--forget"]);
    add("trust-remove", &["trust", "--remove", &scene.server_root.fingerprint()[..16]]);
    add("accept", &["accept"]);
    add("unlock", &["unlock"]);
    add("password", &["password", "--new-password-file", password]);
    add("unlock", &["unlock", "--primary-password-file", password]);
    add("unlock", &["unlock", "--status"]);
    add("lock", &["lock"]);
    add("lock", &["lock"]);
    add("unlock", &["unlock", "--status"]);
    add("rules-remove", &["rules", "remove", "1", "--primary-password-file", password]);
    add("remove", &["remove", "--yes", &renewed.fingerprint()[..12]]);
    add("forget", &["forget", "b.example", "--mode", "chrome"]);
    add("forget", &["forget", "--all"]);
    documents.all.push(("tunnel".to_owned(), tunnel(&scene, &destination, cacert)));
    validate(&documents.all).unwrap();

    // No command is left out, and none of these schemas accepts everything
    let seen: BTreeSet<&str> = documents.all.iter().map(|(name, _)| name.as_str()).collect();
    let offered = machine.command(["__complete", "fish", ""]).run().expect(0).text();
    let commands = offered.lines().filter_map(|line| line.split('\u{1f}').nth(1));
    let left_out: Vec<_> = commands.filter(|name| !seen.contains(name) && !WITHOUT_JSON.contains(name)).collect();
    assert_eq!(left_out, Vec::<&str>::new());
    for (name, document) in &documents.all {
        let mut changed = document.clone();
        changed.as_object_mut().unwrap().insert("unheard of".to_owned(), json!(1));
        assert!(validate(&[(name.clone(), changed)]).is_err(), "{name}");
    }
}

/// What a tunnel prints when it listens.
fn tunnel(scene: &Scene, destination: &str, cacert: &str) -> Value {
    let run = scene.machine.command(["tunnel", destination, "--cacert", cacert, "--json", "--batch"]);
    let mut child = run.process().spawn().unwrap();
    let mut documents = serde_json::Deserializer::from_reader(child.stdout.take().unwrap()).into_iter();
    let printed = documents.next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    printed
}

/// What was deleted is read in the same transaction, and only that.
#[test]
fn json_says_what_was_deleted_even_if_some_of_it_is_damaged() {
    let machine = Cardcase::new();
    machine.run("remember a.example none --for permanent").expect(0);
    machine.run("rules add https://a.example").expect(0);
    machine.run("rules add https://b.example").expect(0);
    let database = machine.database();
    database.pragma_update(None, "foreign_keys", false).unwrap();
    for change in [
        // Of another session
        "INSERT INTO decisions (host, decided_at, session) VALUES ('b.example', 1, 'another')",
        "INSERT INTO decisions (host, decided_at, identity) VALUES ('gone.example', 1, 99)",
        "UPDATE rules SET rule = 'no rule' WHERE id = 2",
    ] {
        assert_eq!(database.execute(change, []).unwrap(), 1, "{change}");
    }
    drop(database);
    assert_eq!(machine.json("forget gone.example"), json!({"forgotten": [], "unreadable": 1}));
    let forgotten = machine.json("forget --all");
    let hosts: Vec<_> = forgotten["forgotten"].as_array().unwrap().iter().map(|one| &one["host"]).collect();
    assert_eq!((json!(hosts), &forgotten["unreadable"]), (json!(["a.example", "b.example"]), &json!(0)));
    let removed = machine.json("rules remove 1 2");
    assert_eq!((&removed["removed"][0]["number"], &removed["unreadable"]), (&json!(1), &json!([2])));
    assert_eq!(removed["removed"].as_array().unwrap().len(), 1);
}

#[test]
fn a_setting_is_the_one_that_counts_in_every_answer() {
    let machine = Cardcase::new();
    std::fs::create_dir_all(machine.policies()).unwrap();
    let policy = r#"{"PromptOnMultipleMatchingCertificates": true}"#;
    std::fs::write(machine.policies().join("a.json"), policy).unwrap();
    let expected = json!({"prompt_on_multiple": true});
    assert_eq!(machine.json("config prompt-on-multiple off"), expected);
    assert_eq!(machine.json("config prompt-on-multiple"), expected);
    assert_eq!(machine.json("accept")["settings"]["prompt_on_multiple"], true);
}

#[test]
fn a_file_and_json_do_not_share_stdout() {
    let scene = Scene::new();
    scene.hire("alice");
    for words in [&["export", "alice", "-o", "-"][..], &["enroll", "--subject", "CN=a", "-o", "-"]] {
        let outcome = scene.machine.command(words).arg("--json").run().expect(2).says(&["stdout", "name a file"]);
        assert_eq!(outcome.text(), "");
    }
}
