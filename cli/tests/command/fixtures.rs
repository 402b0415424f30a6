//! The files in `fixtures/`, made by real programs: each is imported completely, and its identities work with the
//! fixture server.

use std::path::{Path, PathBuf};

use crate::support::ca::PASSWORD;
use crate::support::command::Cardcase;
use crate::support::server::{Kind, Server, Setup};
use serde_json::Value;

/// A file, its password, and its identities: key, name and common name of each.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str, &'static str)]);

const FILES: [Row; 6] = [
    ("openssl.p12", PASSWORD, &[("ec-p256", "Alice Example's card", "Alice")]),
    ("openssl-legacy.p12", PASSWORD, &[("rsa-2048", "Bob Example's card", "Bob")]),
    ("empty-password.p12", "", &[("ec-p256", "Heidi Example's card", "Heidi")]),
    ("nss.p12", PASSWORD, &[("ec-p384", "Carol Example's card", "Carol")]),
    (
        "keytool.p12",
        PASSWORD,
        &[("ec-p256", "dave", "Dave"), ("rsa-2048", "erin", "Erin"), ("ec-p256", "frank", "Frank")],
    ),
    ("certtool.p12", PASSWORD, &[("ec-p521", "Grace Example's card", "Grace")]),
];

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

fn import(machine: &Cardcase, file: &str, password: &str) -> Vec<Value> {
    let run = machine.command(["--batch", "--json", "import"]).arg(fixture("identities").join(file));
    let run = run.arg("--password-file").arg(machine.password_file(password));
    run.run().expect(0).json()["imported"].as_array().unwrap().clone()
}

#[test]
fn the_file_of_every_producer_is_imported_completely() {
    for (file, password, people) in FILES {
        let machine = Cardcase::new();
        let mut identities = import(&machine, file, password);
        identities.sort_by_key(|identity| identity["subject"].to_string());
        assert_eq!(identities.len(), people.len(), "{file}");
        for (identity, (key, name, person)) in identities.iter().zip(people) {
            assert_eq!(identity["key"], *key, "{file}");
            assert_eq!(identity["name"], *name, "{file}");
            let subject = format!("CN={person} Example,O=Cardcase Fixtures");
            assert_eq!(identity["subject"], subject, "{file}");
            assert_eq!(identity["issuer"], "CN=Fixture Issuing CA,O=Cardcase Fixtures", "{file}");
            let email = format!("{}@example.com", person.to_lowercase());
            assert_eq!(identity["emails"], serde_json::json!([email]), "{file}");
            assert_eq!(identity["expired"], false, "{file}");
            assert_eq!(identity["not_after"], "2046-12-31T23:59:59Z", "{file}");
        }
        let authorities = machine.json("authorities")["authorities"].as_array().unwrap().len();
        assert_eq!(authorities, 2, "{file}: intermediate and root");
    }
}

#[test]
fn every_identity_of_the_fixtures_can_be_sent() {
    let server = fixture_server();
    let machine = Cardcase::new();
    let mut expected = Vec::new();
    for (file, password, _) in FILES {
        for identity in import(&machine, file, password) {
            let fingerprint = identity["fingerprint"].as_str().unwrap().to_owned();
            let line = format!("remember localhost {fingerprint} --for permanent");
            machine.run(&line).expect(0);
            machine.fetch(&server.url(), &fixture("server/root.pem"), &[]).expect(0);
            expected.push(fingerprint);
        }
    }
    let chains = server.chains();
    assert!(chains.iter().all(|chain| chain.len() == 2), "leaf and intermediate: {chains:?}");
    let leaves: Vec<_> = chains.into_iter().map(|chain| chain[0].clone()).collect();
    assert_eq!(leaves, expected);
}

fn fixture_server() -> Server {
    let certificate = (fixture("server/localhost.pem"), fixture("server/localhost.key"));
    Setup::with_files(Kind::Go, certificate, fixture("server/root.pem")).start()
}
