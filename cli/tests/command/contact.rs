//! What a new user meets first: `cardcase` alone, an empty store, a mistyped command or path.

use crate::support::ca::Validity;
use crate::support::command::{Cardcase, Outcome};
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind};
use serde_json::{Value, json};

/// The first lines of stderr.
fn lines(outcome: &Outcome) -> Vec<&str> {
    outcome.stderr.lines().collect()
}

#[test]
fn without_a_command_it_says_what_it_is_and_what_to_type_next() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let store = machine.store().to_str().unwrap();
    let nothing = json!({
        "store": store, "protected": false, "unlocked": true, "identities": 0, "expired": 0, "expiring": 0, "decisions": 0
    });
    let shown = machine.run("").expect(0).text();
    for part in ["client certificates", "Identities  0", "does not exist yet", store, "cardcase import FILE.p12"] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    assert_eq!(machine.run("--json").expect(0).json(), nothing);
    assert!(!machine.store().exists(), "a look made a store");

    let alice = scene.hire("alice");
    scene.bring(scene.employee("bob").validity(Validity::Expired).issue());
    scene.bring(scene.employee("carol").validity(Validity::Soon).issue());
    scene.remember("a.example", &alice.fingerprint());
    let expected = json!({
        "store": store, "protected": false, "unlocked": true, "identities": 3, "expired": 1, "expiring": 1, "decisions": 1
    });
    assert_eq!(machine.run("--json").expect(0).json(), expected);
    let shown = machine.run("").expect(0).text();
    for part in ["3, 1 expired, 1 expires within 30 days", "cardcase expires", "cardcase password"] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }

    let password = machine.password_file("secret");
    machine.command(["--batch", "password", "--new-password-file"]).arg(&password).run().expect(0);
    let is = |key: &str| machine.run("--json").expect(0).json()[key].clone();
    assert_eq!((is("protected"), is("unlocked")), (true.into(), false.into()));
    machine.command(["unlock", "--primary-password-file"]).arg(&password).run().expect(0);
    assert_eq!((is("protected"), is("unlocked")), (true.into(), true.into()));
    machine.run("lock").expect(0);

    std::fs::write(
        machine.store(),
        "this is no database, however long it is; SQLite reads 100 bytes before it says so",
    )
    .unwrap();
    machine.run("").expect(1).says(&["not a cardcase store", "cardcase doctor"]);
}

/// Commands that only read, or change what is there.
const READING: [&str; 22] = [
    "",
    "list",
    "ls",
    "show alice",
    "export alice -o alice.p12",
    "rename alice bob",
    "remove alice --yes",
    "rm alice --yes",
    "decisions",
    "forget a.example",
    "renew alice bob",
    "rules",
    "config",
    "config mode",
    "min-tls alice 1.3",
    "authorities",
    "trust --remove 12df",
    "history",
    "accept",
    "expires",
    "lock",
    "unlock --status",
];

#[test]
fn a_command_that_reads_makes_no_store_and_no_directory() {
    let machine = Cardcase::new();
    let nowhere = machine.dir().join("no/such/place.db");
    let data = machine.dir().join("data");
    for command in READING {
        let named = machine.command(["--store", nowhere.to_str().unwrap()]).args(command.split_whitespace()).run();
        named.expect(1).says(&["there is no store", "no/such/place.db", "import FILE.p12"]);
        // Without `--store` nothing is mistyped: what does not exist yet is empty
        for (name, value) in [("CARDCASE_STORE", nowhere.as_path()), ("XDG_DATA_HOME", &data)] {
            let mut run = machine.command(command.split_whitespace()).env(name, value);
            if name != "CARDCASE_STORE" {
                run = run.env("CARDCASE_STORE", machine.dir().join("data/cardcase/cardcase.db"));
            }
            let outcome = run.run();
            assert!(matches!(outcome.code(), Some(0 | 3)), "{command}: {:?}: {}", outcome.code(), outcome.stderr);
        }
        assert!(!machine.dir().join("no").exists() && !data.exists(), "{command} made something");
    }
    // One of them is not empty any more
    machine.command(["remember", "a.example", "none", "--store"]).arg(&nowhere).run().expect(0);
    assert!(nowhere.exists());
}

