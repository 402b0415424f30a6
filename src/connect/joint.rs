//! Questions that several tasks have in common: only one of the tasks that wait for an answer waits on a thread.
//!
//! Otherwise a few hundred tasks would take every thread that tokio has for blocking work, and connections that need no
//! person would wait for one too. [`crate::select::ask_lock`] does the same among processes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch::{Receiver, Sender, channel};

use crate::error::Error;
use crate::request::{CertificateRequest, Target};
use crate::select::prepared::Prepared;

/// The state of a question.
#[derive(Clone, Debug)]
enum Stage {
    /// It is not known yet whether a person has to be asked.
    Open,
    /// A person is being asked.
    Asking,
    /// The answer, for all who wait.
    Answered(Box<Prepared>),
    /// The person aborted, for all who wait.
    Aborted(String),
    /// There is no answer; the next task looks for one.
    Failed,
}

/// The open questions of a connector.
#[derive(Debug, Default)]
pub(super) struct JointQuestions(Arc<Mutex<Vec<Open>>>);

#[derive(Debug)]
struct Open {
    target: Target,
    request: CertificateRequest,
    stage: Weak<Sender<Stage>>,
}

/// The part of a task in a question.
pub(super) enum Part {
    /// It has to find the answer.
    Asks(JointQuestion),
    /// Another task does.
    Waits(Waiting),
}

impl JointQuestions {
    /// Adds a task that has this question, and returns its part.
    pub(super) fn join(&self, target: &Target, request: &CertificateRequest) -> Part {
        let mut open = locked(&self.0);
        // A task that gave up has dropped its question
        open.retain(|question| question.stage.strong_count() > 0);
        let same = open.iter().find(|question| question.target == *target && question.request == *request);
        if let Some(stage) = same.and_then(|question| question.stage.upgrade()) {
            return Part::Waits(Waiting(stage.subscribe()));
        }
        let stage = Arc::new(channel(Stage::Open).0);
        open.push(Open { target: target.clone(), request: request.clone(), stage: Arc::downgrade(&stage) });
        Part::Asks(JointQuestion { open: self.0.clone(), stage })
    }
}

/// A question that this task has to answer.
pub(super) struct JointQuestion {
    open: Arc<Mutex<Vec<Open>>>,
    stage: Arc<Sender<Stage>>,
}

impl JointQuestion {
    /// Tells those who wait that a person is being asked.
    pub(super) fn asks(&self) {
        self.stage.send_replace(Stage::Asking);
    }

    /// Tells those who wait the answer. A task that comes later opens a new question.
    pub(super) fn close(self, answer: &Result<Prepared, Error>) {
        locked(&self.open).retain(|question| !std::ptr::eq(question.stage.as_ptr(), Arc::as_ptr(&self.stage)));
        self.stage.send_replace(match answer {
            Ok(prepared) => Stage::Answered(Box::new(prepared.clone())),
            Err(Error::Aborted { destination }) => Stage::Aborted(destination.clone()),
            Err(_) => Stage::Failed,
        });
    }
}

/// A question that another task answers.
pub(super) struct Waiting(Receiver<Stage>);

impl Waiting {
    /// Waits until a person is being asked, or it is clear that none is. Returns whether one is.
    pub(super) async fn is_asked(&mut self) -> bool {
        let stage = self.0.wait_for(|stage| !matches!(stage, Stage::Open)).await;
        stage.is_ok_and(|stage| matches!(*stage, Stage::Asking))
    }

    /// Waits for the answer; `None` when there is none that holds for this task.
    pub(super) async fn answer(&mut self) -> Option<Result<Prepared, Error>> {
        let stage = self.0.wait_for(|stage| !matches!(stage, Stage::Open | Stage::Asking)).await.ok()?.clone();
        match stage {
            Stage::Answered(prepared) => Some(Ok(*prepared)),
            Stage::Aborted(destination) => Some(Err(Error::Aborted { destination })),
            Stage::Open | Stage::Asking | Stage::Failed => None,
        }
    }
}

fn locked(open: &Mutex<Vec<Open>>) -> MutexGuard<'_, Vec<Open>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Destination;

    fn question(questions: &JointQuestions, port: u16) -> Part {
        let target = Target::new(Destination::new("a.example", port).unwrap());
        questions.join(&target, &CertificateRequest::new(&[], &[]))
    }

    #[test]
    fn one_task_asks_and_a_task_that_comes_after_the_answer_asks_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let questions = JointQuestions::default();
        let Part::Asks(first) = question(&questions, 1) else { panic!("nobody else asks") };
        let Part::Asks(other) = question(&questions, 2) else { panic!("it is another question") };
        let Part::Waits(mut waiting) = question(&questions, 1) else { panic!("asked twice") };
        first.asks();
        assert!(runtime.block_on(waiting.is_asked()));
        first.close(&Err(Error::Aborted { destination: "a.example:1".to_owned() }));
        let answer = runtime.block_on(waiting.answer());
        assert!(matches!(answer, Some(Err(Error::Aborted { .. }))), "{answer:?}");
        assert!(matches!(question(&questions, 1), Part::Asks(_)));
        assert!(matches!(question(&questions, 2), Part::Waits(_)));
        drop(other);
    }

    #[test]
    fn a_task_that_gives_up_leaves_the_question_to_the_next() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let questions = JointQuestions::default();
        let Part::Asks(first) = question(&questions, 1) else { panic!("nobody else asks") };
        let Part::Waits(mut waiting) = question(&questions, 1) else { panic!("asked twice") };
        drop(first);
        assert!(!runtime.block_on(waiting.is_asked()));
        assert!(runtime.block_on(waiting.answer()).is_none());
        assert!(matches!(question(&questions, 1), Part::Asks(_)));
    }
}
