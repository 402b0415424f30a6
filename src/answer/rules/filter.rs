//! Filters: the identities a rule is for, by subject and direct issuer.

use std::fmt;

use serde_json::{Map, Value};

use crate::certificate::name::{Name, Names};

/// A filter of Chrome's AutoSelectCertificateForUrls: `{"ISSUER": {"CN", "L", "O", "OU"}, "SUBJECT": {the same}}`.
///
/// Values are compared exactly, including their case. Of several O or OU, any may be equal; of several CN or L, the first that
/// is not empty is compared. Missing or empty values are not compared, so `{}` matches every certificate. As in Chrome, other
/// keys mean nothing; but a rule whose filter has only such keys is refused, because it would match every certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    issuer: Principal,
    subject: Principal,
}

/// The names that a filter may compare.
const PRINCIPALS: [&str; 2] = ["ISSUER", "SUBJECT"];

/// The attributes that it may compare.
const ATTRIBUTES: [&str; 4] = ["CN", "L", "O", "OU"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Principal {
    common_name: Option<String>,
    locality: Option<String>,
    organization: Option<String>,
    organizational_unit: Option<String>,
}

impl Filter {
    pub(super) fn from_json(filter: &Map<String, Value>) -> Self {
        let principal = |key: &str| filter.get(key).and_then(Value::as_object).map(Principal::from_json);
        Self { issuer: principal("ISSUER").unwrap_or_default(), subject: principal("SUBJECT").unwrap_or_default() }
    }

    /// A key of a filter that means nothing, in words: if a person typed it, it is a mistake.
    pub(super) fn meaningless(filter: &Map<String, Value>) -> Option<String> {
        filter.iter().find_map(|(key, value)| match value.as_object() {
            _ if !PRINCIPALS.contains(&key.as_str()) => Some(format!("{key:?} is none of {}", PRINCIPALS.join(", "))),
            None => Some(format!("{key:?} is not a JSON object")),
            Some(principal) => Principal::meaningless(principal).map(|what| format!("in {key:?}, {what}")),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let mut filter = Map::new();
        for (key, principal) in self.principals() {
            let constraints = principal.constraints().map(|(key, value)| (key.to_owned(), value.into()));
            filter.insert(key.to_owned(), Value::Object(constraints.collect()));
        }
        Value::Object(filter)
    }

    /// Whether it matches every certificate.
    pub(crate) fn is_empty(&self) -> bool {
        self.principals().next().is_none()
    }

    /// Whether it matches a certificate with these names.
    pub(crate) fn matches<'n>(&self, names: impl Into<Names<'n>>) -> bool {
        let Names { issuer, subject } = names.into();
        self.issuer.matches(issuer) && self.subject.matches(subject)
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
    fn from_json(principal: &Map<String, Value>) -> Self {
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
            None => Some(format!("{key:?} is not a text")),
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
