//! `cardcase password`

use crate::app::App;
use crate::cli::Password;
use crate::report::{Code, Failure};
use crate::terminal;

pub(crate) fn run(app: &App, args: &Password) -> Result<(), Failure> {
    let store = app.store()?;
    let unlocker = app.unlocker()?;
    store.unlock_fully(&*unlocker)?;
    let new = match &args.new_password_file {
        Some(file) => app.read_password(file)?,
        None if app.can_ask() => {
            let new = terminal::password("New primary password (empty for none)")?;
            if terminal::password("The same again")? != new {
                return Err(Failure::new(Code::Failed, "the two differ; nothing was changed"));
            }
            new
        }
        None => {
            let failure = Failure::new(Code::NobodyToAsk, "the new password is needed, and nobody can be asked for it");
            return Err(failure.hint("cardcase password --new-password-file FILE"));
        }
    };
    let new = Some(new.as_str()).filter(|password| !password.is_empty());
    store.set_primary_password(new, &*unlocker)?;
    app.note(match new {
        Some(_) => "the store is protected by the new primary password",
        None => "the store is not protected by a password",
    });
    Ok(())
}
