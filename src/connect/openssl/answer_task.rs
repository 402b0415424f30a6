//! Answering a request on a task of its own, for streams of tokio.

use std::sync::Arc;
use std::task::Waker;

use tokio::task::JoinHandle;

use super::answer::{Continuation, Pending, STEPS, Step};
use crate::connect::asking::Asking;
use crate::connect::error::Error;
use crate::select::selector::Selector;

/// How a stream of tokio gets its answers.
pub(super) struct AnswerTask {
    pub(super) asking: Arc<Asking>,
    /// An answer that is being given, by a task of its own: others wait for it too, however seldom this stream is polled.
    pub(super) answer: Option<JoinHandle<Result<Continuation, Error>>>,
    /// The tasks that wait for it.
    pub(super) waiting: Vec<Waker>,
}

impl AnswerTask {
    pub(super) fn new(asking: Arc<Asking>) -> Self {
        Self { asking, answer: None, waiting: Vec::new() }
    }
}

/// Nobody needs the answer any more. If a person is being asked for it, their answer is still remembered.
impl Drop for AnswerTask {
    fn drop(&mut self) {
        if let Some(answer) = &self.answer {
            answer.abort();
        }
    }
}

/// Answers a request without blocking, together with the other tasks that have the same question.
pub(super) async fn answer(asking: Arc<Asking>, pending: Arc<Pending>) -> Result<Continuation, Error> {
    let on = pending.clone();
    let mut step = asking.blocking(move |_| on.begin()).await?;
    for _ in 0..STEPS {
        let on = pending.clone();
        step = match step {
            Step::Select => {
                let selected = asking.select(&pending.target, &pending.request).await?;
                asking.blocking(move |_| on.selected(selected)).await?
            }
            Step::Unlock(before) => {
                let unlocked = asking.unlock(&before, Selector::unlock_fully).await?;
                asking.blocking(move |_| on.unlocked(unlocked)).await?
            }
            Step::Done(continuation) => return Ok(continuation),
        };
    }
    Ok(pending.end(step)?)
}
