//! Every kind of certificate against every kind of certificate request, as `explain --json` tells it: the cells of
//! docs/browsers.md. The expected result is written beside each identity; it is not computed from the certificate.

use std::path::Path;

use rcgen::{DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose as Eku, KeyUsagePurpose as Ku};
use serde_json::{Value, json};

use crate::support::ca::{self, Authority, Client, Issued, Key, Validity, fingerprint_of_pem};
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{BOTH_VERSIONS, Kind, Tls};

/// An identity and the expected results for it.
struct Row {
    name: String,
    fingerprint: String,
    pem: String,
    /// The requested names that lead to it, in the terms of [`Asked`].
    under: &'static [&'static str],
    /// The kind of its key, in the terms of [`SCHEMES`].
    key: &'static str,
    /// Why it is never a candidate.
    never: Vec<&'static str>,
    warnings: Vec<&'static str>,
    /// Whether its issuers are missing from the store.
    incomplete: bool,
}

impl Row {
    fn new(name: &str, issued: &Issued, under: &'static [&'static str]) -> Row {
        Row::of_pem(name, issued.pem(), issued.key_pem(), under)
    }

    fn of_pem(name: &str, certificate: String, key: String, under: &'static [&'static str]) -> Row {
        Row {
            name: name.to_owned(),
            fingerprint: fingerprint_of_pem(&certificate),
            pem: key + &certificate,
            under,
            key: "ecdsa",
            never: Vec::new(),
            warnings: Vec::new(),
            incomplete: false,
        }
    }

    fn key(self, key: &'static str) -> Row {
        Row { key, ..self }
    }

    fn never(self, reasons: &[&'static str]) -> Row {
        Row { never: reasons.to_vec(), ..self }
    }

    fn warned(self, warnings: &[&'static str]) -> Row {
        Row { warnings: warnings.to_vec(), ..self }
    }

    fn incomplete(self) -> Row {
        Row { incomplete: true, ..self }
    }

    /// The expected reasons and warnings for one request.
    fn expected(&self, asked: &Asked, (_, _, keys): &Schemes, tls: Tls) -> (Vec<&'static str>, Vec<&'static str>) {
        let named = asked.names.iter().any(|name| self.under.contains(name));
        let mut reasons = Vec::new();
        if !named && !asked.names.is_empty() {
            reasons.push("issuer_not_requested");
        }
        if !keys.contains(&self.key) {
            reasons.push("no_common_signature_scheme");
        }
        reasons.extend(&self.never);
        if !reasons.is_empty() {
            return (reasons, Vec::new());
        }
        let mut warnings: Vec<_> = self.warnings.iter().copied().filter(|code| DATES.contains(code)).collect();
        if self.incomplete && !named {
            warnings.push("incomplete_chain");
        }
        warnings.extend(self.warnings.iter().filter(|code| !DATES.contains(code)));
        if tls == Tls::V1_2 {
            warnings.push("visible_below_tls13");
        }
        (reasons, warnings)
    }
}

const DATES: [&str; 2] = ["expired", "not_yet_valid"];

/// The authorities in a request.
struct Asked {
    names: &'static [&'static str],
    pem: String,
}

/// The signature algorithms in a request, in OpenSSL's notation, and the kinds of keys that can use them.
type Schemes = (&'static str, Option<&'static str>, &'static [&'static str]);

const SCHEMES: [Schemes; 3] = [
    ("ECDSA only", Some("ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512"), &["ecdsa"]),
    ("RSA only", Some("rsa_pss_rsae_sha256:rsa_pss_rsae_sha512:RSA+SHA256"), &["rsa"]),
    ("all", None, &["ecdsa", "rsa", "ed25519"]),
];

const NOT_CLIENT: &str = "not_for_client_auth";
const NOT_SIGNING: &str = "not_for_signing";

/// Identities under the staff's intermediate, whose root is in the store too.
const STAFF: &[&str] = &["staff root", "staff"];

