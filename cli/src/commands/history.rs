//! `cardcase history`

use cardcase::Destination;
use cardcase::manage::{Fingerprint, Use, split_port};
use serde::Serialize;

use crate::app::App;
use crate::cli::History;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{UseJson, print_json};
use crate::ui::say;
use crate::ui::stdout::Reader;
use crate::ui::table::{Table, next_block};
use crate::ui::time::local_time;

#[derive(Serialize)]
struct HistoryJson {
    uses: Vec<UseJson>,
}

pub(crate) fn run(app: &App, args: &History) -> Result<(), Failure> {
    let host = args.host.as_deref().map(str::parse::<Destination>).transpose()?;
    let port = args.host.as_deref().map(split_port).transpose()?.and_then(|(_, port)| port);
    let store = app.store()?;
    let is_at = |used: &Use, port| used.destination.as_ref().is_some_and(|(_, used)| *used == port);
    let is_meant = |used: &Result<Use, _>| used.as_ref().map_or(true, |used| port.is_none_or(|port| is_at(used, port)));
    let mut uses = store.each_use(host.as_ref().map(Destination::host)).filter(is_meant);
    let unknown = || {
        let text = args.host.as_deref().unwrap_or_default();
        let failure = Failure::new(Code::NothingFits, format_args!("nothing is recorded for {text}"));
        failure.hint("to see all hosts: cardcase history")
    };
    if app.common.json {
        let uses: Vec<_> = uses.map(|used| used.map(UseJson::new)).collect::<Result<_, _>>()?;
        if host.is_some() && uses.is_empty() {
            return Err(unknown());
        }
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
                used.place(),
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
    match (are_some, &host) {
        (true, _) => table.finish(),
        (false, Some(_)) => Err(unknown()),
        (false, None) => {
            say::note("no server has asked for a certificate yet");
            Ok(())
        }
    }
}
