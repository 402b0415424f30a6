//! `cardcase decisions`

use cardcase::manage::Mode;
use serde::Serialize;

use crate::app::App;
use crate::ui::failure::Failure;
use crate::ui::json::{DecisionJson, print_json};
use crate::ui::say;
use crate::ui::stdout::Reader;
use crate::ui::table::{Table, next_block};
use crate::ui::time::local_date;

#[derive(Serialize)]
struct DecisionsJson {
    mode: String,
    decisions: Vec<DecisionJson>,
}

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let store = app.store()?;
    let mut decisions = store.each_decision()?;
    if app.common.json {
        let decisions = decisions.map(|decision| decision.map(DecisionJson::new)).collect::<Result<_, _>>()?;
        print_json(&DecisionsJson { mode: app.mode()?.to_string(), decisions })?;
        return app.check_all_shown("decisions");
    }
    let mode = app.mode()?;
    let mut table = Table::new(&["HOST", "MODE", "IDENTITY", "FOR", "SINCE", "LAST USED", "OUTCOME"]);
    let mut are_some = false;
    while let Some(block) = next_block(&mut decisions)? {
        are_some = true;
        let names = store.names(block.iter().filter_map(|decision| decision.identity))?;
        let identity = |fingerprint| names.get(&fingerprint).cloned().unwrap_or_else(|| fingerprint.short());
        for decision in block {
            let row = vec![
                decision.scope.to_string(),
                match Mode::from_scope(&decision.scope) {
                    used if used == mode => used.to_string(),
                    other => format!("{other} (not in use)"),
                },
                decision.identity.map_or_else(|| "none (no certificate)".to_owned(), identity),
                decision.lifetime.to_string(),
                local_date(decision.decided_at),
                decision.last_used_at.map_or("never".to_owned(), local_date),
                decision.last_outcome.map_or("not known yet".to_owned(), |outcome| outcome.to_string()),
            ];
            if table.print_row(row)? == Reader::Gone {
                return app.check_all_shown("decisions");
            }
        }
    }
    match are_some {
        true => table.finish()?,
        false => say::note("nothing is remembered"),
    }
    app.check_all_shown("decisions")
}
