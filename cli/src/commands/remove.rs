//! `cardcase remove`

use cardcase::Error;
use cardcase::Store;
use cardcase::manage::Stored;

use crate::app::App;
use crate::ask::terminal;
use crate::cli::Remove;
use crate::key_file;
use crate::ui::failure::{Code, Failure};
use crate::ui::say;

pub(crate) fn run(app: &App, args: &Remove) -> Result<(), Failure> {
    let store = app.store()?;
    let identities: Vec<Stored> = args.ids.iter().map(|id| find(store, id)).collect::<Result<_, _>>()?;
    let decisions = store.decisions()?;
    for identity in &identities {
        let hosts: Vec<String> = decisions
            .iter()
            .filter(|decision| decision.identity == Some(identity.fingerprint))
            .map(|decision| decision.scope.to_string())
            .collect();
        if !hosts.is_empty() {
            say::note(format_args!("removing {:?} also removes the decisions for {}", identity.name, hosts.join(", ")));
        }
    }
    if !args.yes {
        if !app.can_ask() {
            let failure = Failure::new(Code::NobodyToAsk, "removing must be confirmed, and nobody can be asked");
            return Err(failure.hint("to remove without confirmation: cardcase remove --yes ID"));
        }
        let names: Vec<String> = identities.iter().map(|identity| format!("{:?}", identity.name)).collect();
        if !terminal::confirm(&format!("Remove {} and the private key?", names.join(", ")))? {
            return Err(Failure::new(Code::Failed, "not confirmed; nothing was removed"));
        }
    }
    let fingerprints: Vec<_> = identities.iter().map(|identity| identity.fingerprint).collect();
    store.remove(&fingerprints)?;
    // Without a runtime directory there are no files
    let Ok(directory) = app.runtime_directory() else { return Ok(()) };
    fingerprints.into_iter().try_for_each(|fingerprint| key_file::remove(&directory, fingerprint))
}

/// Finds an identity without reading its certificate, so that a damaged one can be removed, or a key that waits for its
/// certificate.
fn find(store: &Store, id: &str) -> Result<Stored, Error> {
    match store.find_stored(id) {
        Err(Error::UnknownIdentity { .. }) => store.find_enrollment(id),
        found => found,
    }
}
