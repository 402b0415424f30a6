//! The rules that apply to a URL.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::path::{Match, UrlPath};
use super::rule::Rule;
use crate::certificate::name::Names;
use crate::request::Destination;

/// Rules, arranged so that a few look-ups find those for a destination.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    all: Vec<Arc<Rule>>,
    /// The positions of the rules whose pattern names this host, or this domain.
    by_host: HashMap<String, Vec<usize>>,
    for_any_host: Vec<usize>,
}

impl Rules {
    /// Arranges rules. Of two equal ones the first is reported.
    pub(crate) fn new(all: Vec<Arc<Rule>>) -> Self {
        let mut rules = Self { all, ..Self::default() };
        for (position, rule) in rules.all.iter().enumerate() {
            match rule.pattern.host() {
                Some(host) => rules.by_host.entry(host.to_owned()).or_default().push(position),
                None => rules.for_any_host.push(position),
            }
        }
        rules
    }

    /// Every rule, in the order it was given.
    pub(crate) fn all(&self) -> &[Arc<Rule>] {
        &self.all
    }

    /// The rules that apply to a URL. If its path is unknown, or servers read the path differently, a pattern with a path selects
    /// nothing, but still denies and restricts: a certificate that was sent cannot be called back.
    pub(crate) fn in_force(&self, destination: &Destination, path: Option<&str>) -> InForce {
        if self.all.is_empty() {
            return InForce::default();
        }
        let path = path.map(UrlPath::new);
        let positions = domains(destination.host()).filter_map(|domain| self.by_host.get(domain)).flatten();
        let mut positions: Vec<usize> = positions.chain(&self.for_any_host).copied().collect();
        positions.sort_unstable();
        let mut in_force = InForce::default();
        for rule in positions.into_iter().filter_map(|position| self.all.get(position)) {
            in_force.add(rule, rule.pattern.compare(destination, path.as_ref()));
        }
        in_force
    }
}

/// A host and every domain above it.
fn domains(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(host), |domain| domain.split_once('.').map(|(_, above)| above))
}

/// The rules that apply to one URL.
#[derive(Clone, Debug, Default)]
pub(crate) struct InForce {
    denying: Vec<Arc<Rule>>,
    selecting: Vec<Arc<Rule>>,
    demanding: Vec<Arc<Rule>>,
}

impl InForce {
    fn add(&mut self, rule: &Arc<Rule>, found: Match) {
        if found != Match::No && rule.denies() {
            self.denying.push(rule.clone());
        }
        if found != Match::No && rule.demands_tls13() {
            self.demanding.push(rule.clone());
        }
        if found == Match::Yes && rule.selects() {
            self.selecting.push(rule.clone());
        }
    }

    /// Whether none of them concerns an identity: none denies, and none restricts to TLS 1.3.
    pub(crate) fn allows_all(&self) -> bool {
        self.denying.is_empty() && self.demanding.is_empty()
    }

    /// The rule that keeps this certificate from being sent.
    pub(crate) fn denied<'n>(&self, certificate: impl Into<Names<'n>>) -> Option<&Rule> {
        let certificate = certificate.into();
        let denied = most_specific(about(&self.denying, certificate))?;
        decides(denied, about(&self.selecting, certificate)).then_some(denied)
    }

    /// The rule that selects this certificate without asking.
    pub(crate) fn selects<'n>(&self, certificate: impl Into<Names<'n>>) -> Option<&Rule> {
        let certificate = certificate.into();
        // As in Chrome: the most specific of all patterns that match, whether its filters match or not
        let most = most_specific(each(&self.selecting))?.pattern.specificity();
        let mut selecting = about(&self.selecting, certificate);
        let selected = selecting.find(|rule| rule.pattern.specificity() == most)?;
        self.denied(certificate).is_none().then_some(selected)
    }

    /// The rule that restricts this certificate to TLS 1.3.
    pub(crate) fn demands_tls13<'n>(&self, certificate: impl Into<Names<'n>>) -> Option<&Rule> {
        let certificate = certificate.into();
        about(&self.demanding, certificate).next()
    }

    /// The rule that keeps every certificate from being sent.
    pub(crate) fn denies_all(&self) -> Option<&Rule> {
        let denied = most_specific(each(&self.denying).filter(|rule| rule.filter.is_empty()))?;
        decides(denied, each(&self.selecting)).then_some(denied)
    }
}

/// Whether no selecting rule is more specific than a denying one.
fn decides<'a>(denied: &Rule, selecting: impl Iterator<Item = &'a Rule>) -> bool {
    let most = most_specific(selecting).map(|rule| rule.pattern.specificity());
    most.is_none_or(|most| most <= denied.pattern.specificity())
}

fn each(rules: &[Arc<Rule>]) -> impl Iterator<Item = &Rule> {
    rules.iter().map(|rule| &**rule)
}

fn about<'a, 'n>(rules: &'a [Arc<Rule>], certificate: Names<'n>) -> impl Iterator<Item = &'a Rule> + use<'a, 'n> {
    each(rules).filter(move |rule| rule.filter.matches(certificate))
}

/// The first of those that are equally specific.
fn most_specific<'a>(rules: impl Iterator<Item = &'a Rule>) -> Option<&'a Rule> {
    rules.min_by_key(|rule| Reverse(rule.pattern.specificity()))
}
