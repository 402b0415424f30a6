//! `cardcase completions`

use clap::CommandFactory;

use crate::cli::{Cli, Completions};
use crate::ui::failure::Failure;
use crate::ui::stdout::print;

pub(crate) fn run(args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cardcase", &mut script);
    print(&String::from_utf8_lossy(&script))
}
