//! Identities that are sent in TLS 1.3 only, because in TLS 1.2 everybody on the network can read the certificate.

use crate::support::ca::Issued;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Server, Tls};
use serde_json::json;

/// A server that reports every message, even an empty Certificate.
fn server(scene: &Scene, tls: Tls) -> Server {
    scene.server(Kind::OpenSsl).ask(Ask::Optional).tls(tls).start()
}

fn require(scene: &Scene, identity: &Issued, version: &str) {
    scene.machine.run(&format!("min-tls {} {version}", identity.fingerprint())).expect(0);
}

#[test]
fn a_remembered_identity_for_tls_1_3_only_is_not_sent_in_tls_1_2() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.hire("bob");
    require(&scene, &alice, "1.3");
    scene.remember("localhost", &alice.fingerprint());
    let newest = server(&scene, Tls::V1_3);
    scene.fetch(&newest.url(), &[]).expect(0);
    assert_eq!(newest.chains(), [alice.sent_chain()]);
    let older = server(&scene, Tls::V1_2);
    // Bob would fit, so it is a question, and nobody can be asked
    scene.fetch(&older.url(), &[]).expect(4).says(&["alice", "TLS 1.3 only"]);
    older.assert_nothing_came("a decision");

    require(&scene, &alice, "1.2");
    scene.fetch(&older.url(), &[]).expect(0);
    assert_eq!(older.chains(), [alice.sent_chain()]);
}

#[test]
fn a_given_identity_for_tls_1_3_only_is_not_sent_in_tls_1_2() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    require(&scene, &alice, "1.3");
    let older = server(&scene, Tls::V1_2);
    scene.fetch(&older.url(), &["--as", &alice.fingerprint()]).expect(3).says(&["alice", "TLS 1.3 only"]);
    older.assert_nothing_came("--as");
    let newest = server(&scene, Tls::V1_3);
    scene.fetch(&newest.url(), &["--as", &alice.fingerprint()]).expect(0);
    assert_eq!(newest.chains(), [alice.sent_chain()]);
}

#[test]
fn explain_says_that_the_identity_is_for_tls_1_3_only() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    require(&scene, &alice, "1.3");
    let root = scene.server_root_file.to_str().unwrap();
    for (tls, reasons) in [(Tls::V1_2, json!(["requires_tls13"])), (Tls::V1_3, json!([]))] {
        let server = server(&scene, tls);
        let explained = scene.machine.json(&format!("--batch explain {} --cacert {root}", server.destination()));
        assert_eq!(explained["identities"][0]["reasons"], reasons, "{tls:?}");
    }
    let shown = scene.machine.json(&format!("show {}", alice.fingerprint()));
    assert_eq!(shown["requires_tls13"], true);
}

#[test]
fn automatic_selection_skips_the_identity_in_tls_1_2() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    require(&scene, &alice, "1.3");
    scene.machine.run("config select-automatically on").expect(0);
    let older = server(&scene, Tls::V1_2);
    scene.fetch(&older.url(), &[]).expect(0).says(&["no identity fits"]);
    assert!(older.chains().is_empty());
    let newest = server(&scene, Tls::V1_3);
    scene.fetch(&newest.url(), &[]).expect(0);
    assert_eq!(newest.chains(), [alice.sent_chain()]);
}
