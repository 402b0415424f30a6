//! `cardcase decisions`

use cardcase::manage::{Mode, Outcome};
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
    let mut table = Table::new(&["HOST", "IDENTITY", "FOR", "SINCE", "LAST USED"]);
    let mut are_some = false;
    while let Some(block) = next_block(&mut decisions)? {
        are_some = true;
        let names = store.names(block.iter().filter_map(|decision| decision.identity))?;
        let identity = |fingerprint| names.get(&fingerprint).cloned().unwrap_or_else(|| fingerprint.short());
        for decision in block {
            let row = vec![
                decision.scope.to_string(),
                decision.identity.map_or_else(|| "none (no certificate)".to_owned(), identity),
                match Mode::from_scope(&decision.scope) {
                    used if used == mode => decision.lifetime.to_string(),
                    other => format!("{} (only in {other} mode)", decision.lifetime),
                },
                local_date(decision.decided_at),
                match (decision.last_used_at, decision.last_outcome) {
                    (None, _) => "never".to_owned(),
                    (Some(at), None | Some(Outcome::Unknown)) => format!("{} outcome unknown", local_date(at)),
                    (Some(at), Some(outcome)) => format!("{} {outcome}", local_date(at)),
                },
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
