//! A renewed identity takes over what is remembered for the old one, on request. A warning appears when an identity
//! expires soon.

use crate::support::ca::{Issued, P12, PASSWORD, Validity};
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Tls};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, EmailProtection};
use serde_json::Value;

/// Alice's old identity, remembered in both modes, and the renewed one, not yet imported.
fn alice(scene: &Scene) -> (Issued, Issued) {
    let old = scene.bring(scene.employee("alice").validity(Validity::Soon).issue());
    scene.remember("localhost", &old.fingerprint());
    scene.remember_as("example.com:8443", &old.fingerprint(), "--mode chrome");
    scene.remember("elsewhere.example", "none");
    (old, scene.employee("alice").issue())
}

fn remembered(scene: &Scene) -> Vec<(String, Option<String>)> {
    let decisions = scene.machine.json("decisions")["decisions"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    decisions.iter().map(|decision| (text(&decision["host"]).unwrap(), text(&decision["identity"]))).collect()
}

fn expected(identity: &Issued) -> Vec<(String, Option<String>)> {
    let it = Some(identity.fingerprint());
    [("elsewhere.example", None), ("example.com", it.clone()), ("localhost", it)]
        .map(|(host, identity)| (host.to_owned(), identity))
        .to_vec()
}

#[test]
fn renew_moves_the_decisions_of_both_modes() {
    let scene = Scene::new();
    let (old, new) = alice(&scene);
    scene.bring(new);
    let new = scene.employee("alice").issue();
    scene.bring(new);
    assert_eq!(remembered(&scene), expected(&old), "importing alone changes nothing");
    let names = scene.machine.json("list");
    let newest = names["identities"][2]["fingerprint"].as_str().unwrap().to_owned();
    scene
        .machine
        .run(&format!("renew {} {newest}", old.fingerprint()))
        .expect(0)
        .says(&["localhost", "example.com:8443"]);
    let moved: Vec<_> = remembered(&scene).into_iter().filter_map(|(_, identity)| identity).collect();
    assert_eq!(moved, [newest.clone(), newest]);
}

#[test]
fn import_renews_on_request_and_otherwise_suggests_it() {
    let scene = Scene::new();
    let (old, new) = alice(&scene);
    let file = new.p12(scene.machine.dir(), P12::Default);
    let password = scene.machine.password_file(PASSWORD);
    let import = |more: &[&str]| {
        let line = ["import", file.to_str().unwrap(), "--password-file", password.to_str().unwrap()];
        scene.machine.command(line.iter().chain(more)).run()
    };
    import(&[]).expect(0).says(&["cardcase renew", &old.fingerprint()[..8], &new.fingerprint()[..8]]);
    assert_eq!(remembered(&scene), expected(&old));
    scene.machine.run(&format!("remove {} --yes", new.fingerprint())).expect(0);
    import(&["--renew"]).expect(0);
    assert_eq!(remembered(&scene), expected(&new));

    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    scene.fetch(&server.url(), &[]).expect(0);
    assert_eq!(server.chains(), [new.sent_chain()]);
}

#[test]
fn a_successor_that_no_server_accepts_takes_over_only_by_force() {
    for (usages, validity, why) in [
        (&[ClientAuth][..], Validity::NotYet, "not valid before"),
        (&[EmailProtection], Validity::Now, "client authentication"),
        (&[ClientAuth], Validity::Days(-30, -2), "it expired"),
    ] {
        let scene = Scene::new();
        let employee = |validity| scene.employee("alice").extended_key_usages(usages).validity(validity).issue();
        let (old, new) = (scene.bring(employee(Validity::Days(-30, -4))), employee(validity));
        scene.remember("localhost", &old.fingerprint());
        let before = remembered(&scene);
        let file = new.p12(scene.machine.dir(), P12::Default);
        let password = scene.machine.password_file(PASSWORD);
        let line = ["import", file.to_str().unwrap(), "--password-file", password.to_str().unwrap()];
        let said = scene.machine.command(line).run().expect(0).says(&["servers refuse", why]);
        assert!(!said.stderr.contains("cardcase renew"), "{}", said.stderr);
        scene.machine.command(line).arg("--renew").run().expect(0).says(&["is not used instead of", why, "--force"]);
        assert_eq!(remembered(&scene), before);

        let renew = format!("renew {} {}", old.fingerprint(), new.fingerprint());
        scene.machine.run(&renew).expect(1).says(&[why, "nothing was changed", "--force"]);
        scene.machine.run(&format!("{renew} --dry-run")).expect(1).says(&[why]);
        assert_eq!(remembered(&scene), before);
        scene
            .machine
            .run(&format!("{renew} --force --dry-run"))
            .expect(0)
            .says(&["would be used instead", "localhost"]);
        assert_eq!(remembered(&scene), before);
        scene.machine.run(&format!("{renew} --force")).expect(0).says(&["is now used instead"]);
        assert_ne!(remembered(&scene), before);
    }
}

#[test]
fn import_says_what_a_certificate_is_good_for() {
    let scene = Scene::new();
    let usable = scene.employee("usable").issue();
    let soon = scene.employee("soon").validity(Validity::Days(-30, 2)).issue();
    let past = scene.employee("past").validity(Validity::Days(-30, -3)).issue();
    let later = scene.employee("later").validity(Validity::Days(3, 30)).issue();
    let mail = scene.employee("mail").extended_key_usages(&[EmailProtection]).issue();
    let both = scene.employee("both").extended_key_usages(&[EmailProtection, ClientAuth]).issue();
    let cases: [(&Issued, &str, &[&str]); 6] = [
        (&usable, "for TLS clients, issued by Staff Issuing, expires in 36", &[]),
        (
            &soon,
            "expires in 2 days",
            &["\"soon\" expires in 2 days", "cardcase enroll --subject 'CN=soon,O=Test Clients' -o"],
        ),
        (&past, "expired 2 days ago", &[": it expired 2 days ago", "cardcase enroll"]),
        (&later, "not valid before", &[": it is not valid before", "date"]),
        (&mail, "for e-mail", &[": its extended key usage does not allow client authentication"]),
        (&both, "for TLS clients and e-mail", &[]),
    ];
    for (identity, printed, told) in cases {
        let outcome = scene.machine.import_file(&identity.p12(scene.machine.dir(), P12::Default));
        assert!(outcome.text().contains(printed), "{printed}: {}", outcome.text());
        let outcome = outcome.says(told);
        assert_eq!(outcome.stderr.contains("warning"), !told.is_empty(), "{printed}: {}", outcome.stderr);
    }
}

#[test]
fn an_identity_imported_earlier_can_take_over() {
    let scene = Scene::new();
    let (old, new) = alice(&scene);
    let file = new.p12(scene.machine.dir(), P12::Default);
    let password = scene.machine.password_file(PASSWORD);
    let line = ["import", file.to_str().unwrap(), "--password-file", password.to_str().unwrap()];
    scene.machine.command(line).run().expect(0);
    scene.machine.command(line).run().expect(0).says(&["cardcase renew", &old.fingerprint()[..8]]);
    scene.machine.command(line).arg("--renew").run().expect(0).says(&["alice", "is now used instead of", "localhost"]);
    assert_eq!(remembered(&scene), expected(&new));
}

#[test]
fn a_renewed_identity_keeps_the_restriction_to_tls_1_3() {
    for by_import in [false, true] {
        let scene = Scene::new();
        let (old, new) = alice(&scene);
        scene.machine.run(&format!("min-tls {} 1.3", old.fingerprint())).expect(0);
        let renewed = if by_import {
            let file = new.p12(scene.machine.dir(), P12::Default);
            let password = scene.machine.password_file(PASSWORD);
            let line = ["import", file.to_str().unwrap(), "--password-file", password.to_str().unwrap(), "--renew"];
            scene.machine.command(line).run().expect(0)
        } else {
            scene.machine.import(&new);
            scene.machine.run(&format!("renew {} {}", old.fingerprint(), new.fingerprint())).expect(0)
        };
        renewed.says(&["is now sent in TLS 1.3 only"]);
        assert_eq!(scene.machine.json(&format!("show {}", new.fingerprint()))["requires_tls13"], true);
        let server = scene.server(Kind::OpenSsl).ask(Ask::Optional).tls(Tls::V1_2).start();
        scene.fetch(&server.url(), &[]).expect(0);
        assert!(server.chains().is_empty());
        // The second time there is nothing to report
        let again = scene.machine.run(&format!("renew {} {}", old.fingerprint(), new.fingerprint())).expect(0);
        assert!(!again.stderr.contains("TLS 1.3"), "{}", again.stderr);
    }
}

#[test]
fn a_certificate_that_is_not_a_renewal_takes_nothing_over() {
    let scene = Scene::new();
    let (old, new) = alice(&scene);
    let others = [
        (scene.employee("bob").issue(), "different subjects"),
        (scene.guests.client("alice").issue(), "different issuers"),
        (scene.employee("alice").extended_key_usages(&[ClientAuth, EmailProtection]).issue(), "extended key usages"),
        (scene.employee("alice").key_usages(&[]).issue(), "different key usages"),
        (scene.employee("alice").validity(Validity::Expired).issue(), "not valid for longer"),
    ];
    for (other, reason) in &others {
        scene.machine.import(other);
        let line = format!("renew {} {}", old.fingerprint(), other.fingerprint());
        scene.machine.run(&line).expect(1).says(&[reason, "cardcase remember"]);
    }
    scene.machine.run(&format!("renew {0} {0}", old.fingerprint())).expect(1).says(&["same certificate"]);
    scene.machine.run(&format!("renew {} {}", old.fingerprint(), new.fingerprint())).expect(3);
    assert_eq!(remembered(&scene), expected(&old));
}

#[test]
fn an_identity_that_expires_within_30_days_causes_a_warning() {
    let scene = Scene::new();
    let (old, new) = alice(&scene);
    scene.machine.run("list").expect(0).says(&["warning", "alice", "expires in"]);
    let server = scene.server(Kind::Go).ask(Ask::Optional).start();
    scene.fetch(&server.url(), &[]).expect(0).says(&["warning", "alice", "expires in"]);
    scene.machine.run(&format!("remove {} --yes", old.fingerprint())).expect(0);
    scene.bring(new);
    assert!(!scene.machine.run("list").expect(0).stderr.contains("expires"));
}

#[test]
fn a_rehearsed_renewal_says_what_the_renewal_says() {
    let scene = Scene::new();
    let (old, new) = alice(&scene);
    scene.machine.import(&new);
    let told = |more: &[&str]| {
        let line = ["renew", "--json", &old.fingerprint(), &new.fingerprint()];
        scene.machine.command(line).args(more).run().expect(0).json()
    };
    assert_eq!(told(&["--dry-run"]), told(&[]));
    assert_eq!(remembered(&scene), expected(&new));
}
