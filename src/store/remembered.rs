//! What is remembered for a destination, as it was read, and what was read lately.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::answer::decision::Answer;
use crate::answer::rules::Rules;
use crate::answer::settings::{Mode, Settings};
use crate::certificate::Fingerprint;
use crate::certificate::authority::Authorities;
use crate::request::Destination;
use crate::vault::{Authenticated, SealedKey, Vault};

/// Looks that are kept. Beyond that all of them are dropped.
const MAX_LOOKS: usize = 1024;

/// What is remembered for a destination, with everything else that answering takes, all from the same moment.
pub(crate) struct Remembered {
    /// The settings in force.
    pub(crate) settings: Settings,
    /// The answer, with what using the identity takes.
    pub(crate) answer: Option<(Answer, Option<Remembering>)>,
    /// Every authority.
    pub(crate) authorities: Arc<Authorities>,
    /// The rules of the store.
    pub(crate) rules: Arc<Rules>,
    /// What must be authentic before any key is used.
    pub(crate) terms: Terms,
    /// Decrypts the private keys.
    pub(crate) vault: Arc<Vault>,
    /// Later states of the file have higher numbers, as read through the same handle of the store.
    pub(crate) number: u64,
}

/// The key of a remembered identity, and the decision, which must be authentic before that key is used.
#[derive(Clone)]
pub(crate) struct Remembering {
    pub(crate) key: SealedKey,
    pub(crate) decision: Authenticated,
}

/// The terms of the store at one moment.
pub(crate) struct Terms {
    /// What they say, with their code.
    pub(crate) authenticated: Authenticated,
    /// The trusted authorities among them.
    pub(crate) trusted: Arc<HashSet<Fingerprint>>,
}

/// What was read lately, with the change counter of the file then.
#[derive(Default)]
pub(super) struct Lately(Mutex<HashMap<Place, (u32, Arc<Remembered>)>>);

/// What a look depends on: the destination, the mode if it is not that of the store, and the login session.
pub(super) type Place = (Destination, Option<Mode>, Option<String>);

impl Lately {
    pub(super) fn get(&self, place: &Place) -> Option<(u32, Arc<Remembered>)> {
        self.locked().get(place).cloned()
    }

    /// Keeps what was read, and of the rest what `is_unchanged` since its counter.
    pub(super) fn keep(
        &self,
        place: Place,
        counter: u32,
        remembered: &Arc<Remembered>,
        is_unchanged: impl Fn(u32) -> bool,
    ) {
        let mut looks = self.locked();
        // All that are kept were unchanged when the last of them was
        if looks.len() >= MAX_LOOKS || looks.values().next().is_some_and(|(counter, _)| !is_unchanged(*counter)) {
            looks.clear();
        }
        looks.insert(place, (counter, remembered.clone()));
    }

    pub(super) fn clear(&self) {
        self.locked().clear();
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Place, (u32, Arc<Remembered>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
