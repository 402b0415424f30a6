//! Every way in which a server refuses: the error, the exit code, the history, and what a person at a terminal can do.
//! Real servers send every alert except access_denied. A rustls server whose verifier returns the error sends that one,
//! and all of them again for remembered decisions.

use crate::support::MODES;
use crate::support::ca::{Authority, Issued, Validity};
use crate::support::command::Outcome;
use crate::support::gnutls::GnuTls;
use crate::support::question::{answer, assert_ends};
use crate::support::refusing::Refusing;
use crate::support::scene::Scene;
use crate::support::screen::{ONCE, PERMANENT, SEND_NONE};
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server, Setup, Tls};
use crate::support::terminal::{Terminal, key};
use crate::support::verdict::VERDICTS;
use serde_json::{Value, json};

/// The meaning of each alert, in the words of the command.
const MEANINGS: [(&str, &str); 13] = [
    ("bad_certificate", "may be damaged or not yet valid"),
    ("unsupported_certificate", "certificates of this kind"),
    ("certificate_revoked", "revoked"),
    ("certificate_expired", "expired"),
    ("certificate_unknown", "does not accept the certificate"),
    ("unknown_ca", "does not know the CA"),
    ("access_denied", "denies access"),
    ("certificate_required", "wants a certificate"),
    ("handshake_failure", "wants a certificate"),
    ("decrypt_error", "the CA may have a new key"),
    ("decode_error", "cannot read the certificate, or wants one"),
    ("illegal_parameter", "cannot use this kind of key"),
    ("bad_certificate_status_response", "does not accept the answer"),
];

fn meaning(alert: &str) -> &'static str {
    MEANINGS.iter().find(|(name, _)| *name == alert).unwrap().1
}

fn last_use(scene: &Scene) -> Value {
    scene.machine.json("history")["uses"][0].clone()
}

#[track_caller]
fn assert_recorded(scene: &Scene, identity: Option<&Issued>, alert: Option<&str>, case: &str) {
    let used = last_use(scene);
    assert_eq!(used["outcome"], "refused", "{case}: {used}");
    assert_eq!(used["alert"], json!(alert), "{case}: {used}");
    assert_eq!(used["identity"], json!(identity.map(Issued::fingerprint)), "{case}: {used}");
}

/// Fetches with this identity or none, regardless of what is remembered.
fn fetch_as(scene: &Scene, url: &str, identity: Option<&Issued>) -> Outcome {
    match identity {
        Some(identity) => scene.fetch(url, &["--as", &identity.fingerprint()]),
        None => scene.fetch(url, &["--credentials", "omit"]),
    }
}

