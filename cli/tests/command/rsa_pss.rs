//! Keys only for RSASSA-PSS (RFC 4055), made by openssl and checked by its server.

use crate::support::ca;
use crate::support::command::Cardcase;
use crate::support::pss::issued;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Server, Tls};
use serde_json::{Value, json};

/// The parameters of a key, and the digests they allow.
const PARAMETERS: [(&str, &[&str]); 5] = [
    ("", &["sha256", "sha384", "sha512"]),
    ("md:sha256 mgf1_md:sha256", &["sha256"]),
    ("md:sha256 mgf1_md:sha256 saltlen:32", &["sha256"]),
    ("md:sha384 mgf1_md:sha384", &["sha384"]),
    ("md:sha512 mgf1_md:sha512 saltlen:64", &["sha512"]),
];

const DIGESTS: [&str; 3] = ["sha256", "sha384", "sha512"];

/// Imports an identity called alice with a 2048-bit key and returns its fingerprint.
fn hire(scene: &Scene, parameters: &str) -> String {
    let (der, file) = issued(scene, "alice", 2048, parameters);
    scene.machine.import_file(&file);
    crate::support::fingerprint(&der)
}

fn explained(scene: &Scene, server: &Server) -> Value {
    let authority = scene.server_root_file.to_str().unwrap();
    let answer = scene.machine.json(&format!("explain {} --cacert {authority}", server.destination()));
    answer["identities"][0].clone()
}

/// A server that accepts these digests in signatures of such keys, and one scheme of other RSA keys.
fn server_for(scene: &Scene, tls: Tls, digests: &[&str]) -> Server {
    let schemes = digests.iter().map(|digest| format!("rsa_pss_pss_{digest}"));
    let schemes = schemes.chain(["rsa_pss_rsae_sha256".to_owned()]).collect::<Vec<_>>().join(":");
    scene.server(Kind::OpenSsl).tls(tls).ask(Ask::Require).client_schemes(&schemes).start()
}

#[test]
fn an_rsa_pss_key_signs_in_tls_1_3_with_any_parameters() {
    for (parameters, _) in PARAMETERS {
        let scene = Scene::new();
        let alice = hire(&scene, parameters);
        let server = scene.server(Kind::OpenSsl).tls(Tls::V1_3).start();
        let said = explained(&scene, &server);
        assert_eq!(said["fingerprint"], alice, "{parameters}");
        assert_eq!(said["candidate"], true, "{parameters}: {said}");
        scene.fetch(&server.url(), &["--as", &alice]).expect(0);
        let sent = vec![alice, scene.staff.fingerprint()];
        assert_eq!(server.chains(), [sent], "{parameters}\n{}", server.said());
        let handshakes = server.handshakes();
        assert!(handshakes.last().unwrap().complete, "{parameters}\n{}", server.said());
    }
}

#[test]
fn the_parameters_of_the_key_choose_the_digest() {
    for (parameters, allowed) in PARAMETERS {
        let scene = Scene::new();
        let alice = hire(&scene, parameters);
        for digest in DIGESTS {
            let case = format!("{parameters:?} {digest}");
            let server = server_for(&scene, Tls::V1_3, &[digest]);
            let fits = allowed.contains(&digest);
            assert_eq!(explained(&scene, &server)["candidate"], fits, "{case}");
            let outcome = scene.fetch(&server.url(), &["--as", &alice]);
            if fits {
                outcome.expect(0);
                assert_eq!(server.chains().len(), 1, "{case}\n{}", server.said());
            } else {
                outcome.expect(3).says(&["no signature scheme the server accepts"]);
                server.assert_nothing_came(&case);
            }
        }
    }
}

/// TLS requires a salt as long as the digest and the same digest in the mask; by default the mask uses SHA-1.
#[test]
fn keys_that_tls_cannot_use_are_not_candidates() {
    for parameters in ["md:sha256 mgf1_md:sha256 saltlen:33", "md:sha256", "md:sha224 mgf1_md:sha224"] {
        let scene = Scene::new();
        hire(&scene, parameters);
        let server = scene.server(Kind::OpenSsl).tls(Tls::V1_3).start();
        let said = explained(&scene, &server);
        assert_eq!(said["reasons"], json!(["no_common_signature_scheme"]), "{parameters}");
    }
}

