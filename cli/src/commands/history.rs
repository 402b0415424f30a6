//! `cardcase history`

use cardcase::Destination;
use cardcase::manage::{Fingerprint, Scope};
use serde::Serialize;

use crate::app::App;
use crate::cli::History;
use crate::ui::failure::Failure;
use crate::ui::json::{UseJson, print_json};
use crate::ui::say;
use crate::ui::stdout::Reader;
use crate::ui::table::{Table, next_block};
use crate::ui::text::local_time;

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
    let mut uses = store.each_use(host.as_ref().map(Destination::host));
    if app.common.json {
        let uses = uses.map(|used| used.map(UseJson::new)).collect::<Result<_, _>>()?;
        return print_json(&HistoryJson { uses });
    }
    let mut table = Table::new(&["WHEN", "DESTINATION", "IDENTITY", "WHY", "OUTCOME", "TLS"]);
    let mut are_some = false;
    while let Some(block) = next_block(&mut uses)? {
        are_some = true;
        let names = store.names(block.iter().filter_map(|used| used.identity))?;
        let removed = |fingerprint: Fingerprint| format!("{} (removed)", fingerprint.short());
        let identity = |fingerprint| names.get(&fingerprint).cloned().unwrap_or_else(|| removed(fingerprint));
        for used in block {
            let outcome = match &used.alert {
                Some(alert) => format!("{}: {}", used.outcome, alert),
                None => used.outcome.to_string(),
            };
            let row = vec![
                local_time(used.at),
                Scope { host: used.host, port: Some(used.port) }.to_string(),
                used.identity.map_or_else(|| "none".to_owned(), identity),
                used.source,
                outcome,
                used.tls_version.unwrap_or_default(),
            ];
            if table.print_row(row)? == Reader::Gone {
                return Ok(());
            }
        }
    }
    match are_some {
        true => table.finish(),
        false => {
            say::note("no server has asked for a certificate yet");
            Ok(())
        }
    }
}
