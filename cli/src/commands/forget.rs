//! `cardcase forget`

use cardcase::Destination;
use cardcase::Error;
use serde::Serialize;

use crate::app::App;
use crate::cli::Forget;
use crate::ui::failure::Failure;
use crate::ui::json::DecisionJson;
use crate::ui::say;
use crate::ui::text::counted;

#[derive(Serialize)]
struct ForgottenJson {
    forgotten: Vec<DecisionJson>,
    /// Rows that were deleted too, and could not be read.
    unreadable: usize,
}

pub(crate) fn run(app: &App, args: &Forget) -> Result<(), Failure> {
    let store = app.store()?;
    let (forgotten, unreadable) = match &args.destination {
        None => {
            let (forgotten, unreadable) = store.forget_all()?;
            say::note(format_args!("forgot {}", counted(forgotten.len() + unreadable, "decision", "decisions")));
            (forgotten, unreadable)
        }
        Some(destination) => {
            let scope = app.mode()?.scope(&destination.parse::<Destination>()?);
            match store.forget(&scope)? {
                (forgotten, 0) if forgotten.is_empty() => {
                    return Err(Error::UnknownDecision { scope: scope.to_string() }.into());
                }
                found => found,
            }
        }
    };
    app.answer(|| ForgottenJson { forgotten: forgotten.into_iter().map(DecisionJson::new).collect(), unreadable })
}
