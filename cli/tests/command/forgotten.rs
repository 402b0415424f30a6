//! A forgotten primary password: the private keys are lost, and nothing else. Importing brings them back.

use crate::support::ca::{self, PASSWORD};
use crate::support::command::{Cardcase, Outcome};
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind};
use crate::support::terminal::Terminal;
use serde_json::{Value, json};

/// A protected store with an identity that is remembered, a rule, a setting and a key that waits for its certificate.
fn forgotten() -> (Scene, ca::Issued) {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    scene.machine.run(&format!("min-tls {} 1.3", alice.fingerprint())).expect(0);
    scene.machine.run("rules add https://never.example --deny").expect(0);
    scene.machine.run("config prompt-on-multiple on").expect(0);
    let request = scene.machine.dir().join("carol.csr");
    scene.machine.command(["enroll", "--subject", "CN=carol", "-o"]).arg(request).run().expect(0);
    let old = scene.machine.password_file("forgotten");
    scene.machine.command(["password", "--new-password-file"]).arg(old).run().expect(0);
    (scene, alice)
}

fn reset(machine: &Cardcase, new: &str, more: &[&str]) -> Outcome {
    let new = machine.password_file(new);
    machine.command(["--batch", "password", "--reset", "--new-password-file"]).arg(new).args(more).run()
}

fn kept(machine: &Cardcase) -> Value {
    let list = machine.json("list");
    let names: Vec<&Value> = list["identities"].as_array().unwrap().iter().map(|found| &found["name"]).collect();
    json!([
        names,
        machine.json("decisions"),
        machine.json("rules"),
        machine.json("config"),
        machine.json("authorities")
    ])
}

