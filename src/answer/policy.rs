//! Policies: the files that hold rules, in the form of a managed policy of Chrome.

pub(crate) mod directory;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::rules::{Rule, read_json};
use crate::error::Error;

/// The policy that holds the rules.
const RULES: &str = "AutoSelectCertificateForUrls";

/// The policy that makes Chrome ask when a rule matches several certificates.
const PROMPT: &str = "PromptOnMultipleMatchingCertificates";

/// Rules a file may hold.
const MAX_RULES: usize = 10_000;

/// What a file of rules says, or all files of the administrator together.
///
/// # Example
///
/// ```
/// use cardcase::manage::Policy;
///
/// let file = br#"{"AutoSelectCertificateForUrls": ["{\"pattern\": \"https://www.example.com\", \"filter\": {}}"]}"#;
/// let policy = Policy::parse(file)?;
/// assert_eq!(policy.rules[0].pattern(), "https://www.example.com");
/// assert_eq!(policy.prompt_on_multiple, None);
/// # Ok::<(), cardcase::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Policy {
    /// The rules, in the order of the file, and of the names of the files.
    pub rules: Vec<Rule>,
    /// PromptOnMultipleMatchingCertificates, if it is set.
    pub prompt_on_multiple: Option<bool>,
    /// Entries that are not rules, and why. Chrome ignores them too.
    pub skipped: Vec<String>,
    prompting_file: Option<PathBuf>,
}

impl Policy {
    /// Bytes a file may have.
    pub const MAX_SIZE: usize = 1 << 20;

    /// Reads a JSON object with AutoSelectCertificateForUrls among other policies, or that list alone. The entries are JSON in
    /// strings, as in Chrome, or objects.
    ///
    /// # Errors
    /// [`Error::Policy`] when the file is not JSON, has no list of rules, or is too large; or when an entry that is not a rule
    /// has keys that Chrome does not know: it may have been meant to deny something and must not be ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(bytes, None, |policies| Err(format!("there is no {RULES} in it, {}", found(policies))))
    }

    /// Reads a file of the administrator, which may hold only other policies and no rules.
    ///
    /// # Errors
    /// Those of [`Self::parse`].
    fn parse_managed(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        Self::read(bytes, Some(path), |policies| match policies.keys().find(|name| name.eq_ignore_ascii_case(RULES)) {
            Some(misspelled) => Err(format!("{misspelled:?} is written {RULES}")),
            None => Ok(()),
        })
    }

    /// The first file of the administrator that sets PromptOnMultipleMatchingCertificates.
    pub fn prompting_file(&self) -> Option<&Path> {
        self.prompting_file.as_deref()
    }

    /// `without_rules` decides about an object without rules.
    fn read(
        bytes: &[u8],
        path: Option<&Path>,
        without_rules: impl FnOnce(&Map<String, Value>) -> Result<(), String>,
    ) -> Result<Self, Error> {
        let failed = |detail: String| Error::Policy { detail };
        if bytes.len() > Self::MAX_SIZE {
            return Err(failed(format!("it has more than {} bytes", Self::MAX_SIZE)));
        }
        let file = read_json(bytes).map_err(|error| failed(format!("it is not JSON: {error}")))?;
        let entries = match &file {
            Value::Array(entries) => entries.as_slice(),
            Value::Object(policies) => match policies.get(RULES) {
                Some(Value::Array(entries)) => entries,
                Some(_) => return Err(failed(format!("{RULES} is not a list"))),
                None => without_rules(policies).map(|()| [].as_slice()).map_err(failed)?,
            },
            _ => return Err(failed("it is neither a JSON object nor a list".to_owned())),
        };
        if entries.len() > MAX_RULES {
            return Err(failed(format!("it has {} rules; {MAX_RULES} are allowed", entries.len())));
        }
        let mut policy = Self { prompt_on_multiple: file.get(PROMPT).and_then(Value::as_bool), ..Self::default() };
        for (index, entry) in (1..).zip(entries) {
            policy.add_entry(path, index, entry)?;
        }
        Ok(policy)
    }

    fn add_entry(&mut self, path: Option<&Path>, index: usize, entry: &Value) -> Result<(), Error> {
        let text = match entry {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match (Rule::parse(&text), path) {
            (Ok(rule), Some(path)) => self.rules.push(rule.in_file(path, index)),
            (Ok(rule), None) => self.rules.push(rule),
            (Err(Error::Rule { reason, .. }), _) if has_only_chromes_keys(&text) => {
                self.skipped.push(format!("entry {index}: {reason}"));
            }
            (Err(Error::Rule { reason, .. }), _) => {
                return Err(Error::Policy { detail: format!("entry {index}: {reason}") });
            }
            (Err(error), _) => return Err(error),
        }
        Ok(())
    }

    /// Adds what another file says.
    fn add_file(&mut self, path: &Path, other: Self) {
        self.rules.extend(other.rules);
        self.skipped.extend(other.skipped.iter().map(|skipped| format!("{}: {skipped}", path.display())));
        if other.prompt_on_multiple == Some(true) {
            self.prompt_on_multiple = Some(true);
            self.prompting_file.get_or_insert_with(|| path.to_owned());
        }
    }
}