#[test]
fn commands_to_copy_name_the_store_that_was_typed() {
    let scene = Scene::new();
    let store = scene.machine.dir().join("another store.db");
    let key = scene.employee("alice").issue().pem_file(scene.machine.dir());
    let run = |command: &str| {
        scene.machine.command(["--batch", "--store"]).arg(&store).args(command.split_whitespace()).run()
    };
    let named = format!("cardcase --store '{}'", store.display());
    run(&format!("import {}", key.display()))
        .expect(0)
        .says(&[&format!("to set one: {named} password").to_lowercase()]);
    let found = run("doctor --json").json().to_string();
    assert!(found.contains(&format!("{named} password")), "{found}");
    let overview = run("").expect(0).text();
    assert!(overview.contains(&format!("{named} list")), "{overview}");
    // The environment is there for the next command too
    let unnamed = scene.machine.command(["list"]).env("CARDCASE_STORE", &store).run().expect(0);
    unnamed.says(&["to set one: cardcase password"]);
}

#[test]
fn connecting_with_a_mistyped_store_is_an_error() {
    let scene = Scene::new();
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    let nowhere = scene.machine.dir().join("mistyped.db");
    for command in ["fetch", "explain", "tunnel", "credential curl"] {
        let run = scene.machine.command(["--batch", "--store"]).arg(&nowhere).args(command.split_whitespace());
        run.arg(server.destination()).run().expect(1).says(&["there is no store", "mistyped.db"]);
    }
    assert!(!nowhere.exists());
    server.assert_nothing_came("a mistyped store");
}

#[test]
fn where_prints_the_path_and_makes_nothing() {
    let machine = Cardcase::new();
    let store = machine.store().to_str().unwrap();
    assert_eq!(machine.run("where").expect(0).text(), format!("{store}\n"));
    assert_eq!(machine.run("where --json").expect(0).json(), json!({ "store": store }));
    let relative = machine.command(["where", "--store", "here.db"]).in_directory(machine.dir()).run().expect(0).text();
    assert!(relative.starts_with('/') && relative.ends_with("/here.db\n"), "{relative}");
    assert!(!machine.store().exists());
}

#[test]
fn what_is_wrong_with_the_command_line_has_the_prefix_of_every_error_and_a_next_step() {
    let machine = Cardcase::new();
    std::fs::write(machine.dir().join("My keys.p12"), "").unwrap();
    let cases: [(&[&str], &str, &str); 19] = [
        (&["My keys.p12"], "My keys.p12 is a file, and not a command", "cardcase import 'My keys.p12'"),
        (&["nosuch.p12"], "there is no file nosuch.p12", "cardcase import FILE"),
        (&["https://a.example/"], "the address of a server", "cardcase fetch https://a.example/"),
        (&["a.example/x"], "the address of a server", "cardcase explain a.example/x"),
        (&["a.example:8443"], "the address of a server", "cardcase fetch a.example:8443"),
        (&["lsit"], "unrecognized subcommand 'lsit'", "cardcase --help"),
        (&["rules", "lsit"], "unrecognized subcommand 'lsit'", "cardcase rules --help"),
        (&["import"], "<FILE|DIR>", "cardcase import --help"),
        (&["rules", "add"], "<PATTERN>", "cardcase rules add --help"),
        (&["--mode", "opera", "list"], "\"opera\" is not a mode", "cardcase list --help"),
        (&["--color", "blue", "list"], "[possible values: auto, always, never]", "cardcase list --help"),
        (&["list", "--jsn"], "unexpected argument '--jsn'", "a similar argument exists: '--json'"),
        (&["show", "a", "b"], "unexpected argument 'b'", "cardcase show --help"),
        (&["show", "a", "--pem", "--json"], "cannot be used with", "cardcase show --help"),
        (&["expires", "--within", "soon"], "--within", "cardcase expires --help"),
        (&["rules", "remove", "x"], "it is not a number", "cardcase rules remove --help"),
        (&["fetch", ""], "<URL>", "cardcase fetch --help"),
        (&["completions", "tcsh"], "[possible values: bash,", "cardcase completions --help"),
        (&["--store"], "a value is required for '--store <FILE>'", "cardcase --help"),
    ];
    for (words, error, hint) in cases {
        let outcome = machine.command(words).in_directory(machine.dir()).run().expect(2);
        assert_eq!(outcome.text(), "", "{words:?}");
        let lines = lines(&outcome);
        assert!(lines[0].starts_with("cardcase: error: ") && lines[0].contains(error), "{words:?}: {lines:?}");
        assert!(lines.len() > 1 && lines[1..].iter().all(|line| line.starts_with("cardcase: hint: ")), "{lines:?}");
        assert!(outcome.stderr.contains(hint), "{words:?}: {lines:?}");
    }
}

