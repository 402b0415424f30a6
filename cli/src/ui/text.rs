//! Text for people that is safe to paste into a shell, and which dates are near.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cardcase::manage::Timestamp;
use jiff::tz::TimeZone;

/// Quotes a path for a shell, in a form that no command takes for a flag.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.starts_with('-') && text != "-" { word(&format!("./{text}")) } else { word(&text) }
}

/// The path from the root.
pub(crate) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Quotes any text as one word for a shell.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The date and the time in the user's time zone, with its offset, `2026-11-28 07:48:05+01:00`; outside the years that have such a form, as in JSON.
pub(crate) fn local_time(at: Timestamp) -> String {
    local(at, "%Y-%m-%d %H:%M:%S%:z").unwrap_or_else(|| at.to_string())
}

/// The date in the user's time zone, `2026-11-28`.
pub(crate) fn local_date(at: Timestamp) -> String {
    local(at, "%Y-%m-%d").unwrap_or_else(|| at.date())
}

fn local(at: Timestamp, format: &str) -> Option<String> {
    // Of $TZ, or of the system
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let zone = ZONE.get_or_init(TimeZone::system).clone();
    let at = jiff::Timestamp::from_second(at.0).ok()?.to_zoned_datetime(zone);
    (0..=9999).contains(&at.year()).then(|| at.strftime(format).to_string())
}

/// A number with its word: "1 rule", "2 rules".
pub(crate) fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
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
