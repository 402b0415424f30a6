//! Turns: of all who wait for one answer, in this process and in others, one asks.
//!
//! Whoever has the turn holds a lock on a file in the session's directory, which the system takes back from a process that
//! dies: then the next one asks. Whoever got an answer leaves it in that file, so that those who have waited for it take it
//! even when nothing was to be remembered. A number that grows with every answer tells an answer that was given while one
//! waited from an older one. The file keeps the last answers to several questions: those who wait for one and those who
//! wait for another take turns in no particular order.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::certificate::Fingerprint;
use crate::error::Error;
use crate::session::Session;

/// What is asked: a SHA-256 over everything that tells one question from another.
pub(crate) type QuestionId = [u8; 32];

/// What a person said to a question, as far as it concerns all who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Identity(Fingerprint),
    None,
    Abort,
}

/// A number, the question, the kind of answer, the fingerprint.
const RECORD: usize = 8 + 32 + 1 + 32;

/// Answers kept in one file.
const KEPT: usize = 16;

/// An answer, as it stands in the file.
type Record = (u64, QuestionId, Said);

/// The right to ask, until it is dropped.
pub(crate) struct Turn {
    file: File,
    path: PathBuf,
    question: QuestionId,
    before: u64,
}

impl Turn {
    /// Waits for the turn; `waiting` is called when it cannot be had at once. There are 65,536 files, told apart by `slot`: two
    /// scopes that share one are asked about one after the other.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made or locked.
    pub(crate) fn wait(
        session: &Session,
        slot: u16,
        question: QuestionId,
        waiting: impl FnOnce(),
    ) -> Result<Self, Error> {
        let path = session.directory()?.join(format!("asking-{slot:04x}"));
        let failed = |source| Error::Io { path: path.clone(), source };
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(failed)?;
        let before = last(&read(&file).map_err(failed)?);
        if file.try_lock().is_err() {
            waiting();
            file.lock().map_err(failed)?;
        }
        Ok(Self { file, path, question, before })
    }

    /// What was said to the same question while this turn was waited for.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn heard(&self) -> Result<Option<Said>, Error> {
        let records = read(&self.file).map_err(|source| self.failed(source))?;
        let is_new = |(number, question, _): &Record| *number > self.before && *question == self.question;
        Ok(records.into_iter().flatten().find(is_new).map(|(_, _, said)| said))
    }

    /// Tells those who wait. If that fails they look into the store, or ask again.
    pub(crate) fn tell(&self, said: Said) {
        let Ok(records) = read(&self.file) else { return };
        let (kind, fingerprint) = match &said {
            Said::Identity(fingerprint) => (b'i', *fingerprint.as_bytes()),
            Said::None => (b'n', [0; 32]),
            Said::Abort => (b'a', [0; 32]),
        };
        let number = last(&records).saturating_add(1).to_be_bytes();
        let record = [&number[..], &self.question, &[kind], &fingerprint].concat();
        let _ = self.file.write_all_at(&record, (self.place(&records) * RECORD) as u64);
    }

    /// Where the answer goes: in place of the last one to the same question, or else of the oldest.
    fn place(&self, records: &[Option<Record>]) -> usize {
        let same = records.iter().position(|record| record.is_some_and(|(_, question, _)| question == self.question));
        let age = |place: &usize| records.get(*place).copied().flatten().map_or(0, |(number, ..)| number);
        same.or_else(|| (0..KEPT).min_by_key(age)).unwrap_or(0)
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}

/// What stands in the file, in its places; nothing where one is empty or not ours.
fn read(mut file: &File) -> io::Result<Vec<Option<Record>>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take((KEPT * RECORD) as u64).read_to_end(&mut bytes)?;
    Ok(bytes.chunks_exact(RECORD).map(parse).collect())
}

/// The number of the last answer.
fn last(records: &[Option<Record>]) -> u64 {
    records.iter().flatten().map(|(number, ..)| *number).max().unwrap_or(0)
}

fn parse(record: &[u8]) -> Option<Record> {
    let (number, rest) = record.split_first_chunk::<8>()?;
    let (question, rest) = rest.split_first_chunk::<32>()?;
    let (kind, fingerprint) = rest.split_first()?;
    let said = match kind {
        b'i' => Said::Identity(Fingerprint::from_bytes(fingerprint.try_into().ok()?)),
        b'n' => Said::None,
        b'a' => Said::Abort,
        _ => return None,
    };
    Some((u64::from_be_bytes(*number), *question, said))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const QUESTION: QuestionId = [7; 32];

    #[test]
    fn whoever_waited_hears_what_was_said_and_whoever_comes_later_does_not() {
        let home = tempfile::tempdir().unwrap();
        let session = Session::in_directory(home.path().join("run"));
        let ask = |question| Turn::wait(&session, 0, question, || ()).unwrap();
        let first = ask(QUESTION);
        assert_eq!(first.heard().unwrap(), None);
        let (waits, waiting) = mpsc::channel();
        thread::scope(|scope| {
            let wait = |question: QuestionId| {
                let waits = waits.clone();
                let session = &session;
                scope.spawn(move || {
                    let turn = Turn::wait(session, 0, question, || waits.send(()).unwrap()).unwrap();
                    turn.heard().unwrap()
                })
            };
            let (same, other) = (wait(QUESTION), wait([8; 32]));
            waiting.recv().unwrap();
            waiting.recv().unwrap();
            let said = Said::Identity(Fingerprint::from_der(b"leaf"));
            first.tell(said);
            drop(first);
            assert_eq!(same.join().unwrap(), Some(said));
            assert_eq!(other.join().unwrap(), None);
        });
        assert_eq!(ask(QUESTION).heard().unwrap(), None);
    }

    #[test]
    fn an_answer_to_one_question_does_not_hide_that_to_another() {
        let home = tempfile::tempdir().unwrap();
        let session = Session::in_directory(home.path().join("run"));
        let ask = |question| Turn::wait(&session, 0, question, || ()).unwrap();
        // More questions than are kept: the oldest answers go
        for number in 0..=KEPT as u8 {
            let turn = ask([number; 32]);
            turn.tell(Said::None);
            turn.tell(Said::Abort);
        }
        for number in 0..=KEPT as u8 {
            let waited = Turn { before: 0, ..ask([number; 32]) };
            assert_eq!(waited.heard().unwrap(), (number > 0).then_some(Said::Abort), "{number}");
        }
    }

    #[test]
    fn whoever_had_the_turn_and_said_nothing_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let session = Session::in_directory(home.path().join("run"));
        let turn = Turn::wait(&session, 0, QUESTION, || ()).unwrap();
        std::fs::write(&turn.path, b"not a record").unwrap();
        assert_eq!(turn.heard().unwrap(), None);
        turn.tell(Said::Abort);
        drop(turn);
        assert_eq!(Turn::wait(&session, 0, QUESTION, || ()).unwrap().heard().unwrap(), None);
    }
}
