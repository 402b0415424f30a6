//! Evaluates rules for a URL, for the fuzz target `rules`.

use std::sync::Arc;

use super::{Rule, Rules};
use crate::certificate::Certificate;
use crate::request::Destination;

/// Applies rules to a certificate at a URL. Panics if the rules both deny and select it.
pub fn apply_rules(rules: &[Rule], destination: &Destination, path: Option<&str>, certificate: &Certificate) {
    let rules = Rules::new(rules.iter().cloned().map(Arc::new).collect());
    for rule in rules.all() {
        let _ = rule.names(certificate);
    }
    let in_force = rules.in_force(destination, path);
    let _ = in_force.demands_tls13(certificate);
    let selected = in_force.selects(certificate).is_some();
    let denied = in_force.denied(certificate).is_some() || in_force.denies_all().is_some();
    assert!(!(selected && denied), "an identity is denied and selected");
}
