//! Files of rules: a managed policy of Chrome as it is, or the list in it alone.

use std::collections::HashSet;
use std::fmt;

use serde_json::{Map, Value};

use super::{Rule, json};
use crate::error::Error;

/// The policy that holds rules.
const RULES: &str = "AutoSelectCertificateForUrls";

/// The policy by which Chrome asks when a rule matches several certificates.
const PROMPT: &str = "PromptOnMultipleMatchingCertificates";

/// Rules a file may hold.
const MOST: usize = 10_000;

/// What a file of rules says.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Policy {
    /// Its rules, in their order.
    pub rules: Vec<Rule>,
    /// PromptOnMultipleMatchingCertificates, where it is set.
    pub prompt_on_multiple: Option<bool>,
    /// Entries that are no rules. Chrome passes over them too.
    pub skipped: Vec<Skipped>,
}

/// An entry that is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// The how-manieth it is, from 1.
    pub index: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}: {}", self.index, self.reason)
    }
}

impl Policy {
    /// Bytes a file may have.
    pub const MAX_SIZE: usize = 1 << 20;

    /// Reads a JSON object with AutoSelectCertificateForUrls among other policies, or the list alone. Its entries are JSON
    /// in strings, as Chrome has them; objects, as people write them, are taken too.
    ///
    /// # Errors
    /// [`Error::Policy`]: no JSON, no list of rules in it, too large; or an entry is broken that is none of Chrome's, which
    /// would deny or demand something and must not be passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(bytes, |policies| Err(format!("there is no {RULES} in it, {}", found(policies))))
    }

    /// The same of a managed policy that may be about other things alone, and has no rules then.
    ///
    /// # Errors
    /// Those of [`Self::parse`].
    pub(crate) fn parse_managed(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(bytes, |policies| match policies.keys().find(|name| name.eq_ignore_ascii_case(RULES)) {
            Some(misspelled) => Err(format!("{misspelled:?} is written {RULES}")),
            None => Ok(()),
        })
    }

    /// `without_rules` tells whether an object may have no rules.
    fn read(
        bytes: &[u8],
        without_rules: impl FnOnce(&Map<String, Value>) -> Result<(), String>,
    ) -> Result<Self, Error> {
        let failed = |detail: String| Error::Policy { detail };
        if bytes.len() > Self::MAX_SIZE {
            return Err(failed(format!("it has more than {} bytes", Self::MAX_SIZE)));
        }
        let file = json::read(bytes).map_err(|error| failed(format!("it is no JSON: {error}")))?;
        let entries = match &file {
            Value::Array(entries) => entries.as_slice(),
            Value::Object(policies) => match policies.get(RULES) {
                Some(Value::Array(entries)) => entries,
                Some(_) => return Err(failed(format!("{RULES} is no list"))),
                None => without_rules(policies).map(|()| [].as_slice()).map_err(failed)?,
            },
            _ => return Err(failed("it is neither a JSON object nor a list".to_owned())),
        };
        if entries.len() > MOST {
            return Err(failed(format!("it has {} rules; {MOST} are allowed", entries.len())));
        }
        let mut policy = Self { prompt_on_multiple: file.get(PROMPT).and_then(Value::as_bool), ..Self::default() };
        for (place, entry) in entries.iter().enumerate() {
            policy.add(place + 1, entry)?;
        }
        Ok(policy)
    }

    /// Its rules, each with the place of its entry in the list, from 1.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &Rule)> {
        let skipped: HashSet<usize> = self.skipped.iter().map(|skipped| skipped.index).collect();
        (1..).filter(move |index| !skipped.contains(index)).zip(&self.rules)
    }

    fn add(&mut self, index: usize, entry: &Value) -> Result<(), Error> {
        let text = match entry {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match Rule::parse(&text) {
            Ok(rule) => self.rules.push(rule),
            Err(Error::Rule { reason, .. }) if is_of_chrome(&text) => self.skipped.push(Skipped { index, reason }),
            Err(Error::Rule { reason, .. }) => {
                return Err(Error::Policy { detail: format!("entry {index}: {reason}") });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Whether an entry has nothing that Chrome's have not: what it says besides may be a denial, or one that is misspelled.
fn is_of_chrome(entry: &str) -> bool {
    let text = entry.to_ascii_lowercase();
    let parsed = json::read(entry.as_bytes()).ok();
    let mut keys = parsed.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::keys);
    !text.contains("\"deny\"") && !text.contains("\"min_tls\"") && keys.all(|key| key == "pattern" || key == "filter")
}

/// What a file without rules holds instead, as far as it helps to recognise it.
fn found(policies: &Map<String, Value>) -> String {
    let names: Vec<String> = policies.keys().take(5).map(|name| format!("{name:?}")).collect();
    match policies.len() {
        0 => "nor anything else".to_owned(),
        1..=5 => format!("only {}", names.join(", ")),
        more => format!("only {} and {} others", names.join(", "), more - names.len()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_managed_policy_is_read_as_it_is() {
        let file = br#"{
            "HomepageLocation": "https://www.example.com",
            "AutoSelectCertificateForUrls": [
                "{\"pattern\":\"https://www.example.com\",\"filter\":{\"ISSUER\":{\"CN\":\"certificate issuer name\",\"L\":\"certificate issuer location\",\"O\":\"certificate issuer org\",\"OU\":\"certificate issuer org unit\"},\"SUBJECT\":{\"CN\":\"certificate subject name\"}}}",
                "{\"pattern\":\"https://[*.]example.com\"}",
                "no JSON",
                {"pattern": "*", "filter": {"ISSUER": {"CN": "", "X": "y"}, "OTHER": {}}},
                {"pattern": "*", "filter": {"ISSUER": {}}}
            ],
            "PromptOnMultipleMatchingCertificates": true,
        }"#;
        let policy = Policy::parse(file).unwrap();
        assert_eq!(policy.prompt_on_multiple, Some(true));
        assert_eq!(policy.skipped.iter().map(|skipped| skipped.index).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(policy.numbered().map(|(place, _)| place).collect::<Vec<_>>(), [1, 5]);
        let [whole, all] = &policy.rules[..] else { panic!("{policy:?}") };
        assert_eq!(whole.pattern().to_string(), "https://www.example.com");
        assert_eq!(
            whole.filter().to_string(),
            "issuer CN=certificate issuer name, L=certificate issuer location, O=certificate issuer org, \
             OU=certificate issuer org unit; subject CN=certificate subject name"
        );
        assert!(all.filter().is_empty());
        assert_eq!(all.to_json(), r#"{"filter":{},"pattern":"*"}"#);
    }

    #[test]
    fn a_list_alone_is_taken_too() {
        let policy = Policy::parse(br#"["{\"pattern\":\"*\",\"filter\":{}}"]"#).unwrap();
        assert_eq!((policy.rules.len(), policy.prompt_on_multiple), (1, None));
    }

    #[test]
    fn a_managed_policy_may_be_about_other_things() {
        let policy = Policy::parse_managed(br#"{"HomepageLocation":"x","PromptOnMultipleMatchingCertificates":true}"#);
        let policy = policy.unwrap();
        assert_eq!((policy.rules.len(), policy.prompt_on_multiple), (0, Some(true)));
        for broken in ["", "7", r#"{"AutoSelectCertificateForURLs": []}"#, r#"{"AutoSelectCertificateForUrls": {}}"#] {
            assert!(Policy::parse_managed(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn what_holds_no_rules_says_so() {
        let deep = "[".repeat(100_000);
        let large = " ".repeat(Policy::MAX_SIZE + 1);
        let many = format!("[{}0]", "0,".repeat(MOST));
        let cases = [
            ("", "no JSON"),
            ("7", "neither"),
            ("{}", "no AutoSelectCertificateForUrls in it, nor anything else"),
            (r#"{"HomepageLocation": "x"}"#, "only \"HomepageLocation\""),
            (r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}"#, "and 1 others"),
            (r#"[{"pattern": "https://x y", "filter": {}, "min_tls": "1.3"}]"#, "entry 1"),
            (r#"{"AutoSelectCertificateForUrls": {}}"#, "no list"),
            (r#"[{"pattern": "https://x", "deny": true}]"#, "entry 1"),
            (r#"[{"pattern": "https://x", "filter": {}, "deny": "yes"}]"#, "entry 1"),
            (r#"[{"pattern": "https://x", "filter": {}, "Deny": true}]"#, "entry 1: \"Deny\" is none of"),
            (r#"["{\"pattern\":\"https://x\",\"filter\":{},\"denny\":true}"]"#, "\"denny\" is none of"),
            (r#"[{"pattern": "https://x", "filter": {}, "selects": false}]"#, "\"selects\" is none of"),
            (r#"["{\"pattern\":\"https://x\",\"filter\":{},\"Deny\":true"]"#, "entry 1"),
            (r#"[{"pattern": "https://x", "filter": {"SUBJCET": {"CN": "a"}}, "deny": true}]"#, "\"SUBJCET\""),
            (&deep, "no JSON"),
            (&large, "more than"),
            (&many, "10000 are allowed"),
        ];
        for (file, words) in cases {
            let error = Policy::parse(file.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{}: {error}", &file[..file.len().min(60)]);
        }
    }

    #[test]
    fn an_entry_is_read_strictly() {
        let parse = |json: &str| Rule::parse(json).map(|rule| rule.to_json());
        let kept = |json: &str| assert_eq!(parse(json).unwrap(), json);
        kept(r#"{"deny":true,"filter":{},"pattern":"*"}"#);
        kept(r#"{"filter":{"SUBJECT":{"O":"Example"}},"min_tls":"1.3","pattern":"*","select":false}"#);
        kept(r#"{"filter":{},"min_tls":"1.3","pattern":"*"}"#);
        for wrong in [
            r#"[]"#,
            r#"{"filter":{}}"#,
            r#"{"pattern":"*"}"#,
            r#"{"pattern":"*","filter":[]}"#,
            r#"{"pattern":"*.x","filter":{}}"#,
            r#"{"pattern":"*","filter":{},"denny":true}"#,
            r#"{"pattern":"*","filter":{},"deny":true,"select":true}"#,
            r#"{"pattern":"*","filter":{},"deny":true,"min_tls":"1.3"}"#,
            r#"{"pattern":"*","filter":{},"min_tls":"1.2"}"#,
            r#"{"pattern":"*","filter":{},"select":false}"#,
        ] {
            assert!(matches!(Rule::parse(wrong), Err(Error::Rule { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_filter_that_lost_what_it_looks_at_is_not_one_for_everything() {
        let cases = [
            (r#"{"SUBJCET":{"CN":"a"}}"#, "\"SUBJCET\" is none of ISSUER, SUBJECT"),
            (r#"{"SUBJECT":{"cn":"a"}}"#, "in \"SUBJECT\", \"cn\" is none of CN, L, O, OU"),
            (r#"{"SUBJECT":{"CN":["a"]}}"#, "\"CN\" is no text"),
            (r#"{"SUBJECT":{"CN":""}}"#, "\"CN\" is empty"),
            (r#"{"ISSUER":{},"SUBJECT":"a"}"#, "\"SUBJECT\" is no JSON object"),
        ];
        for (filter, words) in cases {
            let entry = format!(r#"{{"pattern":"*","filter":{filter}}}"#);
            let policy = Policy::parse(format!("[{entry}]").as_bytes()).unwrap();
            assert!(policy.rules.is_empty() && policy.skipped[0].reason.contains(words), "{policy:?}");
            assert!(Rule::parse_typed(&entry).unwrap_err().to_string().contains(words), "{filter}");
        }
        // Chrome does not look at the rest, and a person who types it means something
        for filter in [r#"{"SUBJECT":{"CN":"a","X":"y"}}"#, r#"{"SUBJECT":{"CN":"a"},"issuer":{"CN":"b"}}"#] {
            let entry = format!(r#"{{"pattern":"*","filter":{filter}}}"#);
            assert!(Rule::parse(&entry).is_ok());
            assert!(Rule::parse_typed(&entry).is_err());
        }
        assert!(Rule::parse_typed(r#"{"pattern":"*","filter":{"SUBJECT":{}}}"#).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in any::<String>()) {
            let _ = Policy::parse(&bytes);
            let _ = Rule::parse(&text);
        }
    }
}
