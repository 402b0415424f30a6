//! Unlocking on threads that block: only one of the threads that need the vault asks for its password.

use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::select::prepared::Prepared;
use crate::select::selector::Selector;

/// How a selector unlocks the vault: [`Selector::unlock`], or [`Selector::unlock_fully`].
pub(super) type Unlock = fn(&Selector) -> Result<(), Error>;

/// Lets one thread at a time unlock the vault.
#[derive(Debug, Default)]
pub(super) struct Unlocking(Mutex<()>);

impl Unlocking {
    /// Unlocks the vault and looks the identity up again. A thread that comes meanwhile waits, and finds the vault unlocked.
    pub(super) fn unlock(&self, selector: &Selector, before: &Prepared, unlock: Unlock) -> Result<Prepared, Error> {
        let _guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unlock(selector)?;
        selector.refresh(before)
    }
}
