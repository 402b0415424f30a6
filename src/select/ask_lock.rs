//! One question at a time: of the threads and processes that wait for the same answer, only one asks.
//!
//! The one that asks holds a lock on a file in the session's directory. If its process dies, the system releases the lock and
//! the next one asks. The answer is written to that file, so that the waiting ones use it even if it is not remembered. A
//! number that grows with every answer tells an answer that was given during the wait from an older one. The file keeps the
//! last answers to several questions.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::certificate::Fingerprint;
use crate::error::Error;
use crate::session::Session;

/// A SHA-256 over everything that distinguishes one question from another.
pub(super) type QuestionId = [u8; 32];

/// A person's answer to a question, as far as it concerns those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Identity(Fingerprint),
    None,
    Abort,
}

/// Bytes of a record: a number, the question, the kind of answer, the fingerprint.
const RECORD: usize = 8 + 32 + 1 + 32;

/// How many answers a file keeps.
const KEPT: usize = 16;

/// An answer, as it is in the file.
type Record = (u64, QuestionId, Said);

/// The right to ask, until it is dropped.
pub(super) struct AskLock {
    file: File,
    path: PathBuf,
    question: QuestionId,
    before: u64,
}

impl AskLock {
    /// Waits for the lock, and calls `waiting` if another has it. There are 65,536 files, one for each `slot`; questions that
    /// share a slot are asked one after the other.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be created or locked.
    pub(super) fn wait(
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

    /// The answer that another got to the same question while this one waited for the lock.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn heard(&self) -> Result<Option<Said>, Error> {
        let records = read(&self.file).map_err(|source| self.failed(source))?;
        let is_new = |(number, question, _): &Record| *number > self.before && *question == self.question;
        Ok(records.into_iter().flatten().find(is_new).map(|(_, _, said)| said))
    }

    /// Tells those who wait. If that fails, they look into the store or ask again.
    pub(super) fn tell(&self, said: Said) {
        let Ok(records) = read(&self.file) else { return };
        let (kind, fingerprint) = match &said {
            Said::Identity(fingerprint) => (b'i', *fingerprint.as_bytes()),
            Said::None => (b'n', [0; 32]),
            Said::Abort => (b'a', [0; 32]),
        };
        let number = last(&records).saturating_add(1).to_be_bytes();
        let record = [&number[..], &self.question, &[kind], &fingerprint].concat();
        let _ = self.file.write_all_at(&record, (self.position(&records) * RECORD) as u64);
    }

    /// Where the answer is written: over the last one to the same question, or else over the oldest.
    fn position(&self, records: &[Option<Record>]) -> usize {
        let same = records.iter().position(|record| record.is_some_and(|(_, question, _)| question == self.question));
        let age = |position: &usize| records.get(*position).copied().flatten().map_or(0, |(number, ..)| number);
        same.or_else(|| (0..KEPT).min_by_key(age)).unwrap_or(0)
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}

/// The records of the file; `None` for one that is empty or cannot be parsed.
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
    fn those_who_waited_get_the_answer_and_those_who_come_later_do_not() {
        let home = tempfile::tempdir().unwrap();
        let session = Session::in_directory(home.path().join("run"));
        let ask = |question| AskLock::wait(&session, 0, question, || ()).unwrap();
        let first = ask(QUESTION);
        assert_eq!(first.heard().unwrap(), None);
        let (waits, waiting) = mpsc::channel();
        thread::scope(|scope| {
            let wait = |question: QuestionId| {
                let waits = waits.clone();
                let session = &session;
                scope.spawn(move || {
                    let lock = AskLock::wait(session, 0, question, || waits.send(()).unwrap()).unwrap();
                    lock.heard().unwrap()
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
    fn an_answer_to_one_question_does_not_replace_one_to_another() {
        let home = tempfile::tempdir().unwrap();
        let session = Session::in_directory(home.path().join("run"));
        let ask = |question| AskLock::wait(&session, 0, question, || ()).unwrap();
        // More questions than the file keeps: the oldest answers are overwritten
        for number in 0..=KEPT as u8 {
            let lock = ask([number; 32]);
            lock.tell(Said::None);
            lock.tell(Said::Abort);
        }
        for number in 0..=KEPT as u8 {
            let waited = AskLock { before: 0, ..ask([number; 32]) };
            assert_eq!(waited.heard().unwrap(), (number > 0).then_some(Said::Abort), "{number}");
        }
    }

    #[test]
    fn without_an_answer_nothing_is_left_for_those_who_wait() {
        let home = tempfile::tempdir().unwrap();
        let session = Session::in_directory(home.path().join("run"));
        let lock = AskLock::wait(&session, 0, QUESTION, || ()).unwrap();
        std::fs::write(&lock.path, b"not a record").unwrap();
        assert_eq!(lock.heard().unwrap(), None);
        lock.tell(Said::Abort);
        drop(lock);
        assert_eq!(AskLock::wait(&session, 0, QUESTION, || ()).unwrap().heard().unwrap(), None);
    }
}
