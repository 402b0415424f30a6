//! `cardcase remember`

use cardcase::Destination;
use cardcase::manage::{Answer, Lifetime};
use serde::Serialize;

use crate::app::App;
use crate::cli::{Remember, StoredLifetime};
use crate::ui::failure::Failure;
use crate::ui::json::DecisionJson;

#[derive(Serialize)]
struct RememberedJson {
    remembered: Option<DecisionJson>,
}

pub(crate) fn run(app: &App, args: &Remember) -> Result<(), Failure> {
    let store = app.store()?;
    let scope = app.mode()?.scope(&args.destination.parse::<Destination>()?);
    let answer = match args.id.as_str() {
        "none" => Answer::None,
        id => Answer::Identity(store.find_identity(id)?.into()),
    };
    let lifetime = match args.lifetime {
        StoredLifetime::Session => Lifetime::Session,
        StoredLifetime::Permanent => Lifetime::Permanent,
    };
    if answer.fingerprint().is_some() {
        app.unlocked_store()?;
    }
    store.remember_chosen(&scope, &answer, lifetime, app.now())?;
    let remembered = store.decision(&scope)?;
    app.answer(|| RememberedJson { remembered: remembered.map(DecisionJson::new) })
}