/// What OpenSSL refuses, with which options, and its alerts in TLS 1.2 and 1.3.
struct Refused {
    what: &'static str,
    identity: Option<Issued>,
    arguments: Vec<String>,
    alerts: [&'static str; 2],
}

fn refused(scene: &Scene) -> Vec<Refused> {
    let row = |what, identity, arguments: &[&str], alerts| {
        let arguments = arguments.iter().map(|each| (*each).to_owned()).collect();
        Refused { what, identity, arguments, alerts }
    };
    let valid = |validity| Some(scene.employee("late").validity(validity).issue());
    let revoked = scene.employee("revoked").serial(&[0x10, 0x20]).issue();
    let list = scene.staff.revocations(scene.machine.dir(), &[&revoked]);
    let crl = ["-CRL", list.to_str().unwrap(), "-crl_check"];
    vec![
        row("none", None, &[], ["handshake_failure", "certificate_required"]),
        row("unknown CA", Some(scene.guests.client("guest").issue()), &[], ["unknown_ca"; 2]),
        row("self-signed", Some(scene.employee("alone").self_signed()), &[], ["unknown_ca"; 2]),
        row("expired", valid(Validity::Expired), &[], ["certificate_expired"; 2]),
        row("not yet valid", valid(Validity::NotYet), &[], ["bad_certificate"; 2]),
        row("revoked", Some(revoked), &crl, ["certificate_revoked"; 2]),
        row(
            "for servers",
            Some(scene.employee("s").issue()),
            &["-purpose", "sslserver"],
            ["unsupported_certificate"; 2],
        ),
        row("without a policy", Some(scene.employee("p").issue()), &["-explicit_policy"], ["certificate_unknown"; 2]),
    ]
}

#[test]
fn the_command_explains_the_alerts_of_openssl() {
    let scene = Scene::new();
    for Refused { what, identity, arguments, alerts } in refused(&scene) {
        if let Some(identity) = &identity {
            scene.machine.import(identity);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        for (tls, alert) in BOTH_VERSIONS.into_iter().zip(alerts) {
            let case = format!("{what} {tls:?}");
            // The server names no authority, so that an identity of any issuer is a candidate
            let server = scene.server(Kind::OpenSsl).tls(tls).without_hints().arguments(&arguments).start();
            fetch_as(&scene, &server.url(), identity.as_ref()).expect(5).says(&[alert, meaning(alert), "hint"]);
            let last = server.handshakes().pop().unwrap();
            assert_eq!(last.error, alert, "{case}: the server sent another alert\n{}", server.said());
            assert_eq!(last.chain, identity.as_ref().map_or(Vec::new(), Issued::sent_chain), "{case}");
            assert_recorded(&scene, identity.as_ref(), Some(alert), &case);
        }
    }
}

/// The intermediate is not in the store, so only the certificate itself is sent.
#[test]
fn a_missing_intermediate_leads_to_unknown_ca() {
    let scene = Scene::new();
    let lost = scene.staff.intermediate("Lost Issuing").client("lost").issue();
    let alone = crate::support::ca::write(scene.machine.dir(), "alone", "pem", lost.key_pem() + &lost.pem());
    scene.machine.import_file(&alone);
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::OpenSsl).tls(tls).without_hints().start();
        fetch_as(&scene, &server.url(), Some(&lost)).expect(5).says(&["unknown_ca", "an intermediate is missing"]);
        assert_eq!(server.chains(), [[lost.fingerprint()]], "{tls:?}");
        assert_recorded(&scene, Some(&lost), Some("unknown_ca"), &format!("{tls:?}"));
    }
}

/// Every other decision stays.
#[test]
fn chrome_mode_forgets_only_the_refused_decision() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    for mode in MODES {
        for (alert, verdict) in VERDICTS {
            for tls in BOTH_VERSIONS {
                let case = format!("{mode} {alert} {tls:?}");
                let server = Refusing::start(&scene, verdict(), tls);
                scene.remember_as(&server.destination(), &alice.fingerprint(), &format!("--mode {mode}"));
                scene.remember_as("other.example:444", &alice.fingerprint(), &format!("--mode {mode}"));
                let outcome = scene.fetch(&server.url(), &["--mode", mode]).expect(5);
                // In chrome mode it is forgotten already
                let next = if mode == "firefox" { "cardcase forget localhost" } else { "cardcase explain localhost" };
                outcome.says(&["alice", alert, meaning(alert), next]);
                assert_eq!(server.chains(), [alice.sent_chain()], "{case}");
                assert_recorded(&scene, Some(&alice), Some(alert), &case);
                let decisions = scene.machine.json("decisions");
                let hosts: Vec<_> =
                    decisions["decisions"].as_array().unwrap().iter().map(|each| each["host"].clone()).collect();
                let left: &[&str] =
                    if mode == "firefox" { &["localhost", "other.example"] } else { &["other.example"] };
                assert_eq!(hosts, left, "{case}");
                scene.machine.run("forget --all").expect(0);
            }
        }
    }
}

