//! Text for people: safe on a terminal, safe to paste into a shell, and dates relative to now.

use std::path::Path;

use cardcase::manage::Timestamp;
use cardcase::manage::is_unprintable;

/// Escapes every character that could move the cursor or reorder the line, in text from a certificate or a server.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = is_unprintable(c).then(|| c.escape_unicode());
            let itself = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(itself)
        })
        .collect()
}

/// Quotes a path for a shell, in a form that no command takes for a flag.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.starts_with('-') && text != "-" { word(&format!("./{text}")) } else { word(&text) }
}

/// Quotes any text as one word for a shell.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// "in 12 days", "today", "3 days ago".
pub(crate) fn days_from(now: Timestamp, then: Timestamp) -> String {
    match now.days_until(then) {
        0 => "today".to_owned(),
        1 => "in 1 day".to_owned(),
        -1 => "1 day ago".to_owned(),
        days if days > 0 => format!("in {} days", grouped(days.unsigned_abs())),
        days => format!("{} days ago", grouped(days.unsigned_abs())),
    }
}

/// A number with its thousands separated: `1,427`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// How many days before it expires an identity is warned about.
const SOON: i64 = 30;

/// Whether `until` is near enough for a warning, and not past.
pub(crate) fn expires_soon(now: Timestamp, until: Timestamp) -> bool {
    until >= now && now.days_until(until) < SOON
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (number, expected) in [(0, "0"), (999, "999"), (1427, "1,427"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn a_shell_reads_a_quoted_path_unchanged() {
        for (path, expected) in [
            ("/a/b-c_d.p12", "/a/b-c_d.p12"),
            ("-", "-"),
            ("-x y", "'./-x y'"),
            ("My Keys.p12", "'My Keys.p12'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
