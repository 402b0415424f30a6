//! `cardcase agent`, which `cardcase unlock` starts

use crate::agent;
use crate::app::App;
use crate::ui::failure::Failure;

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    agent::run(app.store_path()?)
}
