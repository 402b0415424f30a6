//! One rule.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::filter::Filter;
use super::json;
use super::pattern::Pattern;
use crate::certificate::Certificate;
use crate::error::Error;

/// The keys of a rule. Another key is a mistake, which may have been meant to deny.
const KEYS: [&str; 5] = ["pattern", "filter", "deny", "select", "min_tls"];

/// An answer given in advance, in the form of Chrome's policy AutoSelectCertificateForUrls: a pattern of URLs, and a filter of
/// identities.
///
/// Where several patterns match a URL, only the most specific one selects, and several rules with one pattern are
/// alternatives. A rule selects only an identity that fits the server's request. All of this is as in Chrome.
///
/// cardcase adds three things. A pattern may end in a path. A rule with `"deny": true` keeps identities from being sent. A
/// rule with `"min_tls": "1.3"` restricts them to TLS 1.3; with `"select": false` it does nothing else. For each identity the most
/// specific pattern that denies or selects it decides; of two equally specific ones, the one that denies. A restriction to TLS 1.3
/// always applies.
///
/// # Example
///
/// ```
/// use cardcase::manage::Rule;
///
/// let rule = Rule::new("https://[*.]example.com")?.with_filter(r#"{"ISSUER": {"CN": "Example CA"}}"#)?;
/// assert!(rule.selects());
/// assert_eq!(rule.filter(), "issuer CN=Example CA");
/// let same = r#"{"pattern": "https://[*.]example.com", "filter": {"ISSUER": {"CN": "Example CA"}}}"#;
/// assert_eq!(Rule::parse(same)?, rule);
/// # Ok::<(), cardcase::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) pattern: Pattern,
    pub(super) filter: Filter,
    deny: bool,
    select: bool,
    tls13: bool,
    origin: Option<Origin>,
}

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// The store.
    Store { number: i64 },
    /// A file of the administrator, and the position of the rule in it.
    File { path: PathBuf, index: usize },
}

