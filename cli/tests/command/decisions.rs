//! What is remembered, for which destination, and what is then sent: the two modes, redirects, unverified servers, and
//! the output of `explain` and `history`.

use crate::support::ca::{self, Authority, Issued, Key, Validity};
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server, Setup, Tls};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use serde_json::{Value, json};

const FIREFOX: &[&str] = &["--mode", "firefox"];
const CHROME: &[&str] = &["--mode", "chrome"];

#[test]
fn decisions_of_one_mode_do_not_apply_in_the_other() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let server = scene.server(Kind::Go).start();
    scene.remember_as(&server.destination(), &alice.fingerprint(), "--mode chrome");
    scene.fetch(&server.url(), FIREFOX).expect(4);
    scene.machine.run("forget --all --mode chrome").expect(0);
    scene.remember_as(&server.destination(), &alice.fingerprint(), "--mode firefox");
    scene.fetch(&server.url(), CHROME).expect(4);
    assert!(server.chains().is_empty());
}

#[test]
fn decisions_are_listed_with_their_scope() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("Example.COM.", &alice.fingerprint());
    scene.remember_as("example.com:8443", "none", "--mode chrome");
    // Both modes list both: a decision of the other mode is still remembered
    for mode in ["firefox", "chrome"] {
        let listed = scene.machine.json(&format!("decisions --mode {mode}"));
        assert_eq!(listed["mode"], mode);
        let [host, host_port] = &listed["decisions"].as_array().unwrap()[..] else { panic!("{listed}") };
        assert_eq!(host["scope"], "host");
        assert_eq!(host["host"], "example.com");
        assert_eq!(host["port"], Value::Null);
        assert_eq!(host["identity"], alice.fingerprint());
        assert_eq!(host["lifetime"], "permanent");
        assert_eq!(host_port["scope"], "host_port");
        assert_eq!(host_port["port"], 8443);
        assert_eq!(host_port["identity"], Value::Null);
    }
}

#[test]
fn a_session_decision_ends_at_logout_and_a_permanent_one_does_not() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let server = scene.server(Kind::Go).start();
    let line = format!("remember localhost {} --for session", alice.fingerprint());
    scene.machine.run(&line).expect(0);
    scene.fetch(&server.url(), &[]).expect(0);
    scene.machine.log_in_anew();
    scene.fetch(&server.url(), &[]).expect(4);
    scene.remember("localhost", &alice.fingerprint());
    scene.machine.log_in_anew();
    scene.fetch(&server.url(), &[]).expect(0);
    assert_eq!(server.chains(), [alice.sent_chain(), alice.sent_chain()]);
}

#[test]
fn a_forgotten_decision_no_longer_applies() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let server = scene.server(Kind::Go).start();
    scene.remember("localhost", &alice.fingerprint());
    scene.machine.run("forget localhost").expect(0);
    scene.fetch(&server.url(), &[]).expect(4);
    scene.machine.run("forget localhost").expect(3);
    assert!(server.chains().is_empty());
}

#[test]
fn removing_an_identity_removes_its_decisions() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.hire("bob");
    let server = scene.server(Kind::Go).start();
    scene.remember("localhost", &alice.fingerprint());
    scene.machine.run(&format!("remove {} --yes", alice.fingerprint())).expect(0);
    assert_eq!(scene.machine.json("decisions")["decisions"], json!([]));
    scene.fetch(&server.url(), &[]).expect(4);
    assert!(server.chains().is_empty());
}

#[test]
fn a_redirect_to_an_undecided_host_stops_before_anything_is_sent() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let (target, first) = (scene.server(Kind::Go).start(), scene.server(Kind::Go).start());
    scene.remember("localhost", &alice.fingerprint());
    let url = first.redirect_to("localhost", &target.url_at("127.0.0.1", "/"));
    scene.fetch(&url, &["-L"]).expect(4);
    assert_eq!(first.chains(), [alice.sent_chain()]);
    assert!(target.chains().is_empty());
}

