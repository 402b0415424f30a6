//! `cardcase decisions`

use serde::Serialize;

use crate::app::App;
use crate::ui::failure::Failure;
use crate::ui::json::{DecisionJson, print_json};
use crate::ui::say;
use crate::ui::table::print_table;

#[derive(Serialize)]
struct DecisionsJson {
    mode: String,
    decisions: Vec<DecisionJson>,
}

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let store = app.store()?;
    let decisions = store.decisions()?;
    if app.common.json {
        let decisions = decisions.iter().map(DecisionJson::new).collect();
        print_json(&DecisionsJson { mode: app.mode()?.to_string(), decisions })?;
        return app.check_all_shown("decisions");
    }
    if decisions.is_empty() {
        say::note("nothing is remembered");
        return app.check_all_shown("decisions");
    }
    let mut rows = Vec::new();
    for decision in &decisions {
        let identity = match decision.identity {
            None => "none (no certificate)".to_owned(),
            Some(fingerprint) => match store.identity(fingerprint)? {
                Some(identity) => identity.name().to_owned(),
                None => fingerprint.short(),
            },
        };
        rows.push(vec![
            decision.scope.to_string(),
            identity,
            decision.lifetime.to_string(),
            decision.decided_at.date(),
            decision.last_used_at.map_or("never".to_owned(), |at| at.date()),
            decision.last_outcome.map_or("not known yet".to_owned(), |outcome| outcome.to_string()),
        ]);
    }
    print_table(&["HOST", "IDENTITY", "FOR", "SINCE", "LAST USED", "OUTCOME"], rows)?;
    app.check_all_shown("decisions")
}