/// Every combination of usages, each with the verdict of both browsers.
fn usages(scene: &Scene) -> Vec<Row> {
    let key_usages: [(&[Ku], bool); 9] = [
        (&[], true),
        (&[Ku::DigitalSignature], true),
        (&[Ku::DigitalSignature, Ku::KeyEncipherment], true),
        (&[Ku::DigitalSignature, Ku::ContentCommitment], true),
        (&[Ku::KeyEncipherment], false),
        (&[Ku::ContentCommitment], false),
        (&[Ku::KeyAgreement], false),
        (&[Ku::KeyEncipherment, Ku::KeyAgreement], false),
        (&[Ku::ContentCommitment, Ku::KeyEncipherment], false),
    ];
    let smart_card = || Eku::Other(vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 2]);
    let extended: [(Vec<Eku>, bool); 12] = [
        (vec![], true),
        (vec![Eku::ClientAuth], true),
        (vec![Eku::ServerAuth, Eku::ClientAuth], true),
        (vec![Eku::Any, Eku::ClientAuth], true),
        (vec![Eku::EmailProtection, Eku::ClientAuth], true),
        (vec![smart_card(), Eku::ClientAuth], true),
        (vec![Eku::ServerAuth], false),
        (vec![Eku::EmailProtection], false),
        (vec![Eku::OcspSigning], false),
        (vec![Eku::Any], false),
        (vec![Eku::CodeSigning, Eku::TimeStamping], false),
        (vec![smart_card()], false),
    ];
    let mut rows = Vec::new();
    for (key_usage, signs) in key_usages {
        for (extended_key_usage, authenticates) in &extended {
            let name = format!("{key_usage:?} {extended_key_usage:?}");
            let client = scene.employee(&name).key_usages(key_usage).extended_key_usages(extended_key_usage);
            let verdicts = [(*authenticates, NOT_CLIENT), (signs, NOT_SIGNING)];
            let never: Vec<_> = verdicts.iter().filter(|(fits, _)| !fits).map(|(_, reason)| *reason).collect();
            rows.push(Row::new(&name, &client.issue(), STAFF).never(&never));
        }
    }
    rows
}

/// Key usages and extended key usages.
type Usages<'a> = (&'a [Ku], &'a [Eku]);

