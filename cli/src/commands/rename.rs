//! `cardcase rename`

use crate::app::App;
use crate::cli::Rename;
use crate::ui::failure::Failure;
use crate::ui::say;

pub(crate) fn run(app: &App, args: &Rename) -> Result<(), Failure> {
    let identity = app.store()?.find_identity(&args.id)?;
    app.fully_unlocked_store()?.rename(&identity, &args.name)?;
    say::note(format_args!("{:?} is now called {:?}", identity.name(), args.name));
    Ok(())
}
