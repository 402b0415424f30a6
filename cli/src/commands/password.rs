//! `cardcase password`

use cardcase::manage::Protection;

use crate::app::App;
#[cfg(feature = "keyring")]
use crate::ask::keyring;
use crate::ask::new_password;
use crate::cli::Password;
use crate::ui::failure::{Code, Failure};

pub(crate) fn run(app: &App, args: &Password) -> Result<(), Failure> {
    #[cfg(feature = "keyring")]
    match (args.keyring, args.no_keyring) {
        (true, _) => return keyring::keep(app),
        (_, true) => return keyring::forget(app),
        (false, false) => {}
    }
    let store = app.store()?;
    store.unlock_fully(&*app.unlocker()?)?;
    let new = match &args.new_password_file {
        Some(file) => app.read_password(file)?,
        None if app.can_ask_for_passwords()? => new_password::ask(app, store.vault().protection() == Protection::None)?,
        None => {
            let failure = Failure::new(Code::NobodyToAsk, "the new password is needed, and nobody can be asked for it");
            return Err(failure.hint("cardcase password --new-password-file FILE"));
        }
    };
    let new = Some(new.as_str()).filter(|password| !password.is_empty());
    new_password::set(store, new)?;
    #[cfg(feature = "keyring")]
    keyring::follow(app, new)?;
    if let Some(new) = new {
        new_password::hint(app, new);
    }
    app.note(match new {
        Some(_) => "the store is protected by the new primary password",
        None => "the store is not protected by a password",
    });
    Ok(())
}