/// CA certificates used as a person's certificate. Neither browser sends them; cardcase offers them with a warning.
fn authorities(scene: &Scene) -> Vec<Row> {
    let cases: [(&str, Usages<'_>, &[&str]); 5] = [
        ("CA without usages", (&[], &[]), &[]),
        ("CA with clientAuth", (&[], &[Eku::ClientAuth]), &[]),
        ("CA that signs anything", (&[Ku::DigitalSignature, Ku::KeyCertSign], &[Eku::ClientAuth]), &[]),
        ("CA that signs certificates", (&[Ku::KeyCertSign], &[]), &[NOT_SIGNING]),
        ("CA for servers", (&[], &[Eku::ServerAuth]), &[NOT_CLIENT]),
    ];
    let row = |issued: &Issued, under, never: &[&'static str]| {
        Row::new(&issued.name, issued, under).never(never).warned(&["ca_certificate"])
    };
    let mut rows = Vec::new();
    for (name, usages, never) in cases {
        fn with<'a>(client: Client<'a>, (usages, extended): Usages<'_>) -> Client<'a> {
            client.ca().key_usages(usages).extended_key_usages(extended)
        }
        rows.push(row(&with(scene.employee(name), usages).issue(), STAFF, never));
        rows.push(row(&with(scene.employee(&format!("self-signed {name}")), usages).self_signed(), &[], never));
    }
    rows
}

/// Every type of key.
fn keys(scene: &Scene) -> Vec<Row> {
    let kinds = [
        (Key::P256, "ecdsa"),
        (Key::P384, "ecdsa"),
        (Key::P521, "ecdsa"),
        (Key::Rsa2048, "rsa"),
        (Key::Ed25519, "ed25519"),
    ];
    let row =
        |(key, scheme): (Key, _)| Row::new(key.name(), &scene.employee(key.name()).key(key).issue(), STAFF).key(scheme);
    let mut rows: Vec<_> = kinds.map(row).into();
    // rustls cannot use the first two; OpenSSL signs with the last for it
    for (name, make, scheme) in [
        ("ed448", "-newkey ed448", "none"),
        ("secp256k1", "-newkey ec -pkeyopt ec_paramgen_curve:secp256k1", "none"),
        ("rsa-1024", "-newkey rsa:1024", "rsa"),
    ] {
        let (certificate, key) = by_openssl(scene.machine.dir(), name, &format!("-x509 -nodes {make}"));
        rows.push(Row::of_pem(name, certificate, key, &[]).key(scheme).warned(&["ca_certificate"]));
    }
    rows
}

/// A self-signed certificate from `openssl req`, and its key.
fn by_openssl(dir: &Path, name: &str, arguments: &str) -> (String, String) {
    let (key, certificate) = (ca::unused(dir, "key", "pem"), ca::unused(dir, "certificate", "pem"));
    let mut command = program::named("openssl");
    command.args(["req", "-subj", &format!("/CN={name}")]).args(arguments.split(' '));
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |file| std::fs::read_to_string(file).unwrap();
    (read(certificate), read(key))
}

/// X.509 version 1, as `openssl x509 -req` writes it without extensions.
fn version_1(dir: &Path) -> Row {
    let (request, key) = by_openssl(dir, "version 1", "-new -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256");
    let (request, key_file) = (ca::write(dir, "request", "pem", request), ca::write(dir, "key", "pem", &key));
    let mut command = program::named("openssl");
    command.args(["x509", "-req", "-days", "30", "-in"]).arg(request).arg("-signkey").arg(key_file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let certificate = String::from_utf8(output.stdout).unwrap();
    Row::of_pem("version 1", certificate, key, &[]).warned(&["certificate_v1"])
}

fn name(attributes: &[(DnType, DnValue)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in attributes {
        name.push(kind.clone(), value.clone());
    }
    name
}

/// The authority that the requests call "named": its organisation is a PrintableString, its name a UTF8String.
fn named() -> Authority {
    let organisation = DnValue::PrintableString("Example Org".try_into().unwrap());
    let common = DnValue::Utf8String("Named Root".to_owned());
    Authority::root_named(name(&[(DnType::OrganizationName, organisation), (DnType::CommonName, common)]))
}

/// Issuers in another encoding than in the requests. The browsers compare bytes and offer none of these. According to
/// RFC 5280 section 7.1, the first three are the same name.
fn names() -> Vec<Row> {
    let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
    let bmp = |text: &str| DnValue::BmpString(text.try_into().unwrap());
    let (o, cn) = (DnType::OrganizationName, DnType::CommonName);
    let cases = [
        ("string types", [(&o, utf8("Example Org")), (&cn, bmp("Named Root"))], true),
        ("case", [(&o, utf8("EXAMPLE org")), (&cn, utf8("named ROOT"))], true),
        ("spaces", [(&o, utf8(" Example   Org")), (&cn, utf8("Named  Root "))], true),
        ("order of the RDNs", [(&cn, utf8("Named Root")), (&o, utf8("Example Org"))], false),
        ("another organisation", [(&o, utf8("Example")), (&cn, utf8("Named Root"))], false),
    ];
    let row = |(what, attributes, same): (&str, [(&DnType, DnValue); 2], bool)| {
        let issuer = Authority::root_named(name(&attributes.map(|(kind, value)| (kind.clone(), value))));
        let under: &[&str] = if same { &["named"] } else { &[] };
        Row::new(what, &issuer.client(what).issue(), under).incomplete()
    };
    cases.map(row).into()
}

/// Certificates that differ in their position: in what is above, below or beside them.
fn places(scene: &Scene, alone: &Issued, lost: &Authority, partner: &Authority) -> Vec<Row> {
    let renewed = |validity| scene.employee("renewed").validity(validity).issue();
    vec![
        Row::new("subject", &scene.employee("subject").issue(), STAFF),
        Row::new("self-signed", alone, &["alone"]),
        Row::new("under the root itself", &scene.staff_root.client("direct").issue(), &["staff root", "partner"]),
        Row::new("guest", &scene.guests.client("guest").issue(), &["guests"]),
        Row::new("chain not in the file", &lost.client("lost").issue(), &["lost"]).incomplete(),
        Row::new("crossed", &partner.client("crossed").issue(), &["partner", "staff root"]),
        Row::new("renewed, before", &renewed(Validity::Soon), STAFF),
        Row::new("renewed, after", &renewed(Validity::Now), STAFF),
        Row::new("duplicate", &renewed(Validity::Now), STAFF),
        Row::new("expired", &renewed(Validity::Expired), STAFF).warned(&["expired"]),
        Row::new("not yet valid", &renewed(Validity::NotYet), STAFF).warned(&["not_yet_valid"]),
    ]
}

#[test]
fn every_cell_of_the_matrix() {
    let scene = Scene::new();
    let dir = scene.machine.dir();
    let (partner, lost) = (Authority::root("Partner Root"), scene.staff_root.intermediate("Lost Issuing"));
    let alone = scene.employee("alone").self_signed();
    let mut rows = places(&scene, &alone, &lost, &partner);
    let subject = certificate_pem(&rows[0]);
    rows[0].under = &["staff root", "staff", "subject"];
    rows.extend(usages(&scene));
    rows.extend(authorities(&scene));
    rows.extend(keys(&scene));
    rows.extend(names());
    rows.push(version_1(dir));
    // The staff's root and the partner's root certified each other
    for row in rows.iter_mut().filter(|row| row.under.starts_with(STAFF)) {
        row.under = if row.under.contains(&"subject") {
            &["staff root", "staff", "partner", "subject"]
        } else {
            &["staff root", "staff", "partner"]
        };
    }
    let crossed = [scene.staff_root.cross_sign(&partner), partner.cross_sign(&scene.staff_root)];
    let above = [&scene.staff, &scene.staff_root, &scene.guests, &scene.guests_root, &partner].map(Authority::pem);
    // An unusable key is imported on its own: for some of them, the matching certificate cannot be determined
    let (useless, useful): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.key == "none");
    let pem: String = useful.iter().map(|row| row.pem.clone()).chain(above).chain(crossed).collect();
    for pem in useless.iter().map(|row| row.pem.clone()).chain([pem]) {
        scene.machine.import_file(&ca::write(dir, "some", "pem", pem));
    }

    let asked = [
        Asked { names: &[], pem: scene.staff_root.pem() },
        Asked { names: &["staff root"], pem: scene.staff_root.pem() },
        Asked { names: &["staff", "lost"], pem: scene.staff.pem() + &lost.pem() },
        Asked { names: &["subject", "alone"], pem: subject + &alone.pem() },
        Asked { names: &["other"], pem: Authority::root("Other Root").pem() },
        Asked {
            names: &["guests", "named", "partner"],
            pem: scene.guests_root.pem() + &named().pem() + &partner.pem(),
        },
    ];
    for asked in &asked {
        for schemes in &SCHEMES {
            for tls in BOTH_VERSIONS {
                assert_cells(&scene, &rows, asked, schemes, tls);
            }
        }
    }
}

/// The certificate of a row, without its key.
fn certificate_pem(row: &Row) -> String {
    row.pem[row.pem.find("-----BEGIN CERTIFICATE").unwrap()..].to_owned()
}

#[track_caller]
fn assert_cells(scene: &Scene, rows: &[Row], asked: &Asked, schemes: &Schemes, tls: Tls) {
    let file = ca::write(scene.machine.dir(), "asked", "pem", &asked.pem);
    let setup = scene.server(Kind::OpenSsl).authorities_in(file).tls(tls);
    let setup = if asked.names.is_empty() { setup.without_hints() } else { setup };
    let server = match schemes.1 {
        Some(schemes) => setup.client_schemes(schemes).start(),
        None => setup.start(),
    };
    let root = scene.server_root_file.to_str().unwrap();
    let explained = scene.machine.json(&format!("--batch explain {} --cacert {root}", server.destination()));
    assert_eq!(explained["authorities"].as_array().unwrap().len(), asked.names.len(), "{:?}", asked.names);
    let said = explained["identities"].as_array().unwrap();
    assert_eq!(said.len(), rows.len());
    let deviations: Vec<_> = rows
        .iter()
        .filter_map(|row| {
            let (reasons, warnings) = row.expected(asked, schemes, tls);
            let found = said.iter().find(|each| each["fingerprint"] == row.fingerprint).unwrap();
            let cell = |value: &Value| json!([value["candidate"], value["reasons"], value["warnings"]]);
            let expected = json!([reasons.is_empty(), reasons, warnings]);
            (cell(found) != expected).then(|| format!("{}: {}, expected {expected}", row.name, cell(found)))
        })
        .collect();
    assert!(
        deviations.is_empty(),
        "{:?} {} {tls:?}: {} cells\n{}",
        asked.names,
        schemes.0,
        deviations.len(),
        deviations.join("\n")
    );
    server.assert_nothing_came("explain");
}
