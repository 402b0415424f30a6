//! Rules: answers given in advance, in the form of Chrome's policy AutoSelectCertificateForUrls.
//!
//! What is Chrome's is as in Chrome. Of the patterns that match a URL only the most specific one selects; several rules of
//! one pattern are alternatives. A rule is applied to what the server would take anyway.
//!
//! Three things are ours. A pattern may end in a path. A rule with `"deny": true` keeps identities from ever being sent. A
//! rule with `"min_tls": "1.3"` lets them out in TLS 1.3 only; with `"select": false` it does nothing else. For each identity
//! the most specific of the patterns that deny or select it decides, and of two equal ones the one that denies. A demand for
//! TLS 1.3 always counts.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use cardcase::manage::{Origin, Rule, Ruled, Rules};
//!
//! let rule = Rule::parse_typed(
//!     r#"{"pattern": "https://[*.]example.com", "filter": {"ISSUER": {"CN": "Fixture Issuing CA"}}}"#,
//! )?;
//! let rules = Rules::new(vec![Ruled { rule, origin: Origin::Store(1) }]);
//! let alice = store.find_identity("Alice Example's card")?;
//! assert!(rules.in_force(&"www.example.com".parse()?, None).selects(alice.certificate()).is_some());
//! assert!(rules.in_force(&"example.org".parse()?, None).selects(alice.certificate()).is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod file;
mod filter;
mod json;
mod pattern;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

pub use self::file::{Policy, Skipped};
pub use self::filter::Filter;
pub use self::pattern::Pattern;
use self::pattern::{Match, UrlPath};
use crate::certificate::Certificate;
use crate::error::Error;
use crate::request::Destination;

/// What a rule may say besides its pattern and its filter. Another word is a mistake, and might have been meant to deny.
const KEYS: [&str; 5] = ["pattern", "filter", "deny", "select", "min_tls"];

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pattern: Pattern,
    filter: Filter,
    deny: bool,
    select: bool,
    tls13: bool,
}

impl Rule {
    /// A rule that selects, as Chrome's do.
    pub fn new(pattern: Pattern, filter: Filter) -> Self {
        Self { pattern, filter, deny: false, select: true, tls13: false }
    }

    /// It denies, and does nothing else.
    #[must_use]
    pub fn with_deny(self) -> Self {
        Self { deny: true, select: false, tls13: false, ..self }
    }

    /// It selects, and lets out in TLS 1.3 only.
    #[must_use]
    pub fn with_min_tls13(self) -> Self {
        Self { deny: false, select: true, tls13: true, ..self }
    }

    /// It lets out in TLS 1.3 only, and selects nothing.
    #[must_use]
    pub fn with_min_tls13_only(self) -> Self {
        Self { select: false, ..self.with_min_tls13() }
    }

