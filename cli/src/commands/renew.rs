//! `cardcase renew`

use cardcase::manage::Renewal;

use crate::app::App;
use crate::cli::Renew;
use crate::ui::failure::Failure;

pub(crate) fn run(app: &App, args: &Renew) -> Result<(), Failure> {
    let store = app.store()?;
    let (old, new) = (store.find_identity(&args.old)?, store.find_identity(&args.new)?);
    old.check_renewed_by(&new)?;
    tell(app, &app.fully_unlocked_store()?.renew(&old, &new)?);
    Ok(())
}

/// Says what an identity took over.
pub(crate) fn tell(app: &App, renewal: &Renewal) {
    let Renewal { old, new, scopes, restricted, .. } = renewal;
    let old = format!("{:?} ({})", old.name(), old.fingerprint().short());
    app.note(&match scopes.as_slice() {
        [] => format!("nothing is remembered for {old}"),
        scopes => {
            let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
            format!("{:?} answers in place of {old}: {}", new.name(), scopes.join(", "))
        }
    });
    if *restricted {
        app.note(&format!("{:?} goes out in TLS 1.3 only from now on, as {old} does", new.name()));
    }
}
