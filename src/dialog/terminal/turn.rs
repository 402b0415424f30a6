//! A thread's turn to ask on the terminal, and how long the echo stays off.

use std::cell::{Cell, RefCell};

use super::lock::{AskLock, is_taken};
use super::settings::{SettingsGuard, discard_typed};

thread_local! {
    /// How many [`Quiet`]s of this thread exist.
    static QUIET: Cell<usize> = const { Cell::new(0) };

    /// The turn that is kept between two questions, because a [`Quiet`] exists.
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };

    /// Exists from the first time that this thread asks for the primary password until the store is unlocked.
    static UNLOCKING: RefCell<Option<Quiet>> = const { RefCell::new(None) };
}

/// Fields are dropped in this order: the settings are restored before another process may ask.
struct Kept {
    settings: SettingsGuard,
    _lock: AskLock,
}

/// The right to ask on the terminal. When it is dropped, the settings of the terminal are restored, or, if a [`Quiet`] exists, the
/// echo is turned off.
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

    /// Enters raw mode, for a menu or a single key, until the turn ends.
    pub(super) fn set_raw(&self) {
        if let Some(kept) = &self.0 {
            kept.settings.set_raw();
        }
    }

    /// For a password: discards what was typed after it when the settings are restored.
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

/// Keeps the echo off from the first question of this thread until it is dropped: a person may type the next password while a key is
/// still being derived from the previous one. In the meantime, no other process asks on the terminal.
pub(crate) struct Quiet {
    /// Makes it neither `Send` nor `Sync`: it belongs to its thread.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Quiet {
    pub(crate) fn new() -> Self {
        QUIET.set(QUIET.get() + 1);
        Self { _thread: std::marker::PhantomData }
    }

    /// Turns the echo off before the first question, unless another process is asking.
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

/// Keeps the echo off until [`unlocked`] is called: a person may type the next attempt while this one is being tried.
pub(crate) fn unlocking() {
    UNLOCKING.with_borrow_mut(|quiet| {
        quiet.get_or_insert_with(Quiet::new);
    });
}

/// Ends what [`unlocking`] began: no further password is needed.
pub(crate) fn unlocked() {
    UNLOCKING.take();
}

/// The terminal while another program uses it; when this is dropped, its settings are restored.
pub(crate) struct Lent {
    /// `None` when this process is in the background: there it must not touch the settings.
    _turn: Option<Turn>,
}

/// Lends the terminal, if there is one, to a program that asks for a password. Discards what was typed before.
pub(crate) fn lend() -> Lent {
    let turn = Turn::begin();
    if let Some(Kept { settings, .. }) = turn.as_ref().and_then(|turn| turn.0.as_ref()) {
        settings.expect_drawing();
        discard_typed();
        settings.set_quiet();
        settings.flush_at_end();
    }
    Lent { _turn: turn }
}
