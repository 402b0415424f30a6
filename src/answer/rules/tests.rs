use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

use super::filter::Filter;
use super::{InForce, Rule, Rules};
use crate::certificate::Certificate;
use crate::request::Destination;

/// A CA with its key.
struct Ca(CertificateParams, KeyPair);

impl Ca {
    fn root(params: CertificateParams) -> Self {
        Self(params, KeyPair::generate().unwrap())
    }

    /// A certificate of this CA, and its key.
    fn issue(&self, params: &CertificateParams) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.0, &self.1)).unwrap();
        (Certificate::from_der(certificate.der().to_vec()).unwrap(), key)
    }
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = params(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// A self-signed certificate.
fn certificate(common_name: &str) -> Certificate {
    let certificate = params(common_name).self_signed(&KeyPair::generate().unwrap()).unwrap();
    Certificate::from_der(certificate.der().to_vec()).unwrap()
}

fn at(text: &str) -> Destination {
    text.parse().unwrap()
}

fn rules(entries: &[Value]) -> Rules {
    let rule = |(number, entry): (i64, &Value)| Arc::new(Rule::parse(&entry.to_string()).unwrap().numbered(number));
    Rules::new((1..).zip(entries).map(rule).collect())
}

fn select(pattern: &str, filter: Value) -> Value {
    json!({ "pattern": pattern, "filter": filter })
}

fn deny(pattern: &str, filter: Value) -> Value {
    json!({ "pattern": pattern, "filter": filter, "deny": true })
}

fn tls13(pattern: &str, filter: Value) -> Value {
    json!({ "pattern": pattern, "filter": filter, "min_tls": "1.3", "select": false })
}

fn cn(name: &str) -> Value {
    json!({ "SUBJECT": { "CN": name } })
}

fn number(rule: Option<&Rule>) -> Option<i64> {
    rule?.number()
}

/// The numbers of the rules that deny, select and restrict.
fn verdict(in_force: &InForce, certificate: &Certificate) -> (Option<i64>, Option<i64>, Option<i64>) {
    (
        number(in_force.denied(certificate)),
        number(in_force.selects(certificate)),
        number(in_force.demands_tls13(certificate)),
    )
}

/// A certificate for a name with these attributes, in this order. rcgen keeps only one of each type, so the DER is built here.
fn named(attributes: &[(u8, &str)]) -> Certificate {
    let tlv = |tag: u8, body: &[u8]| match u8::try_from(body.len()).unwrap() {
        short @ 0..128 => [&[tag, short], body].concat(),
        long => [&[tag, 0x81, long], body].concat(),
    };
    let rdn = |(arc, value): &(u8, &str)| {
        let pair = [vec![6, 3, 0x55, 4, *arc], tlv(12, value.as_bytes())].concat();
        tlv(0x31, &tlv(0x30, &pair))
    };
    let name = tlv(0x30, &attributes.iter().map(rdn).collect::<Vec<_>>().concat());
    with_subject(&name)
}

/// A certificate with this DER as its subject: one from rcgen with its subject replaced. Nothing here checks the signature.
fn with_subject(name: &[u8]) -> Certificate {
    let (leaf, _) = Ca::root(issuer()).issue(&params("placeholder"));
    let (der, subject) = (leaf.der().to_vec(), leaf.subject().der().to_vec());
    let start = der.windows(subject.len()).position(|window| window == subject).unwrap();
    let body = [&der[..start], name, &der[start + subject.len()..]].concat();
    Certificate::from_der(resized(body, name.len() as i64 - subject.len() as i64)).unwrap()
}

/// Adjusts the lengths of Certificate and TBSCertificate, which have two bytes each.
fn resized(mut der: Vec<u8>, by: i64) -> Vec<u8> {
    for at in [2, 6] {
        let length = i64::from(u16::from_be_bytes([der[at], der[at + 1]])) + by;
        der[at..at + 2].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    }
    der
}

fn issuer() -> rcgen::CertificateParams {
    let mut params = ca_params("Issuing");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::LocalityName, "Bonn");
    params.distinguished_name.push(DnType::CommonName, DnValue::PrintableString("Issuing".try_into().unwrap()));
    params
}

const CN: u8 = 3;
const L: u8 = 7;
const O: u8 = 10;
const OU: u8 = 11;

