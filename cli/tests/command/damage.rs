//! Rows that cannot be read: the other rows are still shown and used, the damaged one is named, and a person can remove
//! it.

use crate::support::ca::Issued;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Server};
use serde_json::json;

/// What can be wrong with the row of an identity.
const DAMAGES: [&str; 4] = [
    "certificate = x'3000'",
    "certificate = x''",
    "certificate = (SELECT certificate FROM authorities LIMIT 1)",
    "name = CAST(x'ff' AS TEXT)",
];

struct Stage {
    scene: Scene,
    alice: Issued,
    bob: Issued,
    server: Server,
}

impl Stage {
    fn new() -> Stage {
        let scene = Scene::new();
        let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
        let server = scene.server(Kind::Go).ask(Ask::Optional).start();
        Stage { scene, alice, bob, server }
    }

    fn damage(&self, what: &str) {
        let changed =
            self.scene.machine.database().execute(&format!("UPDATE identities SET {what} WHERE name = 'alice'"), []);
        assert_eq!(changed.unwrap(), 1, "{what}");
    }

    /// How alice is named when her row cannot be read.
    fn named(&self) -> String {
        self.alice.fingerprint()[..16].to_owned()
    }
}

#[test]
fn a_damaged_identity_is_skipped_and_can_be_removed() {
    for damage in DAMAGES {
        let stage = Stage::new();
        let machine = &stage.scene.machine;
        stage.damage(damage);
        let words =
            [&stage.named(), "identities, row 1", &format!("cardcase remove {}", stage.named())[..]].map(str::to_owned);
        let words = words.each_ref().map(String::as_str);
        let listed = machine.run("list").expect(1).says(&words);
        assert!(listed.text().contains("bob") && !listed.text().contains("alice"), "{damage}: {}", listed.text());
        // A script would take the incomplete list for the whole
        assert_eq!(machine.run("list --json").expect(1).says(&words).stdout, b"");
        for command in ["show", "export -o - "] {
            machine.run(&format!("--batch {command} {}", stage.named())).expect(1).says(&words);
        }
        // A command about another identity gives no warning
        assert_eq!(machine.run("show bob").expect(0).stderr, "");
        machine.run(&format!("remove --yes {}", stage.named())).expect(0);
        assert_eq!(machine.json("list")["identities"].as_array().unwrap().len(), 1, "{damage}");
    }
    let stage = Stage::new();
    stage.damage(DAMAGES[0]);
    stage.scene.machine.run("remove --yes bob alice").expect(0);
    assert_eq!(stage.scene.machine.json("list")["identities"], json!([]));
}

#[test]
fn a_decided_identity_is_sent_despite_a_damaged_row() {
    let stage = Stage::new();
    let (machine, url) = (&stage.scene.machine, stage.server.url());
    stage.scene.remember("localhost", &stage.bob.fingerprint());
    stage.scene.remember("127.0.0.1", &stage.alice.fingerprint());
    stage.damage(DAMAGES[0]);
    stage.scene.fetch(&url, &[]).expect(0);
    stage.scene.fetch(&url, &["--as", "bob"]).expect(0);
    assert!(stage.server.chains().iter().all(|chain| chain[0] == stage.bob.fingerprint()));
    let password = machine.password_file("new").display().to_string();
    machine
        .run(&format!("export bob -o {} --password-file {password}", machine.dir().join("bob.p12").display()))
        .expect(0);
    let root = stage.scene.server_root_file.display();
    let explained = machine.run(&format!("explain {} --cacert {root}", stage.server.destination())).expect(0);
    assert!(explained.text().contains("bob is sent"), "{}", explained.text());
    explained.says(&[&stage.named(), "skipped", "cardcase remove"]);
    // The damaged identity is not sent
    for damage in DAMAGES {
        let changed = machine.database().execute(&format!("UPDATE identities SET {damage} WHERE id = 1"), []);
        assert_eq!(changed.unwrap(), 1, "{damage}");
        stage
            .scene
            .fetch(&stage.server.url_at("127.0.0.1", ""), &[])
            .expect(1)
            .says(&[&stage.named(), "cardcase remove"]);
    }
    assert_eq!(stage.server.chains().len(), 2);
}

/// A new primary password seals every key again, and `accept` looks at all decisions. Both need every row.
#[test]
fn commands_that_need_every_row_name_the_damaged_one() {
    let stage = Stage::new();
    let machine = &stage.scene.machine;
    stage.scene.remember("127.0.0.1", &stage.alice.fingerprint());
    stage.damage("name = CAST(x'ff' AS TEXT)");
    let new = machine.password_file("new").display().to_string();
    let remove = format!("cardcase remove {}", stage.named());
    for command in [format!("password --new-password-file {new}"), "accept".to_owned()] {
        machine.run(&command).expect(1).says(&["identities, row 1", &remove]);
    }
    machine.run(&format!("remove --yes {}", stage.named())).expect(0);
    machine.run(&format!("password --new-password-file {new}")).expect(0);
}

