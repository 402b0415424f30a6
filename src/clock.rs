//! Points in time: whole seconds of Unix time, passed as arguments so that tests can choose them.
//!
//! # Example
//!
//! ```
//! use cardcase::manage::Timestamp;
//!
//! let fixed = Timestamp(1_795_357_800);
//! assert_eq!(fixed.to_string(), "2026-11-22T14:30:00Z");
//! assert_eq!(fixed.days_until(Timestamp(1_795_357_800 + 86_400)), 1);
//! ```

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since 1970-01-01T00:00:00Z, leap seconds not counted; negative before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "it is a number of seconds and nothing else")]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The wall clock, now.
    pub fn now() -> Self {
        let seconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
        };
        Self(seconds)
    }

    /// Whole days from `self` to `later`, rounded down.
    pub fn days_until(self, later: Self) -> i64 {
        later.0.saturating_sub(self.0).div_euclid(86_400)
    }

    /// How many whole days from `now` to this time, in words: "in 12 days", "3 days ago", or "today" if it is less than a day.
    pub fn days_from(self, now: Self) -> String {
        match self.0.saturating_sub(now.0) / 86_400 {
            0 => "today".to_owned(),
            1 => "in 1 day".to_owned(),
            -1 => "1 day ago".to_owned(),
            days if days > 0 => format!("in {} days", grouped(days.unsigned_abs())),
            days => format!("{} days ago", grouped(days.unsigned_abs())),
        }
    }

    /// The date alone, `2026-11-22`, in UTC.
    pub fn date(self) -> String {
        self.to_string().split('T').next().unwrap_or_default().to_owned()
    }
}

/// RFC 3339 in UTC, `2026-11-22T15:10:00Z`; what lies outside the years 0 to 9999 is shown as bare seconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from_unix_timestamp(self.0).ok().and_then(|at| at.format(&Rfc3339).ok()) {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}", self.0),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_rfc_3339_and_whole_days() {
        let at = Timestamp(1_795_357_800);
        assert_eq!(at.to_string(), "2026-11-22T14:30:00Z");
        assert_eq!(at.date(), "2026-11-22");
        assert_eq!(at.days_until(Timestamp(at.0 + 3 * 86_400 - 1)), 2);
        assert_eq!(at.days_until(Timestamp(at.0 - 1)), -1);
        let from_then = |seconds: i64| Timestamp(at.0 + seconds).days_from(at);
        let words = [3 * 86_400 - 1, 86_400, 86_399, -86_399, -86_400, -3 * 86_400 - 1].map(from_then);
        assert_eq!(words, ["in 2 days", "in 1 day", "today", "today", "1 day ago", "3 days ago"]);
        assert_eq!(Timestamp(i64::MAX).to_string(), i64::MAX.to_string());
    }
    #[test]
    fn thousands_are_separated() {
        for (number, expected) in [(0, "0"), (999, "999"), (1427, "1,427"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expected);
        }
    }
}
