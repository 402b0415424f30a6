//! Reads arbitrary bytes as a policy file, and as a rule, a pattern and a filter that a person types. Applies the rules to an identity
//! at the URL in the first line, which a server can choose with a redirect.

#![no_main]

use std::sync::LazyLock;

use cardcase::Destination;
use cardcase::fuzzing::apply_rules;
use cardcase::manage::{Certificate, Policy, Rule};
use libfuzzer_sys::fuzz_target;

static ALICE: LazyLock<Certificate> =
    LazyLock::new(|| Certificate::from_der(include_bytes!("../../fixtures/alice/certificate.der")).unwrap());

fuzz_target!(|input: &[u8]| {
    let (url, json) = match input.iter().position(|&byte| byte == b'\n') {
        Some(end) => (String::from_utf8_lossy(&input[..end]), &input[end + 1..]),
        None => ("www.example.com/".into(), input),
    };
    let (host, path) = match url.split_once('/') {
        Some((host, path)) => (host, Some(format!("/{path}"))),
        None => (&*url, None),
    };
    let mut rules = Policy::parse(json).map(|policy| policy.rules).unwrap_or_default();
    if let Ok(text) = std::str::from_utf8(json) {
        rules.extend(Rule::parse(text));
        rules.extend(Rule::parse_typed(text));
        rules.extend(Rule::new(text));
        rules.extend(Rule::new("[*.]example.com").and_then(|rule| rule.with_filter(text)));
    }
    for rule in &rules {
        let again = Rule::parse(&rule.to_json()).expect("a rule that was written can be read");
        assert_eq!(again.to_json(), rule.to_json());
        let _ = (rule.to_string(), rule.filter(), rule.matches_nothing());
    }
    if let Ok(destination) = host.parse::<Destination>() {
        apply_rules(&rules, &destination, path.as_deref(), &ALICE);
    }
});