/// An identity that cannot be read might fit too. If the number of candidates matters, a person is asked.
#[test]
fn a_damaged_row_counts_as_one_more_candidate() {
    let stage = Stage::new();
    let (machine, url) = (&stage.scene.machine, stage.server.url());
    let fetch = || stage.scene.fetch(&url, &[]);
    stage.damage(DAMAGES[0]);
    machine.run("config use-single-candidate on").expect(0);
    fetch().expect(4).says(&[&stage.named()]);
    machine.run("rules add https://localhost").expect(0);
    machine.run("config prompt-on-multiple on").expect(0);
    fetch().expect(4).says(&[&stage.named()]);
    stage.server.assert_nothing_came("one of two may be meant");
    machine.run("config prompt-on-multiple off").expect(0);
    fetch().expect(0).says(&[&stage.named()]);
    assert_eq!(stage.server.chains()[0][0], stage.bob.fingerprint());
    // The damaged one may be the only one that fits
    machine.run("remove --yes bob").expect(0);
    fetch().expect(1).says(&[&stage.named()]);
    assert_eq!(stage.server.chains().len(), 1, "nobody knows whether one fits");
    machine.run("remove --yes alice").expect(0);
    fetch().expect(0);
}

#[test]
fn a_damaged_authority_is_skipped_and_can_be_repaired_or_removed() {
    let stage = Stage::new();
    let machine = &stage.scene.machine;
    let root = stage.scene.server_root_file.to_str().unwrap();
    machine.run(&format!("trust {root}")).expect(0);
    let all = machine.json("authorities")["authorities"].as_array().unwrap().len();
    let id = &stage.scene.server_root.fingerprint()[..16];
    let damage = || {
        let changed = machine.database().execute("UPDATE authorities SET certificate = x'3000' WHERE trusted", []);
        assert_eq!(changed.unwrap(), 1);
    };
    let shown = || {
        let shown = machine.run("authorities --json").expect(0);
        (shown.json()["authorities"].as_array().unwrap().len(), shown.stderr)
    };
    let fetch = || machine.run(&format!("--batch --mode firefox fetch {}", stage.server.url()));
    stage.scene.remember("localhost", "none");
    fetch().expect(0);
    damage();
    let told = machine.run("authorities --json").expect(1).says(&[id, "authorities, row", "some authorities"]);
    assert_eq!(told.stdout, b"", "a script would take a part for the whole");
    let listed = machine.run("authorities").expect(1).says(&[id, "trust --remove"]).text();
    assert_eq!(listed.lines().count(), 1 + all - 1, "{listed}");
    // A damaged authority verifies no server
    fetch().expect(1).says(&["unknown authority", id]);
    machine.run(&format!("trust {root}")).expect(0);
    assert_eq!(shown(), (all, String::new()));
    fetch().expect(0);
    damage();
    machine.run(&format!("trust --remove {id}")).expect(0).says(&["removed"]);
    assert_eq!(shown(), (all - 1, String::new()));
    machine.run("rules add https://good.example").expect(0);
}

/// If there are very many, only the first are named. A value that is larger than anything stored is not read into
/// memory.
#[test]
fn the_report_about_a_badly_damaged_store_is_bounded() {
    let stage = Stage::new();
    let machine = &stage.scene.machine;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO authorities (id, fingerprint, certificate, added_at) SELECT i, randomblob(32), x'3000', 0 FROM n";
    machine.database().execute(fill, []).unwrap();
    let told = machine.command(["authorities"]).memory(256).run().expect(1).stderr;
    assert!(told.matches("it was skipped").count() == 64, "{}", told.len());
    machine.database().execute("DELETE FROM authorities WHERE id >= 100", []).unwrap();
    machine
        .database()
        .execute("UPDATE identities SET certificate = zeroblob(300000000) WHERE name = 'alice'", [])
        .unwrap();
    machine.command(["list"]).memory(256).run().expect(1).says(&["33554432 bytes", "cardcase remove"]);
}

