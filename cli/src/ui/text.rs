//! Text for people: safe on a terminal, safe to paste into a shell, and dates relative to now.

use std::path::Path;

use cardcase::manage::Timestamp;
use cardcase::manage::is_unprintable;

/// Escapes every character that could move the cursor, reorder the line or be overlooked, in text from a certificate or a
/// server.
pub(crate) fn plain(text: &str) -> String {
    escaped(text, is_unprintable)
}

/// The same for text of several lines, such as a page: tabs, ends of lines and spaces of every kind stay.
pub(crate) fn plain_lines(text: &str) -> String {
    let stays = |c: char| matches!(c, '\n' | '\t') || (c.is_whitespace() && !c.is_control() && !is_line_end(c));
    escaped(text, |c| is_unprintable(c) && !stays(c))
}

/// The same for JSON, whose escapes a program reads as the characters themselves.
pub(crate) fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        // Between its strings JSON is ASCII, and its ends of lines stand nowhere else
        if is_unprintable(c) && c != '\n' {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| plain.push_str(&format!("\\u{unit:04x}")));
        } else {
            plain.push(c);
        }
    }
    plain
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) { plain.extend(c.escape_unicode()) } else { plain.push(c) }
    }
    plain
}

/// The ends of lines and paragraphs that Unicode adds.
fn is_line_end(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_show_is_escaped() {
        assert_eq!(plain("a\u{202e}\u{9b}\n\u{115f}\u{a0}C:\\x"), r"a\u{202e}\u{9b}\u{a}\u{115f}\u{a0}C:\x");
        assert_eq!(plain_lines("a\tb\u{a0}c\nd\re\u{1b}\u{2028}"), "a\tb\u{a0}c\nd\\u{d}e\\u{1b}\\u{2028}");
        let texts = ["a", "a\u{3164}", "\u{9b}31m", "\\", "\\u{a}", "\u{e0041}\u{7f}\u{202e}\n\"", "Zoë 漢字"];
        for text in texts {
            let json = plain_json(&serde_json::to_string_pretty(&[text]).unwrap());
            assert!(!json.contains(|c| is_unprintable(c) && c != '\n'), "{json:?}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&json).unwrap(), [text], "{json}");
        }
    }

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
