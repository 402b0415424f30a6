//! `cardcase password`

use serde::Serialize;

use crate::app::App;
#[cfg(feature = "keyring")]
use crate::ask::keyring;
use crate::ask::new_password;
use crate::cli::Password;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::print_json;
use crate::ui::say;

#[derive(Serialize)]
struct ProtectedJson {
    /// Whether there is a primary password now.
    protected: bool,
    /// Whether the keyring has it now; only if that was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    keyring: Option<bool>,
}

fn answer(app: &App, keyring: Option<bool>) -> Result<(), Failure> {
    let protected = app.store()?.has_primary_password();
    if app.common.json { print_json(&ProtectedJson { protected, keyring }) } else { Ok(()) }
}

pub(crate) fn run(app: &App, args: &Password) -> Result<(), Failure> {
    #[cfg(feature = "keyring")]
    match (args.keyring, args.no_keyring) {
        (true, _) => {
            keyring::keep(app.store()?, &*app.asking_unlocker()?)?;
            return answer(app, Some(true));
        }
        (_, true) => {
            keyring::forget(app.store()?)?;
            return answer(app, Some(false));
        }
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
    answer(app, None)
}
