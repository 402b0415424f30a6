use std::path::PathBuf;

use cardcase::Destination;
use cardcase::manage::Certificate;
use cardcase::manage::{Filter, InForce, Origin, Rule, Ruled, Rules};
use rcgen::{DistinguishedName, DnType, DnValue};
use serde_json::{Value, json};

use crate::pki::{Ca, Leaf, ca_params, params};

fn at(text: &str) -> Destination {
    text.parse().unwrap()
}

fn rules(entries: &[Value]) -> Rules {
    let ruled = |(place, entry): (usize, &Value)| Ruled {
        rule: Rule::parse(&entry.to_string()).unwrap(),
        origin: Origin::Store(place as i64 + 1),
    };
    Rules::new(entries.iter().enumerate().map(ruled).collect())
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

fn number(ruled: Option<&Ruled>) -> Option<i64> {
    match ruled?.origin {
        Origin::Store(number) => Some(number),
        Origin::File { .. } => None,
    }
}

/// The numbers of the rules that deny, select and demand.
fn verdict(in_force: &InForce<'_>, certificate: &Certificate) -> (Option<i64>, Option<i64>, Option<i64>) {
    (
        number(in_force.denied(certificate)),
        number(in_force.selects(certificate)),
        number(in_force.demands_tls13(certificate)),
    )
}

/// A name with these attributes, in this order. rcgen keeps one of a type only, so the DER is put together here.
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

/// A certificate whose subject is this DER: one of rcgen's with its subject cut out. Nobody checks the signature here.
fn with_subject(name: &[u8]) -> Certificate {
    let leaf = Ca::root_of(issuer()).leaf_of(params("placeholder"));
    let (der, subject) = (leaf.certificate.der().to_vec(), leaf.certificate.subject().der().to_vec());
    let start = der.windows(subject.len()).position(|window| window == subject).unwrap();
    let body = [&der[..start], name, &der[start + subject.len()..]].concat();
    Certificate::from_der(resized(body, name.len() as i64 - subject.len() as i64)).unwrap()
}

/// Certificate and TBSCertificate are both long, with lengths of two bytes: they grow by as much as the name.
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
        // What means nothing
        (json!({"SUBJECT": {"CN": "", "L": ""}}), true),
        (json!({"SUBJECT": {"C": "DE", "cn": "bob"}, "subject": {"CN": "bob"}, "X": 1}), true),
        (json!({"SUBJECT": "alice"}), true),
        (json!({"SUBJECT": {"CN": ["bob"]}}), true),
    ];
    for (filter, matches) in cases {
        assert_eq!(Filter::parse(&filter.to_string()).unwrap().matches(&certificate), matches, "{filter}");
    }
    assert!(Filter::parse("[]").is_err());
}

#[test]
fn the_issuer_is_the_one_that_signed_and_none_above() {
    let root = Ca::root("Root");
    let leaf = root.intermediate("Issuing").leaf("a");
    let by = |name: &str| Filter::parse(&json!({"ISSUER": {"CN": name}}).to_string()).unwrap();
    assert!(by("Issuing").matches(&leaf.certificate));
    assert!(!by("Root").matches(&leaf.certificate));
}

#[test]
fn the_most_specific_pattern_selects_and_rules_of_one_pattern_are_alternatives() {
    let (alice, bob) = (Leaf::self_signed(params("alice")).certificate, Leaf::self_signed(params("bob")).certificate);
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
fn what_is_denied_is_decided_for_each_identity() {
    let (alice, bob) = (Leaf::self_signed(params("alice")).certificate, Leaf::self_signed(params("bob")).certificate);
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
            "less specific rules count for whom a specific denial leaves",
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
            "but not to one more specific still",
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
fn a_demand_is_never_weakened() {
    let (alice, bob) = (Leaf::self_signed(params("alice")).certificate, Leaf::self_signed(params("bob")).certificate);
    let mut both = select("x.example", cn("bob"));
    both["min_tls"] = "1.3".into();
    let rules = rules(&[tls13("*", cn("alice")), select("x.example:443", cn("alice")), both]);
    let in_force = rules.in_force(&at("x.example"), None);
    assert_eq!(verdict(&in_force, &alice), (None, Some(2), Some(1)));
    assert_eq!(verdict(&in_force, &bob), (None, None, Some(3)));
    let in_force = rules.in_force(&at("x.example:8443"), None);
    assert_eq!(verdict(&in_force, &bob), (None, Some(3), Some(3)));
    // A demand alone selects nothing
    assert_eq!(verdict(&in_force, &alice), (None, None, Some(1)));
}

#[test]
fn a_path_that_is_not_known_selects_nothing_and_denies_all_the_same() {
    let alice = Leaf::self_signed(params("alice")).certificate;
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
        // A server may take it for /admin, and for /app
        (Some("/app/..%2Fadmin"), (Some(2), None, None)),
        (Some("//pay"), (None, None, Some(3))),
        (None, (Some(2), None, Some(3))),
    ];
    for (path, expected) in cases {
        assert_eq!(verdict(&rules.in_force(&at("x.example"), path), &alice), expected, "{path:?}");
    }
}

#[test]
fn built_rules_are_those_that_are_read() {
    let built =
        || Rule::new("https://x.example/a".parse().unwrap(), Filter::parse(r#"{"SUBJECT":{"O":"E"}}"#).unwrap());
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
    let rule = Rule::parse(r#"{"pattern":"https://x.example","filter":{}}"#).unwrap();
    let of = |origin| Ruled { rule: rule.clone(), origin }.to_string();
    assert_eq!(of(Origin::Store(3)), "rule 3 (https://x.example)");
    let file = Origin::File { path: PathBuf::from("/etc/a.json"), index: 2 };
    assert_eq!(of(file), "rule 2 of /etc/a.json (https://x.example)");
}

#[test]
fn ten_thousand_rules_cost_a_destination_they_are_not_for_nothing() {
    let entries: Vec<Value> = (0..10_000).map(|n| deny(&format!("https://h{n}.example/a"), json!({}))).collect();
    let rules = rules(&entries);
    let started = std::time::Instant::now();
    for _ in 0..1_000 {
        assert!(rules.in_force(&at("h1.example.org"), Some("/a")).denies_all().is_none());
    }
    // A scan of them all would take a hundred times as long, a loaded machine does not
    assert!(started.elapsed().as_millis() < 500, "{:?}", started.elapsed());
    assert_eq!(number(rules.in_force(&at("h77.example"), Some("/a/b")).denies_all()), Some(78));
}
