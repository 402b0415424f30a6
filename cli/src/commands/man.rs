//! `cardcase man`

use clap::CommandFactory;

use crate::cli::{Cli, Man};
use crate::ui::failure::Failure;

pub(crate) fn run(args: &Man) -> Result<(), Failure> {
    clap_mangen::generate_to(Cli::command(), &args.directory).map_err(|error| Failure::io(&args.directory, &error))
}
