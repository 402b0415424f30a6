//! Which identities fit, and which certificates are sent with them.

use rcgen::{ExtendedKeyUsagePurpose as Eku, KeyUsagePurpose as Ku};
use serde_json::json;

use super::{fetch, remember};
use crate::support::MODES;
use crate::support::ca::{self, Issued, Key};
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Setup};

#[test]
fn empty_list_of_authorities() {
    let scene = Scene::new();
    let (alice, guest) = (scene.hire("alice"), scene.bring(scene.guests.client("guest").issue()));
    let root = scene.server_root_file.to_str().unwrap();
    for mode in MODES {
        for tls in BOTH_VERSIONS {
            let authorities = [&scene.staff_root, &scene.guests_root];
            let setup = Setup::new(Kind::OpenSsl, &scene.server_certificate).authorities(&authorities);
            let server = setup.without_hints().tls(tls).start();
            let line = format!("--batch explain {} --cacert {root} --mode {mode}", server.destination());
            let explained = scene.machine.json(&line);
            assert_eq!(explained["authorities"], json!([]), "{mode} {tls:?}");
            let candidates = explained["identities"].as_array().unwrap().iter().map(|each| each["candidate"] == true);
            assert_eq!(candidates.collect::<Vec<_>>(), [true, true], "{mode} {tls:?}");
            for identity in [&alice, &guest] {
                remember(&scene, mode, &server.destination(), &identity.fingerprint());
                fetch(&scene, mode, &server.url(), &[]).expect(0);
            }
            assert_eq!(server.chains(), [alice.sent_chain(), guest.sent_chain()], "{mode} {tls:?}");
        }
    }
}

/// Two organisations certified each other's root. The people of each fit where the other is requested, and are sent
/// with the certificate in between. The matrix has all other cells.
#[test]
fn match_against_the_requested_authorities() {
    let scene = Scene::new();
    let (alice, guest) = (scene.hire("alice"), scene.bring(scene.guests.client("guest").issue()));
    let crossed = [
        (&alice, &scene.guests_root, scene.guests_root.cross_sign(&scene.staff_root)),
        (&guest, &scene.staff_root, scene.staff_root.cross_sign(&scene.guests_root)),
    ];
    for (identity, other, _) in &crossed {
        let server = Setup::new(Kind::Go, &scene.server_certificate).authorities(&[other]).start();
        remember(&scene, "firefox", "localhost", &identity.fingerprint());
        fetch(&scene, "firefox", &server.url(), &[]).expect(4);
        server.assert_nothing_came(&identity.name);
    }
    for (_, _, certificate) in &crossed {
        scene.machine.import_file(&ca::write(scene.machine.dir(), "crossed", "pem", certificate));
    }
    for mode in MODES {
        for tls in BOTH_VERSIONS {
            for kind in [Kind::Go, Kind::OpenSsl] {
                for (identity, other, certificate) in &crossed {
                    let setup = Setup::new(kind, &scene.server_certificate).authorities(&[other]);
                    let server = setup.tls(tls).start();
                    remember(&scene, mode, &server.destination(), &identity.fingerprint());
                    fetch(&scene, mode, &server.url(), &[]).expect(0);
                    let mut chain = identity.sent_chain();
                    chain.push(ca::fingerprint_of_pem(certificate));
                    assert_eq!(server.chains(), [chain], "{mode} {tls:?} {kind:?} {}", identity.name);
                }
            }
        }
    }
}

/// Certificates that neither browser sends are not sent, even if remembered. The only exception is a CA certificate,
/// with a warning.
#[test]
fn key_usage_extended_key_usage() {
    let scene = Scene::new();
    let of = |name: &str, usages: &[Ku], extended: &[Eku]| {
        scene.bring(scene.employee(name).key_usages(usages).extended_key_usages(extended).issue())
    };
    let sent = [
        of("bare", &[], &[]),
        of("usual", &[Ku::DigitalSignature, Ku::KeyEncipherment], &[Eku::ServerAuth, Eku::ClientAuth]),
        scene.bring(scene.employee("ca").ca().key_usages(&[]).issue()),
    ];
    let never = [
        of("server", &[], &[Eku::ServerAuth]),
        of("mail", &[], &[Eku::EmailProtection]),
        of("ocsp", &[], &[Eku::OcspSigning]),
        of("any", &[], &[Eku::Any]),
        of("encipher", &[Ku::KeyEncipherment], &[]),
        of("commit", &[Ku::ContentCommitment], &[]),
        of("agree", &[Ku::KeyAgreement], &[]),
    ];
    for mode in MODES {
        for (tls, kind) in BOTH_VERSIONS.into_iter().zip([Kind::OpenSsl, Kind::Go]) {
            let server = scene.server(kind).tls(tls).ask(Ask::Unchecked).start();
            for (identity, code) in never.iter().map(|each| (each, 4)).chain(sent.iter().map(|each| (each, 0))) {
                remember(&scene, mode, &server.destination(), &identity.fingerprint());
                fetch(&scene, mode, &server.url(), &[]).expect(code);
            }
            assert_eq!(server.chains(), sent.each_ref().map(Issued::sent_chain), "{mode} {tls:?}");
        }
    }
}

