//! A spinner on stderr, with the time that the work has taken.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cardcase::manage::plain;
use indicatif::{ProgressBar, ProgressStyle};

use crate::ui::say::{self, Volume};

/// How long work may take before the spinner appears.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time between two frames of the spinner.
const TICK: Duration = Duration::from_millis(100);

/// As wide as the screen. The cursor goes back to the first column: from the last one, a `^C` would go to a new line, and
/// the spinner would stay above it.
const TEMPLATE: &str = "{spinner} {elapsed}  {wide_msg}\x1b[G";

/// The spinner on the screen, for the signal handler.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How much of some work is done.
#[derive(Default)]
pub(crate) struct Count {
    done: AtomicUsize,
    total: AtomicUsize,
}

impl Count {
    pub(crate) fn set(&self, done: usize, total: usize) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Before what is done, where it consists of several things.
    fn told(&self, why: &str) -> String {
        match (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed)) {
            (_, 0 | 1) => why.to_owned(),
            (done, total) => format!("{done} of {total}: {why}"),
        }
    }
}

/// Does some work, and shows why when that takes long; nothing stays on the screen. Only a terminal is shown anything, also
/// with `--batch`, since nothing is asked, but nothing with `-q`.
pub(crate) fn during<T>(why: &str, work: impl FnOnce() -> T) -> T {
    during_since(Instant::now(), why, work)
}

/// [`during`], for one of several steps: what they took since `start` counts.
pub(crate) fn during_since<T>(start: Instant, why: &str, work: impl FnOnce() -> T) -> T {
    during_counted(start, why, |_| work())
}

/// [`during_since`], for work that says how much of it is done.
pub(crate) fn during_counted<T>(start: Instant, why: &str, work: impl FnOnce(&Count) -> T) -> T {
    let (done, wait) = mpsc::channel::<()>();
    let count = Count::default();
    std::thread::scope(|scope| {
        let seen = &count;
        scope.spawn(move || {
            if say::is_said(Volume::Normal) && goes_on(&wait, PATIENCE.saturating_sub(start.elapsed())) {
                spin(&plain(why), seen, &wait);
            }
        });
        let worked = work(&count);
        drop(done);
        worked
    })
}

/// Removes the spinner from the screen for good.
pub(crate) fn clear() {
    if let Some(bar) = shown().take() {
        bar.finish_and_clear();
    }
}

fn spin(why: &str, count: &Count, wait: &mpsc::Receiver<()>) {
    let bar = ProgressBar::new_spinner().with_elapsed(PATIENCE).with_message(count.told(why));
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    *shown() = Some(bar.clone());
    bar.tick();
    while goes_on(wait, TICK) {
        // Does nothing once it was cleared
        bar.set_message(count.told(why));
        bar.tick();
    }
    clear();
}

fn goes_on(wait: &mpsc::Receiver<()>, time: Duration) -> bool {
    wait.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}