/// Go sends bad_certificate for every reason.
#[test]
fn every_server_can_refuse_a_remembered_identity_or_none() {
    let scene = Scene::new();
    let guest = scene.bring(scene.guests.client("guest").issue());
    let cases = [
        (Kind::OpenSsl, ["unknown_ca"; 2], ["handshake_failure", "certificate_required"]),
        (Kind::Go, ["bad_certificate"; 2], ["bad_certificate"; 2]),
        (Kind::Python, ["unknown_ca"; 2], ["handshake_failure", "certificate_required"]),
    ];
    for (kind, refused, missed) in cases {
        for (place, tls) in BOTH_VERSIONS.into_iter().enumerate() {
            let server = scene.server(kind).tls(tls).without_hints().start();
            for (identity, alert) in [(Some(&guest), refused[place]), (None, missed[place])] {
                scene.remember("localhost", &identity.map_or("none".to_owned(), Issued::fingerprint));
                scene.fetch(&server.url(), &[]).expect(5).says(&[alert, meaning(alert), "explain", "forget localhost"]);
                assert_recorded(&scene, identity, Some(alert), &format!("{kind:?} {tls:?}"));
            }
            // Python reports nothing about a certificate that it refused during the handshake
            if kind != Kind::Python {
                assert_eq!(server.chains(), [guest.sent_chain()], "{kind:?} {tls:?}");
            }
        }
    }
}

/// The server of the JDK hangs up without an alert; in TLS 1.2 during the handshake. The command does not try again.
#[test]
fn a_server_that_hangs_up_instead_of_a_response_refuses() {
    let scene = Scene::new();
    let guest = scene.bring(scene.guests.client("guest").issue());
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::Java).tls(tls).without_hints().start();
        for identity in [Some(&guest), None] {
            let outcome = fetch_as(&scene, &server.url(), identity);
            let what = if identity.is_some() { r#"refused the identity "guest""# } else { "no certificate was sent" };
            outcome.expect(5).says(&[what, "closed the connection without saying why", "JSSE: ", "cardcase explain"]);
            assert_recorded(&scene, identity, None, &format!("{tls:?}"));
        }
        assert_eq!(server.chains(), [guest.sent_chain()], "{tls:?}");
    }
}

/// It accepts any certificate in the handshake, and looks at it afterwards.
#[test]
fn the_command_explains_the_alerts_of_gnutls() {
    let scene = Scene::new();
    let (alice, guest) = (scene.hire("alice"), scene.bring(scene.guests.client("guest").issue()));
    for (tls, missed) in BOTH_VERSIONS.into_iter().zip(["decode_error", "certificate_required"]) {
        let server = GnuTls::start(&scene, tls);
        scene.fetch(&server.url(), &["--as", &alice.fingerprint()]).expect(0);
        for (identity, alert) in [(Some(&guest), "access_denied"), (None, missed)] {
            fetch_as(&scene, &server.url(), identity).expect(5).says(&[alert, meaning(alert), "GnuTLS", "hint"]);
            assert_recorded(&scene, identity, Some(alert), &format!("{tls:?}"));
        }
        scene.machine.run("history").expect(0);
    }
}

/// The CA of the clients has a new key, which the server does not know, under the name that it knows.
#[test]
fn a_ca_with_a_new_key_leads_to_decrypt_error_and_another_identity_may_be_chosen() {
    let scene = Scene::new();
    let (old, new) = (Authority::root("Rekeyed Root"), Authority::root("Rekeyed Root"));
    let mallory = scene.bring(new.client("mallory").issue());
    scene.bring(old.client("olivia").issue());
    for tls in BOTH_VERSIONS {
        let server = Setup::new(Kind::OpenSsl, &scene.server_certificate).authorities(&[&old]).tls(tls).start();
        scene.remember("localhost", &mallory.fingerprint());
        let outcome = scene.fetch(&server.url(), &[]).expect(5);
        outcome.says(&["mallory", "decrypt_error", meaning("decrypt_error"), "OpenSSL: ", "Go: "]);
        assert_recorded(&scene, Some(&mallory), Some("decrypt_error"), &format!("{tls:?}"));
        let mut terminal = Terminal::open_sized(&scene.machine, scene.fetch_arguments(&server.url()), 50, 160);
        terminal.wait_for("\"mallory\" was refused: decrypt_error (");
        answer(&mut terminal, "firefox", "olivia", ONCE);
        assert_ends(&mut terminal, 0);
    }
}

