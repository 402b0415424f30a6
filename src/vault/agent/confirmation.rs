//! Asking a person before another program gets a signature. One question at a time, and what was said is remembered for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::Moment;
use super::{Owner, Wanted};
use crate::certificate::Fingerprint;
use crate::certificate::permission::Confirmation;

/// How long a program waits for the answer, with the questions of others before it.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// How long a no is good for: many programs ask again at once.
const NO: Duration = Duration::from_secs(10);

/// How long a yes is good for, where it is.
const YES: Duration = Duration::from_secs(15 * 60);

/// Programs that wait for an answer at the same time. One more gets a no, so that nobody can keep every connection waiting.
const MOST_WAITING: usize = 8;

/// The answers that people gave.
#[derive(Default)]
pub(super) struct Confirmations {
    state: Mutex<State>,
    /// An answer was given.
    answered: Condvar,
}

#[derive(Default)]
struct State {
    is_asking: bool,
    waiting: usize,
    /// Until when a no is good, for a process and a key.
    no: HashMap<(Option<u32>, Fingerprint), Moment>,
    /// Until when a yes is good, for a program and a key.
    yes: HashMap<(String, Fingerprint), Moment>,
}

impl Confirmations {
    /// Whether the program may have the signature, as the owner wants to be asked.
    pub(super) fn confirm(&self, owner: &dyn Owner, how: Confirmation, wanted: &Wanted) -> bool {
        if how == Confirmation::Never {
            return true;
        }
        let until = Moment::now().after(LIMIT);
        let mut state = self.state();
        if state.waiting >= MOST_WAITING {
            return false;
        }
        state.waiting += 1;
        let is_asking = |state: &mut State| state.is_asking;
        let waited = self.answered.wait_timeout_while(state, until.left(), is_asking);
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        if state.is_asking {
            return false;
        }
        if let Some(said) = state.said(how, wanted, Moment::now()) {
            return said;
        }
        state.is_asking = true;
        drop(state);
        let asking = Asking(self);
        let says_yes = owner.confirms(wanted, until.left());
        self.state().remember(how, wanted, says_yes, Moment::now());
        drop(asking);
        says_yes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the next ask, also if asking panics.
struct Asking<'a>(&'a Confirmations);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.state().is_asking = false;
        self.0.answered.notify_all();
    }
}

impl State {
    /// What was said, if it is still good.
    fn said(&self, how: Confirmation, wanted: &Wanted, now: Moment) -> Option<bool> {
        let is_good = |until: Option<&Moment>| until.is_some_and(|until| now < *until);
        if is_good(self.no.get(&(wanted.process, wanted.identity))) {
            return Some(false);
        }
        let yes = || is_good(self.yes.get(&(wanted.program(), wanted.identity)));
        (how == Confirmation::For15Minutes && yes()).then_some(true)
    }

    fn remember(&mut self, how: Confirmation, wanted: &Wanted, says_yes: bool, now: Moment) {
        forget_old(&mut self.no, now);
        forget_old(&mut self.yes, now);
        if !says_yes {
            self.no.insert((wanted.process, wanted.identity), now.after(NO));
        } else if how == Confirmation::For15Minutes {
            self.yes.insert((wanted.program(), wanted.identity), now.after(YES));
        }
    }
}

fn forget_old<K: Eq + Hash>(said: &mut HashMap<K, Moment>, now: Moment) {
    said.retain(|_, until| now < *until);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;

    fn wanted(process: u32, key: u8) -> Wanted {
        Wanted {
            identity: Fingerprint::from_bytes([key; 32]),
            name: "alice".to_owned(),
            executable: Some("/usr/bin/curl".into()),
            process: Some(process),
            is_digest: true,
        }
    }

    /// Says what it is told to, once for each question.
    struct Person {
        asked: AtomicUsize,
        open: AtomicUsize,
        says: Mutex<Receiver<bool>>,
    }

    impl Person {
        fn new() -> (Self, Sender<bool>) {
            let (say, says) = channel();
            (Self { asked: AtomicUsize::new(0), open: AtomicUsize::new(0), says: Mutex::new(says) }, say)
        }

        fn was_asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    impl Owner for Person {
        fn confirms(&self, _wanted: &Wanted, _limit: Duration) -> bool {
            self.asked.fetch_add(1, Ordering::SeqCst);
            assert_eq!(self.open.fetch_add(1, Ordering::SeqCst), 0, "two questions are open");
            let said = self.says.lock().unwrap().recv().unwrap();
            self.open.fetch_sub(1, Ordering::SeqCst);
            said
        }
    }

    #[test]
    fn a_yes_is_good_for_one_signature_or_for_15_minutes_for_the_same_program() {
        for (how, questions) in [(Confirmation::Never, 0), (Confirmation::Each, 3), (Confirmation::For15Minutes, 2)] {
            let (person, say) = Person::new();
            let confirmations = Confirmations::default();
            (0..questions).for_each(|_| say.send(true).unwrap());
            for process in [1, 2] {
                assert!(confirmations.confirm(&person, how, &wanted(process, 7)), "{how}");
            }
            assert!(confirmations.confirm(&person, how, &wanted(1, 8)), "{how}: another key");
            assert_eq!(person.was_asked(), questions, "{how}");
        }
        let mut state = State::default();
        let now = Moment::now();
        state.remember(Confirmation::For15Minutes, &wanted(1, 7), true, now);
        let said = |wanted, after| state.said(Confirmation::For15Minutes, &wanted, now.after(after));
        assert_eq!(said(wanted(2, 7), YES - Duration::from_secs(1)), Some(true));
        assert_eq!(said(wanted(2, 7), YES), None);
        assert_eq!(said(Wanted { executable: Some("/usr/bin/wget".into()), ..wanted(1, 7) }, NO), None);
        assert_eq!(
            state.said(Confirmation::Each, &wanted(1, 7), now),
            None,
            "the owner wants to be asked each time now"
        );
    }

    #[test]
    fn a_no_is_good_for_10_seconds_for_the_same_process_and_key() {
        for how in [Confirmation::Each, Confirmation::For15Minutes] {
            let mut state = State::default();
            let now = Moment::now();
            state.remember(how, &wanted(1, 7), false, now);
            let said = |wanted, after| state.said(how, &wanted, now.after(after));
            assert_eq!(said(wanted(1, 7), NO - Duration::from_secs(1)), Some(false));
            for (other, after) in [(wanted(1, 7), NO), (wanted(2, 7), Duration::ZERO), (wanted(1, 8), Duration::ZERO)] {
                assert_eq!(said(other, after), None, "{after:?}");
            }
        }
    }

    #[test]
    fn one_question_is_open_at_a_time_and_few_wait_for_it() {
        let (person, say) = Person::new();
        let confirmations = Confirmations::default();
        let (confirmed, answers) = channel();
        thread::scope(|threads| {
            let ask = |process| {
                let (person, confirmations, confirmed) = (&person, &confirmations, confirmed.clone());
                threads.spawn(move || {
                    confirmed.send(confirmations.confirm(person, Confirmation::Each, &wanted(process, 7))).unwrap();
                });
            };
            // The first asks, and the others wait until one gets a no at once
            (0..=MOST_WAITING as u32 + 1).for_each(ask);
            assert!(!answers.recv().unwrap());
            for _ in 0..=MOST_WAITING {
                say.send(true).unwrap();
                assert!(answers.recv().unwrap());
            }
        });
        assert_eq!(person.was_asked(), MOST_WAITING + 1);
    }
}
