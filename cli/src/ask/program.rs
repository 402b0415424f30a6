//! A program as chooser: the question as JSON on its stdin, the answer as JSON on its stdout. docs/chooser.md has both.

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
use cardcase::Identity;
use cardcase::ask::{Considered, Question, Refused, Reply};
use cardcase::manage::{Lifetime, Mode};
use serde::{Deserialize, Serialize};

use crate::cleanup::Cleanup;
use crate::ui::json::{DestinationJson, IdentityJson, scheme_names};
use crate::ui::say;
use cardcase::manage::version_name;

/// Bytes an answer may have; a real one has some hundred.
const MAX_ANSWER: u64 = 64 << 10;

/// How long a person may think. Others wait for the answer, so it is not for ever.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// Between two looks at whether the program is still there, and how long its output may stay open after it.
const A_MOMENT: Duration = Duration::from_millis(100);

/// The version of what is asked and answered. It changes when a program that reads this one would be wrong.
const VERSION: u32 = 1;

/// Asks a program, which has no arguments: as with `SSH_ASKPASS`, no shell reads its name.
pub(crate) struct ProgramChooser {
    program: PathBuf,
    patience: Duration,
}

impl ProgramChooser {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, patience: PATIENCE }
    }

    fn ask(&self, question: &Question<'_>) -> Result<Reply, Trouble> {
        let asked = serde_json::to_vec(&QuestionJson::new(question)).map_err(Trouble::Question)?;
        read_answer(&self.run(asked)?, question)
    }

    /// Runs the program, and gives what it wrote.
    fn run(&self, asked: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let started = Command::new(&self.program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(Trouble::Start)?;
        if let Some(mut stdin) = child.stdin.take() {
            // Whoever answers without reading the question may
            thread::spawn(move || drop(stdin.write_all(&asked)));
        }
        let output = child.stdout.take().map(read_all);
        let child = Arc::new(Mutex::new(child));
        let running = child.clone();
        let _end = Cleanup::new(move || end(&running));
        let output = output.ok_or(Trouble::Silent)?;
        self.wait(&child, &output)
    }

    fn wait(&self, child: &Mutex<Child>, output: &Receiver<io::Result<Vec<u8>>>) -> Result<Vec<u8>, Trouble> {
        let deadline = Instant::now() + self.patience;
        let mut written = None;
        loop {
            let ended = lock(child).try_wait().map_err(Trouble::Output)?;
            match (ended, written.take()) {
                (Some(status), _) if !status.success() => return Err(Trouble::Ended(status)),
                (Some(_), Some(bytes)) => return Ok(bytes),
                (Some(_), None) => {
                    return output.recv_timeout(A_MOMENT).map_err(|_| Trouble::Open)?.map_err(Trouble::Output);
                }
                (None, Some(bytes)) => {
                    written = Some(bytes);
                    thread::sleep(A_MOMENT / 10);
                }
                (None, None) => match output.recv_timeout(A_MOMENT) {
                    Ok(bytes) => written = Some(bytes.map_err(Trouble::Output)?),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Err(Trouble::Silent),
                },
            }
            if Instant::now() > deadline {
                return Err(Trouble::Late(self.patience));
            }
        }
    }
}

impl Chooser for ProgramChooser {
    fn waiting(&self, destination: &Destination) {
        say::line(&format!("cardcase: waiting for the answer given to another cardcase about {destination}"));
    }

    fn choose(&self, question: &Question<'_>) -> Reply {
        self.ask(question).unwrap_or_else(|trouble| {
            say::warn(format_args!("the chooser {}: {trouble}", self.program.display()));
            Reply::Failed
        })
    }
}

/// Kills the program, by its own number, unless it has ended.
fn end(child: &Mutex<Child>) {
    let mut child = lock(child);
    let _ = child.kill();
    let _ = child.wait();
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads to the end, or to the limit, on a thread of its own.
fn read_all(mut from: ChildStdout) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = from.by_ref().take(MAX_ANSWER + 1).read_to_end(&mut bytes).and_then(|read| match read as u64 {
            0..=MAX_ANSWER => Ok(bytes),
            _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it writes more than {MAX_ANSWER} bytes"))),
        });
        drop(sender.send(read));
    });
    receiver
}

/// Why there is no answer.
#[derive(Debug)]
enum Trouble {
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

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Question(error) => write!(f, "the question cannot be put as JSON: {error}"),
            Self::Start(error) => write!(f, "it cannot be started: {error}"),
            Self::Output(error) => write!(f, "its answer cannot be read: {error}"),
            Self::Ended(status) => write!(f, "it failed, with {status}"),
            Self::Late(patience) => write!(f, "it did not answer within {} s, and was ended", patience.as_secs()),
            Self::Open => f.write_str("it ended and left its output to a program that goes on"),
            Self::Silent => f.write_str("it wrote no answer"),
            Self::Answer(error) => write!(f, "its answer is not the JSON of docs/chooser.md: {error}"),
            Self::NotOffered(fingerprint) => write!(f, "it chose {fingerprint:?}, which is none of the candidates"),
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
        let identity = |identity: &Identity| IdentityJson::new(identity, question.authorities, question.now);
        let candidate = |candidate: &Considered| CandidateJson {
            identity: identity(&candidate.identity),
            warnings: candidate.warnings.iter().map(ToString::to_string).collect(),
        };
        let unfit = |unfit: &Considered| UnfitJson {
            identity: identity(&unfit.identity),
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
                signature_schemes: scheme_names(&request.schemes),
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

/// How long an answer may be remembered; none where that is not asked.
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

/// What an answer means; only what was offered is taken, and how long it holds must be said where that is asked.
fn read_answer(written: &[u8], question: &Question<'_>) -> Result<Reply, Trouble> {
    if written.trim_ascii().is_empty() {
        return Err(Trouble::Silent);
    }
    let lifetime = |said: Option<LifetimeJson>| match (question.mode, said) {
        (Mode::Chrome, _) | (_, Some(LifetimeJson::Permanent)) => Ok(Lifetime::Permanent),
        (_, Some(LifetimeJson::Session)) => Ok(Lifetime::Session),
        (_, Some(LifetimeJson::Once)) => Ok(Lifetime::Once),
        (_, None) => Err(Trouble::NoLifetime),
    };
    Ok(match serde_json::from_slice(written).map_err(Trouble::Answer)? {
        AnswerJson::Identity { fingerprint, lifetime: said } => {
            let is_it = |candidate: &Considered| candidate.identity.fingerprint().to_string() == fingerprint;
            let index = question.candidates.iter().position(is_it).ok_or(Trouble::NotOffered(fingerprint))?;
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

    /// A person who has gone home must not hold back all others for ever.
    #[test]
    fn who_does_not_answer_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let program = executable(directory.path(), "thinks", "#!/bin/sh\nexec sleep 600\n");
        let chooser = ProgramChooser { program, patience: Duration::from_millis(300) };
        let start = Instant::now();
        let trouble = chooser.run(Vec::new()).unwrap_err();
        assert!(matches!(trouble, Trouble::Late(_)), "{trouble}");
        assert!(start.elapsed() < Duration::from_secs(60), "it was waited for");
    }
}