#[test]
fn filters_compare_as_in_chrome() {
    let certificate = named(&[
        (O, "Example"),
        (O, "Example GmbH"),
        (OU, "Sales"),
        (OU, "Bücher"),
        (L, "Berlin"),
        (L, "Paris"),
        (CN, ""),
        (CN, "alice"),
        (CN, "bob"),
    ]);
    let cases = [
        (json!({}), true),
        (json!({"ISSUER": {}, "SUBJECT": {}}), true),
        (json!({"SUBJECT": {"CN": "alice"}}), true),
        // The first that is not empty, and no other
        (json!({"SUBJECT": {"CN": "bob"}}), false),
        (json!({"SUBJECT": {"L": "Berlin"}}), true),
        (json!({"SUBJECT": {"L": "Paris"}}), false),
        // Any of these
        (json!({"SUBJECT": {"O": "Example"}}), true),
        (json!({"SUBJECT": {"O": "Example GmbH"}}), true),
        (json!({"SUBJECT": {"OU": "Sales"}}), true),
        (json!({"SUBJECT": {"OU": "Bücher"}}), true),
        (json!({"SUBJECT": {"OU": "Purchase"}}), false),
        // Exactly
        (json!({"SUBJECT": {"CN": "Alice"}}), false),
        (json!({"SUBJECT": {"CN": "alic"}}), false),
        (json!({"SUBJECT": {"CN": "alice "}}), false),
        (json!({"SUBJECT": {"OU": "BÜCHER"}}), false),
        // All of what is said, of both
        (json!({"SUBJECT": {"CN": "alice", "O": "Example", "OU": "Sales"}}), true),
        (json!({"SUBJECT": {"CN": "alice", "O": "Other"}}), false),
        (json!({"ISSUER": {"CN": "Issuing", "L": "Bonn", "O": "Example"}, "SUBJECT": {"CN": "alice"}}), true),
        (json!({"ISSUER": {"CN": "Issuing"}, "SUBJECT": {"CN": "bob"}}), false),
        (json!({"ISSUER": {"CN": "alice"}}), false),
        (json!({"ISSUER": {"OU": "Sales"}}), false),
        // Keys that mean nothing
        (json!({"SUBJECT": {"CN": "", "L": ""}}), true),
        (json!({"SUBJECT": {"C": "DE", "cn": "bob"}, "subject": {"CN": "bob"}, "X": 1}), true),
        (json!({"SUBJECT": "alice"}), true),
        (json!({"SUBJECT": {"CN": ["bob"]}}), true),
    ];
    for (filter, matches) in cases {
        assert_eq!(Filter::from_json(filter.as_object().unwrap()).matches(&certificate), matches, "{filter}");
    }
    assert!(Rule::new("*").unwrap().with_filter("[]").is_err());
}

#[test]
fn a_filter_compares_the_direct_issuer_and_no_authority_above() {
    let (_, key) = Ca::root(ca_params("Root")).issue(&ca_params("Issuing"));
    let (leaf, _) = Ca(ca_params("Issuing"), key).issue(&params("a"));
    let by = |name: &str| Filter::from_json(json!({"ISSUER": {"CN": name}}).as_object().unwrap());
    assert!(by("Issuing").matches(&leaf));
    assert!(!by("Root").matches(&leaf));
}

#[test]
fn the_most_specific_pattern_selects_and_rules_of_one_pattern_are_alternatives() {
    let (alice, bob) = (certificate("alice"), certificate("bob"));
    let rules = rules(&[
        select("*", json!({})),
        select("https://[*.]example.com", cn("alice")),
        select("https://[*.]example.com", cn("bob")),
        select("https://www.example.com", cn("alice")),
        select("https://www.example.com:8443", cn("carol")),
        select("http://www.example.com", cn("bob")),
    ]);
    let cases = [
        ("other.example", Some(1), Some(1)),
        ("a.example.com", Some(2), Some(3)),
        ("www.example.com", Some(4), None),
        // As in Chrome: the pattern decides, although none of its filters matches
        ("www.example.com:8443", None, None),
    ];
    for (destination, for_alice, for_bob) in cases {
        let in_force = rules.in_force(&at(destination), Some("/"));
        let selected = (number(in_force.selects(&alice)), number(in_force.selects(&bob)));
        assert_eq!(selected, (for_alice, for_bob), "{destination}");
        assert_eq!(in_force.denies_all(), None);
    }
}

#[test]
fn denials_are_decided_for_each_identity() {
    let (alice, bob) = (certificate("alice"), certificate("bob"));
    let (d, s) = (deny, select);
    #[allow(clippy::type_complexity)]
    let cases: &[(&str, Vec<Value>, [(Option<i64>, Option<i64>); 2], Option<i64>)] = &[
        ("nothing", vec![], [(None, None); 2], None),
        ("all", vec![d("x.example", json!({}))], [(Some(1), None); 2], Some(1)),
        ("elsewhere", vec![d("y.example", json!({}))], [(None, None); 2], None),
        ("one", vec![d("x.example", cn("alice"))], [(Some(1), None), (None, None)], None),
        (
            "of one pattern, deny",
            vec![s("x.example", json!({})), d("x.example", cn("alice"))],
            [(Some(2), None), (None, Some(1))],
            None,
        ),
        (
            "of one pattern, deny all",
            vec![s("x.example", cn("alice")), d("x.example", json!({}))],
            [(Some(2), None); 2],
            Some(2),
        ),
        (
            "less specific rules apply to identities that a specific denial does not match",
            vec![s("[*.]example", json!({})), d("x.example", cn("alice"))],
            [(Some(2), None), (None, Some(1))],
            None,
        ),
        (
            "a more specific selection is an exception to a denial",
            vec![d("*", json!({})), s("x.example", cn("alice"))],
            [(None, Some(2)), (Some(1), None)],
            None,
        ),
        (
            "but not to an even more specific denial",
            vec![d("*", json!({})), s("x.example", json!({})), d("x.example:443", cn("alice"))],
            [(Some(3), None), (None, Some(2))],
            None,
        ),
    ];
    for (what, entries, expected, all) in cases {
        let rules = rules(entries);
        let in_force = rules.in_force(&at("x.example"), None);
        let found = [&alice, &bob].map(|who| (number(in_force.denied(who)), number(in_force.selects(who))));
        assert_eq!(found, *expected, "{what}");
        assert_eq!(number(in_force.denies_all()), *all, "{what}");
    }
}