#[test]
fn a_refusal_tells_what_is_known_against_the_identity() {
    let scene = Scene::new();
    let expired = scene.bring(scene.employee("late").validity(Validity::Expired).issue());
    let early = scene.bring(scene.employee("early").validity(Validity::NotYet).issue());
    let guest = scene.bring(scene.guests.client("guest").issue());
    let server = scene.server(Kind::OpenSsl).start();
    for (identity, known) in [
        (&expired, &["; it expired "][..]),
        (&early, &["; it becomes valid "]),
        (&guest, &["; not issued under an authority the server asks for"]),
    ] {
        scene.fetch(&server.url(), &["--as", &identity.fingerprint()]).expect(5).says(known);
    }
}

/// If no identity fits and the server requires one, the exit code is 3.
#[test]
fn a_refusal_when_no_identity_fits_is_exit_3() {
    let scene = Scene::new();
    scene.bring(scene.guests.client("guest").issue());
    for (tls, alert) in BOTH_VERSIONS.into_iter().zip(["handshake_failure", "certificate_required"]) {
        let server = scene.server(Kind::OpenSsl).tls(tls).start();
        scene.fetch(&server.url(), &[]).expect(3).says(&[alert, "no identity fits"]);
        assert_recorded(&scene, None, Some(alert), &format!("{tls:?}"));
    }
    let server = scene.server(Kind::Nginx).start();
    let outcome = scene.fetch(&server.url(), &[]).expect(3);
    assert!(outcome.text().contains("No required SSL certificate was sent"), "{}", outcome.text());
    assert_recorded(&scene, None, None, "nginx");
}

#[test]
fn a_refusal_page_of_nginx_is_exit_5_and_is_printed() {
    let scene = Scene::new();
    // nginx names its authorities, so only a revoked or expired certificate is sent and refused
    let expired = scene.bring(scene.employee("late").validity(Validity::Expired).issue());
    let cases = [(None, "No required SSL certificate was sent"), (Some(&expired), "The SSL certificate error")];
    let file = scene.machine.dir().join("page.html");
    for tls in BOTH_VERSIONS {
        for http1 in [true, false] {
            for (identity, page) in cases {
                let setup = scene.server(Kind::Nginx).tls(tls);
                let server = if http1 { setup.http1() } else { setup }.start();
                let case = format!("{tls:?} http1: {http1} {page}");
                let outcome = fetch_as(&scene, &server.url(), identity).expect(5).says(&["its page says so"]);
                assert!(outcome.text().contains(page), "{case}: {}", outcome.text());
                assert_recorded(&scene, identity, None, &case);
                let more = match identity {
                    Some(identity) => ["--as".to_owned(), identity.fingerprint()],
                    None => ["--credentials".to_owned(), "omit".to_owned()],
                };
                scene.fetch(&server.url(), &["-o", file.to_str().unwrap(), &more[0], &more[1]]).expect(5);
                assert!(std::fs::read_to_string(&file).unwrap().contains(page), "{case}: not in the file");
            }
        }
    }
}

#[test]
fn a_response_to_head_has_no_page_that_refuses() {
    let scene = Scene::new();
    let server = scene.server(Kind::Nginx).start();
    let told =
        scene.fetch(&server.url(), &["-I", "--credentials", "omit"]).expect(0).says(&["only a request with GET"]);
    assert!(told.text().contains("400"), "{}", told.text());
    assert_eq!(last_use(&scene)["outcome"], "unknown");
    let served = scene.server(Kind::Nginx).ask(Ask::Optional).start();
    let told = scene.fetch(&served.url(), &["-I", "--credentials", "omit"]).expect(0);
    assert_eq!((told.stderr.as_str(), &last_use(&scene)["outcome"]), ("", &json!("accepted")));
}

