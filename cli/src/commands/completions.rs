//! `cardcase completions`

use crate::cli::Completions;
use crate::completion;
use crate::ui::failure::Failure;
use crate::ui::stdout::print;

pub(crate) fn run(args: &Completions) -> Result<(), Failure> {
    print(completion::script(args.shell))
}
