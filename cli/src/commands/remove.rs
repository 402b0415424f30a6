//! `cardcase remove`

use cardcase::manage::Fingerprint;
use serde::Serialize;

use crate::app::App;
use crate::ask::terminal;
use crate::cli::Remove;
use crate::key_file;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{DecisionJson, NamedJson};
use crate::ui::say;

#[derive(Serialize)]
struct RemovedJson {
    removed: Vec<NamedJson>,
    decisions: Vec<DecisionJson>,
}

pub(crate) fn run(app: &App, args: &Remove) -> Result<(), Failure> {
    let store = app.store()?;
    let found: Vec<(Fingerprint, String)> =
        args.ids.iter().map(|id| store.find_removable(id)).collect::<Result<_, _>>()?;
    let decisions = store.decisions()?;
    for (fingerprint, name) in &found {
        let hosts: Vec<String> = decisions
            .iter()
            .filter(|decision| decision.identity == Some(*fingerprint))
            .map(|decision| decision.scope.to_string())
            .collect();
        if !hosts.is_empty() {
            say::note(format_args!("removing {:?} also removes the decisions for {}", name, hosts.join(", ")));
        }
    }
    if !args.yes {
        if !app.can_ask() {
            let failure = Failure::new(Code::NobodyToAsk, "removing must be confirmed, and nobody can be asked");
            return Err(failure.hint("to remove without confirmation: cardcase remove --yes ID"));
        }
        let names: Vec<String> = found.iter().map(|(_, name)| format!("{name:?}")).collect();
        if !terminal::confirm(&format!("Remove {} and the private key?", names.join(", ")))? {
            return Err(Failure::new(Code::Failed, "not confirmed; nothing was removed"));
        }
    }
    let fingerprints: Vec<_> = found.iter().map(|(fingerprint, _)| *fingerprint).collect();
    store.remove(&fingerprints)?;
    // Without a runtime directory there are no files
    if let Ok(directory) = app.runtime_directory() {
        fingerprints.iter().try_for_each(|fingerprint| key_file::remove(&directory, *fingerprint))?;
    }
    app.answer(|| {
        let removed = found.iter().map(|(fingerprint, name)| NamedJson::new(*fingerprint, name)).collect();
        let gone = |identity: Option<Fingerprint>| identity.is_some_and(|identity| fingerprints.contains(&identity));
        let decisions = decisions.into_iter().filter(|decision| gone(decision.identity)).map(DecisionJson::new);
        RemovedJson { removed, decisions: decisions.collect() }
    })
}