#[test]
fn a_refusal_keeps_its_exit_code_where_the_page_cannot_be_written() {
    let scene = Scene::new();
    let server = scene.server(Kind::Nginx).start();
    scene.fetch(&server.url(), &["-o", "/dev/full", "--credentials", "omit"]).expect(5).says(&["its page says so"]);
}

/// The page has the same effect on remembered decisions as an alert.
#[test]
fn chrome_mode_forgets_a_decision_after_a_refusal_page_of_nginx() {
    let scene = Scene::new();
    scene.hire("alice");
    for (mode, left) in MODES.into_iter().zip([2, 1]) {
        for tls in BOTH_VERSIONS {
            let server = scene.server(Kind::Nginx).tls(tls).start();
            let more = format!("--mode {mode}");
            scene.remember_as(&server.destination(), "none", &more);
            scene.remember_as("other.example:444", "none", &more);
            scene.fetch(&server.url(), &["--mode", mode]).expect(5);
            assert_recorded(&scene, None, None, mode);
            let decisions = scene.machine.json("decisions");
            assert_eq!(decisions["decisions"].as_array().unwrap().len(), left, "{mode} {tls:?}: {decisions}");
            scene.machine.run("forget --all").expect(0);
        }
    }
}

/// A person at a terminal; alice, whom the server refuses; and a guest, whom it accepts.
struct Refusal {
    scene: Scene,
    alice: Issued,
    guest: Issued,
}

impl Refusal {
    fn new() -> Refusal {
        let scene = Scene::new();
        let alice = scene.hire("alice");
        let guest = scene.bring(scene.guests.client("guest").issue());
        Refusal { scene, alice, guest }
    }

    /// A server that names no authority and accepts guests.
    fn server(&self, kind: Kind, tls: Tls) -> Server {
        let setup = Setup::new(kind, &self.scene.server_certificate).authorities(&[&self.scene.guests_root]);
        setup.without_hints().tls(tls).start()
    }

    fn fetch(&self, url: &str, more: &[&str]) -> Terminal {
        let mut arguments = self.scene.fetch_arguments(url);
        arguments.extend(more.iter().map(|each| (*each).to_owned()));
        // Wide enough for a hint on one line
        Terminal::open_sized(&self.scene.machine, arguments, 40, 1000)
    }

    fn remember(&self, mode: &str, destination: &str, answer: &str) {
        self.scene.remember_as(destination, answer, &format!("--mode {mode}"));
    }

    fn remembered(&self) -> Vec<Value> {
        let decisions = self.scene.machine.json("decisions");
        decisions["decisions"].as_array().unwrap().iter().map(|each| each["identity"].clone()).collect()
    }
}

#[test]
fn after_a_refusal_a_person_can_choose_another_identity() {
    let refusal = Refusal::new();
    let (alice, guest) = (&refusal.alice, &refusal.guest);
    // The remembered identity afterwards: firefox mode keeps the refused one unless another replaces it
    let cases = [("firefox", ONCE, alice), ("firefox", PERMANENT, guest), ("chrome", "", guest)];
    for kind in [Kind::OpenSsl, Kind::Go] {
        for tls in BOTH_VERSIONS {
            for (mode, lifetime, left) in cases {
                let case = format!("{kind:?} {tls:?} {mode} {lifetime}");
                let server = refusal.server(kind, tls);
                refusal.remember(mode, &server.destination(), &alice.fingerprint());
                let mut terminal = refusal.fetch(&server.url(), &["--mode", mode]);
                let alert = if kind == Kind::Go { "bad_certificate" } else { "unknown_ca" };
                terminal.wait_for(&format!("\"alice\" was refused: {alert} ("));
                answer(&mut terminal, mode, "guest", lifetime);
                assert_ends(&mut terminal, 0);
                assert_eq!(server.chains(), [alice.sent_chain(), guest.sent_chain()], "{case}");
                assert_eq!(refusal.remembered(), [json!(left.fingerprint())], "{case}");
                let history = refusal.scene.machine.json("history");
                let outcomes = [0, 1].map(|place| history["uses"][place]["outcome"].clone());
                assert_eq!(outcomes, ["accepted", "refused"], "{case}");
                refusal.scene.machine.run("forget --all").expect(0);
            }
        }
    }
}

