//! Filters: which identities a rule is about, by subject and direct issuer.

use std::fmt;

use serde_json::{Map, Value};

use super::json;
use crate::certificate::Certificate;
use crate::certificate::name::Name;
use crate::error::Error;

/// A filter of Chrome's AutoSelectCertificateForUrls: `{"ISSUER": {"CN", "L", "O", "OU"}, "SUBJECT": {the same}}`.
///
/// Values are compared exactly, in case too; of several O or OU any one may be equal, of several CN or L the first that is not empty
/// counts.
/// What is left out or empty is not looked at, so `{}` matches every certificate. As in Chrome, other keys mean nothing; a
/// rule whose filter holds nothing else is refused all the same, for it would be one for every certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    issuer: Principal,
    subject: Principal,
}

/// Whose names a filter may look at.
const PRINCIPALS: [&str; 2] = ["ISSUER", "SUBJECT"];

/// What it may look at there.
const ATTRIBUTES: [&str; 4] = ["CN", "L", "O", "OU"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Principal {
    common_name: Option<String>,
    locality: Option<String>,
    organization: Option<String>,
    organizational_unit: Option<String>,
}

impl Filter {
    /// Reads the `"filter"` of an entry of AutoSelectCertificateForUrls.
    ///
    /// # Errors
    /// [`Error::Rule`] when it is no JSON object.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let refused = |reason: String| Error::Rule { text: json.to_owned(), reason };
        let value = json::read(json.as_bytes()).map_err(|error| refused(error.to_string()))?;
        value.as_object().map(Self::of_value).ok_or_else(|| refused("it is no JSON object".to_owned()))
    }

    pub(super) fn of_value(filter: &Map<String, Value>) -> Self {
        let principal = |key: &str| filter.get(key).and_then(Value::as_object).map(Principal::of_value);
        Self { issuer: principal("ISSUER").unwrap_or_default(), subject: principal("SUBJECT").unwrap_or_default() }
    }

    /// What means nothing in a filter, by its key: a mistake where a person typed it.
    pub(super) fn meaningless(filter: &Map<String, Value>) -> Option<String> {
        filter.iter().find_map(|(key, value)| match value.as_object() {
            _ if !PRINCIPALS.contains(&key.as_str()) => Some(format!("{key:?} is none of {}", PRINCIPALS.join(", "))),
            None => Some(format!("{key:?} is no JSON object")),
            Some(principal) => Principal::meaningless(principal).map(|what| format!("in {key:?}, {what}")),
        })
    }

    pub(super) fn to_value(&self) -> Value {
        let mut filter = Map::new();
        for (key, principal) in self.principals() {
            let constraints = principal.constraints().map(|(key, value)| (key.to_owned(), value.into()));
            filter.insert(key.to_owned(), Value::Object(constraints.collect()));
        }
        Value::Object(filter)
    }

    /// Whether it matches every certificate.
    pub fn is_empty(&self) -> bool {
        self.principals().next().is_none()
    }

    /// Whether it matches this one.
    pub fn matches(&self, certificate: &Certificate) -> bool {
        self.issuer.matches(certificate.issuer()) && self.subject.matches(certificate.subject())
    }

    fn principals(&self) -> impl Iterator<Item = (&'static str, &Principal)> {
        let both = [("ISSUER", &self.issuer), ("SUBJECT", &self.subject)];
        both.into_iter().filter(|(_, principal)| principal.constraints().next().is_some())
    }
}

/// `issuer CN=Example CA, O=Example; subject OU=Sales`
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, principal)) in self.principals().enumerate() {
            let constraints: Vec<String> =
                principal.constraints().map(|(key, value)| format!("{key}={value}")).collect();
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{} {}", key.to_lowercase(), constraints.join(", "))?;
        }
        Ok(())
    }
}

impl Principal {
    fn of_value(principal: &Map<String, Value>) -> Self {
        let value = |key: &str| principal.get(key)?.as_str().filter(|value| !value.is_empty()).map(str::to_owned);
        Self {
            common_name: value("CN"),
            locality: value("L"),
            organization: value("O"),
            organizational_unit: value("OU"),
        }
    }

    fn meaningless(principal: &Map<String, Value>) -> Option<String> {
        principal.iter().find_map(|(key, value)| match value.as_str() {
            _ if !ATTRIBUTES.contains(&key.as_str()) => Some(format!("{key:?} is none of {}", ATTRIBUTES.join(", "))),
            None => Some(format!("{key:?} is no text")),
            Some("") => Some(format!("{key:?} is empty")),
            Some(_) => None,
        })
    }

    fn constraints(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("CN", &self.common_name),
            ("L", &self.locality),
            ("O", &self.organization),
            ("OU", &self.organizational_unit),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }

    fn matches(&self, name: &Name) -> bool {
        self.constraints().all(|(key, wanted)| match key {
            "O" | "OU" => name.attributes(key).iter().any(|value| value == wanted),
            _ => name.attributes(key).into_iter().find(|value| !value.is_empty()).as_deref() == Some(wanted),
        })
    }
}
