//! `cardcase accept`

use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::App;
use crate::commands::config;
use crate::ui::failure::Failure;
use crate::ui::json::print_json;
use crate::ui::say;

#[derive(Serialize)]
struct AcceptedJson {
    rules: u32,
    trusted_authorities: u32,
    decisions: usize,
    settings: Map<String, Value>,
}

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let (settings, rules, trusted, decisions) = app.unlocked_store()?.accept_terms()?;
    say::note("accepted as they are:");
    say::note(format_args!("rules: {rules}, trusted authorities: {trusted}, decisions for identities: {decisions}"));
    let entries: Vec<String> =
        config::entries(&settings).into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
    say::note(entries.join(", "));
    if app.common.json {
        let settings = config::json(&config::effective(app)?.0, None);
        return print_json(&AcceptedJson { rules, trusted_authorities: trusted, decisions, settings });
    }
    Ok(())
}