/// An answer that is refused again leads to another question, until the person aborts.
#[test]
fn a_person_is_asked_until_the_server_accepts_or_the_person_aborts() {
    let refusal = Refusal::new();
    let server = refusal.server(Kind::OpenSsl, Tls::V1_3);
    let mut terminal = refusal.fetch(&server.url(), &[]);
    for refused in ["asks for a client certificate", "\"alice\" was refused", "no certificate was sent"] {
        terminal.wait_until(refused, |text| text.contains(refused) && text.contains(SEND_NONE));
        match refused {
            "no certificate was sent" => terminal.send(key::ESCAPE),
            "\"alice\" was refused" => answer(&mut terminal, "firefox", SEND_NONE, ONCE),
            _ => answer(&mut terminal, "firefox", "alice", ONCE),
        }
    }
    assert_ends(&mut terminal, 5);
    assert!(terminal.text().contains("certificate_required"), "{}", terminal.text());
    assert_eq!(server.chains(), [refusal.alice.sent_chain()]);
    assert_eq!(refusal.remembered(), [] as [Value; 0]);
}

/// The lines of an error and its hints.
fn complaint(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim_end).filter(|line| line.starts_with("cardcase: "));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_person_who_aborts_gets_the_usual_error_and_hints() {
    let refusal = Refusal::new();
    for mode in MODES {
        for answered in [refusal.alice.fingerprint(), "none".to_owned()] {
            for how in [key::ESCAPE, key::CTRL_D] {
                let case = format!("{mode} {answered} {how:?}");
                let server = refusal.server(Kind::OpenSsl, Tls::V1_3);
                let remember = || refusal.remember(mode, &server.destination(), &answered);
                remember();
                let unasked = refusal.scene.fetch(&server.url(), &["--mode", mode]).expect(5);
                remember();
                let mut terminal = refusal.fetch(&server.url(), &["--mode", mode]);
                terminal.wait_for(SEND_NONE);
                terminal.send(how);
                assert_ends(&mut terminal, 5);
                let told = complaint(&terminal.text());
                assert_eq!(told, complaint(&unasked.stderr), "{case}");
                assert!(told.len() > 1, "{case}: no hints in {told:?}");
                let kept = if mode == "firefox" { 1 } else { 0 };
                assert_eq!(refusal.remembered().len(), kept, "{case}");
                let _ = refusal.scene.machine.run("forget --all");
            }
        }
    }
}

#[test]
fn no_question_follows_a_refusal_in_batch_or_of_a_given_answer() {
    let refusal = Refusal::new();
    let alice = refusal.alice.fingerprint();
    let server = refusal.server(Kind::OpenSsl, Tls::V1_3);
    refusal.remember("firefox", "localhost", &alice);
    for more in [&["--batch"][..], &["--as", &alice], &["--credentials", "omit"]] {
        let mut terminal = refusal.fetch(&server.url(), more);
        assert_ends(&mut terminal, 5);
        assert!(!terminal.text().contains(SEND_NONE), "{more:?}: asked\n{}", terminal.text());
    }
    let arguments = refusal.scene.fetch_arguments(&server.url());
    refusal.scene.machine.command(arguments).run().expect(5);
    assert_eq!(server.chains(), vec![refusal.alice.sent_chain(); 3]);
}

