//! `cardcase lock`

use serde::Serialize;

use crate::app::App;
use crate::ui::failure::Failure;
use crate::ui::json::print_json;
use crate::ui::say;

#[derive(Serialize)]
struct LockedJson {
    /// Whether an agent was stopped.
    locked: bool,
}

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let locked = app.store()?.end_agent()?;
    say::note(if locked { "locked" } else { "the store was not unlocked" });
    if app.common.json { print_json(&LockedJson { locked }) } else { Ok(()) }
}
