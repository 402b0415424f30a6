//! A program as chooser. It reads the question as JSON on stdin, and writes the answer as JSON to stdout; docs/chooser.md
//! describes both.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cardcase::Chooser;
use cardcase::Destination;
use cardcase::ask::{Considered, Question, Refused, Reply};
use cardcase::manage::{Lifetime, Mode};
use serde::{Deserialize, Serialize};

use crate::cleanup::Cleanup;
use crate::ui::json::{DestinationJson, IdentityJson};
use crate::ui::say;
use crate::ui::text::plain_json;
use cardcase::manage::version_name;

/// The longest answer, in bytes; a typical one has a few hundred.
const MAX_ANSWER: u64 = 64 << 10;

/// How long a person may take to answer. Other processes wait for the answer, so there is a limit.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// How often to check whether the program has ended, and how long its output may stay open after its end.
const A_MOMENT: Duration = Duration::from_millis(100);

/// The version of question and answer. It changes when a program that knows only this version would misread them.
const VERSION: u32 = 1;

/// Asks a program. As with `SSH_ASKPASS`, no shell reads its name, so it takes no arguments.
pub(crate) struct ProgramChooser {
    program: PathBuf,
    patience: Duration,
}

impl ProgramChooser {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, patience: PATIENCE }
    }

    fn ask(&self, question: &Question<'_>) -> Result<Reply, AnswerError> {
        let asked = serde_json::to_string(&QuestionJson::new(question)).map_err(AnswerError::Question)?;
        read_answer(&self.run(plain_json(&asked).into_bytes())?, question)
    }

    /// Runs the program, and returns what it wrote.
    fn run(&self, asked: Vec<u8>) -> Result<Vec<u8>, AnswerError> {
        let started = Command::new(&self.program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(AnswerError::Start)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program may answer without reading the question
            thread::spawn(move || drop(stdin.write_all(&asked)));
        }
        let output = child.stdout.take().map(read_all);
        let child = Arc::new(Mutex::new(child));
        let running = child.clone();
        let _end = Cleanup::new(move || end(&running));
        let output = output.ok_or(AnswerError::Silent)?;
        self.wait(&child, &output)
    }

    fn wait(&self, child: &Mutex<Child>, output: &Receiver<io::Result<Vec<u8>>>) -> Result<Vec<u8>, AnswerError> {
        let deadline = Instant::now() + self.patience;
        let mut written = None;
        loop {
            let ended = lock(child).try_wait().map_err(AnswerError::Output)?;
            match (ended, written.take()) {
                (Some(status), _) if !status.success() => return Err(AnswerError::Ended(status)),
                (Some(_), Some(bytes)) => return Ok(bytes),
                (Some(_), None) => {
                    return output.recv_timeout(A_MOMENT).map_err(|_| AnswerError::Open)?.map_err(AnswerError::Output);
                }
                (None, Some(bytes)) => {
                    written = Some(bytes);
                    thread::sleep(A_MOMENT / 10);
                }
                (None, None) => match output.recv_timeout(A_MOMENT) {
                    Ok(bytes) => written = Some(bytes.map_err(AnswerError::Output)?),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Err(AnswerError::Silent),
                },
            }
            if Instant::now() > deadline {
                return Err(AnswerError::Late(self.patience));
            }
        }
    }
}

impl Chooser for ProgramChooser {
    fn waiting(&self, destination: &Destination) {
        say::note(format_args!("waiting: another cardcase is asking about {destination}"));
    }

    fn choose(&self, question: &Question<'_>) -> Reply {
        self.ask(question).unwrap_or_else(|error| {
            say::warn(format_args!("the chooser {}: {error}", self.program.display()));
            Reply::Failed
        })
    }
}

/// Kills the program itself, unless it has ended; not its children.
fn end(child: &Mutex<Child>) {
    let mut child = lock(child);
    let _ = child.kill();
    let _ = child.wait();
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads to the end or the limit, on a thread of its own.
fn read_all(mut from: ChildStdout) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = from.by_ref().take(MAX_ANSWER + 1).read_to_end(&mut bytes).and_then(|read| match read as u64 {
            0..=MAX_ANSWER => Ok(bytes),
            _ => Err(io::Error::other(format!("it writes more than {MAX_ANSWER} bytes"))),
        });
        drop(sender.send(read));
    });
    receiver
}

/// Why there is no answer.
#[derive(Debug)]
enum AnswerError {
    Question(serde_json::Error),
    Start(io::Error),
    Output(io::Error),
    Ended(ExitStatus),
    Late(Duration),
    Open,
    Silent,
    Answer(serde_json::Error),
    NotOffered(String),
    NoLifetime,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Question(error) => write!(f, "the question cannot be written as JSON: {error}"),
            Self::Start(error) => write!(f, "it cannot be started: {error}"),
            Self::Output(error) => write!(f, "its answer cannot be read: {error}"),
            Self::Ended(status) => write!(f, "it failed, with {status}"),
            Self::Late(patience) => write!(f, "it did not answer within {} s, and was killed", patience.as_secs()),
            Self::Open => f.write_str("it ended, but another program still holds its output open"),
            Self::Silent => f.write_str("it wrote no answer"),
            Self::Answer(error) => write!(f, "its answer is not the JSON of docs/chooser.md: {error}"),
            Self::NotOffered(fingerprint) => write!(f, "it chose {fingerprint:?}, which is not a candidate"),
            Self::NoLifetime => {
                f.write_str("its answer lacks the \"lifetime\": \"once\", \"session\" or \"permanent\"")
            }
        }
    }
}

