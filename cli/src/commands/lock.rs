//! `cardcase lock`

use serde::Serialize;

use crate::app::App;
use crate::ui::failure::Failure;
use crate::ui::json::print_json;
use crate::ui::say;

#[derive(Serialize)]
struct LockedJson {
    /// Whether there was one.
    agent_ended: bool,
}

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let agent_ended = app.store()?.end_agent()?;
    say::note(if agent_ended { "locked" } else { "the store was not unlocked" });
    if app.common.json { print_json(&LockedJson { agent_ended }) } else { Ok(()) }
}
