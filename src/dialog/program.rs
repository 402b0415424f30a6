//! A program as chooser. It reads the question as JSON on stdin, and writes the answer as JSON to stdout; docs/chooser.md
//! describes both.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::running::Asking;
use crate::answer::decision::Lifetime;
use crate::answer::history::version_name;
use crate::answer::settings::Mode;
use crate::select::chooser::{Question, Refused, Reply};
use crate::select::matching::Considered;
use crate::text::{plain, plain_json};

/// The longest answer, in bytes; a typical one has a few hundred.
const MAX_ANSWER: u64 = 64 << 10;

/// How long a person may take to answer. Other processes wait for the answer, so there is a limit.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// How often to check whether the program has ended, and how long its output may stay open after its end.
const A_MOMENT: Duration = Duration::from_millis(100);

/// The version of question and answer. It changes when a program that knows only this version would misread them.
const VERSION: u32 = 1;

/// Asks a program. As with `SSH_ASKPASS`, no shell reads its name, so it takes no arguments.
#[derive(Clone, Debug)]
pub(crate) struct ProgramChooser {
    program: PathBuf,
    patience: Duration,
}

impl ProgramChooser {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, patience: PATIENCE }
    }

    /// Asks which identity to send.
    pub(crate) fn choose(&self, question: &Question<'_>) -> Reply {
        self.ask(question)
            .unwrap_or_else(|error| Reply::Failed { reason: plain(&format!("{}: {error}", self.program.display())) })
    }

    fn ask(&self, question: &Question<'_>) -> Result<Reply, AnswerError> {
        // The answer is one of these, as the program was told them
        let candidates: Vec<Considered> = question.candidates().collect();
        let asked = serde_json::to_string(&question_json(question, &candidates)).map_err(AnswerError::Question)?;
        read_answer(&self.run(plain_json(&asked).into_bytes())?, question.mode, &candidates)
    }

    /// Runs the program, and returns what it wrote.
    fn run(&self, asked: Vec<u8>) -> Result<Vec<u8>, AnswerError> {
        let mut command = Command::new(&self.program);
        let asking = Asking::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()), Signal::KILL);
        let asking = asking.map_err(AnswerError::Start)?;
        let (stdin, stdout) = {
            let mut child = asking.child();
            (child.stdin.take(), child.stdout.take())
        };
        if let Some(mut stdin) = stdin {
            // A program may answer without reading the question
            thread::spawn(move || drop(stdin.write_all(&asked)));
        }
        self.wait(&asking, &read_all(stdout.ok_or(AnswerError::Silent)?))
    }

    fn wait(&self, asking: &Asking, output: &Receiver<io::Result<Vec<u8>>>) -> Result<Vec<u8>, AnswerError> {
        let deadline = Instant::now() + self.patience;
        let mut written = None;
        loop {
            let ended = asking.child().try_wait().map_err(AnswerError::Output)?;
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
struct QuestionJson<I> {
    version: u32,
    destination: Value,
    mode: String,
    request: RequestJson,
    visible: bool,
    candidates: Vec<CandidateJson<I>>,
    unfit: Option<UnfitJson<I>>,
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
struct CandidateJson<I> {
    #[serde(flatten)]
    identity: I,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct UnfitJson<I> {
    #[serde(flatten)]
    identity: I,
    reasons: Vec<String>,
    text: String,
}

#[derive(Serialize)]
struct RefusedJson {
    identity: Option<String>,
    alert: Option<String>,
    text: String,
}

/// The question as JSON.
fn question_json(question: &Question<'_>, candidates: &[Considered]) -> impl Serialize {
    let request = question.request;
    let identity = |considered: &Considered| considered.identity.json(question.chain(considered).len(), question.now);
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
    QuestionJson {
        version: VERSION,
        destination: json!({"host": question.destination.host(), "port": question.destination.port()}),
        mode: question.mode.to_string(),
        request: RequestJson {
            authorities: request.authorities.iter().map(ToString::to_string).collect(),
            signature_schemes: request.scheme_names(),
            tls_version: request.version.map(version_name),
        },
        visible: request.is_visible(),
        candidates: candidates.iter().map(candidate).collect(),
        unfit: question.unfit.map(unfit),
        refused: question.refused.iter().map(refused).collect(),
        lifetimes: lifetimes(question.mode).iter().map(ToString::to_string).collect(),
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
fn read_answer(written: &[u8], mode: Mode, candidates: &[Considered]) -> Result<Reply, AnswerError> {
    if written.trim_ascii().is_empty() {
        return Err(AnswerError::Silent);
    }
    let lifetime = |said: Option<LifetimeJson>| match (mode, said) {
        (Mode::Chrome, _) | (_, Some(LifetimeJson::Permanent)) => Ok(Lifetime::Permanent),
        (_, Some(LifetimeJson::Session)) => Ok(Lifetime::Session),
        (_, Some(LifetimeJson::Once)) => Ok(Lifetime::Once),
        (_, None) => Err(AnswerError::NoLifetime),
    };
    Ok(match serde_json::from_slice(written).map_err(AnswerError::Answer)? {
        AnswerJson::Identity { fingerprint, lifetime: said } => {
            let is_it = |candidate: &Considered| candidate.identity.fingerprint().to_string() == fingerprint;
            let chosen = candidates.iter().find(|candidate| is_it(candidate));
            let identity = chosen.ok_or(AnswerError::NotOffered(fingerprint))?.identity.clone();
            Reply::Identity { identity, lifetime: lifetime(said)? }
        }
        AnswerJson::None { lifetime: said } => Reply::None { lifetime: lifetime(said)? },
        AnswerJson::Abort {} => Reply::Abort,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialog::executable::executable;

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