#[derive(Serialize)]
struct QuestionJson {
    version: u32,
    destination: DestinationJson,
    mode: String,
    request: RequestJson,
    visible: bool,
    candidates: Vec<CandidateJson>,
    unfit: Option<UnfitJson>,
    refused: Vec<RefusedJson>,
    lifetimes: Vec<String>,
}

#[derive(Serialize)]
struct RequestJson {
    authorities: Vec<String>,
    signature_schemes: Vec<String>,
    tls_version: Option<String>,
}

#[derive(Serialize)]
struct CandidateJson {
    #[serde(flatten)]
    identity: IdentityJson,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct UnfitJson {
    #[serde(flatten)]
    identity: IdentityJson,
    reasons: Vec<String>,
    text: String,
}

#[derive(Serialize)]
struct RefusedJson {
    identity: Option<String>,
    alert: Option<String>,
    text: String,
}

impl QuestionJson {
    fn new(question: &Question<'_>) -> Self {
        let request = question.request;
        let identity = |considered: &Considered| {
            IdentityJson::new(&considered.identity, &question.chain(considered), question.now)
        };
        let candidate = |candidate: &Considered| CandidateJson {
            identity: identity(candidate),
            warnings: candidate.warnings.iter().map(ToString::to_string).collect(),
        };
        let unfit = |unfit: &Considered| UnfitJson {
            identity: identity(unfit),
            reasons: unfit.reasons.iter().map(ToString::to_string).collect(),
            text: unfit.to_string(),
        };
        let refused = |refused: &Refused| RefusedJson {
            identity: refused.answer.fingerprint().map(|fingerprint| fingerprint.to_string()),
            alert: refused.refusal.alert_name(),
            text: refused.to_string(),
        };
        Self {
            version: VERSION,
            destination: DestinationJson::new(question.destination),
            mode: question.mode.to_string(),
            request: RequestJson {
                authorities: request.authorities.iter().map(ToString::to_string).collect(),
                signature_schemes: request.scheme_names(),
                tls_version: request.version.map(version_name),
            },
            visible: request.is_visible(),
            candidates: question.candidates.iter().map(candidate).collect(),
            unfit: question.unfit.map(unfit),
            refused: question.refused.iter().map(refused).collect(),
            lifetimes: lifetimes(question.mode).iter().map(ToString::to_string).collect(),
        }
    }
}

/// How long an answer may be remembered; empty where that is not asked.
fn lifetimes(mode: Mode) -> &'static [Lifetime] {
    match mode {
        Mode::Firefox => &[Lifetime::Once, Lifetime::Session, Lifetime::Permanent],
        Mode::Chrome => &[],
    }
}

#[derive(Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase", deny_unknown_fields)]
enum AnswerJson {
    Identity { fingerprint: String, lifetime: Option<LifetimeJson> },
    None { lifetime: Option<LifetimeJson> },
    Abort {},
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LifetimeJson {
    Once,
    Session,
    Permanent,
}

/// Reads an answer. Only an identity that was offered is accepted, and a lifetime is required where it is asked for.
fn read_answer(written: &[u8], question: &Question<'_>) -> Result<Reply, AnswerError> {
    if written.trim_ascii().is_empty() {
        return Err(AnswerError::Silent);
    }
    let lifetime = |said: Option<LifetimeJson>| match (question.mode, said) {
        (Mode::Chrome, _) | (_, Some(LifetimeJson::Permanent)) => Ok(Lifetime::Permanent),
        (_, Some(LifetimeJson::Session)) => Ok(Lifetime::Session),
        (_, Some(LifetimeJson::Once)) => Ok(Lifetime::Once),
        (_, None) => Err(AnswerError::NoLifetime),
    };
    Ok(match serde_json::from_slice(written).map_err(AnswerError::Answer)? {
        AnswerJson::Identity { fingerprint, lifetime: said } => {
            let is_it = |candidate: &Considered| candidate.identity.fingerprint().to_string() == fingerprint;
            let index = question.candidates.iter().position(is_it).ok_or(AnswerError::NotOffered(fingerprint))?;
            Reply::Identity { index, lifetime: lifetime(said)? }
        }
        AnswerJson::None { lifetime: said } => Reply::None { lifetime: lifetime(said)? },
        AnswerJson::Abort {} => Reply::Abort,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executable::executable;

    /// Otherwise a person who never answers would block all other processes.
    #[test]
    fn a_program_that_does_not_answer_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let program = executable(directory.path(), "thinks", "#!/bin/sh\nexec sleep 600\n");
        let chooser = ProgramChooser { program, patience: Duration::from_millis(300) };
        let start = Instant::now();
        let error = chooser.run(Vec::new()).unwrap_err();
        assert!(matches!(error, AnswerError::Late(_)), "{error}");
        assert!(start.elapsed() < Duration::from_secs(60), "it was not killed");
    }
}
