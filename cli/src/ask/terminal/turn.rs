//! The turn of a thread to ask on the terminal, and how long what is typed there stays invisible.

use std::cell::{Cell, RefCell};

use super::lock::{AskLock, is_taken};
use super::settings::SettingsGuard;

thread_local! {
    /// How many [`Quiet`]s of this thread exist.
    static QUIET: Cell<usize> = const { Cell::new(0) };

    /// The turn that is kept between two questions, because a [`Quiet`] exists.
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };

    /// From the first password that this thread asks for to unlock a store, until it has unlocked it.
    static UNLOCKING: RefCell<Option<Quiet>> = const { RefCell::new(None) };
}

/// Fields are dropped in this order: the settings are restored before another process may ask.
struct Kept {
    settings: SettingsGuard,
    _lock: AskLock,
}

/// The right to ask on the terminal. When it is dropped, the settings of the terminal are restored, or, while a [`Quiet`] exists,
/// nothing that is typed is shown.
pub(super) struct Turn(Option<Kept>);

impl Turn {
    /// Waits for it; `None` when this process is in the background, where nobody can be asked.
    pub(super) fn begin() -> Option<Self> {
        if let Some(kept) = KEPT.take() {
            return Some(Self(Some(kept)));
        }
        let lock = AskLock::acquire()?;
        Some(Self(Some(Kept { settings: SettingsGuard::save(), _lock: lock })))
    }

    /// For a menu or a single key, until the turn ends.
    pub(super) fn set_raw(&self) {
        if let Some(kept) = &self.0 {
            kept.settings.set_raw();
        }
    }

    /// For a password: throws away what is typed beyond it when the settings are restored.
    pub(super) fn flush_at_end(&self) {
        if let Some(kept) = &self.0 {
            kept.settings.flush_at_end();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(kept) = self.0.take().filter(|_| QUIET.get() > 0) else { return };
        kept.settings.set_quiet();
        KEPT.set(Some(kept));
    }
}

/// From the first question of this thread until this is dropped, nothing that is typed is shown: a password may be typed again, or
/// too early, while a key is derived from the one before. No other process asks on the terminal meanwhile.
pub(crate) struct Quiet {
    /// It belongs to its thread.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Quiet {
    pub(crate) fn new() -> Self {
        QUIET.set(QUIET.get() + 1);
        Self { _thread: std::marker::PhantomData }
    }

    /// Begins even before the first question, unless another process asks now.
    pub(crate) fn begin(&self) {
        if !is_taken() {
            drop(Turn::begin());
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.set(QUIET.get() - 1);
        if QUIET.get() == 0 {
            KEPT.take();
        }
    }
}

/// What is typed stays invisible from here until [`unlocked`]: the next attempt may be typed while this one is tried.
pub(crate) fn unlocking() {
    UNLOCKING.with_borrow_mut(|quiet| {
        quiet.get_or_insert_with(Quiet::new);
    });
}

/// No further password is needed.
pub(crate) fn unlocked() {
    UNLOCKING.take();
}

/// The terminal while another program uses it; when this is dropped, its settings are restored.
pub(crate) struct Lent {
    _turn: Option<Turn>,
    /// Those that a process in the background finds.
    _settings: Option<SettingsGuard>,
}

/// Lends the terminal, if there is one, to a program that asks for a password. What was typed before is thrown away.
pub(crate) fn lend() -> Lent {
    let turn = Turn::begin();
    if let Some(Kept { settings, .. }) = turn.as_ref().and_then(|turn| turn.0.as_ref()) {
        settings.discard_typed();
        settings.set_quiet();
        settings.flush_at_end();
    }
    let settings = turn.is_none().then(SettingsGuard::save);
    Lent { _turn: turn, _settings: settings }
}