/// SQLite ends a query at a value that exceeds the length limit. The other rows are shown, and the long one can be removed.
#[test]
fn a_value_that_is_too_long_does_not_hide_the_other_rows() {
    let long = "zeroblob(33554433)";
    let text = "CAST(zeroblob(33554433) AS TEXT)";
    let stage = Stage::new();
    let machine = &stage.scene.machine;
    let request = machine.dir().join("request.csr");
    machine.run(&format!("enroll --subject CN=waiting -o {}", request.display())).expect(0);
    let waiting = machine.json("list")["enrollments"][0]["fingerprint"].as_str().unwrap()[..16].to_owned();
    let alice = stage.named();
    let authority = &stage.scene.staff.fingerprint()[..16];
    machine.run("rules add https://a.example").expect(0);
    let cases = [
        ("identities", "certificate", long, "list", format!("remove --yes {alice}")),
        ("identities", "name", text, "list", format!("remove --yes {alice}")),
        ("enrollments", "private_key", long, "list", format!("remove --yes {waiting}")),
        ("authorities", "certificate", long, "authorities", format!("trust --remove {authority}")),
        ("rules", "rule", text, "rules", "rules remove 1".to_owned()),
    ];
    for (table, column, value, shows, remove) in cases {
        let before = std::fs::read(machine.store()).unwrap();
        let row = match table {
            "authorities" => format!("fingerprint = x'{}'", stage.scene.staff.fingerprint()),
            _ => "id = 1".to_owned(),
        };
        let changed = machine.database().execute(&format!("UPDATE {table} SET {column} = {value} WHERE {row}"), []);
        assert_eq!(changed.unwrap(), 1, "{table}");
        let hint = format!("cardcase {}", remove.replace(" --yes", ""));
        let told = machine.command([shows]).memory(256).run().expect(1).says(&[table, "33554432 bytes", &hint]);
        // If one rule cannot be read, none is used
        let other = match table {
            "rules" => "",
            "authorities" => "Staff Root",
            _ => "bob",
        };
        assert!(told.text().contains(other), "{table} {column}: {}", told.text());
        machine.run(&remove).expect(0);
        machine.run(shows).expect(0);
        std::fs::write(machine.store(), before).unwrap();
    }
    // The private key is read only when it is used
    machine.database().execute(&format!("UPDATE identities SET private_key = {long} WHERE id = 1"), []).unwrap();
    machine.run("list").expect(0);
    machine.run("--batch export bob -o - --password-file /dev/null").expect(1).says(&[&alice, "33554432 bytes"]);
    machine.run(&format!("remove --yes {alice}")).expect(0);
    machine.run("--batch export bob -o - --password-file /dev/null").expect(0);
}

/// A decision that cannot be read does not prevent anybody from removing a private key, and can be removed itself.
#[test]
fn a_damaged_decision_is_named_and_can_be_removed() {
    let long = "(host, decided_at) VALUES (CAST(zeroblob(40000000) AS TEXT), 1)";
    for (planted, what) in [
        (long, "33554432 bytes"),
        ("(host, decided_at) VALUES (CAST(x'ff80' AS TEXT), 1)", "invalid utf-8"),
        ("(host, decided_at, identity) VALUES ('gone.example', 1, 99)", "is not in the store"),
    ] {
        let stage = Stage::new();
        let machine = &stage.scene.machine;
        stage.scene.remember("localhost", "bob");
        let database = machine.database();
        database.pragma_update(None, "foreign_keys", false).unwrap();
        database.execute(&format!("INSERT INTO decisions {planted}"), []).unwrap();
        let used =
            "(at, host, port, source, outcome) VALUES (1, CAST(zeroblob(40000000) AS TEXT), 443, 'ask', 'accepted')";
        database.execute(&format!("INSERT INTO uses {used}"), []).unwrap();
        drop(database);
        let shown = machine.run("decisions").expect(1).says(&["decisions", what, "cardcase forget --all"]);
        assert!(shown.text().contains("bob"), "{what}: {}", shown.text());
        machine.run("show bob").says(&[what]);
        machine.run("history").expect(0);
        machine.run("remove --yes alice").expect(0);
        let forgotten = machine.json("forget --all");
        assert_eq!(forgotten["unreadable"], 1, "{what}");
        assert_eq!(forgotten["forgotten"][0]["host"], "localhost", "{what}");
        machine.run("decisions").expect(0);
    }
}

/// A store in which something is missing is not treated as new, and the error is not that of SQLite.
#[test]
fn what_is_missing_has_a_sentence_and_a_next_step() {
    let backup = "restore the file from a backup";
    let cases = [
        ("DELETE FROM settings", "the row of the table \"settings\" is missing", backup),
        ("DELETE FROM vault", "its row is missing", backup),
        ("UPDATE vault SET data_key = x'00'", "32 bytes", backup),
        ("PRAGMA user_version = 0", "(user_version) is 0", backup),
        ("PRAGMA user_version = -1", "(user_version) is -1", backup),
        ("PRAGMA user_version = 7", "version 7", "update cardcase"),
        ("PRAGMA application_id = 0", "database of another program", "--store FILE"),
        ("DROP TABLE rules", "the table \"rules\" is missing", backup),
        ("DROP TABLE settings", "the table \"settings\" is missing", backup),
        ("DROP TABLE vault", "the table \"vault\" is missing", backup),
        ("DROP INDEX identities_by_issuer", "the index \"identities_by_issuer\"", backup),
        ("CREATE TABLE more (id)", "the table \"more\" was not made by cardcase", backup),
    ];
    let stage = Stage::new();
    let machine = &stage.scene.machine;
    let good = std::fs::read(machine.store()).unwrap();
    let explain = format!("explain {} --cacert {}", stage.server.destination(), stage.scene.server_root_file.display());
    for (damage, sentence, hint) in cases {
        machine.database().execute_batch(damage).unwrap();
        for command in ["config", "remember localhost none", &explain] {
            let said = machine.run(command).expect(1).says(&[sentence, hint]).stderr;
            assert!(!said.contains("Query returned no rows"), "{damage}: {said}");
        }
        std::fs::write(machine.store(), &good).unwrap();
    }
    machine.run("config").expect(0);
}