#[test]
fn an_empty_store_says_import_and_nothing_else() {
    let scene = Scene::new();
    let import = "cardcase: hint: to add a certificate with its key: cardcase import FILE.p12";
    for (ask, code) in [(Ask::Optional, 0), (Ask::Require, 3)] {
        let server = scene.server(Kind::Go).ask(ask).start();
        let outcome = scene.fetch(&server.url(), &[]).expect(code).says(&["the store has no identities"]);
        let hints: Vec<_> = lines(&outcome).into_iter().filter(|line| line.contains("hint")).collect();
        assert_eq!(hints, [import], "{}", outcome.stderr);
    }
    let server = scene.server(Kind::Go).start();
    let cacert = scene.server_root_file.to_str().unwrap();
    let credential = ["--batch", "credential", "curl", &server.destination(), "--cacert", cacert];
    let outcome = scene.machine.command(credential).run().expect(3);
    assert_eq!(lines(&outcome)[1..], [import], "{}", outcome.stderr);
}

#[test]
fn expires_says_with_its_exit_code_whether_something_does() {
    let scene = Scene::new();
    let machine = &scene.machine;
    scene.hire("alice");
    machine.run("expires").expect(0);
    scene.bring(scene.employee("soon").validity(Validity::Soon).issue());
    let names = |line: &str| -> Vec<Value> {
        let outcome = machine.run(line);
        let listed = outcome.json()["identities"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert_eq!(outcome.code(), Some(if Vec::is_empty(&listed) { 0 } else { 1 }), "{line}");
        listed
    };
    // It has 20 days left
    for (within, expected) in [("30d", 1), ("12h", 0), ("2w", 0), ("3w", 1), ("400d", 2), ("0s", 0)] {
        assert_eq!(names(&format!("expires --within {within} --json")).len(), expected, "{within}");
    }
    scene.bring(scene.employee("gone").validity(Validity::Expired).issue());
    assert_eq!(names("expires --within 0s --json"), ["gone"]);
    let shown = machine.run("expires").expect(1).text();
    assert!(shown.contains("EXPIRED") && shown.contains("soon") && !shown.contains("alice"), "{shown}");
}

#[test]
fn what_is_not_stored_is_named_as_what_it_is() {
    let scene = Scene::new();
    scene.hire("alice");
    for (line, says) in [
        ("history nosuch", "nothing is recorded for nosuch"),
        ("history nosuch --json", "nothing is recorded for nosuch"),
        ("show 5f", "no identity has the name \"5f\"; to find a fingerprint by its first digits, give 4 or more"),
        ("show 5:f", "give 4 or more"),
        ("show zz", "no identity has the name \"zz\", or a fingerprint that begins with it"),
        ("remove a --yes", "give 4 or more"),
        ("rules remove -1", "there is no rule -1"),
        ("trust --remove 5f", "give 4 or more"),
    ] {
        let outcome = scene.machine.run(line).expect(3).says(&[says, "hint"]);
        assert_eq!(outcome.text(), "");
    }
    for line in ["forget https://a.example/", "history a.example/path", "list --for https://a.example:1/"] {
        scene.machine.run(line).expect(2).says(&["without a scheme and a path"]);
    }
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    scene.fetch(&server.url(), &["--credentials", "omit"]).expect(0);
    let port = server.port();
    for (at, code) in [("localhost", 0), (&format!("localhost:{port}"), 0), ("localhost:1", 3)] {
        scene.machine.run(&format!("history {at}")).expect(code);
    }
    let long = "a".repeat(65);
    scene.machine.run(&format!("show {long}")).expect(3).says(&["a SHA-256 fingerprint has 64 digits"]);
}

#[test]
fn decisions_of_the_other_mode_are_marked() {
    let scene = Scene::new();
    let alice = scene.hire("alice").fingerprint();
    scene.machine.run(&format!("remember a.example {alice}")).expect(0);
    scene.machine.run(&format!("--mode chrome remember a.example {alice}")).expect(0);
    for (mode, other) in [("firefox", "chrome"), ("chrome", "firefox")] {
        let shown = scene.machine.run(&format!("--mode {mode} decisions")).expect(0).text();
        assert_eq!(shown.matches("(only in").count(), 1, "{shown}");
        assert!(shown.contains(&format!("permanent (only in {other} mode)")), "{shown}");
        let shown = scene.machine.run(&format!("--mode {mode} show alice")).expect(0).text();
        assert!(shown.contains(&format!("only in {other} mode")), "{shown}");
        assert!(!shown.contains(&format!("only in {mode} mode")), "{shown}");
    }
}
