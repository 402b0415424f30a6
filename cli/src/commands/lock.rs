//! `cardcase lock`

use crate::app::App;
use crate::ui::failure::Failure;
use crate::ui::say;

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    say::note(match app.store()?.end_agent()? {
        true => "locked",
        false => "the store was not unlocked",
    });
    Ok(())
}
