//! The path of a URL, normalised so that no way to write it evades a rule.

use data_encoding::{HEXUPPER, HEXUPPER_PERMISSIVE};
use url::Url;

/// Whether a pattern matches a URL, or a path is under another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// It does not.
    No,
    /// The path is unknown, or servers differ in how they read it.
    Perhaps,
    /// It does.
    Yes,
}

/// A path, as different servers read it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct UrlPath {
    /// As RFC 3986 says.
    strict: String,
    /// As servers that treat an escaped slash or a backslash as a slash, and several slashes as one.
    lenient: String,
}

impl UrlPath {
    pub(super) fn new(path: &str) -> Self {
        let strict = normalised(path);
        let slashes = strict.replace("%2F", "/").replace("%5C", "/");
        let mut merged = String::with_capacity(slashes.len());
        for c in slashes.chars() {
            if c != '/' || !merged.ends_with('/') {
                merged.push(c);
            }
        }
        Self { lenient: normalised(&merged), strict }
    }

    /// The normalised path.
    pub(super) fn as_str(&self) -> &str {
        &self.strict
    }

    /// Whether it is `above`, or below it.
    pub(super) fn is_under(&self, above: &Self) -> Match {
        match (is_under(&self.strict, &above.strict), is_under(&self.lenient, &above.lenient)) {
            (true, true) => Match::Yes,
            (false, false) => Match::No,
            _ => Match::Perhaps,
        }
    }
}

fn is_under(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above.ends_with('/'))
}

/// One form for all ways to write a path: without dot segments, with no escape that is not needed, with the other escapes in upper
/// case, and without query and fragment (RFC 3986 section 6.2.2).
fn normalised(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    // Unescape first: an escaped dot is a dot
    let unescaped = unescape(path);
    match Url::parse("https://host/").map(|mut url| {
        url.set_path(&unescaped);
        url.path().to_owned()
    }) {
        Ok(normal) => normal,
        Err(_) => unescaped,
    }
}

/// Keeps an escape only if the character itself would mean something else, or nothing.
fn unescape(path: &str) -> String {
    // The URL standard removes these; what they separate must not become an escape afterwards
    let path = path.replace(['\t', '\n', '\r'], "");
    let mut out = String::with_capacity(path.len());
    let mut rest = path.as_str();
    while let Some(at) = rest.find(['%', '*']) {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (byte, length) = match escape.get(1..3).filter(|_| escape.starts_with('%')).and_then(hexadecimal_byte) {
            Some(byte) => (byte, 3),
            None => (escape.bytes().next().unwrap_or_default(), 1),
        };
        rest = escape.get(length..).unwrap_or_default();
        if is_plain_in_path(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&HEXUPPER.encode(&[byte]));
        }
    }
    out + rest
}

fn hexadecimal_byte(digits: &str) -> Option<u8> {
    HEXUPPER_PERMISSIVE.decode(digits.as_bytes()).ok()?.first().copied()
}

/// The characters of a path (RFC 3986 section 3.3) except `*`, which has a meaning in a pattern.
fn is_plain_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn normalising_a_path_twice_changes_nothing(path in "(/[a-f%.0-9*\t/]{0,6}){0,5}") {
            let once = normalised(&path);
            prop_assert_eq!(normalised(&once), once);
        }
    }
}
