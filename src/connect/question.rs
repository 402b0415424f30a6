//! Open questions: of all tasks that wait for the answer to one, a single one waits on a thread.
//!
//! Otherwise a few hundred of them would take every thread that tokio has for blocking, and connections that nobody has to
//! be asked about would wait for a person too. [`crate::select::ask_lock`] does the same among processes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch::{Receiver, Sender, channel};

use crate::error::Error;
use crate::request::{CertificateRequest, Target};
use crate::select::selector::Prepared;

/// How far the answer to a question is.
#[derive(Clone, Debug)]
enum Stage {
    /// It may turn out that nobody has to be asked.
    Open,
    /// A person is being asked.
    Asking,
    /// The answer, for all who wait.
    Answered(Box<Prepared>),
    /// The person does not want to answer any of them.
    Aborted(String),
    /// Whoever is next looks for the answer.
    Failed,
}

/// The questions that are open.
#[derive(Debug, Default)]
pub(super) struct Questions(Arc<Mutex<Vec<Open>>>);

#[derive(Debug)]
struct Open {
    target: Target,
    request: CertificateRequest,
    stage: Weak<Sender<Stage>>,
}

/// What a task has to do with a question.
pub(super) enum Part {
    /// It looks for the answer.
    Asks(Question),
    /// Another does.
    Waits(Waiting),
}

impl Questions {
    /// The part of one more task that has this question.
    pub(super) fn join(&self, target: &Target, request: &CertificateRequest) -> Part {
        let mut open = locked(&self.0);
        // Whoever gave up without an answer has let go of it
        open.retain(|question| question.stage.strong_count() > 0);
        let same = open.iter().find(|question| question.target == *target && question.request == *request);
        if let Some(stage) = same.and_then(|question| question.stage.upgrade()) {
            return Part::Waits(Waiting(stage.subscribe()));
        }
        let stage = Arc::new(channel(Stage::Open).0);
        open.push(Open { target: target.clone(), request: request.clone(), stage: Arc::downgrade(&stage) });
        Part::Asks(Question { open: self.0.clone(), stage })
    }
}

/// A question to be answered.
pub(super) struct Question {
    open: Arc<Mutex<Vec<Open>>>,
    stage: Arc<Sender<Stage>>,
}

impl Question {
    /// Tells those who wait that a person is being asked.
    pub(super) fn asks(&self) {
        self.stage.send_replace(Stage::Asking);
    }

    /// Tells those who wait what came of it. Whoever comes later has a question of their own.
    pub(super) fn close(self, answer: &Result<Prepared, Error>) {
        locked(&self.open).retain(|question| !std::ptr::eq(question.stage.as_ptr(), Arc::as_ptr(&self.stage)));
        self.stage.send_replace(match answer {
            Ok(prepared) => Stage::Answered(Box::new(prepared.clone())),
            Err(Error::Aborted { destination }) => Stage::Aborted(destination.clone()),
            Err(_) => Stage::Failed,
        });
    }
}

/// A question that another task has answered.
pub(super) struct Waiting(Receiver<Stage>);

impl Waiting {
    /// Waits until a person is being asked; not for long if nobody is.
    pub(super) async fn is_asked(&mut self) -> bool {
        let stage = self.0.wait_for(|stage| !matches!(stage, Stage::Open)).await;
        stage.is_ok_and(|stage| matches!(*stage, Stage::Asking))
    }

    /// Waits for the answer; `None` when none came that does for others.
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

    fn question(questions: &Questions, port: u16) -> Part {
        let target = Target::new(Destination::new("a.example", port).unwrap());
        questions.join(&target, &CertificateRequest::new(&[], &[]))
    }

    #[test]
    fn one_asks_and_whoever_comes_after_the_answer_asks_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let questions = Questions::default();
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
    fn whoever_gives_up_leaves_the_question_to_the_next() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let questions = Questions::default();
        let Part::Asks(first) = question(&questions, 1) else { panic!("nobody else asks") };
        let Part::Waits(mut waiting) = question(&questions, 1) else { panic!("asked twice") };
        drop(first);
        assert!(!runtime.block_on(waiting.is_asked()));
        assert!(runtime.block_on(waiting.answer()).is_none());
        assert!(matches!(question(&questions, 1), Part::Asks(_)));
    }
}
