//! `cardcase agent`, which `cardcase unlock` starts

use crate::agent;
use crate::ui::failure::Failure;

pub(crate) fn run() -> Result<(), Failure> {
    agent::run()
}
