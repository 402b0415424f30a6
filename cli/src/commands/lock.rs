//! `cardcase lock`

use serde::Serialize;

use crate::app::App;
use crate::ui::failure::Failure;
use crate::ui::say;

#[derive(Serialize)]
struct LockedJson {
    /// Whether there was one.
    agent_ended: bool,
}

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let agent_ended = app.store()?.end_agent()?;
    say::note(if agent_ended { "locked" } else { "the store was not unlocked" });
    app.answer(|| LockedJson { agent_ended })
}
