//! `cardcase lock`

use crate::app::App;
use crate::ui::failure::Failure;

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    app.note(match app.store()?.end_agent()? {
        true => "locked",
        false => "it was not unlocked",
    });
    Ok(())
}
