//! The desktop's keyring, for `cardcase password`.

use std::sync::{Arc, Mutex, PoisonError};

use cardcase::Error;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::manage::Keyring;
use zeroize::Zeroizing;

use crate::ui::failure::{Code, Failure};
use crate::ui::say;

/// Stores the primary password in the keyring, after it has unlocked the store.
pub(crate) fn keep(store: &Store, asking: &dyn Unlocker) -> Result<(), Failure> {
    if !store.has_primary_password() {
        let failure = Failure::new(Code::Failed, "the store has no primary password for the keyring to keep");
        return Err(failure.hint("cardcase password"));
    }
    let recorder = Recorder { unlocker: asking, last: Mutex::default() };
    store.unlock_fully(&recorder)?;
    let password = recorder.last.into_inner().unwrap_or_else(PoisonError::into_inner).ok_or(Error::VaultLocked)?;
    keyring(store).keep(&password)?;
    say::note("the keyring now keeps the primary password of this store");
    Ok(())
}

/// Removes the primary password from the keyring.
pub(crate) fn forget(store: &Store) -> Result<(), Failure> {
    keyring(store).forget()?;
    say::note("the keyring no longer keeps a password of this store");
    Ok(())
}

/// Updates the keyring after the primary password was changed, if the keyring has the old one.
pub(crate) fn follow(store: &Store, new: Option<&str>) {
    let keyring = keyring(store);
    // Without a keyring there is nothing to change
    let Ok(Some(_)) = keyring.password() else { return };
    let changed = match new {
        Some(new) => keyring.keep(new),
        None => keyring.forget(),
    };
    if let Err(error) = changed {
        say::warn(format_args!("the keyring still keeps the old password: {error}"));
    }
}

/// Whether the password in the keyring unlocks the store.
pub(crate) fn opens(store: &Store) -> bool {
    let unlocker = keyring(store).unlocker(Arc::new(Nobody));
    store.unlock_fully(&*unlocker).is_ok()
}

/// Nobody is asked when the keyring has no password, or a wrong one.
struct Nobody;

impl Unlocker for Nobody {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}

fn keyring(store: &Store) -> Keyring {
    Keyring::for_store(store.path())
}

/// Remembers the last password that another unlocker returned.
struct Recorder<'a> {
    unlocker: &'a dyn Unlocker,
    last: Mutex<Option<Zeroizing<String>>>,
}

impl Unlocker for Recorder<'_> {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        let password = self.unlocker.primary_password(attempt)?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(password.clone());
        Ok(password)
    }

    fn tries(&self) -> u32 {
        self.unlocker.tries()
    }

    fn finished(&self) {
        self.unlocker.finished();
    }
}