#[test]
fn without_following_a_redirect_is_the_response() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let (target, first) = (scene.server(Kind::Go).start(), scene.server(Kind::Go).start());
    scene.remember("localhost", &alice.fingerprint());
    scene.fetch(&first.redirect_to("localhost", &target.url()), &[]).expect(0);
    assert_eq!(first.chains(), [alice.sent_chain()]);
    assert!(target.handshakes().is_empty());
}

#[test]
fn a_changed_decision_applies_to_the_next_command() {
    let scene = Scene::new();
    let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::Go).tls(tls).ask(Ask::Optional).start();
        for answer in [alice.fingerprint(), bob.fingerprint(), "none".into()] {
            scene.remember("localhost", &answer);
            scene.fetch(&server.url(), &[]).expect(0);
        }
        assert_eq!(server.chains(), [alice.sent_chain(), bob.sent_chain()], "{tls:?}");
    }
}

#[test]
fn an_unverified_server_gets_nothing_and_the_error_says_why() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let elsewhere = scene.server_root.server(&["elsewhere.example"]);
    let stranger = Authority::root("Stranger Root").server(&["localhost"]);
    let cases: [(&str, &Issued, &[&str]); 2] = [
        ("a certificate for another name", &elsewhere, &["localhost", "elsewhere.example"]),
        ("a certificate of an unknown authority", &stranger, &["unknown", "authority"]),
    ];
    for decided in [true, false] {
        if decided {
            scene.remember("localhost", &alice.fingerprint());
        } else {
            scene.machine.run("forget localhost").expect(0);
        }
        for (what, certificate, words) in &cases {
            for tls in BOTH_VERSIONS {
                let setup = Setup::new(Kind::Go, certificate).authorities(&[&scene.staff_root]);
                let server = setup.tls(tls).start();
                let outcome = scene.fetch(&server.url(), &[]);
                assert_eq!(outcome.code(), Some(1), "{what} {tls:?}: {}", outcome.stderr);
                outcome.says(words);
                assert!(server.chains().is_empty(), "{what} {tls:?} {}", server.said());
            }
        }
    }
}

#[test]
fn a_trusted_authority_verifies_servers() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let server = scene.server(Kind::Go).start();
    scene.remember("localhost", &alice.fingerprint());
    let url = server.url();
    scene.machine.command(["--batch", "fetch", &url]).run().expect(1);
    let root = scene.server_root_file.to_str().unwrap();
    scene.machine.run(&format!("trust {root}")).expect(0);
    scene.machine.command(["--batch", "fetch", &url]).run().expect(0);
    assert_eq!(server.chains(), [alice.sent_chain()]);
}

/// An authority from a `.p12` file must not verify servers.
#[test]
fn an_imported_authority_does_not_verify_servers() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let certificate = scene.staff_root.server(&["localhost"]);
    let setup = Setup::new(Kind::Go, &certificate).authorities(&[&scene.staff_root]);
    let server = setup.start();
    scene.machine.command(["--batch", "fetch", &server.url()]).run().expect(1);
    assert!(server.chains().is_empty());
}

/// An identity, and what `explain` says about it to a TLS 1.2 server that asks for staff.
struct Explained {
    identity: Issued,
    reasons: &'static [&'static str],
    warnings: &'static [&'static str],
}

