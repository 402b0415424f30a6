//! Times in the user's time zone, and which are near.

use std::fs;
use std::sync::OnceLock;

use cardcase::manage::Timestamp;
use jiff::tz::TimeZone;

/// The date and the time in the user's time zone, with its offset: `2026-11-28 07:48:05+01:00`. A year before 0 or after 9999 has no
/// such form; then the time is written as in JSON.
pub(crate) fn local_time(at: Timestamp) -> String {
    local(at, "%Y-%m-%d %H:%M:%S%:z").unwrap_or_else(|| at.to_string())
}

/// The date in the user's time zone, `2026-11-28`.
pub(crate) fn local_date(at: Timestamp) -> String {
    local(at, "%Y-%m-%d").unwrap_or_else(|| at.date())
}

fn local(at: Timestamp, format: &str) -> Option<String> {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let zone = ZONE.get_or_init(|| system_zone().unwrap_or_else(TimeZone::system)).clone();
    let at = jiff::Timestamp::from_second(at.0).ok()?.to_zoned_datetime(zone);
    (0..=9999).contains(&at.year()).then(|| at.strftime(format).to_string())
}

/// The zone of the system, unless `$TZ` names another. [`TimeZone::system`] looks for its name too, through the files of all zones, which
/// takes a third of the time of a short list.
fn system_zone() -> Option<TimeZone> {
    const FILE: &str = "/etc/localtime";
    if std::env::var_os("TZ").is_some() {
        return None;
    }
    TimeZone::tzif(FILE, &fs::read(FILE).ok()?).ok()
}

/// How many days before it expires an identity is warned about.
const SOON: i64 = 30;

/// Whether `until` is near enough for a warning, and not past.
pub(crate) fn expires_soon(now: Timestamp, until: Timestamp) -> bool {
    until >= now && now.days_until(until) < SOON
}
