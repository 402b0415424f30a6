//! The variables of the environment that say who is asked.

use std::ffi::OsString;

use rustix::process::{getegid, geteuid, getgid, getuid};

/// A variable that is set and not empty. A set-user-ID or set-group-ID program has none: its caller must not name programs that
/// run with its rights.
pub(super) fn variable(name: &str) -> Option<OsString> {
    let is_own = getuid() == geteuid() && getgid() == getegid();
    std::env::var_os(name).filter(|value| is_own && !value.is_empty())
}

/// Whether the value of a variable says no, as the command reads it.
pub(super) fn is_no(value: &str) -> bool {
    ["0", "f", "false", "n", "no", "off"].iter().any(|no| value.eq_ignore_ascii_case(no))
}
