//! `cardcase unlock`

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cardcase::Store;
use cardcase::manage::agent::Status;
use serde::Serialize;

use crate::agent;
use crate::app::App;
use crate::cli::{Unlock, UnlockFor};
use crate::ui::failure::{Code, Failure};
use crate::ui::json::print_json;
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::time::local_time;

/// How long the agent works that another program needed.
const LIFETIME: Duration = Duration::from_secs(8 * 3600);

/// How long it takes at most: less than the module waits, which ends this process then, but not the one that asks.
const FOR_PROGRAM: Duration = Duration::from_secs(55);

/// How long a no is good for.
const REFUSED: Duration = Duration::from_secs(10);

/// How long a new agent may take to replace another one.
const SUCCESSION: Duration = Duration::from_secs(5);

/// How often to check for it.
const A_MOMENT: Duration = Duration::from_millis(20);

pub(crate) fn run(app: &App, args: &Unlock) -> Result<(), Failure> {
    let store = app.store()?;
    if args.status {
        return show(app, store.agent()?.filter(|agent| agent.serves));
    }
    let lifetime = match args.purpose {
        UnlockFor::Time(lifetime) => lifetime,
        UnlockFor::Pkcs11 => return for_program(app),
    };
    if !store.has_primary_password() {
        say::note("the store is not protected by a password, so it is never locked");
        say::hint("to protect it: cardcase password");
        return if app.common.json { show(app, None) } else { Ok(()) };
    }
    store.unlock_fully(&*app.unlocker()?)?;
    agent::start(store, lifetime)?.lines().for_each(say::warn);
    let agent = serving(store)?
        .ok_or_else(|| agent::failed("was stopped as soon as it had started").hint("cardcase unlock"))?;
    say::note(format_args!("unlocked until {}; to lock it: cardcase lock", local_time(agent.until)));
    if app.common.json { show(app, Some(agent)) } else { Ok(()) }
}

/// Waits for an agent that serves: this one, or that of another process that unlocked at the same moment, and later.
fn serving(store: &Store) -> Result<Option<Status>, Failure> {
    let end = Instant::now() + SUCCESSION;
    loop {
        let agent = store.agent()?.filter(|agent| agent.serves);
        if agent.is_some() || Instant::now() >= end {
            return Ok(agent);
        }
        thread::sleep(A_MOMENT);
    }
}

/// What the PKCS#11 module runs, in a process of its own, when no agent serves. The terminal is that of another program, so a person is
/// asked in a window. A store without a primary password only needs an agent, which opens the keys in place of the program.
fn for_program(app: &App) -> Result<(), Failure> {
    // Leaves the terminal. In the first process of a job this fails: a person has typed the command, and the terminal is ours
    let _ = rustix::process::setsid();
    end_after(FOR_PROGRAM);
    let store = app.store()?;
    let program = rustix::process::getppid().map(|id| format!("/proc/{}/exe", id.as_raw_nonzero()));
    let program = program.and_then(|link| std::fs::read_link(link).ok());
    let program = program.map_or_else(|| "another program".to_owned(), |path| path.to_string_lossy().into_owned());
    let turn = Turn::wait(&app.runtime_directory()?, store.path())?;
    if store.agent()?.is_some_and(|agent| agent.serves) {
        return Ok(());
    }
    if turn.was_refused() {
        let failure = format!("a moment ago, nobody unlocked the store for {program}");
        return Err(Failure::new(Code::NobodyToAsk, failure).hint("cardcase unlock"));
    }
    let unlocked = app.unlocker_in_window(&program).and_then(|unlocker| Ok(store.unlock_fully(&*unlocker)?));
    turn.end(unlocked.is_ok());
    unlocked?;
    agent::start(store, LIFETIME)?;
    serving(store)?
        .map(drop)
        .ok_or_else(|| agent::failed("was stopped as soon as it had started").hint("cardcase unlock"))
}

/// Ends this process after this time, as a signal does: the program waits no longer.
fn end_after(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    });
}

/// The right to ask for programs that need the store: one process has it at a time. It ends with the process.
struct Turn {
    file: File,
    store: Vec<u8>,
}

impl Turn {
    fn wait(directory: &Path, store: &Path) -> Result<Self, Failure> {
        let path = directory.join("unlocking-for-programs");
        let failed = |error: io::Error| Failure::io(&path, &error);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(Self { file, store: store.as_os_str().as_bytes().to_vec() })
    }

    /// Whether nobody unlocked this store a moment ago. A program that asks again at once gets the same answer.
    fn was_refused(&self) -> bool {
        let mut refused = Vec::new();
        let is_new = || self.file.metadata()?.modified()?.elapsed().map_err(io::Error::other);
        let is_new = is_new().is_ok_and(|elapsed| elapsed < REFUSED);
        is_new && (&self.file).read_to_end(&mut refused).is_ok() && refused == self.store
    }

    fn end(&self, is_unlocked: bool) {
        // If it cannot be noted, a person is asked again
        let noted = self.file.set_len(0);
        if noted.is_ok() && !is_unlocked {
            let _ = self.file.write_all_at(&self.store, 0);
        }
    }
}

#[derive(Serialize)]
struct StatusJson {
    /// Whether the store has a primary password. One without is never locked.
    protected: bool,
    unlocked: bool,
    until: Option<String>,
    process: Option<u32>,
}

fn show(app: &App, agent: Option<Status>) -> Result<(), Failure> {
    if app.common.json {
        let process = agent.and_then(|agent| agent.process);
        let until = agent.map(|agent| agent.until.to_string());
        let protected = app.store()?.has_primary_password();
        return print_json(&StatusJson { protected, unlocked: until.is_some(), until, process });
    }
    print(&agent.map_or("locked\n".to_owned(), |agent| format!("unlocked until {}\n", local_time(agent.until))))
}
