//! The primary password in the desktop's keyring: the Secret Service on Unix, the Keychain on macOS.
//!
//! A keyring may be locked, or its service may hang, so every call waits for three seconds at most. The keyring keeps the password
//! and not the data key: a password that has been changed since unlocks nothing, and the person is asked.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use cardcase::manage::Keyring;
//! use cardcase::{Selector, Store, Unlocker};
//!
//! # fn example(store: Arc<Store>, prompt: Arc<dyn Unlocker>) -> Result<(), cardcase::Error> {
//! let keyring = Keyring::for_store(store.path());
//! keyring.keep("correct horse")?;
//! // Asks the person when the keyring does not have the password
//! let selector = Selector::new(store).with_unlocker(keyring.unlocker(prompt));
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

/// The name of the password in the keyring, together with the path of the store.
const SERVICE: &str = "cardcase";

/// How long to wait for the keyring.
const PATIENCE: Duration = Duration::from_secs(3);

type Open = dyn Fn(&str) -> keyring_core::Result<Entry> + Send + Sync;

/// The entry for the primary password of one store in the desktop's keyring.
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
    /// For the store at this path ([`Store::path`](crate::Store::path)).
    pub fn for_store(path: &Path) -> Self {
        let open = |store: &str| Ok(keyring::Entry::new(SERVICE, store)?.inner);
        Self { store: path.to_string_lossy().into_owned(), open: Arc::new(open) }
    }

    /// The password, if the keyring has one.
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

    /// Stores a password, in place of the previous one.
    ///
    /// # Errors
    /// [`Error::Keyring`], after three seconds at the latest.
    pub fn keep(&self, password: &str) -> Result<(), Error> {
        let password = Zeroizing::new(password.to_owned());
        self.in_time(move |entry| entry.set_password(&password))
    }

    /// Removes the password.
    ///
    /// # Errors
    /// [`Error::Keyring`], after three seconds at the latest.
    pub fn forget(&self) -> Result<(), Error> {
        self.in_time(|entry| match entry.delete_credential() {
            Err(KeyringError::NoEntry) => Ok(()),
            deleted => deleted,
        })
    }

    /// An unlocker that takes the password from this keyring, and asks `other` when there is none, or a wrong one. A wrong one
    /// does not use up an attempt of `other`.
    pub fn unlocker(self, other: Arc<dyn Unlocker>) -> Arc<dyn Unlocker> {
        Arc::new(KeyringUnlocker { keyring: self, other, answered: AtomicBool::new(false) })
    }

    /// Works on another thread, and does not wait for it any longer when it takes too long.
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

/// Gives the password that a keyring keeps. If it has none, or a wrong one, asks another unlocker.
struct KeyringUnlocker {
    keyring: Keyring,
    other: Arc<dyn Unlocker>,
    /// Whether the keyring answered the first attempt.
    answered: AtomicBool,
}

impl Unlocker for KeyringUnlocker {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        if attempt == 1 {
            // A keyring that cannot be used is treated like one without a password
            let kept = self.keyring.password().ok().flatten();
            self.answered.store(kept.is_some(), Ordering::Relaxed);
            if let Some(password) = kept {
                return Ok(password);
            }
        }
        let attempt = if self.answered.load(Ordering::Relaxed) { attempt - 1 } else { attempt };
        match attempt <= self.other.tries() {
            true => self.other.primary_password(attempt),
            false => Err(Error::WrongPrimaryPassword),
        }
    }

    fn finished(&self) {
        self.other.finished();
    }

    fn tries(&self) -> u32 {
        self.other.tries().saturating_add(1)
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

    /// Does not know the password, and records the attempts it was asked for.
    #[derive(Default)]
    struct Asked(Mutex<Vec<u32>>);

    impl Unlocker for Asked {
        fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
            self.0.lock().unwrap().push(attempt);
            Ok(Zeroizing::new("typed".to_owned()))
        }
    }

    #[test]
    fn a_keyring_keeps_a_password_until_it_is_removed() {
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
    fn a_wrong_password_in_the_keyring_does_not_count_as_an_attempt() {
        for (kept, asked) in [(Some("wrong"), [1, 2, 3]), (None, [1, 2, 3])] {
            let (keyring, person) = (keyring(), Arc::new(Asked::default()));
            if let Some(kept) = kept {
                keyring.keep(kept).unwrap();
            }
            let unlocker = keyring.unlocker(person.clone());
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
    fn a_keyring_that_hangs_is_abandoned_after_a_few_seconds() {
        let open = |_: &str| {
            thread::sleep(Duration::from_secs(60));
            Err(KeyringError::NoEntry)
        };
        let keyring = Keyring { store: String::new(), open: Arc::new(open) };
        let person = Arc::new(Asked::default());
        let start = Instant::now();
        keyring.unlocker(person.clone()).primary_password(1).unwrap();
        assert!((PATIENCE..2 * PATIENCE).contains(&start.elapsed()));
        assert_eq!(*person.0.lock().unwrap(), [1]);
    }
}