/// Whether an entry has no keys except those of Chrome. Another key may be a denial, or a misspelled one.
fn has_only_chromes_keys(entry: &str) -> bool {
    let text = entry.to_ascii_lowercase();
    let parsed = read_json(entry.as_bytes()).ok();
    let mut keys = parsed.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::keys);
    !text.contains("\"deny\"") && !text.contains("\"min_tls\"") && keys.all(|key| key == "pattern" || key == "filter")
}

/// What a file without rules holds instead, to help a person recognise it.
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
    fn a_managed_policy_of_chrome_is_read_unchanged() {
        let file = br#"{
            "HomepageLocation": "https://www.example.com",
            "AutoSelectCertificateForUrls": [
                "{\"pattern\":\"https://www.example.com\",\"filter\":{\"ISSUER\":{\"CN\":\"certificate issuer name\",\"L\":\"certificate issuer location\",\"O\":\"certificate issuer org\",\"OU\":\"certificate issuer org unit\"},\"SUBJECT\":{\"CN\":\"certificate subject name\"}}}",
                "{\"pattern\":\"https://[*.]example.com\"}",
                "not JSON",
                {"pattern": "*", "filter": {"ISSUER": {"CN": "", "X": "y"}, "OTHER": {}}},
                {"pattern": "*", "filter": {"ISSUER": {}}}
            ],
            "PromptOnMultipleMatchingCertificates": true,
        }"#;
        let policy = Policy::parse(file).unwrap();
        assert_eq!(policy.prompt_on_multiple, Some(true));
        let skipped = policy.skipped.iter().map(|skipped| skipped.split(':').next().unwrap());
        assert_eq!(skipped.collect::<Vec<_>>(), ["entry 2", "entry 3", "entry 4"]);
        let numbered = Policy::parse_managed(file, Path::new("/etc/a.json")).unwrap();
        let numbered: Vec<String> = numbered.rules.iter().map(Rule::to_string).collect();
        assert_eq!(numbered, ["rule 1 of /etc/a.json (https://www.example.com)", "rule 5 of /etc/a.json (*)"]);
        let [whole, all] = &policy.rules[..] else { panic!("{policy:?}") };
        assert_eq!(whole.pattern(), "https://www.example.com");
        assert_eq!(
            whole.filter(),
            "issuer CN=certificate issuer name, L=certificate issuer location, O=certificate issuer org, \
             OU=certificate issuer org unit; subject CN=certificate subject name"
        );
        assert_eq!(all.filter(), "");
        assert_eq!(all.to_json(), r#"{"filter":{},"pattern":"*"}"#);
    }

    #[test]
    fn a_list_without_a_policy_is_accepted_too() {
        let policy = Policy::parse(br#"["{\"pattern\":\"*\",\"filter\":{}}"]"#).unwrap();
        assert_eq!((policy.rules.len(), policy.prompt_on_multiple), (1, None));
    }

    #[test]
    fn a_managed_policy_may_hold_only_other_policies() {
        let parse = |file: &[u8]| Policy::parse_managed(file, Path::new("/etc/a.json"));
        let policy = parse(br#"{"HomepageLocation":"x","PromptOnMultipleMatchingCertificates":true}"#).unwrap();
        assert_eq!((policy.rules.len(), policy.prompt_on_multiple), (0, Some(true)));
        for broken in ["", "7", r#"{"AutoSelectCertificateForURLs": []}"#, r#"{"AutoSelectCertificateForUrls": {}}"#] {
            assert!(parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_file_without_rules_is_refused_with_a_reason() {
        let deep = "[".repeat(100_000);
        let large = " ".repeat(Policy::MAX_SIZE + 1);
        let many = format!("[{}0]", "0,".repeat(MAX_RULES));
        let cases = [
            ("", "not JSON"),
            ("7", "neither"),
            ("{}", "no AutoSelectCertificateForUrls in it, nor anything else"),
            (r#"{"HomepageLocation": "x"}"#, "only \"HomepageLocation\""),
            (r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}"#, "and 1 others"),
            (r#"[{"pattern": "https://x y", "filter": {}, "min_tls": "1.3"}]"#, "entry 1"),
            (r#"{"AutoSelectCertificateForUrls": {}}"#, "not a list"),
            (r#"[{"pattern": "https://x", "deny": true}]"#, "entry 1"),
            (r#"[{"pattern": "https://x", "filter": {}, "deny": "yes"}]"#, "entry 1"),
            (r#"[{"pattern": "https://x", "filter": {}, "Deny": true}]"#, "entry 1: \"Deny\" is none of"),
            (r#"["{\"pattern\":\"https://x\",\"filter\":{},\"denny\":true}"]"#, "\"denny\" is none of"),
            (r#"[{"pattern": "https://x", "filter": {}, "selects": false}]"#, "\"selects\" is none of"),
            (r#"["{\"pattern\":\"https://x\",\"filter\":{},\"Deny\":true"]"#, "entry 1"),
            (r#"[{"pattern": "https://x", "filter": {"SUBJCET": {"CN": "a"}}, "deny": true}]"#, "\"SUBJCET\""),
            (&deep, "not JSON"),
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
    fn a_filter_with_only_meaningless_keys_does_not_match_everything() {
        let cases = [
            (r#"{"SUBJCET":{"CN":"a"}}"#, "\"SUBJCET\" is none of ISSUER, SUBJECT"),
            (r#"{"SUBJECT":{"cn":"a"}}"#, "in \"SUBJECT\", \"cn\" is none of CN, L, O, OU"),
            (r#"{"SUBJECT":{"CN":["a"]}}"#, "\"CN\" is not a text"),
            (r#"{"SUBJECT":{"CN":""}}"#, "\"CN\" is empty"),
            (r#"{"ISSUER":{},"SUBJECT":"a"}"#, "\"SUBJECT\" is not a JSON object"),
        ];
        for (filter, words) in cases {
            let entry = format!(r#"{{"pattern":"*","filter":{filter}}}"#);
            let policy = Policy::parse(format!("[{entry}]").as_bytes()).unwrap();
            assert!(policy.rules.is_empty() && policy.skipped[0].contains(words), "{policy:?}");
            assert!(Rule::parse_typed(&entry).unwrap_err().to_string().contains(words), "{filter}");
        }
        // Chrome ignores the other keys, but a person who types one means something by it
        for filter in [r#"{"SUBJECT":{"CN":"a","X":"y"}}"#, r#"{"SUBJECT":{"CN":"a"},"issuer":{"CN":"b"}}"#] {
            let entry = format!(r#"{{"pattern":"*","filter":{filter}}}"#);
            assert!(Rule::parse(&entry).is_ok());
            assert!(Rule::parse_typed(&entry).is_err());
        }
        assert!(Rule::parse_typed(r#"{"pattern":"*","filter":{"SUBJECT":{}}}"#).is_ok());
    }

    proptest! {
        #[test]
        fn no_policy_text_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in any::<String>()) {
            let _ = Policy::parse(&bytes);
            let _ = Rule::parse(&text);
        }
    }
}