#[test]
fn a_restriction_to_tls13_is_never_lifted() {
    let (alice, bob) = (certificate("alice"), certificate("bob"));
    let mut both = select("x.example", cn("bob"));
    both["min_tls"] = "1.3".into();
    let rules = rules(&[tls13("*", cn("alice")), select("x.example:443", cn("alice")), both]);
    let in_force = rules.in_force(&at("x.example"), None);
    assert_eq!(verdict(&in_force, &alice), (None, Some(2), Some(1)));
    assert_eq!(verdict(&in_force, &bob), (None, None, Some(3)));
    let in_force = rules.in_force(&at("x.example:8443"), None);
    assert_eq!(verdict(&in_force, &bob), (None, Some(3), Some(3)));
    // A restriction alone selects nothing
    assert_eq!(verdict(&in_force, &alice), (None, None, Some(1)));
}

#[test]
fn a_rule_with_a_path_denies_but_does_not_select_when_the_path_is_unknown() {
    let alice = certificate("alice");
    let rules = rules(&[
        select("https://x.example/app", json!({})),
        deny("https://x.example/admin", json!({})),
        tls13("https://x.example/pay", json!({})),
    ]);
    let cases = [
        (Some("/"), (None, None, None)),
        (Some("/app/x"), (None, Some(1), None)),
        (Some("/app/../admin"), (Some(2), None, None)),
        (Some("/pay?x"), (None, None, Some(3))),
        // Some servers read it as /admin, others as /app
        (Some("/app/..%2Fadmin"), (Some(2), None, None)),
        (Some("//pay"), (None, None, Some(3))),
        (None, (Some(2), None, Some(3))),
    ];
    for (path, expected) in cases {
        assert_eq!(verdict(&rules.in_force(&at("x.example"), path), &alice), expected, "{path:?}");
    }
}

#[test]
fn a_built_rule_equals_the_rule_read_from_its_json() {
    let built = || Rule::new("https://x.example/a").unwrap().with_filter(r#"{"SUBJECT":{"O":"E"}}"#).unwrap();
    let cases = [
        (built(), (false, true, false)),
        (built().with_deny(), (true, false, false)),
        (built().with_min_tls13(), (false, true, true)),
        (built().with_min_tls13_only(), (false, false, true)),
        (built().with_min_tls13().with_deny(), (true, false, false)),
        (built().with_deny().with_min_tls13(), (false, true, true)),
    ];
    for (rule, does) in cases {
        assert_eq!((rule.denies(), rule.selects(), rule.demands_tls13()), does, "{rule}");
        assert_eq!(Rule::parse(&rule.to_json()).unwrap(), rule);
        assert!(!rule.to_json().contains('\n'));
    }
}

#[test]
fn rules_say_where_they_come_from() {
    let rule = Rule::new("https://x.example").unwrap();
    assert_eq!(rule.clone().numbered(3).to_string(), "rule 3 (https://x.example)");
    let in_file = rule.clone().in_file(Path::new("/etc/a.json"), 2);
    assert_eq!(in_file.to_string(), "rule 2 of /etc/a.json (https://x.example)");
    assert_eq!((in_file.number(), in_file.file()), (None, Some(Path::new("/etc/a.json"))));
    assert_eq!(rule.to_string(), "a rule (https://x.example)");
}

#[test]
fn ten_thousand_rules_for_other_hosts_cost_nothing() {
    let entries: Vec<Value> = (0..10_000).map(|n| deny(&format!("https://h{n}.example/a"), json!({}))).collect();
    let rules = rules(&entries);
    let started = std::time::Instant::now();
    for _ in 0..1_000 {
        assert!(rules.in_force(&at("h1.example.org"), Some("/a")).denies_all().is_none());
    }
    // Comparing each rule would take a hundred times as long; a loaded machine does not
    assert!(started.elapsed().as_millis() < 500, "{:?}", started.elapsed());
    assert_eq!(number(rules.in_force(&at("h77.example"), Some("/a/b")).denies_all()), Some(78));
}
