//! Rules against real certificates: filters as in Chrome, and which of several rules decides.

use cardcase::certificate::Certificate;
use cardcase::rules::{Origin, Rule, Ruled, Rules};
use rcgen::{DistinguishedName, DnType};

use crate::pki::{Ca, ca_params, params};

/// A certificate with several of everything that a filter looks at.
fn certificate() -> Certificate {
    let mut issuing = ca_params("Issuing CA");
    issuing.distinguished_name.push(DnType::OrganizationName, "Example Ltd");
    let mut leaf = params("alice");
    leaf.distinguished_name = DistinguishedName::new();
    for (kind, value) in [
        (DnType::CommonName, "Alice"),
        (DnType::LocalityName, "Bern"),
        (DnType::OrganizationName, "Example Ltd"),
        (DnType::OrganizationalUnitName, "Sales"),
    ] {
        leaf.distinguished_name.push(kind, value);
    }
    Ca::root_of(issuing).leaf_of(leaf).certificate
}

fn rule(json: &str) -> Rule {
    Rule::parse(json).unwrap()
}

#[test]
fn filters_compare_as_in_chrome() {
    let certificate = certificate();
    let cases = [
        (r#"{}"#, true),
        (r#"{"ISSUER":{"CN":"Issuing CA"}}"#, true),
        (r#"{"ISSUER":{"CN":"issuing ca"}}"#, false),
        (r#"{"ISSUER":{"CN":"Issuing"}}"#, false),
        (r#"{"ISSUER":{"CN":""}}"#, true),
        (r#"{"ISSUER":{"O":"Example Ltd"}}"#, true),
        (r#"{"ISSUER":{"OU":"Sales"}}"#, false),
        (r#"{"SUBJECT":{"CN":"Alice"}}"#, true),
        (r#"{"SUBJECT":{"CN":"Alice","L":"Bern","O":"Example Ltd","OU":"Sales"}}"#, true),
        (r#"{"SUBJECT":{"CN":"Alice","L":"Zug"}}"#, false),
        (r#"{"ISSUER":{"CN":"Issuing CA"},"SUBJECT":{"CN":"Bob"}}"#, false),
        (r#"{"ISSUER":{"CN":7},"UNKNOWN":{"CN":"Bob"}}"#, true),
    ];
    for (filter, matches) in cases {
        let rule = rule(&format!(r#"{{"pattern":"*","filter":{filter}}}"#));
        assert_eq!(rule.filter().matches(&certificate), matches, "{filter}");
    }
}

#[test]
fn of_several_units_any_one_counts_and_of_several_common_names_the_first() {
    // By openssl, since rcgen keeps one attribute of a kind
    let der = include_bytes!("../data/several-units.der");
    let certificate = Certificate::from_der(der.to_vec()).unwrap();
    for (filter, matches) in [
        (r#"{"SUBJECT":{"OU":"First"}}"#, true),
        (r#"{"SUBJECT":{"OU":"Second"}}"#, true),
        (r#"{"SUBJECT":{"OU":"Third"}}"#, false),
        (r#"{"SUBJECT":{"CN":"one"}}"#, true),
        (r#"{"SUBJECT":{"CN":"two"}}"#, false),
    ] {
        let rule = rule(&format!(r#"{{"pattern":"*","filter":{filter}}}"#));
        assert_eq!(rule.filter().matches(&certificate), matches, "{filter}");
    }
}

/// The number of the rule that decided, of those numbered from 1 in their order.
#[derive(Debug, PartialEq, Eq)]
enum Decided {
    Selected(i64),
    Denied(i64),
    Nothing,
}

const ALICE: &str = r#"{"SUBJECT":{"CN":"Alice"}}"#;
const BOB: &str = r#"{"SUBJECT":{"CN":"Bob"}}"#;
const ALL: &str = "{}";

/// Rules as (pattern, filter, further keys).
fn rules(rules: &[(&str, &str, &str)]) -> Rules {
    let ruled = rules.iter().zip(1..).map(|((pattern, filter, more), number)| Ruled {
        rule: rule(&format!(r#"{{"pattern":"{pattern}","filter":{filter}{more}}}"#)),
        origin: Origin::Store(number),
    });
    Rules::new(ruled.collect())
}

const DENY: &str = r#","deny":true"#;
const SELECT: &str = "";

#[test]
fn the_most_specific_pattern_decides() {
    use Decided::{Denied, Nothing, Selected};
    type Rows<'a> = &'a [(&'a str, &'a str, &'a str)];
    let host = "https://www.example.com";
    let admin = "https://www.example.com/admin";
    let cases: &[(Rows<'_>, Option<&str>, Decided, &str)] = &[
        (&[], None, Nothing, "no rules"),
        (&[("*", ALICE, SELECT)], None, Selected(1), "one that matches"),
        (&[("*", BOB, SELECT)], None, Nothing, "another identity"),
        (&[("https://other.example", ALL, SELECT)], None, Nothing, "another host"),
        (&[(host, BOB, SELECT), (host, ALICE, SELECT)], None, Selected(2), "alternatives of one pattern"),
        (&[("*", ALICE, SELECT), (host, BOB, SELECT)], None, Nothing, "as in Chrome, only the most specific selects"),
        (&[("*", ALL, DENY), (host, ALICE, SELECT)], None, Selected(2), "an exception to a general denial"),
        (&[("*", ALL, DENY), (host, BOB, SELECT)], None, Denied(1), "which is another's"),
        (&[("*", ALICE, SELECT), (host, ALL, DENY)], None, Denied(2), "an exception to a general selection"),
        (&[("*", ALICE, SELECT), (host, BOB, DENY)], None, Selected(1), "which is another's"),
        (&[(host, ALICE, SELECT), (host, ALICE, DENY)], None, Denied(2), "on equal terms it is denied"),
        (&[(host, ALICE, SELECT), (admin, ALL, DENY)], Some("/admin/x"), Denied(2), "the longer path"),
        (&[(host, ALICE, SELECT), (admin, ALL, DENY)], Some("/public"), Selected(1), "another path"),
        (&[(host, ALICE, SELECT), (admin, ALL, DENY)], None, Denied(2), "a path that is not known may be denied"),
        (&[(admin, ALICE, SELECT)], None, Nothing, "a path that is not known selects nothing"),
        (&[(admin, ALICE, SELECT)], Some("/admin"), Selected(1), "a path that is known"),
    ];
    let certificate = certificate();
    for (rows, path, expected, case) in cases {
        let rules = rules(rows);
        let in_force = rules.in_force(&"www.example.com:8443".parse().unwrap(), *path);
        let number = |ruled: &Ruled| match ruled.origin {
            Origin::Store(number) => number,
            Origin::File { .. } => 0,
        };
        let decided = match (in_force.denied(&certificate), in_force.selects(&certificate)) {
            (Some(denied), None) => Denied(number(denied)),
            (None, Some(selected)) => Selected(number(selected)),
            (None, None) => Nothing,
            both => panic!("{case}: {both:?}"),
        };
        assert_eq!(decided, *expected, "{case}");
    }
}

#[test]
fn a_host_is_closed_by_a_denial_of_all_that_nothing_more_specific_opens() {
    let host = "https://www.example.com";
    let closed = |rows: &[(&str, &str, &str)]| {
        rules(rows).in_force(&"www.example.com".parse().unwrap(), None).denies_all().is_some()
    };
    assert!(closed(&[(host, ALL, DENY)]));
    assert!(closed(&[("*", ALICE, SELECT), (host, ALL, DENY)]));
    assert!(!closed(&[("*", ALL, DENY), (host, ALICE, SELECT)]));
    assert!(!closed(&[(host, ALICE, DENY)]));
}

#[test]
fn a_demand_counts_whatever_is_more_specific() {
    let certificate = certificate();
    let demand = r#","min_tls":"1.3","select":false"#;
    let rules = rules(&[("[*.]example.com", ALICE, demand), ("https://www.example.com", ALICE, SELECT)]);
    let in_force = rules.in_force(&"www.example.com".parse().unwrap(), None);
    assert!(in_force.demands_tls13(&certificate).is_some());
    assert!(in_force.selects(&certificate).is_some());
    let elsewhere = rules.in_force(&"example.org".parse().unwrap(), None);
    assert!(elsewhere.demands_tls13(&certificate).is_none());
}

#[test]
fn ten_thousand_rules_are_found_by_host() {
    let of_host = |number: i64| Ruled {
        rule: rule(&format!(r#"{{"pattern":"https://host{number}.example","filter":{{}}}}"#)),
        origin: Origin::Store(number),
    };
    let rules = Rules::new((0..10_000).map(of_host).collect());
    let in_force = rules.in_force(&"host7777.example".parse().unwrap(), None);
    assert_eq!(in_force.selects(&certificate()).map(|ruled| ruled.origin.clone()), Some(Origin::Store(7777)));
}
