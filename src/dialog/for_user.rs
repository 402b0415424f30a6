//! The selector of the user who runs the program.

use std::sync::Arc;

use super::dialogs::Dialogs;
use super::environment::{is_no, variable};
use crate::error::Error;
use crate::select::selector::Selector;
use crate::store::Store;
#[cfg(feature = "keyring")]
use crate::vault::keyring::Keyring;

impl Selector {
    /// The selector of the user who runs this program, which answers as the command `cardcase` does: from the user's store, in the login
    /// session, with the trusted authorities of the store ([`Self::with_trusted_authorities`]) and the user's
    /// [dialogs](crate::ask::Dialogs). With the feature `keyring`, the desktop's keyring is asked for the primary password first.
    ///
    /// It reads the same environment variables as the command: `CARDCASE_STORE` names another store, `CARDCASE_MODE` a mode,
    /// `CARDCASE_CHOOSER` and `PINENTRY_PROGRAM` the programs that ask. With `CARDCASE_BATCH=1` nobody is asked. With
    /// `CARDCASE_PLAIN=1` the terminal shows a numbered list instead of a menu. Files with passwords are for the command alone. A
    /// set-user-ID or set-group-ID program ignores the other variables, since they name programs that would run with its rights.
    ///
    /// # Errors
    /// [`Error::NoDataDirectory`], [`Error::Mode`], and those of [`Store::open`] and of [`Self::with_trusted_authorities`].
    pub fn for_user() -> Result<Self, Error> {
        let store = Arc::new(match variable("CARDCASE_STORE") {
            Some(path) => Store::open(path)?,
            None => Store::open_default()?,
        });
        let selector = Self::new(store.clone()).with_trusted_authorities()?;
        let selector = match variable("CARDCASE_MODE") {
            Some(mode) => selector.with_mode(mode.to_string_lossy().parse()?),
            None => selector,
        };
        if variable("CARDCASE_BATCH").is_some_and(|batch| !is_no(&batch.to_string_lossy())) {
            return Ok(selector);
        }
        let dialogs = Arc::new(Dialogs::for_user(&store));
        #[cfg(feature = "keyring")]
        let unlocker = Keyring::for_store(store.path()).unlocker(dialogs.clone());
        #[cfg(not(feature = "keyring"))]
        let unlocker = dialogs.clone();
        Ok(selector.with_chooser(dialogs).with_unlocker(unlocker))
    }
}
