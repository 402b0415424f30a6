//! `cardcase renew`

use serde::Serialize;

use crate::app::App;
use crate::cli::Renew;
use crate::ui::failure::Failure;
use crate::ui::json::{RenewalJson, print_json};
use crate::ui::notices;

#[derive(Serialize)]
struct RenewedJson {
    renewed: RenewalJson,
}

pub(crate) fn run(app: &App, args: &Renew) -> Result<(), Failure> {
    let store = app.store()?;
    let (old, new) = (store.find_identity(&args.old)?, store.find_identity(&args.new)?);
    old.check_renewed_by(&new)?;
    let renewal = app.fully_unlocked_store()?.renew(&old, &new)?;
    notices::renewal(&renewal);
    if app.common.json { print_json(&RenewedJson { renewed: RenewalJson::new(&renewal) }) } else { Ok(()) }
}