fn explained(scene: &Scene) -> Vec<Explained> {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, EmailProtection, OcspSigning, ServerAuth};
    use KeyUsagePurpose::{ContentCommitment, DigitalSignature, KeyAgreement, KeyEncipherment};
    let staff = |name| scene.employee(name);
    let row = |identity, reasons, warnings| Explained { identity, reasons, warnings };
    let fits = |identity| row(identity, &[], &[]);
    let warned = |identity, warnings| row(identity, &[], warnings);
    let excluded = |identity, reasons| row(identity, reasons, &[]);
    vec![
        fits(staff("plain").issue()),
        fits(staff("rsa").key(Key::Rsa2048).issue()),
        fits(staff("ed25519").key(Key::Ed25519).issue()),
        fits(staff("no usages").key_usages(&[]).extended_key_usages(&[]).issue()),
        fits(staff("two purposes").extended_key_usages(&[ServerAuth, ClientAuth]).issue()),
        fits(staff("two usages").key_usages(&[KeyEncipherment, DigitalSignature]).issue()),
        warned(staff("expired").validity(Validity::Expired).issue(), &["expired"]),
        warned(staff("not yet").validity(Validity::NotYet).issue(), &["not_yet_valid"]),
        warned(staff("authority").ca().key_usages(&[]).extended_key_usages(&[]).issue(), &["ca_certificate"]),
        excluded(scene.guests.client("guest").issue(), &["issuer_not_requested"]),
        excluded(staff("server").extended_key_usages(&[ServerAuth]).issue(), NOT_CLIENT),
        excluded(staff("mail").extended_key_usages(&[EmailProtection]).issue(), NOT_CLIENT),
        excluded(staff("ocsp").extended_key_usages(&[OcspSigning]).issue(), NOT_CLIENT),
        excluded(staff("any").extended_key_usages(&[Any]).issue(), NOT_CLIENT),
        excluded(staff("encipher").key_usages(&[KeyEncipherment]).issue(), &["not_for_signing"]),
        excluded(staff("commit").key_usages(&[ContentCommitment]).issue(), &["not_for_signing"]),
        excluded(staff("agree").key_usages(&[KeyAgreement]).issue(), &["not_for_signing"]),
    ]
}

const NOT_CLIENT: &[&str] = &["not_for_client_auth"];

#[test]
fn explain_gives_every_identity_its_reason() {
    let scene = Scene::new();
    let table = explained(&scene);
    for row in &table {
        scene.machine.import(&row.identity);
    }
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::Go).tls(tls).start();
        let answer = explain(&scene, &server);
        assert_eq!(answer["identities"].as_array().unwrap().len(), table.len(), "{answer}");
        for row in &table {
            assert_explained(&answer, row, tls);
        }
        assert!(server.chains().is_empty(), "explain sent a certificate");
    }
}

fn explain(scene: &Scene, server: &Server) -> Value {
    let root = scene.server_root_file.to_str().unwrap();
    scene.machine.json(&format!("--batch explain {} --cacert {root}", server.destination()))
}

#[track_caller]
fn assert_explained(answer: &Value, row: &Explained, tls: Tls) {
    let identities = answer["identities"].as_array().unwrap();
    let fingerprint = row.identity.fingerprint();
    let said = identities.iter().find(|each| each["fingerprint"] == fingerprint).unwrap();
    let name = &row.identity.name;
    assert_eq!(said["name"], *name);
    assert_eq!(said["candidate"], row.reasons.is_empty(), "{name} {tls:?}: {said}");
    assert_eq!(said["reasons"], json!(row.reasons), "{name} {tls:?}");
    let warnings = said["warnings"].as_array().unwrap();
    // In TLS 1.2 everybody on the network can see the certificate. That is not a property of the identity
    let own: Vec<_> = warnings.iter().filter(|code| *code != "visible_below_tls13").collect();
    assert_eq!(json!(own), json!(row.warnings), "{name} {tls:?}");
    if row.reasons.is_empty() {
        let visible = warnings.iter().any(|code| code == "visible_below_tls13");
        assert_eq!(visible, tls == Tls::V1_2, "{name} {tls:?}");
    }
}

