//! Unlocking for whoever blocks: of all threads that need the vault one asks for its password.

use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::select::selector::{Prepared, Selector};

/// How a selector unlocks the vault: [`Selector::unlock`], or [`Selector::unlock_fully`].
pub(super) type Unlock = fn(&Selector) -> Result<(), Error>;

/// Who needs the vault waits here for its turn.
#[derive(Debug, Default)]
pub(super) struct Unlocking(Mutex<()>);

impl Unlocking {
    /// Unlocks the vault, and looks again. Whoever comes while it is being unlocked finds it open.
    pub(super) fn unlock(&self, selector: &Selector, before: &Prepared, unlock: Unlock) -> Result<Prepared, Error> {
        let _turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unlock(selector)?;
        selector.refresh(before)
    }
}
