//! `cardcase forget`

use cardcase::Destination;
use cardcase::Error;
use cardcase::manage::Decision;
use serde::Serialize;

use crate::app::App;
use crate::cli::Forget;
use crate::ui::failure::Failure;
use crate::ui::json::{DecisionJson, print_json};
use crate::ui::say;

#[derive(Serialize)]
struct ForgottenJson {
    forgotten: Vec<DecisionJson>,
}

pub(crate) fn run(app: &App, args: &Forget) -> Result<(), Failure> {
    let store = app.store()?;
    let Some(destination) = &args.destination else {
        // A damaged one is forgotten too, and cannot be shown
        let shown = if app.common.json { store.decisions().unwrap_or_default() } else { Vec::new() };
        let forgotten = store.forget_all()?;
        say::note(format_args!("forgot {forgotten} decision{}", if forgotten == 1 { "" } else { "s" }));
        return answer(app, shown);
    };
    let scope = app.mode()?.scope(&destination.parse::<Destination>()?);
    let shown = if app.common.json { store.decision(&scope)? } else { None };
    match store.forget(&scope)? {
        true => answer(app, shown.into_iter().collect()),
        false => Err(Error::UnknownDecision { scope: scope.to_string() }.into()),
    }
}

fn answer(app: &App, forgotten: Vec<Decision>) -> Result<(), Failure> {
    match app.common.json {
        true => print_json(&ForgottenJson { forgotten: forgotten.into_iter().map(DecisionJson::new).collect() }),
        false => Ok(()),
    }
}