#[test]
fn explain_shows_what_the_server_asked_for() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for tls in BOTH_VERSIONS {
        let authorities = [&scene.staff_root, &scene.guests_root];
        let setup = Setup::new(Kind::Go, &scene.server_certificate).authorities(&authorities);
        let server = setup.tls(tls).start();
        let answer = explain(&scene, &server);
        assert_eq!(answer["destination"], json!({"host": "localhost", "port": server.port()}));
        assert_eq!(answer["server_verified"], true);
        assert_eq!(answer["requested"], true);
        assert!(answer["tls_version"].as_str().unwrap().contains(tls.number()), "{answer}");
        let names = answer["authorities"].to_string();
        for name in ["Staff Root", "Guests Root"] {
            assert!(names.contains(&format!("CN={name},O=Test Authorities")), "{names}");
        }
        let schemes = answer["signature_schemes"].to_string();
        assert!(schemes.contains("ecdsa_secp256r1_sha256"), "{schemes}");
        assert_eq!(answer["answer"], json!({"source": "ask", "identity": null}));
    }
    let server = scene.server(Kind::Go).start();
    scene.remember("localhost", &alice.fingerprint());
    let decided = json!({"source": "decision", "identity": alice.fingerprint()});
    assert_eq!(explain(&scene, &server)["answer"], decided);
}

#[test]
fn explain_says_when_the_server_does_not_ask_or_nothing_fits() {
    let scene = Scene::new();
    scene.bring(scene.guests.client("guest").issue());
    let server = scene.server(Kind::Go).ask(Ask::Never).start();
    let answer = explain(&scene, &server);
    assert_eq!(answer["requested"], false);
    assert_eq!(answer["answer"]["source"], "not_requested");
    let server = scene.server(Kind::Go).start();
    assert_eq!(explain(&scene, &server)["answer"]["source"], "no_candidate");
}

/// ECDSA keys do not fit a request for RSA. A request says so by its signature schemes, and in TLS 1.2 also by its
/// certificate types.
#[test]
fn a_key_that_the_server_cannot_verify_is_not_a_candidate() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::OpenSsl).tls(tls).client_schemes("rsa_pss_rsae_sha256:RSA+SHA256").start();
        let answer = explain(&scene, &server);
        let said = &answer["identities"][0];
        assert_eq!(said["fingerprint"], alice.fingerprint());
        assert_eq!(said["candidate"], false, "{tls:?}");
        assert_eq!(said["reasons"], json!(["no_common_signature_scheme"]), "{tls:?}");
    }
}

#[test]
fn no_candidate_is_exit_3_where_a_certificate_is_required() {
    let scene = Scene::new();
    scene.bring(scene.guests.client("guest").issue());
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::Go).tls(tls).start();
        scene.fetch(&server.url(), &[]).expect(3);
        assert!(server.chains().is_empty());
    }
    assert_eq!(scene.machine.json("decisions")["decisions"], json!([]));
}

#[test]
fn history_shows_how_each_use_ended() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let guest = scene.bring(scene.guests.client("guest").issue());
    let fingerprints = (alice.fingerprint(), guest.fingerprint());
    let cases: [(Ask, &str, Value, &str, Value); 4] = [
        (Ask::Require, &fingerprints.0, json!(fingerprints.0), "accepted", Value::Null),
        (Ask::Require, &fingerprints.1, json!(fingerprints.1), "refused", json!("unknown_ca")),
        (Ask::Optional, "none", Value::Null, "accepted", Value::Null),
        (Ask::Require, "none", Value::Null, "refused", json!("certificate_required")),
    ];
    for (ask, answer, identity, outcome, alert) in cases {
        let server = scene.server(Kind::OpenSsl).tls(Tls::V1_3).without_hints().ask(ask).start();
        scene.remember("localhost", answer);
        scene.fetch(&server.url(), &[]);
        let history = scene.machine.json("history localhost");
        let uses = history["uses"].as_array().unwrap();
        let used = uses.iter().find(|used| used["port"] == server.port()).unwrap();
        assert_eq!(used["host"], "localhost");
        assert_eq!(used["identity"], identity, "{used}");
        assert_eq!(used["source"], "decision", "{used}");
        assert_eq!(used["outcome"], outcome, "{used}");
        assert_eq!(used["alert"], alert, "{used}");
        assert!(used["tls_version"].as_str().unwrap().contains("1.3"), "{used}");
    }
}

