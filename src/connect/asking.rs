//! Asking over tokio: how a selector answers the connections of one connector, whichever TLS library makes them.
//!
//! Nobody is asked, nothing unlocked and nothing read on an executor's thread; nor do those who wait for a person take the
//! threads for blocking from each other.

use std::io;
use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;

use super::connection::ConnectError;
use super::question::{Part, Question, Questions};
use super::unlocking::Unlock;
use crate::error::Error;
use crate::request::{CertificateRequest, Target};
use crate::select::selector::{Prepared, Selector};

/// Questions for whose answers threads wait at once, in the whole process: some of those that a runtime has for blocking,
/// which are 512 unless it is told otherwise.
static SELECTING: Semaphore = Semaphore::const_new(128);

/// Has a selector answer on tokio's blocking threads.
#[derive(Debug)]
pub(super) struct Asking {
    selector: Arc<Selector>,
    questions: Questions,
    /// Of all who need the vault one asks for its password.
    unlocking: Arc<Mutex<()>>,
}

impl Asking {
    pub(super) fn new(selector: Arc<Selector>) -> Self {
        Self { selector, questions: Questions::default(), unlocking: Arc::default() }
    }

    /// Who answers.
    pub(super) fn selector(&self) -> &Arc<Selector> {
        &self.selector
    }

    /// Has the selector answer a request, or takes over what it answers another task that asked the same.
    pub(super) async fn select(&self, target: &Target, request: &CertificateRequest) -> Result<Prepared, ConnectError> {
        loop {
            let mut waiting = match self.questions.join(target, request) {
                Part::Waits(waiting) => waiting,
                Part::Asks(question) => {
                    let answer = match self.unasked(target, request).await {
                        Ok(None) => return self.ask(target, request, question).await,
                        Ok(Some(prepared)) => Ok(prepared),
                        Err(ConnectError::Selection(error)) => Err(error),
                        Err(error) => return Err(error),
                    };
                    question.close(&answer);
                    return answer.map_err(ConnectError::Selection);
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
                return answer.map_err(ConnectError::Selection);
            }
        }
    }

    /// What nobody has to be asked for waits for nobody, however many are asked.
    async fn unasked(&self, target: &Target, request: &CertificateRequest) -> Result<Option<Prepared>, ConnectError> {
        let (target, request) = (target.clone(), request.clone());
        self.blocking(move |selector| selector.select_known(&target, &request)).await
    }

    async fn ask(
        &self,
        target: &Target,
        request: &CertificateRequest,
        question: Question,
    ) -> Result<Prepared, ConnectError> {
        let permit = SELECTING.acquire().await.map_err(|error| ConnectError::unsent(io::Error::other(error)))?;
        let (target, request) = (target.clone(), request.clone());
        let answered = self.blocking(move |selector| {
            let _permit = permit;
            let answer = selector.select_with(&target, &request, &[], || question.asks());
            question.close(&answer);
            answer
        });
        answered.await
    }

    /// Unlocks the vault, and looks again. Whoever comes while it is being unlocked finds it open.
    pub(super) async fn unlock(&self, before: &Prepared, unlock: Unlock) -> Result<Prepared, ConnectError> {
        let turn = self.unlocking.clone().lock_owned().await;
        let before = before.clone();
        let unlocked = self.blocking(move |selector| {
            let _turn = turn;
            unlock(selector)?;
            selector.refresh(&before)
        });
        unlocked.await
    }

    /// Runs what may block where it may.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Selector) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, ConnectError> {
        let selector = self.selector.clone();
        match spawn_blocking(move || work(&selector)).await {
            Ok(done) => done.map_err(ConnectError::Selection),
            Err(error) => Err(ConnectError::unsent(io::Error::other(error))),
        }
    }
}
