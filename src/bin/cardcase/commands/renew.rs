//! `cardcase renew`

use cardcase::identity::Identity;

use crate::app::App;
use crate::cli::Renew;
use crate::report::Failure;

pub(crate) fn run(app: &App, args: &Renew) -> Result<(), Failure> {
    let store = app.store()?;
    let (old, new) = (store.find_identity(&args.old)?, store.find_identity(&args.new)?);
    old.check_renewed_by(&new)?;
    take_over(app, &old, &new)
}

/// Lets `new` take over what is remembered for `old`, and says what that is.
pub(crate) fn take_over(app: &App, old: &Identity, new: &Identity) -> Result<(), Failure> {
    let scopes = app.unlocked_store()?.renew(old.fingerprint(), new.fingerprint())?;
    let old = format!("{:?} ({})", old.name(), old.fingerprint().short());
    app.note(&match scopes.as_slice() {
        [] => format!("nothing is remembered for {old}"),
        scopes => {
            let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
            format!("{:?} answers in place of {old}: {}", new.name(), scopes.join(", "))
        }
    });
    Ok(())
}
