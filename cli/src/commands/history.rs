//! `cardcase history`

use cardcase::Destination;
use cardcase::manage::Scope;
use serde::Serialize;

use crate::app::App;
use crate::cli::History;
use crate::ui::failure::Failure;
use crate::ui::json::{UseJson, print_json};
use crate::ui::say;
use crate::ui::table::print_table;

#[derive(Serialize)]
struct HistoryJson {
    uses: Vec<UseJson>,
}

pub(crate) fn run(app: &App, args: &History) -> Result<(), Failure> {
    let host = match &args.host {
        Some(host) => Some(host.parse::<Destination>()?),
        None => None,
    };
    let store = app.store()?;
    let uses = store.history(host.as_ref().map(Destination::host))?;
    if app.common.json {
        return print_json(&HistoryJson { uses: uses.iter().map(UseJson::new).collect() });
    }
    if uses.is_empty() {
        say::note("no server has asked for a certificate yet");
        return Ok(());
    }
    let mut rows = Vec::new();
    for used in &uses {
        let identity = match used.identity {
            None => "none".to_owned(),
            Some(fingerprint) => match store.identity(fingerprint)? {
                Some(identity) => identity.name().to_owned(),
                None => format!("{} (removed)", fingerprint.short()),
            },
        };
        let outcome = match &used.alert {
            Some(alert) => format!("{}: {}", used.outcome, alert),
            None => used.outcome.to_string(),
        };
        rows.push(vec![
            used.at.to_string(),
            Scope { host: used.host.clone(), port: Some(used.port) }.to_string(),
            identity,
            used.source.clone(),
            outcome,
            used.tls_version.clone().unwrap_or_default(),
        ]);
    }
    print_table(&["WHEN", "DESTINATION", "IDENTITY", "WHY", "OUTCOME", "TLS"], rows)
}
