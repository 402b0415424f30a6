//! The desktop's keyring as a place for the primary password: the Secret Service on Unix, the Keychain on macOS.
//!
//! A keyring may be locked, or its service hang, so nobody waits for it longer than three seconds. It keeps the password and
//! not the data key: one that is no longer right opens nothing, and the person is asked.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use cardcase::manage::{Keyring, KeyringUnlocker};
//! use cardcase::{Selector, Store, Unlocker};
//!
//! # fn example(store: Arc<Store>, prompt: Arc<dyn Unlocker>) -> Result<(), cardcase::Error> {
//! let keyring = Keyring::of_store(store.path());
//! keyring.keep("correct horse")?;
//! // Asks the person when the keyring does not have the password
//! let unlocker = KeyringUnlocker::new(keyring, prompt);
//! let selector = Selector::new(store).with_unlocker(Arc::new(unlocker));
//! # drop(selector);
//! # Ok(()) }
//! ```

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use keyring_core::{Entry, Error as KeyringError};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::vault::Unlocker;

/// What the password is kept under, besides the store's path.
const SERVICE: &str = "cardcase";

/// How long to wait for the keyring.
const PATIENCE: Duration = Duration::from_secs(3);

type Open = dyn Fn(&str) -> keyring_core::Result<Entry> + Send + Sync;

/// The place in the keyring for one store's primary password.
#[derive(Clone)]
pub struct Keyring {
    store: String,
    open: Arc<Open>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Keyring {
    /// For the store at this path, in the keyring of the person's desktop.
    pub fn of_store(path: &Path) -> Self {
        let open = |store: &str| Ok(keyring::Entry::new(SERVICE, store)?.inner);
        Self { store: path.to_string_lossy().into_owned(), open: Arc::new(open) }
    }

    /// The password that is kept, if one is.
    ///
    /// # Errors
    /// [`Error::Keyring`], after three seconds at the latest.
    pub fn password(&self) -> Result<Option<Zeroizing<String>>, Error> {
        self.in_time(|entry| match entry.get_password() {
            Ok(password) => Ok(Some(Zeroizing::new(password))),
            Err(KeyringError::NoEntry) => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// Keeps a password, in place of the one before.
    ///
    /// # Errors
    /// [`Error::Keyring`], after three seconds at the latest.
    pub fn keep(&self, password: &str) -> Result<(), Error> {
        let password = Zeroizing::new(password.to_owned());
        self.in_time(move |entry| entry.set_password(&password))
    }

    /// Keeps no password any more.
    ///
    /// # Errors
    /// [`Error::Keyring`], after three seconds at the latest.
    pub fn forget(&self) -> Result<(), Error> {
        self.in_time(|entry| match entry.delete_credential() {
            Err(KeyringError::NoEntry) => Ok(()),
            deleted => deleted,
        })
    }

    /// Works on another thread, which is left alone when it takes too long.
    fn in_time<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Entry) -> keyring_core::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (done, wait) = mpsc::sync_channel(1);
        let Self { store, open } = self.clone();
        let failed = |detail: String| Error::Keyring { detail };
        let worker = thread::Builder::new().name("keyring".to_owned());
        let started = worker.spawn(move || drop(done.send(open(&store).and_then(|entry| work(&entry)))));
        started.map_err(|error| failed(error.to_string()))?;
        match wait.recv_timeout(PATIENCE) {
            Ok(worked) => worked.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed("it does not answer".to_owned())),
        }
    }
}

/// Gives the password that a keyring keeps; where there is none, or it is wrong, asks another.
pub struct KeyringUnlocker {
    keyring: Keyring,
    otherwise: Arc<dyn Unlocker>,
    /// Whether the first try was the keyring's.
    tried: AtomicBool,
}

impl fmt::Debug for KeyringUnlocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyringUnlocker").field("keyring", &self.keyring).finish_non_exhaustive()
    }
}

impl KeyringUnlocker {
    /// Looks into `keyring`, and asks `otherwise` where that does not help.
    pub fn new(keyring: Keyring, otherwise: Arc<dyn Unlocker>) -> Self {
        Self { keyring, otherwise, tried: AtomicBool::new(false) }
    }
}

impl Unlocker for KeyringUnlocker {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        if attempt == 1 {
            // A keyring that cannot be used is as good as none
            let kept = self.keyring.password().ok().flatten();
            self.tried.store(kept.is_some(), Ordering::Relaxed);
            if let Some(password) = kept {
                return Ok(password);
            }
        }
        let attempt = if self.tried.load(Ordering::Relaxed) { attempt - 1 } else { attempt };
        match attempt <= self.otherwise.tries() {
            true => self.otherwise.primary_password(attempt),
            false => Err(Error::WrongPrimaryPassword),
        }
    }

    fn tries(&self) -> u32 {
        self.otherwise.tries().saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use keyring_core::{CredentialStore, mock};

    use super::*;

    /// A keyring in memory.
    fn keyring() -> Keyring {
        let store: Arc<CredentialStore> = mock::Store::new().unwrap();
        let open = move |path: &str| Entry::new_in_store(&store, SERVICE, path);
        Keyring { store: "/home/alice/cardcase.db".to_owned(), open: Arc::new(open) }
    }

    /// Does not know the password, and writes down which tries it was asked for.
    #[derive(Default)]
    struct Asked(Mutex<Vec<u32>>);

    impl Unlocker for Asked {
        fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
            self.0.lock().unwrap().push(attempt);
            Ok(Zeroizing::new("typed".to_owned()))
        }
    }

    #[test]
    fn it_keeps_a_password_until_it_is_to_forget_it() {
        let keyring = keyring();
        assert_eq!(keyring.password().unwrap(), None);
        keyring.keep("first").unwrap();
        keyring.keep("second").unwrap();
        assert_eq!(keyring.password().unwrap().unwrap().as_str(), "second");
        keyring.forget().unwrap();
        assert_eq!(keyring.password().unwrap(), None);
        keyring.forget().unwrap();
    }

    #[test]
    fn a_wrong_password_in_it_costs_the_person_no_try() {
        for (kept, asked) in [(Some("wrong"), [1, 2, 3]), (None, [1, 2, 3])] {
            let (keyring, person) = (keyring(), Arc::new(Asked::default()));
            if let Some(kept) = kept {
                keyring.keep(kept).unwrap();
            }
            let unlocker = KeyringUnlocker::new(keyring, person.clone());
            let given: Vec<String> = (1..=unlocker.tries())
                .map_while(|attempt| unlocker.primary_password(attempt).ok())
                .map(|password| password.to_string())
                .collect();
            let expected: Vec<&str> = kept.into_iter().chain(["typed"; 3]).collect();
            assert_eq!(given, expected);
            assert_eq!(*person.0.lock().unwrap(), asked);
        }
    }

    #[test]
    fn nobody_waits_for_one_that_hangs() {
        let open = |_: &str| {
            thread::sleep(Duration::from_secs(60));
            Err(KeyringError::NoEntry)
        };
        let keyring = Keyring { store: String::new(), open: Arc::new(open) };
        let person = Arc::new(Asked::default());
        let start = Instant::now();
        KeyringUnlocker::new(keyring, person.clone()).primary_password(1).unwrap();
        assert!((PATIENCE..2 * PATIENCE).contains(&start.elapsed()));
        assert_eq!(*person.0.lock().unwrap(), [1]);
    }
}
