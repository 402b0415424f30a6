//! `cardcase renew`

use crate::app::App;
use crate::cli::Renew;
use crate::ui::failure::Failure;
use crate::ui::notices;

pub(crate) fn run(app: &App, args: &Renew) -> Result<(), Failure> {
    let store = app.store()?;
    let (old, new) = (store.find_identity(&args.old)?, store.find_identity(&args.new)?);
    old.check_renewed_by(&new)?;
    notices::renewal(&app.fully_unlocked_store()?.renew(&old, &new)?);
    Ok(())
}
