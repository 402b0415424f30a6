//! `cardcase accept`

use crate::app::App;
use crate::report::Failure;

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    app.unlocked_store()?.accept_terms()?;
    app.note("settings, rules, trusted authorities and decisions are taken for yours as they are");
    Ok(())
}