    /// Reads an entry of AutoSelectCertificateForUrls, `{"pattern": "https://www.example.com", "filter": {...}}`. As in
    /// Chrome, what means nothing in its filter is not looked at, unless nothing else is in there.
    ///
    /// # Errors
    /// [`Error::Rule`], with the entry and what is wrong with it.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let value = json::read(json.as_bytes()).map_err(|error| refused(json, error))?;
        Self::of_value(&value).map_err(|reason| refused(json, reason))
    }

    /// Reads an entry that a person typed, whose filter holds nothing without a meaning: a typing error there makes a rule
    /// for more identities than were meant.
    ///
    /// # Errors
    /// [`Error::Rule`], with the entry and what is wrong with it.
    pub fn parse_typed(json: &str) -> Result<Self, Error> {
        let value = json::read(json.as_bytes()).map_err(|error| refused(json, error))?;
        let filter = value.get("filter").and_then(Value::as_object);
        match filter.and_then(Filter::meaningless) {
            Some(meaningless) => Err(refused(json, format_args!("its filter: {meaningless}"))),
            None => Self::of_value(&value).map_err(|reason| refused(json, reason)),
        }
    }

    fn of_value(value: &Value) -> Result<Self, String> {
        let entry = value.as_object().ok_or("it is no JSON object")?;
        if let Some(unknown) = entry.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("{unknown:?} is none of {}", KEYS.join(", ")));
        }
        let pattern = entry.get("pattern").and_then(Value::as_str).ok_or("it has no \"pattern\"")?;
        let filter = read_filter(entry)?;
        let (deny, select) = (switch(entry, "deny")?, switch(entry, "select")?);
        let tls13 = match entry.get("min_tls").map(Value::as_str) {
            None => false,
            Some(Some("1.3")) => true,
            Some(_) => return Err("\"min_tls\" can be \"1.3\" only".to_owned()),
        };
        let deny = deny.unwrap_or(false);
        if deny && (select == Some(true) || tls13) {
            return Err("what is denied is neither selected nor sent in TLS 1.3".to_owned());
        }
        let select = select.unwrap_or(!deny);
        if !(deny || select || tls13) {
            return Err("it neither selects, denies nor demands anything".to_owned());
        }
        Ok(Self { pattern: pattern.parse().map_err(of_pattern)?, filter, deny, select, tls13 })
    }

    /// The entry it was read from, without what has no meaning. Equal rules have equal texts.
    pub fn to_json(&self) -> String {
        let mut entry = Map::new();
        entry.insert("pattern".to_owned(), self.pattern.to_string().into());
        entry.insert("filter".to_owned(), self.filter.to_value());
        if self.deny {
            entry.insert("deny".to_owned(), true.into());
        } else if !self.select {
            entry.insert("select".to_owned(), false.into());
        }
        if self.tls13 {
            entry.insert("min_tls".to_owned(), "1.3".into());
        }
        Value::Object(entry).to_string()
    }

    /// Where it holds.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Which identities it is about.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether it keeps them from being sent.
    pub fn denies(&self) -> bool {
        self.deny
    }

    /// Whether it sends them without asking.
    pub fn selects(&self) -> bool {
        self.select
    }

    /// Whether it lets them out in TLS 1.3 only.
    pub fn demands_tls13(&self) -> bool {
        self.tls13
    }
}

/// As JSON.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

/// A filter that means to look at something does.
fn read_filter(entry: &Map<String, Value>) -> Result<Filter, String> {
    let value = entry.get("filter").and_then(Value::as_object).ok_or("it has no \"filter\"; {} matches all")?;
    let filter = Filter::of_value(value);
    match Filter::meaningless(value).filter(|_| filter.is_empty()) {
        Some(meaningless) => Err(format!("its filter would match every certificate: {meaningless}")),
        None => Ok(filter),
    }
}

/// An error about a pattern, to stand in one about the rule that has it.
fn of_pattern(error: Error) -> String {
    match error {
        Error::Rule { text, reason } => format!("its pattern {text:?}: {reason}"),
        other => other.to_string(),
    }
}

fn switch(entry: &Map<String, Value>, key: &str) -> Result<Option<bool>, String> {
    match entry.get(key) {
        None => Ok(None),
        Some(Value::Bool(on)) => Ok(Some(*on)),
        Some(_) => Err(format!("{key:?} is neither true nor false")),
    }
}

fn refused(text: &str, reason: impl fmt::Display) -> Error {
    Error::Rule { text: text.to_owned(), reason: reason.to_string() }
}

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a rule is in the store or in a file")]
pub enum Origin {
    /// The store, under this number.
    Store(i64),
    /// A file of the administrator's.
    File {
        /// Which one.
        path: PathBuf,
        /// The place of its entry in the list there, from 1.
        index: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(number) => write!(f, "rule {number}"),
            Self::File { path, index } => write!(f, "rule {index} of {}", path.display()),
        }
    }
}

/// A rule and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a pair")]
pub struct Ruled {
    /// The rule.
    pub rule: Rule,
    /// Where it comes from.
    pub origin: Origin,
}

/// `rule 3 (https://www.example.com)`
impl fmt::Display for Ruled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.origin, self.rule.pattern)
    }
}

/// Rules, arranged so that those for a destination are found by a few look-ups.
#[derive(Debug, Default)]
pub struct Rules {
    all: Vec<Ruled>,
    /// The places of those whose pattern has this host, or this domain with what is below it.
    by_host: HashMap<String, Vec<usize>>,
    of_any_host: Vec<usize>,
}