/// In TLS 1.2, rustls does not show these schemes.
#[test]
fn in_tls_1_2_the_key_is_not_a_candidate() {
    let scene = Scene::new();
    let alice = hire(&scene, "");
    let server = server_for(&scene, Tls::V1_2, &DIGESTS);
    let said = explained(&scene, &server);
    assert_eq!(said["reasons"], json!(["no_common_signature_scheme"]), "{said}");
    scene.fetch(&server.url(), &["--as", &alice]).expect(3).says(&["no signature scheme the server accepts"]);
    server.assert_nothing_came("TLS 1.2");
}

#[test]
fn list_names_the_kind_of_key_and_explain_its_schemes() {
    let scene = Scene::new();
    hire(&scene, "");
    assert_eq!(scene.machine.json("list")["identities"][0]["key"], "rsa-pss-2048");
    let server = server_for(&scene, Tls::V1_3, &["sha384"]);
    let authority = scene.server_root_file.to_str().unwrap();
    let answer = scene.machine.json(&format!("explain {} --cacert {authority}", server.destination()));
    assert_eq!(answer["signature_schemes"], json!(["rsa_pss_pss_sha384", "rsa_pss_rsae_sha256"]));
}

/// Its public half is compared with the certificate, as for any other key.
#[test]
fn a_swapped_key_sends_nothing() {
    let scene = Scene::new();
    let alice = hire(&scene, "");
    let (bob, file) = issued(&scene, "bob", 2048, "");
    scene.machine.import_file(&file);
    let swap = "UPDATE identities SET private_key = (SELECT private_key FROM identities WHERE name = 'bob')";
    scene.machine.database().execute(swap, []).unwrap();
    let server = scene.server(Kind::OpenSsl).tls(Tls::V1_3).start();
    scene.fetch(&server.url(), &["--as", &alice]).expect(1).says(&["does not open"]);
    server.assert_nothing_came("the key is bob's");
    // Without a primary password, such a key may also mean that the vault was replaced
    scene.machine.run(&format!("remove --yes {alice}")).expect(0);
    scene.fetch(&server.url(), &["--as", &crate::support::fingerprint(&bob)]).expect(0);
}

/// The certificate says rsaEncryption, but the key is only for RSASSA-PSS.
#[test]
fn a_certificate_does_not_widen_the_use_of_the_key() {
    let machine = Cardcase::new();
    let dir = machine.dir();
    let [rsa, pss, leaf] = ["rsa", "pss", "leaf"].map(|stem| ca::unused(dir, stem, "pem"));
    ca::openssl(&format!("genrsa -out {} 2048", rsa.display()));
    ca::openssl(&format!("req -x509 -key {} -subj /CN=alice -out {}", rsa.display(), leaf.display()));
    // The two algorithm identifiers differ in the last byte of the OID, and the parameters NULL are left out
    let der = ca::openssl(&format!("pkcs8 -topk8 -nocrypt -in {} -outform DER", rsa.display()));
    std::fs::write(&pss, for_pss(&der)).unwrap();
    machine.command(["import"]).arg(&pss).arg(&leaf).run().expect(0).says(&["rustls cannot sign with its key"]);
    let scene = Scene::new();
    let server = scene.server(Kind::OpenSsl).tls(Tls::V1_3).ask(Ask::Unchecked).start();
    machine
        .fetch(&server.url(), &scene.server_root_file, &["--as", "alice"])
        .expect(3)
        .says(&["supports no signature scheme"]);
    server.assert_nothing_came("the key is for RSASSA-PSS");
}

/// A PKCS#8 key with rsaEncryption replaced by id-RSASSA-PSS.
fn for_pss(der: &[u8]) -> Vec<u8> {
    let old = [0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let new = [0x30, 0x0b, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0a];
    let at = der.windows(old.len()).position(|bytes| bytes == old).unwrap();
    let mut changed = [&der[..at], &new, &der[at + old.len()..]].concat();
    // 30 82 xx xx: the outer length, which is two bytes less now
    let length = u16::from_be_bytes([changed[2], changed[3]]) - 2;
    changed[2..4].copy_from_slice(&length.to_be_bytes());
    changed
}