/// Firefox then sends none; Chrome asks and aborts. Here the identity is not a candidate, and nobody is asked.
#[test]
fn key_type_against_signature_algorithms() {
    let scene = Scene::new();
    let rsa = scene.bring(scene.employee("rsa").key(Key::Rsa2048).issue());
    for mode in MODES {
        for tls in BOTH_VERSIONS {
            let server = scene.server(Kind::OpenSsl).tls(tls).client_schemes("ECDSA+SHA256").start();
            fetch(&scene, mode, &server.url(), &[]).expect(3).says(&["no identity fits"]);
            remember(&scene, mode, &server.destination(), &rsa.fingerprint());
            fetch(&scene, mode, &server.url(), &[]).expect(3);
            fetch(&scene, mode, &server.url(), &["--as", &rsa.fingerprint()])
                .expect(3)
                .says(&["supports no signature scheme"]);
            assert!(server.chains().is_empty(), "{mode} {tls:?}");
            let pss = "rsa_pss_rsae_sha256:RSA+SHA256";
            let server = scene.server(Kind::OpenSsl).tls(tls).client_schemes(pss).start();
            remember(&scene, mode, &server.destination(), &rsa.fingerprint());
            fetch(&scene, mode, &server.url(), &[]).expect(0);
            assert_eq!(server.chains(), [rsa.sent_chain()], "{mode} {tls:?}");
            scene.machine.run("forget --all").expect(0);
        }
    }
}

#[test]
fn ed25519() {
    let scene = Scene::new();
    let identity = scene.bring(scene.employee("edwards").key(Key::Ed25519).issue());
    for mode in MODES {
        for tls in BOTH_VERSIONS {
            for kind in [Kind::OpenSsl, Kind::Go] {
                let server = scene.server(kind).tls(tls).start();
                fetch(&scene, mode, &server.url(), &[]).expect(4);
                remember(&scene, mode, &server.destination(), &identity.fingerprint());
                fetch(&scene, mode, &server.url(), &[]).expect(0);
                assert_eq!(server.chains(), [identity.sent_chain()], "{mode} {tls:?} {kind:?}");
                scene.machine.run("forget --all").expect(0);
            }
        }
    }
}

/// As in Firefox: every intermediate and never the root, whatever the server names.
#[test]
fn chain_sent() {
    let scene = Scene::new();
    let deep = scene.staff.intermediate("Night Shift");
    let people = [
        scene.hire("alice"),
        scene.bring(deep.client("deep").issue()),
        scene.bring(scene.staff_root.client("direct").issue()),
        scene.bring(scene.employee("alone").self_signed()),
    ];
    let several = [&scene.guests_root, &scene.guests, &scene.server_root, &scene.staff_root];
    let with_intermediate = [&scene.staff_root, &scene.staff];
    for mode in MODES {
        for (tls, kind) in BOTH_VERSIONS.into_iter().zip([Kind::Go, Kind::OpenSsl]) {
            for (authorities, hints) in [(&several[..], true), (&with_intermediate, true), (&several, false)] {
                let setup = Setup::new(kind, &scene.server_certificate).authorities(authorities).tls(tls);
                let setup = setup.ask(Ask::Unchecked);
                let server = if hints { setup } else { setup.without_hints() }.start();
                // A self-signed identity fits only if the server names no authority
                let fitting = &people[..if hints { 3 } else { 4 }];
                for identity in fitting {
                    remember(&scene, mode, &server.destination(), &identity.fingerprint());
                    fetch(&scene, mode, &server.url(), &[]).expect(0);
                }
                let sent: Vec<_> = fitting.iter().map(Issued::sent_chain).collect();
                assert_eq!(server.chains(), sent, "{mode} {kind:?} {tls:?} named: {hints}");
            }
        }
    }
    assert_eq!(people[1].sent_chain().len(), 3);
}
