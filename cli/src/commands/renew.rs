//! `cardcase renew`

use cardcase::Identity;
use serde::Serialize;

use crate::app::App;
use crate::cli::Renew;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::RenewalJson;
use crate::ui::notices;

#[derive(Serialize)]
struct RenewedJson {
    renewed: RenewalJson,
}

pub(crate) fn run(app: &App, args: &Renew) -> Result<(), Failure> {
    let store = app.store()?;
    let (old, new) = (store.find_identity(&args.old)?, store.find_identity(&args.new)?);
    old.check_renewed_by(&new)?;
    if !args.force
        && let Some(why) = new.why_useless(app.now()).first()
    {
        return Err(useless(&old, &new, why));
    }
    let renewal = match args.dry_run {
        true => store.would_renew(&old, &new)?,
        false => app.fully_unlocked_store()?.renew(&old, &new)?,
    };
    notices::renewal(&renewal, args.dry_run);
    app.answer(|| RenewedJson { renewed: RenewalJson::new(&renewal) })
}

/// The failure of a renewal after which servers would refuse the new identity.
fn useless(old: &Identity, new: &Identity, why: &str) -> Failure {
    let message = format_args!("servers refuse {:?}: {why}; nothing was changed", new.name());
    let (old, new) = (old.fingerprint().short(), new.fingerprint().short());
    Failure::new(Code::Failed, message).hint(format_args!("to use it anyway: cardcase renew {old} {new} --force"))
}
