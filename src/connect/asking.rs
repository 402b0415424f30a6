//! Asking over tokio: how a selector answers the connections of one connector, whichever TLS library makes them.
//!
//! Asking a person, unlocking the vault, and reading the store if it has changed, never happen on a thread of the executor. Tasks that
//! wait for a person do not use up the threads for blocking work.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;

use crate::connect::error::Error;
use crate::connect::joint::{JointQuestion, JointQuestions, Part};
use crate::connect::unlocking::Unlock;
use crate::error;
use crate::request::{CertificateRequest, Target};
use crate::select::prepared::Prepared;
use crate::select::selector::Selector;

/// How many threads may wait for answers of people at once, in the whole process: some of those that a runtime has for blocking
/// work, which are 512 by default.
static SELECTING: Semaphore = Semaphore::const_new(128);

/// Lets a selector answer on tokio's blocking threads.
#[derive(Debug)]
pub(super) struct Asking {
    selector: Arc<Selector>,
    questions: JointQuestions,
    /// Only one of the tasks that need the vault asks for its password.
    unlocking: Arc<Mutex<()>>,
}

impl Asking {
    pub(super) fn new(selector: Arc<Selector>) -> Self {
        Self { selector, questions: JointQuestions::default(), unlocking: Arc::default() }
    }

    /// The selector that answers.
    pub(super) fn selector(&self) -> &Arc<Selector> {
        &self.selector
    }

    /// Lets the selector answer a request, or takes over its answer to another task that asks the same.
    pub(super) async fn select(&self, target: &Target, request: &CertificateRequest) -> Result<Prepared, Error> {
        loop {
            let mut waiting = match self.questions.join(target, request) {
                Part::Waits(waiting) => waiting,
                Part::Asks(question) => {
                    let answer = match self.unasked(target, request).await {
                        Ok(None) => return self.ask(target, request, question).await,
                        Ok(Some(prepared)) => Ok(prepared),
                        Err(Error::Selection(error)) => Err(error),
                        Err(error) => return Err(error),
                    };
                    question.close(&answer);
                    return answer.map_err(Error::Selection);
                }
            };
            if waiting.is_asked().await {
                let to = target.destination().clone();
                let wait = move |selector: &Selector| {
                    selector.waits(&to);
                    Ok(())
                };
                self.blocking(wait).await?;
            }
            if let Some(answer) = waiting.answer().await {
                return answer.map_err(Error::Selection);
            }
        }
    }

    /// An answer that needs no person does not wait for one, however many people are being asked.
    async fn unasked(&self, target: &Target, request: &CertificateRequest) -> Result<Option<Prepared>, Error> {
        let (target, request) = (target.clone(), request.clone());
        self.blocking(move |selector| selector.select_known(&target, &request)).await
    }

    async fn ask(
        &self,
        target: &Target,
        request: &CertificateRequest,
        question: JointQuestion,
    ) -> Result<Prepared, Error> {
        let permit = SELECTING.acquire().await.map_err(Error::shut_down)?;
        let (target, request) = (target.clone(), request.clone());
        let answered = self.blocking(move |selector| {
            let _permit = permit;
            let answer = selector.select_with(&target, &request, &[], || question.asks());
            question.close(&answer);
            answer
        });
        answered.await
    }

    /// Unlocks the vault and looks the identity up again. A task that comes meanwhile waits, and finds the vault unlocked.
    pub(super) async fn unlock(&self, before: &Prepared, unlock: Unlock) -> Result<Prepared, Error> {
        let turn = self.unlocking.clone().lock_owned().await;
        let before = before.clone();
        let unlocked = self.blocking(move |selector| {
            let _turn = turn;
            unlock(selector)?;
            selector.refresh(&before)
        });
        unlocked.await
    }

    /// Runs what may block on a thread where it may.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Selector) -> Result<T, error::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let selector = self.selector.clone();
        match spawn_blocking(move || work(&selector)).await {
            Ok(done) => done.map_err(Error::Selection),
            Err(error) => Err(Error::shut_down(error)),
        }
    }
}

/// Limits how long something may take.
pub(super) async fn in_time<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> io::Result<T> {
    let Some(limit) = limit else { return Ok(work.await) };
    let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no TLS handshake within {limit:?}"));
    ::tokio::time::timeout(limit, work).await.map_err(timed_out)
}