impl Rules {
    /// Arranges rules; of two that are equal the first is named.
    pub fn new(all: Vec<Ruled>) -> Self {
        let mut rules = Self { all, ..Self::default() };
        for (place, ruled) in rules.all.iter().enumerate() {
            match ruled.rule.pattern.host() {
                Some(host) => rules.by_host.entry(host.to_owned()).or_default().push(place),
                None => rules.of_any_host.push(place),
            }
        }
        rules
    }

    /// Every rule, in the order in which they came.
    pub fn all(&self) -> &[Ruled] {
        &self.all
    }

    /// The rules that bear on a URL. Where its path is not known, or servers read it differently, a pattern with a path
    /// selects nothing, but what it denies and demands counts: a certificate that was sent cannot be called back.
    pub fn in_force(&self, destination: &Destination, path: Option<&str>) -> InForce<'_> {
        if self.all.is_empty() {
            return InForce::default();
        }
        let path = path.map(UrlPath::new);
        let places = domains(destination.host()).filter_map(|domain| self.by_host.get(domain)).flatten();
        let mut places: Vec<usize> = places.chain(&self.of_any_host).copied().collect();
        places.sort_unstable();
        let mut in_force = InForce::default();
        for ruled in places.into_iter().filter_map(|place| self.all.get(place)) {
            in_force.add(ruled, ruled.rule.pattern.compare(destination, path.as_ref()));
        }
        in_force
    }
}

/// A host and every domain above it.
fn domains(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(host), |domain| domain.split_once('.').map(|(_, above)| above))
}

/// The rules that bear on one URL.
#[derive(Clone, Debug, Default)]
pub struct InForce<'a> {
    denying: Vec<&'a Ruled>,
    selecting: Vec<&'a Ruled>,
    demanding: Vec<&'a Ruled>,
}

impl<'a> InForce<'a> {
    fn add(&mut self, ruled: &'a Ruled, found: Match) {
        let rule = &ruled.rule;
        if found != Match::No && rule.deny {
            self.denying.push(ruled);
        }
        if found != Match::No && rule.tls13 {
            self.demanding.push(ruled);
        }
        if found == Match::Yes && rule.select {
            self.selecting.push(ruled);
        }
    }

    /// The rule by which this certificate is not sent.
    pub fn denied(&self, certificate: &Certificate) -> Option<&'a Ruled> {
        let denied = most_specific(about(&self.denying, certificate))?;
        self.is_last_word(denied, about(&self.selecting, certificate)).then_some(denied)
    }

    /// The rule by which this certificate is sent without asking.
    pub fn selects(&self, certificate: &Certificate) -> Option<&'a Ruled> {
        // As in Chrome: of all patterns that match, the most specific one, whether its filters match or not
        let most = most_specific(self.selecting.iter().copied())?.rule.pattern.specificity();
        let mut selecting = about(&self.selecting, certificate);
        let selected = selecting.find(|ruled| ruled.rule.pattern.specificity() == most)?;
        self.denied(certificate).is_none().then_some(selected)
    }

    /// The rule by which this certificate is sent in TLS 1.3 only.
    pub fn demands_tls13(&self, certificate: &Certificate) -> Option<&'a Ruled> {
        about(&self.demanding, certificate).next()
    }

    /// The rule by which no certificate whatever is sent.
    pub fn denies_all(&self) -> Option<&'a Ruled> {
        let denied = most_specific(self.denying.iter().copied().filter(|ruled| ruled.rule.filter.is_empty()))?;
        self.is_last_word(denied, self.selecting.iter().copied()).then_some(denied)
    }

    fn is_last_word<'b>(&self, denied: &Ruled, selecting: impl Iterator<Item = &'b Ruled>) -> bool {
        let most = most_specific(selecting).map(|ruled| ruled.rule.pattern.specificity());
        most.is_none_or(|most| most <= denied.rule.pattern.specificity())
    }
}

fn about<'a>(rules: &[&'a Ruled], certificate: &Certificate) -> impl Iterator<Item = &'a Ruled> {
    rules.iter().copied().filter(|ruled| ruled.rule.filter.matches(certificate))
}

/// Of several that are equally specific, the first.
fn most_specific<'a>(rules: impl Iterator<Item = &'a Ruled>) -> Option<&'a Ruled> {
    rules.min_by_key(|ruled| std::cmp::Reverse(ruled.rule.pattern.specificity()))
}
