//! `import --from-kubeconfig`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;

use super::nss::{import, make_fifo, text};
use crate::support::ca::Issued;
use crate::support::command::{Cardcase, Outcome};
use crate::support::scene::Scene;

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

/// A file with a user that has a certificate and a key.
fn with_user(directory: &Path, file: &str, user: &str, issued: &Issued, more: &str) -> PathBuf {
    let (certificate, key) = (base64(issued.pem().as_bytes()), base64(issued.key_pem().as_bytes()));
    let users = format!(
        "users:\n- name: {user}\n  user: {{client-certificate-data: {certificate}, client-key-data: {key}}}\n{more}"
    );
    let path = directory.join(file);
    fs::write(&path, users).unwrap();
    path
}

fn from_environment(machine: &Cardcase, files: &[&Path]) -> Outcome {
    let named = std::env::join_paths(files).unwrap();
    machine.command(["--batch", "import", "--from-kubeconfig"]).env("KUBECONFIG", named).run()
}

/// As kubectl writes what is empty, and as people leave it.
#[test]
fn null_is_as_good_as_nothing() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let alice = scene.employee("alice").issue();
    let empty = machine.dir().join("empty.yaml");
    fs::write(&empty, "clusters: null\ncontexts: null\nusers: null\n").unwrap();
    import(machine, &["--from-kubeconfig", text(&empty)]).expect(3).says(&["no user with a client certificate"]);
    let more =
        "- name: nobody\n  user:\n- name:\n  user: {}\ncontexts:\n- name: nowhere\n  context:\n- context: {user: }\n";
    let good = with_user(machine.dir(), "good.yaml", "alice", &alice, more);
    let said = from_environment(machine, &[&empty, &good]).expect(0).text();
    assert!(said.contains("imported: alice"), "{said}");
}

/// `cardcase` says the reason of a single user in the error, and those of several before it.
#[test]
fn a_user_that_cannot_be_imported_is_named_with_its_reason() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let (alice, bob) = (scene.employee("alice").issue(), scene.employee("bob").issue());
    let directory = machine.dir();
    fs::write(directory.join("alice.crt"), alice.pem()).unwrap();
    fs::write(directory.join("bob.key"), bob.key_pem()).unwrap();
    make_fifo(&directory.join("fifo"));
    let file = directory.join("config.yaml");
    let users = [
        ("{client-certificate: none.crt, client-key: bob.key}", "none.crt: No such file"),
        ("{client-certificate: fifo, client-key: bob.key}", "fifo: it is not a regular file"),
        ("{client-certificate: '-', client-key: bob.key}", "-: No such file"),
        ("{client-certificate: alice.crt, client-key: bob.key}", "key"),
        ("{client-certificate: alice.crt}", "it has a certificate, and no key"),
        ("{client-certificate-data: '!', client-key-data: '!'}", "its data is not base64"),
    ];
    for (user, why) in users {
        fs::write(&file, format!("users: [{{name: u, user: {user}}}]\n")).unwrap();
        let outcome =
            machine.command(["--batch", "import", "--from-kubeconfig", "config.yaml"]).in_directory(directory);
        outcome.run().expect(1).says(&["error: config.yaml: the user \"u\": ", why]);
    }
    let all: String =
        users.iter().enumerate().map(|(number, (user, _))| format!("- {{name: u{number}, user: {user}}}\n")).collect();
    fs::write(&file, format!("users:\n{all}")).unwrap();
    let outcome = import(machine, &["--from-kubeconfig", text(&file)]).expect(1);
    outcome.says(&[
        "left out the user \"u0\": ",
        "left out the user \"u5\": ",
        "can be imported, for the reasons above",
    ]);
    assert!(!machine.store().exists() || machine.json("list")["identities"].as_array().unwrap().is_empty());
}

/// As kubectl does: the first of a name counts, and a user's context may be in another file.
#[test]
fn several_files_are_one_configuration() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let (alice, bob) = (scene.employee("alice").issue(), scene.employee("bob").issue());
    let directory = machine.dir();
    let contexts = directory.join("contexts.yaml");
    fs::write(&contexts, "contexts:\n- {name: prod, context: {user: admin}}\n").unwrap();
    let more = "contexts:\n- {name: prod, context: {user: other}}\n";
    let first = with_user(directory, "first.yaml", "admin", &alice, more);
    let second = with_user(directory, "second.yaml", "admin", &bob, "");
    let missing = directory.join("missing.yaml");
    let outcome = from_environment(machine, &[&contexts, &missing, &first, &second]).expect(0);
    assert!(outcome.text().starts_with("imported: prod"), "{}", outcome.text());
    let identities = machine.json("list");
    let [only] = &identities["identities"].as_array().unwrap()[..] else { panic!("{identities}") };
    assert_eq!(only["fingerprint"], alice.fingerprint());
    from_environment(machine, &[&missing]).expect(1).says(&["missing.yaml: No such file"]);
    from_environment(machine, &[&missing, &missing]).expect(3).says(&["missing.yaml, "]);
    let told = import(machine, &["--from-kubeconfig"]).expect(1).stderr;
    assert_eq!(told.matches(".kube/config").count(), 1, "{told}");
    make_fifo(&directory.join("fifo"));
    from_environment(machine, &[&directory.join("fifo")]).expect(1).says(&["fifo: it is not a regular file"]);
}

/// As kubectl does.
#[test]
fn of_two_keys_of_one_name_the_last_counts() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    let file = with_user(scene.machine.dir(), "config", "alice", &alice, "kind: Config\nkind: Config\n");
    import(&scene.machine, &["--from-kubeconfig", text(&file)]).expect(0);
    fs::write(&file, "users: 5\n").unwrap();
    let told = import(&scene.machine, &["--from-kubeconfig", text(&file)]).expect(1).stderr;
    assert!(told.contains("it is no kubeconfig: ") && !told.contains("kubeconfig: error"), "{told}");
}

#[test]
fn import_of_a_kubeconfig_names_the_flag() {
    let machine = Cardcase::new();
    let file = machine.dir().join("config");
    fs::write(&file, "users:\n- name: a\n  user: {client-certificate: a.crt, client-key: a.key}\n").unwrap();
    let flag = format!("cardcase import --from-kubeconfig {}", file.display());
    import(&machine, &[text(&file)]).expect(1).says(&[&flag]);
}

fn base64(bytes: &[u8]) -> String {
    base64::prelude::BASE64_STANDARD.encode(bytes)
}
