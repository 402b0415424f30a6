//! The settings of a store: the mode, and selection without asking. Nothing is sent without asking unless a setting
//! says so.

use crate::support::ca::{Issued, Validity};
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Server};
use serde_json::{Value, json};

fn optional(scene: &Scene) -> Server {
    scene.server(Kind::Go).ask(Ask::Optional).start()
}

fn set(scene: &Scene, key: &str, value: &str) {
    scene.machine.run(&format!("config {key} {value}")).expect(0);
}

#[test]
fn a_new_store_is_set_to_ask() {
    let scene = Scene::new();
    let expected = json!({
        "mode": "firefox",
        "select_automatically": false,
        "use_single_candidate": false,
        "prompt_on_multiple": false,
    });
    assert_eq!(scene.machine.json("config"), expected);
    scene.hire("alice");
    let server = optional(&scene);
    scene.fetch(&server.url(), &[]).expect(4);
    server.assert_nothing_came("a new store");
}

#[test]
fn the_flag_and_the_environment_override_the_stored_mode() {
    let scene = Scene::new();
    let mode = |more: &str| scene.machine.json(&format!("decisions {more}"))["mode"].clone();
    assert_eq!(mode(""), "firefox");
    set(&scene, "mode", "chrome");
    assert_eq!(mode(""), "chrome");
    assert_eq!(mode("--mode firefox"), "firefox");
    let by_environment = scene.machine.command(["decisions", "--json"]).env("CARDCASE_MODE", "firefox").run();
    assert_eq!(by_environment.expect(0).json()["mode"], "firefox");
    assert_eq!(scene.machine.run("config mode").expect(0).text(), "chrome\n");
}

#[test]
fn a_changed_mode_applies_from_the_next_connection() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let (first, second) = (optional(&scene), optional(&scene));
    scene.remember(&first.destination(), &alice.fingerprint());
    scene.fetch(&second.url(), &[]).expect(0);
    set(&scene, "mode", "chrome");
    scene.fetch(&second.url(), &[]).expect(4);
    scene.remember(&first.destination(), "none");
    scene.fetch(&first.url(), &[]).expect(0);
    set(&scene, "mode", "firefox");
    scene.fetch(&first.url(), &[]).expect(0);
    assert_eq!(first.chains(), [alice.sent_chain()]);
    assert_eq!(second.chains(), [alice.sent_chain()]);
}

#[test]
fn an_invalid_setting_or_value_is_a_usage_error_and_changes_nothing() {
    let scene = Scene::new();
    let before = scene.machine.json("config");
    for line in
        ["config mode safari", "config select-automatically yes", "config colour blue", "config use-single-candidate 1"]
    {
        scene.machine.run(line).expect(2);
    }
    assert_eq!(scene.machine.json("config"), before);
}

#[test]
fn a_single_candidate_is_used_without_asking_but_not_one_of_two() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let server = optional(&scene);
    set(&scene, "use-single-candidate", "on");
    scene.fetch(&server.url(), &[]).expect(0);
    scene.hire("bob");
    scene.fetch(&server.url(), &[]).expect(4);
    assert_eq!(server.chains(), [alice.sent_chain()]);
}

#[test]
fn no_setting_sends_an_expired_identity() {
    let scene = Scene::new();
    scene.bring(scene.employee("expired").validity(Validity::Expired).issue());
    let server = optional(&scene);
    for key in ["select-automatically", "use-single-candidate"] {
        set(&scene, key, "on");
        scene.fetch(&server.url(), &[]).expect(4);
        set(&scene, key, "off");
    }
    server.assert_nothing_came("expired");
}

#[test]
fn explain_names_the_setting_that_answers() {
    let scene = Scene::new();
    let alice: Issued = scene.hire("alice");
    let server = optional(&scene);
    let root = scene.server_root_file.to_str().unwrap();
    let line = format!("--batch explain {} --cacert {root}", server.destination());
    let answer = |scene: &Scene| -> Value { scene.machine.json(&line)["answer"].clone() };
    assert_eq!(answer(&scene), json!({ "source": "ask", "identity": null }));
    for key in ["select-automatically", "use-single-candidate"] {
        set(&scene, key, "on");
        let rule = format!("the setting {key}");
        assert_eq!(answer(&scene), json!({ "source": "rule", "identity": alice.fingerprint(), "rule": rule }));
        set(&scene, key, "off");
    }
}
