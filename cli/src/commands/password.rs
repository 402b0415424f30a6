//! `cardcase password`

use crate::app::App;
#[cfg(feature = "keyring")]
use crate::ask::keyring;
use crate::ask::new_password;
use crate::cli::Password;
use crate::ui::failure::{Code, Failure};
use crate::ui::say;

pub(crate) fn run(app: &App, args: &Password) -> Result<(), Failure> {
    #[cfg(feature = "keyring")]
    match (args.keyring, args.no_keyring) {
        (true, _) => return keyring::keep(app.store()?, &*app.asking_unlocker()?),
        (_, true) => return keyring::forget(app.store()?),
        (false, false) => {}
    }
    let store = app.store()?;
    store.unlock_fully(&*app.unlocker()?)?;
    let new = match &args.new_password_file {
        Some(file) => app.input.read_password(file)?,
        None => {
            let dialogs = app.password_dialogs()?.ok_or_else(|| {
                Failure::new(Code::NobodyToAsk, "the new password is needed, and nobody can be asked for it")
                    .hint("cardcase password --new-password-file FILE")
            })?;
            new_password::ask(&dialogs, !store.has_primary_password())?
        }
    };
    let new = Some(new.as_str()).filter(|password| !password.is_empty());
    new_password::set(store, new)?;
    #[cfg(feature = "keyring")]
    keyring::follow(store, new);
    if let Some(new) = new {
        new_password::warn_if_weak(new);
    }
    say::note(match new {
        Some(_) => "the store is protected by the new primary password",
        None => "the store is not protected by a password",
    });
    Ok(())
}
