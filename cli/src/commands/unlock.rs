//! `cardcase unlock`

use std::thread;
use std::time::{Duration, Instant};

use cardcase::Store;
use cardcase::manage::agent::Status;
use serde::Serialize;

use crate::agent;
use crate::app::App;
use crate::cli::Unlock;
use crate::ui::failure::Failure;
use crate::ui::json::print_json;
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::time::local_time;

/// How long a new agent may take to replace another one.
const SUCCESSION: Duration = Duration::from_secs(5);

/// How often to check for it.
const A_MOMENT: Duration = Duration::from_millis(20);

pub(crate) fn run(app: &App, args: &Unlock) -> Result<(), Failure> {
    let store = app.store()?;
    if args.status {
        return show(app, store.agent()?.filter(|agent| agent.serves));
    }
    if !store.has_primary_password() {
        say::note("the store is not protected by a password, so it is never locked");
        say::hint("to protect it: cardcase password");
        return if app.common.json { show(app, None) } else { Ok(()) };
    }
    store.unlock_fully(&*app.unlocker()?)?;
    agent::start(&store.lease(args.lifetime)?)?.lines().for_each(say::warn);
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
