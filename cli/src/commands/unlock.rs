//! `cardcase unlock`

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cardcase::Store;
use cardcase::manage::Protection;
use cardcase::manage::agent::{Grant, Status};
use serde::Serialize;

use crate::app::App;
use crate::cli::Unlock;
use crate::commands::agent::LISTENING;
use crate::ui::failure::{Code, Failure};
use crate::ui::output::{print, print_json};

/// How long one agent may take to follow another.
const SUCCESSION: Duration = Duration::from_secs(5);

/// Between two looks for it.
const A_MOMENT: Duration = Duration::from_millis(20);

pub(crate) fn run(app: &App, args: &Unlock) -> Result<(), Failure> {
    let store = app.store()?;
    if args.status {
        return show(app, store.agent()?.filter(|agent| agent.serves));
    }
    if store.vault().protection() == Protection::None {
        app.note("the store is not protected by a password, so it is never locked");
        app.hint("to protect it: cardcase password");
        return Ok(());
    }
    store.unlock_fully(&*app.unlocker()?)?;
    let said = start(&store.grant(args.lifetime)?)?;
    let warnings = said.strip_prefix(LISTENING).ok_or_else(|| failed(said.trim()))?;
    warnings.lines().for_each(|warning| app.warn(warning));
    let agent = serving(store)?.ok_or_else(|| failed("was ended as soon as it was there").hint("cardcase unlock"))?;
    app.note(&format!("unlocked until {}; to lock it: cardcase lock", agent.until));
    Ok(())
}

/// The agent that serves: this one, or, once it is there, that of somebody who unlocks at the same moment and was later.
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

#[derive(Serialize)]
struct StatusJson {
    unlocked: bool,
    until: Option<String>,
    process: Option<u32>,
}

fn show(app: &App, agent: Option<Status>) -> Result<(), Failure> {
    let until = agent.map(|agent| agent.until.to_string());
    if app.common.json {
        let process = agent.and_then(|agent| agent.process);
        return print_json(&StatusJson { unlocked: until.is_some(), until, process });
    }
    print(&until.map_or("locked\n".to_owned(), |until| format!("unlocked until {until}\n")))
}

/// Starts the agent; what it says before it listens or ends. What it is to hold goes through a pipe, where nobody sees it.
fn start(grant: &Grant) -> Result<String, Failure> {
    let mut agent = spawn().map_err(|error| failed(&format!("cannot be started: {error}")))?;
    // It may have ended by now, and then says why
    let given = agent.stdin.take().map(|mut stdin| stdin.write_all(grant.as_bytes()));
    let mut said = String::new();
    let read = agent.stdout.take().map(|mut stdout| stdout.read_to_string(&mut said));
    match (given, read) {
        (_, Some(Ok(read))) if read > 0 => Ok(said),
        (Some(Err(error)), _) | (_, Some(Err(error))) => Err(failed(&format!("cannot be started: {error}"))),
        _ => Err(failed("ended before it listened")),
    }
}

/// The same program, without anything of the environment.
fn spawn() -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("agent").env_clear().current_dir("/");
    // An open stderr would keep those waiting who read what this command says
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

fn failed(why: &str) -> Failure {
    Failure::new(Code::Failed, format_args!("the agent {why}"))
}