impl Rule {
    /// A rule that selects every identity at the URLs that match a pattern: `https://www.example.com`,
    /// `https://[*.]example.com:8443`, `https://www.example.com/admin` or `*`. docs/rules.md has the whole form.
    ///
    /// # Errors
    /// [`Error::Rule`], with the pattern and what is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        let (pattern, filter) = (pattern.parse()?, Filter::default());
        Ok(Self { pattern, filter, deny: false, select: true, tls13: false, origin: None })
    }

    /// The same rule for the identities that match a filter: `{"ISSUER": {...}, "SUBJECT": {...}}`, each with any of the keys
    /// `CN`, `L`, `O` and `OU`. A key that means nothing is refused, because a typing error would otherwise make a rule for
    /// more identities.
    ///
    /// # Errors
    /// [`Error::Rule`], with the filter and what is wrong with it.
    pub fn with_filter(self, filter: &str) -> Result<Self, Error> {
        let value = json::read(filter.as_bytes()).map_err(|error| refused(filter, error))?;
        let object = value.as_object().ok_or_else(|| refused(filter, "it is not a JSON object"))?;
        match Filter::meaningless(object) {
            Some(meaningless) => Err(refused(filter, meaningless)),
            None => Ok(Self { filter: Filter::from_json(object), ..self }),
        }
    }

    /// The same rule, which denies and does nothing else.
    #[must_use]
    pub fn with_deny(self) -> Self {
        Self { deny: true, select: false, tls13: false, ..self }
    }

    /// The same rule, which selects and restricts to TLS 1.3.
    #[must_use]
    pub fn with_min_tls13(self) -> Self {
        Self { deny: false, select: true, tls13: true, ..self }
    }

    /// The same rule, which restricts to TLS 1.3 and selects nothing.
    #[must_use]
    pub fn with_min_tls13_only(self) -> Self {
        Self { select: false, ..self.with_min_tls13() }
    }

    /// Reads an entry of AutoSelectCertificateForUrls, `{"pattern": "https://www.example.com", "filter": {...}}`. As in Chrome,
    /// keys that mean nothing in the filter are ignored, unless the filter has no others.
    ///
    /// # Errors
    /// [`Error::Rule`], with the entry and what is wrong with it.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let value = json::read(json.as_bytes()).map_err(|error| refused(json, error))?;
        Self::from_json(&value).map_err(|reason| refused(json, reason))
    }

    /// Reads an entry that a person typed. As in [`Self::with_filter`], every key in its filter must mean something.
    ///
    /// # Errors
    /// [`Error::Rule`], with the entry and what is wrong with it.
    pub fn parse_typed(json: &str) -> Result<Self, Error> {
        let value = json::read(json.as_bytes()).map_err(|error| refused(json, error))?;
        let filter = value.get("filter").and_then(Value::as_object);
        match filter.and_then(Filter::meaningless) {
            Some(meaningless) => Err(refused(json, format_args!("its filter: {meaningless}"))),
            None => Self::from_json(&value).map_err(|reason| refused(json, reason)),
        }
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        let entry = value.as_object().ok_or("it is not a JSON object")?;
        if let Some(unknown) = entry.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("{unknown:?} is none of {}", KEYS.join(", ")));
        }
        let pattern = entry.get("pattern").and_then(Value::as_str).ok_or("it has no \"pattern\"")?;
        let filter = read_filter(entry)?;
        let (deny, select) = (switch(entry, "deny")?, switch(entry, "select")?);
        let tls13 = match entry.get("min_tls").map(Value::as_str) {
            None => false,
            Some(Some("1.3")) => true,
            Some(_) => return Err("\"min_tls\" can only be \"1.3\"".to_owned()),
        };
        let deny = deny.unwrap_or(false);
        if deny && (select == Some(true) || tls13) {
            return Err("a rule that denies can neither select nor set \"min_tls\"".to_owned());
        }
        let select = select.unwrap_or(!deny);
        if !(deny || select || tls13) {
            return Err("it does nothing: it neither selects nor denies, and sets no \"min_tls\"".to_owned());
        }
        Ok(Self { pattern: pattern.parse().map_err(about_pattern)?, filter, deny, select, tls13, origin: None })
    }

    /// The entry of AutoSelectCertificateForUrls, without keys that mean nothing. Equal rules have equal texts.
    pub fn to_json(&self) -> String {
        let mut entry = Map::new();
        entry.insert("pattern".to_owned(), self.pattern.to_string().into());
        entry.insert("filter".to_owned(), self.filter.to_json());
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

    /// The pattern of URLs it is for.
    pub fn pattern(&self) -> String {
        self.pattern.to_string()
    }

    /// The identities it is for, `issuer CN=Example CA, O=Example; subject OU=Sales`; empty for all of them.
    pub fn filter(&self) -> String {
        self.filter.to_string()
    }

    /// Whether its filter names this certificate: whether it matches, and would not match every other one too.
    pub fn names(&self, certificate: &Certificate) -> bool {
        !self.filter.is_empty() && self.filter.matches(certificate)
    }

    /// Whether its pattern is for `http://` only, where no server asks for a certificate.
    pub fn matches_nothing(&self) -> bool {
        self.pattern.matches_nothing()
    }

    /// Whether it keeps the identities from being sent.
    pub fn denies(&self) -> bool {
        self.deny
    }

    /// Whether it selects the identities without asking.
    pub fn selects(&self) -> bool {
        self.select
    }

    /// Whether it restricts the identities to TLS 1.3.
    pub fn demands_tls13(&self) -> bool {
        self.tls13
    }

    /// Its number in the store, if it comes from there.
    pub fn number(&self) -> Option<i64> {
        match self.origin {
            Some(Origin::Store { number }) => Some(number),
            _ => None,
        }
    }

    /// The file of the administrator that it comes from, if it does.
    pub fn file(&self) -> Option<&Path> {
        match &self.origin {
            Some(Origin::File { path, .. }) => Some(path),
            _ => None,
        }
    }

    /// The same rule, as the store has it under this number.
    pub(crate) fn numbered(self, number: i64) -> Self {
        Self { origin: Some(Origin::Store { number }), ..self }
    }

    /// The same rule, as it stands in a file of the administrator; `index` counts its entries from 1.
    pub(crate) fn in_file(self, path: &Path, index: usize) -> Self {
        Self { origin: Some(Origin::File { path: path.to_owned(), index }), ..self }
    }

    /// Where it comes from: `rule 3`.
    pub(crate) fn origin(&self) -> String {
        match &self.origin {
            None => "a rule".to_owned(),
            Some(Origin::Store { number }) => format!("rule {number}"),
            Some(Origin::File { path, index }) => format!("rule {index} of {}", path.display()),
        }
    }
}

/// `rule 3 (https://www.example.com)`
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.origin(), self.pattern)
    }
}

/// A filter that is meant to compare something must do so.
fn read_filter(entry: &Map<String, Value>) -> Result<Filter, String> {
    let value = entry.get("filter").and_then(Value::as_object).ok_or("it has no \"filter\"; {} matches all")?;
    let filter = Filter::from_json(value);
    match Filter::meaningless(value).filter(|_| filter.is_empty()) {
        Some(meaningless) => Err(format!("its filter would match every certificate: {meaningless}")),
        None => Ok(filter),
    }
}

/// The error of a pattern as a reason in the error of its rule.
fn about_pattern(error: Error) -> String {
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
