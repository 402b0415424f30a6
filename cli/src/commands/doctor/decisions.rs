//! The decisions: those that a server refused, and those whose identity no longer fits.

use cardcase::manage::{Mode, Outcome, Timestamp};
use cardcase::{Error, Identity, Store};

use super::finding::{Findings, Kind};
use super::place::unreadable;
use crate::ui::text::word;

pub(super) fn examine(store: &Store, now: Timestamp, findings: &mut Findings) {
    if let Err(error) = examine_each(store, now, findings) {
        unreadable(store, &error, findings);
    }
}

fn examine_each(store: &Store, now: Timestamp, findings: &mut Findings) -> Result<(), Error> {
    let mode = store.settings()?.mode;
    for decision in store.each_decision()? {
        let decision = decision?;
        let scope = &decision.scope;
        let forget = match Mode::from_scope(scope) {
            used if used == mode => format!("cardcase forget {}", word(&scope.to_string())),
            other => format!("cardcase --mode {other} forget {}", word(&scope.to_string())),
        };
        let identity = match decision.identity.map(|fingerprint| store.identity(fingerprint)) {
            // It is reported with the others
            Some(Err(Error::RowDamaged(_))) => continue,
            Some(found) => found?,
            None => None,
        };
        let name =
            identity.as_ref().map_or("that none is sent".to_owned(), |identity| format!("{:?}", identity.name()));
        if decision.last_outcome == Some(Outcome::Refused) {
            findings.add(Kind::DecisionRefused, format!("{scope} refused what is remembered for it: {name}"), forget);
        } else if let Some(why) = identity.and_then(|identity| why_unfit(&identity, now)) {
            findings.add(
                Kind::DecisionUnfit,
                format!("what is remembered for {scope} no longer fits: {name} {why}"),
                forget,
            );
        }
    }
    Ok(())
}

/// What is known without the server: it decides too which identities fit.
fn why_unfit(identity: &Identity, now: Timestamp) -> Option<&'static str> {
    let certificate = identity.certificate();
    let checks = [
        (certificate.not_after() < now, "has expired"),
        (certificate.not_before() > now, "is not yet valid"),
        (!certificate.allows_client_auth() || !certificate.allows_signing(), "is not for TLS clients"),
        (!identity.is_usable_by_rustls() && !identity.is_usable_by_openssl(), "has a key that cannot be used"),
    ];
    checks.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
}
