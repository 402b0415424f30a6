//! The connections of one pool.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connect::opened::Opened;
use crate::error::Error;
use crate::select::selector::Selector;

/// Connections of one pool that are tracked at most; a client begins a new pool then.
const MAX_OPEN: usize = 1024;

/// The most connections that are checked on a thread of the executor, if the store has not changed: each takes some microseconds.
const MAX_AT_ONCE: usize = 16;

/// Connections of one pool that were ended by alerts or refusals: the last ones are kept.
const MAX_ENDED: usize = 16;

/// The connections that were opened through one connector.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Vec<Opened>>>);

impl Connections {
    pub(super) fn add(&self, opened: Opened) {
        self.locked().push(opened);
    }

    /// Whether this is the same list.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether every open connection would be opened with the same answers now. If the store has changed, reads it, on tokio's blocking
    /// threads.
    ///
    /// # Errors
    /// Those of [reading](crate::Store#errors).
    pub(super) async fn may_be_reused(&self, selector: &Arc<Selector>) -> Result<bool, Error> {
        let (selector, open) = (selector.clone(), self.open());
        if open.is_empty() {
            return Ok(true);
        }
        if open.len() > MAX_OPEN {
            return Ok(false);
        }
        if open.len() <= MAX_AT_ONCE {
            let unchanged = open.iter().map(|opened| opened.may_be_reused_unchanged(&selector));
            if let Some(may_be_reused) = all(unchanged)? {
                return Ok(may_be_reused);
            }
        }
        let may_be_reused = move || {
            for opened in &open {
                if !opened.may_be_reused(&selector, opened.destination())? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        // A runtime that is being shut down serves no more requests
        ::tokio::task::spawn_blocking(may_be_reused).await.unwrap_or(Ok(false))
    }

    /// Those whose servers accepted what they were sent, each once.
    pub(super) fn take_successes(&self) -> Vec<Opened> {
        let accepted = |one: &&Opened| one.selection().is_some() && one.alert().is_none() && one.take_success();
        self.locked().iter().filter(accepted).cloned().collect()
    }

    /// All that are known.
    pub(super) fn all(&self) -> Vec<Opened> {
        self.locked().clone()
    }

    /// Those that alerts or refusals ended.
    pub(super) fn ended(&self) -> Vec<Opened> {
        self.locked().iter().filter(|one| one.is_ended()).cloned().collect()
    }

    /// The one that was opened last, even if it is closed.
    pub(super) fn last(&self) -> Option<Opened> {
        self.locked().last().cloned()
    }

    /// Forgets those that have ended like that so far.
    pub(super) fn forget_ended(&self) {
        self.locked().retain(|one| !one.is_ended());
    }

    /// Those that are open. Of the others, the last that alerts or refusals ended are kept: a request may be about to look for
    /// them.
    fn open(&self) -> Vec<Opened> {
        let mut all = self.locked();
        let mut too_many = all.iter().filter(|one| one.is_ended()).count().saturating_sub(MAX_ENDED);
        all.retain(|one| match one.is_ended() {
            true if too_many > 0 => {
                too_many -= 1;
                false
            }
            true => true,
            false => one.is_open(),
        });
        all.iter().filter(|one| !one.is_ended()).cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Opened>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether all of them are true; `None` if that is not known.
fn all(mut known: impl Iterator<Item = Result<Option<bool>, Error>>) -> Result<Option<bool>, Error> {
    known.try_fold(Some(true), |all, one| Ok(if all == Some(true) { one? } else { all }))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::connect::opened::Open;
    use crate::request::Destination;

    fn add(connections: &Connections) -> Open {
        let opened = Opened::unprepared(Destination::new("a.example", 443).unwrap().into(), 0);
        connections.add(opened.clone());
        Open(opened)
    }

    fn end(open: &Open) {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::AccessDenied);
        open.0.note_error(&io::Error::other(alert));
    }

    #[test]
    fn closed_connections_are_forgotten_and_those_ended_by_an_alert_are_kept_for_a_while() {
        let connections = Connections::default();
        let (one, other) = (add(&connections), add(&connections));
        assert_eq!(connections.open().len(), 2);
        drop(one);
        assert_eq!((connections.open().len(), connections.locked().len()), (1, 1));
        end(&other);
        drop(other);
        assert_eq!((connections.open().len(), connections.ended().len()), (0, 1));
        for _ in 0..2 * MAX_ENDED {
            end(&add(&connections));
        }
        assert_eq!((connections.open().len(), connections.ended().len()), (0, MAX_ENDED));
        connections.forget_ended();
        assert!(connections.locked().is_empty());
    }
}