#[test]
fn no_question_follows_a_refusal_if_a_rule_denies_everything() {
    let refusal = Refusal::new();
    refusal.scene.machine.run("rules add https://localhost --deny").expect(0);
    for tls in BOTH_VERSIONS {
        let server = refusal.server(Kind::OpenSsl, tls);
        let mut terminal = refusal.fetch(&server.url(), &[]);
        assert_ends(&mut terminal, 5);
        assert!(!terminal.text().contains(SEND_NONE), "{tls:?}: asked\n{}", terminal.text());
        assert_eq!(server.handshakes().len(), 1, "{tls:?}: tried again\n{}", terminal.text());
    }
}

/// The answer was refused by a page. The page is printed only if the person chooses no other answer.
#[test]
fn after_a_refusal_page_of_nginx_a_person_can_choose_another_identity() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let expired = scene.bring(scene.employee("late").validity(Validity::Expired).issue());
    for tls in BOTH_VERSIONS {
        for (first, refused, page) in [
            (SEND_NONE, "no certificate was sent", "No required SSL certificate was sent"),
            ("late", "\"late\" was refused", "The SSL certificate error"),
        ] {
            for chooses in [true, false] {
                let server = scene.server(Kind::Nginx).tls(tls).start();
                let mut terminal = Terminal::open_sized(&scene.machine, scene.fetch_arguments(&server.url()), 50, 160);
                terminal.wait_for(SEND_NONE);
                answer(&mut terminal, "firefox", first, ONCE);
                terminal.wait_until(refused, |text| text.contains(refused) && text.contains(SEND_NONE));
                assert!(!terminal.text().contains(page), "printed although another may be chosen");
                if chooses {
                    answer(&mut terminal, "firefox", "alice", ONCE);
                } else {
                    terminal.send(key::ESCAPE);
                }
                assert_ends(&mut terminal, if chooses { 0 } else { 5 });
                assert_eq!(terminal.text().contains(page), !chooses, "{tls:?} {first}:\n{}", terminal.text());
                let late = (first == "late").then(|| vec![expired.fingerprint()]);
                let seen: Vec<_> = late.into_iter().chain(chooses.then(|| vec![alice.fingerprint()])).collect();
                assert_eq!(server.chains(), seen, "{tls:?} {first} {chooses}");
            }
        }
    }
}

#[test]
fn after_a_refusal_by_a_proxy_a_person_can_choose_another_identity() {
    let refusal = Refusal::new();
    for mode in MODES {
        for tls in BOTH_VERSIONS {
            for chooses in [true, false] {
                let case = format!("{mode} {tls:?} {chooses}");
                let proxy = refusal.server(Kind::Python, tls);
                let server = refusal.scene.server(Kind::Go).ask(Ask::Optional).start();
                refusal.remember(mode, &format!("127.0.0.1:{}", proxy.port()), &refusal.alice.fingerprint());
                refusal.remember(mode, &server.destination(), "none");
                let through = proxy.url_at("127.0.0.1", "");
                let mut terminal = refusal.fetch(&server.url(), &["--mode", mode, "--proxy", &through]);
                terminal.wait_for("\"alice\" was refused: unknown_ca");
                terminal.wait_for(&format!("127.0.0.1:{} asks", proxy.port()));
                if chooses {
                    answer(&mut terminal, mode, "guest", ONCE);
                } else {
                    terminal.send(key::ESCAPE);
                }
                assert_ends(&mut terminal, if chooses { 0 } else { 5 });
                let accepted = if chooses { vec![refusal.guest.sent_chain()] } else { Vec::new() };
                assert_eq!(proxy.chains(), accepted, "{case}");
                assert_eq!(server.requests().len(), usize::from(chooses), "{case}");
                refusal.scene.machine.run("forget --all").expect(0);
            }
        }
    }
}
