//! `cardcase remove`

use cardcase::Error;
use cardcase::enrollment::Enrollment;
use cardcase::identity::Identity;

use crate::app::App;
use crate::cli::Remove;
use crate::commands::credential;
use crate::report::{Code, Failure};
use crate::terminal;

pub(crate) fn run(app: &App, args: &Remove) -> Result<(), Failure> {
    let store = app.store()?;
    let (mut identities, mut enrollments) = (Vec::new(), Vec::new());
    for id in &args.ids {
        match store.find_identity(id) {
            Err(Error::UnknownIdentity { .. }) => enrollments.push(store.find_enrollment(id)?),
            found => identities.push(found?),
        }
    }
    let decisions = store.decisions()?;
    for identity in &identities {
        let hosts: Vec<String> = decisions
            .iter()
            .filter(|decision| decision.identity == Some(identity.fingerprint()))
            .map(|decision| decision.scope.to_string())
            .collect();
        if !hosts.is_empty() {
            app.note(&format!("what is remembered for {} goes with {:?}", hosts.join(", "), identity.name()));
        }
    }
    if !args.yes {
        if !app.can_ask() {
            let failure = Failure::new(Code::NobodyToAsk, "removing has to be confirmed, and nobody can be asked");
            return Err(failure.hint("if it is meant: cardcase remove --yes ID"));
        }
        let identities = identities.iter().map(|identity| format!("{:?}", identity.name()));
        let enrollments = enrollments.iter().map(|enrollment| format!("what waits for {}", enrollment.subject()));
        let names: Vec<String> = identities.chain(enrollments).collect();
        if !terminal::confirm(&format!("Remove {} with the private key?", names.join(", ")))? {
            return Err(Failure::new(Code::Failed, "not confirmed; nothing was removed"));
        }
    }
    let identities: Vec<_> = identities.iter().map(Identity::fingerprint).collect();
    let enrollments: Vec<_> = enrollments.iter().map(Enrollment::fingerprint).collect();
    store.remove(&[identities.as_slice(), &enrollments].concat())?;
    identities.into_iter().try_for_each(|fingerprint| credential::forget_one(app, fingerprint))
}