/// The text output of `explain`.
fn told(scene: &Scene, server: &Server, more: &str) -> String {
    let root = scene.server_root_file.to_str().unwrap();
    scene.machine.run(&format!("--batch explain {} --cacert {root} {more}", server.destination())).expect(0).text()
}

#[test]
fn explain_says_why_a_person_would_be_asked() {
    let scene = Scene::new();
    let (alice, late) = (scene.hire("alice"), scene.bring(scene.employee("late").validity(Validity::Expired).issue()));
    scene.hire("bob");
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    let told = || told(&scene, &server, "");
    assert!(told().contains("Nothing is remembered: you would be asked."), "{}", told());
    scene.remember("localhost", &late.fingerprint());
    assert!(told().contains("no longer fits (\"late\": expired): you would be asked."), "{}", told());
    scene.machine.run("forget localhost").expect(0);
    scene.machine.run("rules add https://localhost").expect(0);
    scene.machine.run("config prompt-on-multiple on").expect(0);
    assert!(
        told().contains("rules select several identities, one of them by rule 1 (https://localhost)"),
        "{}",
        told()
    );
    scene.remember("localhost", &alice.fingerprint());
    scene.machine.run("rules remove 1").expect(0);
    scene.machine.run("rules add https://localhost --deny --subject CN=alice").expect(0);
    assert!(told().contains("no longer fits (\"alice\": a rule forbids"), "{}", told());
}

#[test]
fn explain_says_what_excludes_identities() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let server = scene.server(Kind::OpenSsl).ask(Ask::Optional).tls(Tls::V1_2).start();
    let told = || told(&scene, &server, "");
    assert!(!told().contains("cardcase min-tls"));
    scene.machine.run(&format!("min-tls {} 1.3", alice.fingerprint())).expect(0);
    let by_itself = format!("cardcase min-tls {} 1.2", &alice.fingerprint()[..8]);
    assert!(told().contains(&by_itself) && !told().contains("cardcase rules"), "{}", told());
    scene.machine.run("rules add https://localhost --tls13").expect(0);
    assert!(told().contains("cardcase rules"), "{}", told());
    scene.machine.run("rules remove 1").expect(0);
    scene.machine.run("rules add https://localhost --deny --subject CN=alice").expect(0);
    assert!(told().contains("cardcase rules"), "{}", told());
    // An identity of another issuer cannot be sent, with or without rules
    scene.machine.run(&format!("remove {} --yes", alice.fingerprint())).expect(0);
    scene.bring(scene.guests.client("alice").issue());
    assert!(!told().contains("cardcase rules"), "{}", told());
}

#[test]
fn a_missing_intermediate_causes_a_hint_to_import_it() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    let alone = ca::write(scene.machine.dir(), "alice", "pem", alice.pem() + &alice.key_pem());
    scene.machine.run(&format!("import {}", alone.display())).expect(0);
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    assert!(told(&scene, &server, "").contains("Authorities: cardcase import FILE"), "{}", told(&scene, &server, ""));
    let shown = scene.machine.run(&format!("show {}", alice.fingerprint())).expect(0).text();
    assert!(shown.contains("cardcase import FILE") && !shown.contains("trust"), "{shown}");
    // The hint helps
    scene.machine.run(&format!("import {}", scene.staff.file(scene.machine.dir()).display())).expect(0);
    assert_eq!(explain(&scene, &server)["answer"]["source"], "ask");
}

#[test]
fn suggested_commands_use_the_mode_that_was_given() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    let (destination, id) = (server.destination(), &alice.fingerprint()[..8]);
    let remember = format!("cardcase remember {destination} {id}");
    assert!(told(&scene, &server, "").contains(&format!("{remember}\n")));
    assert!(told(&scene, &server, "--mode chrome").contains(&format!("{remember} --mode chrome\n")));
    scene.fetch(&server.url(), &["--mode", "chrome"]).expect(4).says(&[
        &format!("cardcase explain {destination} --mode chrome"),
        &format!("cardcase remember {destination} ID --mode chrome"),
    ]);
}
