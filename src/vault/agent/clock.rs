//! A clock that nobody can set.

use std::time::Duration;

/// A point in time on a clock that nobody can set, and that continues while the machine sleeps.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(super) struct Moment(Duration);

impl Moment {
    pub(super) fn now() -> Self {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(clock);
        Self(Duration::try_from(now).unwrap_or_default())
    }

    pub(super) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    pub(super) fn left(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    pub(super) fn is_past(self) -> bool {
        self.left().is_zero()
    }

    /// Rounded up.
    pub(super) fn seconds_left(self) -> u64 {
        let left = self.left();
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    }
}
