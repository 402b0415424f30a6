//! `cardcase forget`

use cardcase::Destination;
use cardcase::Error;

use crate::app::App;
use crate::cli::Forget;
use crate::ui::failure::Failure;
use crate::ui::say;

pub(crate) fn run(app: &App, args: &Forget) -> Result<(), Failure> {
    let store = app.store()?;
    let Some(destination) = &args.destination else {
        let forgotten = store.forget_all()?;
        say::note(format_args!("forgot {forgotten} decision{}", if forgotten == 1 { "" } else { "s" }));
        return Ok(());
    };
    let scope = app.mode()?.scope(&destination.parse::<Destination>()?);
    if store.forget(&scope)? { Ok(()) } else { Err(Error::UnknownDecision { scope: scope.to_string() }.into()) }
}