#[test]
fn the_keys_are_lost_and_the_rest_counts_again_after_an_import() {
    for new in ["", "a new one"] {
        let (scene, alice) = forgotten();
        let machine = &scene.machine;
        let before = kept(machine);
        reset(machine, new, &["--yes"]).expect(0).says(&[
            "they are lost",
            "\"alice\"",
            "CN=carol",
            "1 certificate, 1 decision, 1 rule",
            "decision: localhost: \"alice\"",
            "never.example",
            "setting: prompt-on-multiple on",
            "TLS 1.3 only: \"alice\"",
            "cardcase import",
        ]);
        assert_eq!(kept(machine), before);
        let listed = machine.json("list");
        assert_eq!(listed["identities"][0]["usable"]["rustls"], false);
        assert!(listed["identities"][0]["usable"]["why"].as_str().unwrap().contains("import the identity again"));
        assert_eq!(listed["enrollments"], Value::Null);

        let with_password = |line: &[&str]| {
            let run = machine.command(["--batch"]).args(line);
            let run =
                if new.is_empty() { run } else { run.arg("--primary-password-file").arg(machine.password_file(new)) };
            run.run()
        };
        // Without its key it is sent nowhere, and nothing writes it to a file
        let server = scene.server(Kind::Go).ask(Ask::Optional).start();
        let root = scene.server_root_file.to_str().unwrap().to_owned();
        let url = server.url();
        let fetch = ["fetch", &url, "--cacert", &root];
        let refused = with_password(&fetch);
        assert!(server.chains().is_empty(), "{}", refused.stderr);
        let export = ["export", "alice", "-o", "-", "--password-file", "/dev/null"];
        with_password(&export).expect(1).says(&["lost with a forgotten primary password"]);
        // Before anybody is asked for a password
        machine.run("--batch export alice -o lost.p12").expect(1);
        machine.run("--batch export --all -o lost.p12").expect(3).says(&["has a private key to export"]);
        let explained = with_password(&[
            "explain",
            url.trim_start_matches("https://").trim_end_matches('/'),
            "--cacert",
            &root,
            "--json",
        ])
        .expect(0)
        .json();
        assert_eq!(explained["identities"][0]["reasons"][0], "no_private_key", "{explained}");

        let file = alice.p12(machine.dir(), ca::P12::Default);
        let password = machine.password_file(PASSWORD);
        let import = ["import", file.to_str().unwrap(), "--password-file", password.to_str().unwrap()];
        let said = with_password(&import).expect(0);
        assert!(said.text().contains("imported: alice (ec-p256"), "{}", said.text());
        assert_eq!(kept(machine), before);
        assert_eq!(machine.json("show alice")["requires_tls13"], true);
        with_password(&fetch).expect(0);
        assert_eq!(server.chains(), [alice.sent_chain()]);
        with_password(&import).expect(0);
        assert_eq!(machine.json("list")["identities"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn only_a_protected_store_is_reset_and_only_after_an_answer() {
    let scene = Scene::new();
    scene.hire("alice");
    reset(&scene.machine, "new", &["--yes"]).expect(1).says(&["has no primary password", "cardcase password"]);
    scene.machine.run("show alice").expect(0);

    let (scene, _) = forgotten();
    let before = std::fs::read(scene.machine.store()).unwrap();
    reset(&scene.machine, "new", &[]).expect(4).says(&["must be confirmed", "--yes"]);
    let mut terminal = Terminal::open(&scene.machine, ["password", "--reset"]);
    terminal.wait_for("lose these private keys?");
    terminal.send("n");
    assert_eq!(terminal.end().code(), Some(1), "{}", terminal.text());
    assert_eq!(std::fs::read(scene.machine.store()).unwrap(), before);
}

/// A backup of a store with a lost key brings the identity, and one with the key brings the key.
#[test]
fn a_backup_brings_lost_keys_back() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let machine = &scene.machine;
    let own = machine.password_file("own");
    let backup = |name: &str| {
        let file = machine.dir().join(name);
        machine.command(["--batch", "backup"]).arg(&file).arg("--password-file").arg(&own).run().expect(0);
        file
    };
    let restore = |machine: &Cardcase, file: &std::path::Path| {
        machine.command(["--batch", "restore"]).arg(file).arg("--password-file").arg(&own).run().expect(0)
    };
    let whole = backup("whole");
    machine.command(["password", "--new-password-file"]).arg(machine.password_file("forgotten")).run().expect(0);
    reset(machine, "", &["--yes"]).expect(0);
    let lost = backup("lost");
    let usable = |machine: &Cardcase| machine.json("list")["identities"][0]["usable"]["rustls"].clone();

    let other = Cardcase::new();
    restore(&other, &lost).says(&["lost with a forgotten primary password"]);
    assert_eq!(usable(&other), false);
    for machine in [&other, machine] {
        restore(machine, &whole);
        assert_eq!(usable(machine), true);
        let export =
            machine.command(["--batch", "export", &alice.fingerprint(), "-o", "-", "--password-file", "/dev/null"]);
        export.run().expect(0);
    }
}

#[test]
fn an_agent_does_not_outlive_a_reset() {
    let (scene, _) = forgotten();
    let old = scene.machine.password_file("forgotten");
    scene.machine.command(["unlock", "--primary-password-file"]).arg(&old).run().expect(0);
    reset(&scene.machine, "new", &["--yes"]).expect(0);
    assert_eq!(scene.machine.json("unlock --status")["unlocked"], false);
    scene.machine.command(["--batch", "rules", "remove", "1"]).run().expect(4);
}

/// Without the old password nobody can tell what another program wrote, so the owner must have seen all of it.
#[test]
fn a_reset_accepts_only_what_was_shown() {
    let (scene, _) = forgotten();
    let machine = &scene.machine;
    machine.command(["trust"]).arg(&scene.server_root_file).run().expect(4);
    let database = machine.database();
    let planted =
        "INSERT INTO authorities (fingerprint, certificate, added_at, trusted) VALUES (zeroblob(32), x'00', 0, 1)";
    database.execute(planted, []).unwrap();
    reset(machine, "new", &["--yes"]).expect(1).says(&["the store is damaged: authorities"]);
    database.execute("DELETE FROM authorities WHERE certificate = x'00'", []).unwrap();

    let new = machine.password_file("new");
    let mut terminal = Terminal::open(machine, ["password", "--reset", "--new-password-file", new.to_str().unwrap()]);
    terminal.wait_for("lose these private keys?");
    database.execute("UPDATE decisions SET host = 'evil.example'", []).unwrap();
    terminal.send("y");
    assert_eq!(terminal.end().code(), Some(1), "{}", terminal.text());
    assert!(terminal.text().contains("changed the store meanwhile"), "{}", terminal.text());
    let old = machine.password_file("forgotten");
    machine.command(["unlock", "--primary-password-file"]).arg(&old).run().expect(0);
    machine.run("lock").expect(0);

    database.execute("UPDATE authorities SET trusted = 1", []).unwrap();
    let trusted = machine.json("authorities")["authorities"][0]["fingerprint"].as_str().unwrap().to_owned();
    database
        .execute(
            "INSERT INTO decisions (host, identity, session, decided_at) VALUES ('other.example', 1, 'another', 0)",
            [],
        )
        .unwrap();
    reset(machine, "new", &["--yes"]).expect(0).says(&[&format!("({trusted})"), "evil.example"]);
    let left: i64 =
        database.query_row("SELECT count(*) FROM decisions WHERE session IS NOT NULL", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn a_row_that_was_changed_after_a_reset_does_not_get_its_key_back() {
    let (scene, alice) = forgotten();
    let machine = &scene.machine;
    reset(machine, "new", &["--yes"]).expect(0);
    machine.database().execute("UPDATE identities SET name = 'mallory', requires_tls13 = 0", []).unwrap();
    let new = machine.password_file("new");
    let (file, password) = (alice.p12(machine.dir(), ca::P12::Default), machine.password_file(PASSWORD));
    let import = machine.command(["--batch", "import"]).arg(file).arg("--password-file").arg(password);
    import.arg("--primary-password-file").arg(new).run().expect(1).says(&["mallory"]);
    assert_eq!(machine.json("list")["identities"][0]["usable"]["rustls"], false);
}

#[test]
fn one_enter_does_not_leave_a_reset_store_unprotected() {
    let (scene, _) = forgotten();
    let mut terminal = Terminal::open(&scene.machine, ["password", "--reset", "--yes"]);
    for prompt in ["New primary password", "Repeat it"] {
        terminal.wait_for(prompt);
        terminal.stays_for(std::time::Duration::from_millis(300));
        terminal.send(if prompt == "Repeat it" { "\x03" } else { "\r" });
    }
    assert_eq!(terminal.end().code(), Some(130), "{}", terminal.text());
    assert_eq!(scene.machine.json("list")["protected"], true);
}
