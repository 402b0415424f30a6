//! What the store needs around it: the clock, the administrator's files, the CA certificates of the system, OpenSSL.

use cardcase::manage::{Permission, Policy, Timestamp};
use cardcase::{Error, Identity, Store};

use super::finding::{Findings, Kind};
use super::place::unreadable;
use crate::app::App;
use crate::pkcs11::Place;
use crate::profiles::Profile;
use crate::ui::text::counted;
use crate::ui::text::quoted;

/// How far a clock may be behind what it said before: it may have been corrected.
const TOLERATED: i64 = 86_400;

/// Identities that a person may not know to be able to bring over.
pub(super) fn examine_browsers(findings: &mut Findings) {
    for (profile, identities) in Profile::with_identities() {
        let told = profile.told();
        let text = match identities {
            Some(number) => {
                format!("the store has no identities, and {told} has {}", counted(number, "identity", "identities"))
            }
            None => format!("the store has no identities, and {told}, which is in use now, may have some"),
        };
        findings.add(Kind::InBrowser, text, profile.import_command());
    }
}

/// The PKCS#11 module, for identities that other programs may use.
pub(super) fn examine_module(store: &Store, findings: &mut Findings) {
    let installed = Place::all_installed();
    for (place, module) in &installed {
        if module.is_absolute() && !module.exists() {
            let text =
                format!("{} names a PKCS#11 module that does not exist: {}", place.path().display(), module.display());
            findings.add(Kind::ModuleMissing, text, "cardcase pkcs11 remove; cardcase pkcs11 install");
        }
    }
    let is_permitted =
        |identity: Result<Identity, Error>| identity.is_ok_and(|one| one.permission() != Permission::Off);
    let are_some = store.each_identity().is_ok_and(|mut identities| identities.any(is_permitted));
    if installed.is_empty() && are_some {
        let text = "other programs may use identities of the store, and the PKCS#11 module is installed in none";
        findings.add(Kind::ModuleNotInstalled, text, "cardcase pkcs11 install");
    }
}

pub(super) fn examine(app: &App, findings: &mut Findings) {
    let (policy, broken) = Policy::survey(app.policy_directory());
    for error in broken {
        let command = match &error {
            Error::PolicyFile { path, .. } => format!("ls -l {}", quoted(path)),
            _ => format!("ls -l {}", quoted(app.policy_directory())),
        };
        let text = format!("no certificate is selected, because the administrator's rules cannot be read: {error}");
        findings.add(Kind::PolicyUnreadable, text, command);
    }
    for skipped in policy.skipped {
        findings.add(
            Kind::PolicySkipped,
            format!("a rule of the administrator is skipped: {skipped}"),
            "cardcase rules",
        );
    }
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        let text = "the system has no CA certificates, so only what the store trusts verifies servers";
        findings.add(Kind::NoSystemAuthorities, text, "apt-get install ca-certificates");
    }
    examine_openssl(findings);
}

fn examine_openssl(findings: &mut Findings) {
    if !cfg!(feature = "openssl") {
        let text = "this cardcase was built without OpenSSL: servers that ask in the middle of a connection get no certificate";
        findings.add(Kind::OpensslMissing, text, "cargo install cardcase-cli --features openssl");
    } else if let Err(why) = openssl() {
        findings.add(Kind::OpensslUnloadable, format!("OpenSSL cannot be loaded: {why}"), "apt-get install libssl3");
    }
}

#[cfg(openssl_at_need)]
fn openssl() -> Result<(), String> {
    crate::openssl_at_need::check()
}

/// Without it, this program would not have started.
#[cfg(not(openssl_at_need))]
fn openssl() -> Result<(), String> {
    Ok(())
}

/// A clock that is behind makes certificates not yet valid, and decisions look new.
pub(super) fn examine_clock(store: &Store, now: Timestamp, findings: &mut Findings) {
    match latest(store) {
        Ok(Some((what, latest))) if now.0.saturating_add(TOLERATED) < latest.0 => {
            let text = format!("the clock of this machine is behind: it says {now}, and {what} is from {latest}");
            findings.add(Kind::ClockBehind, text, "date; timedatectl");
        }
        Ok(_) => {}
        // A damaged row is reported with the others
        Err(Error::RowDamaged(_)) => {}
        Err(error) => unreadable(store, &error, findings),
    }
}

/// The latest time that certainly has come: of the history and of the decisions; or that at which the first of the identities became
/// valid, since somebody imported them all before it otherwise.
fn latest(store: &Store) -> Result<Option<(&'static str, Timestamp)>, Error> {
    let used = store.each_use(None).next().transpose()?.map(|used| ("the last entry of the history", used.at));
    let mut decided = None;
    for decision in store.each_decision()? {
        decided = decided.max(Some(decision?.decided_at));
    }
    let mut valid = None;
    for identity in store.each_identity()? {
        let from = identity?.certificate().not_before();
        valid = Some(valid.map_or(from, |earliest: Timestamp| earliest.min(from)));
    }
    let decided = decided.map(|at| ("the last decision", at));
    let valid = valid.map(|at| ("the first certificate in the store", at));
    Ok([used, decided, valid].into_iter().flatten().max_by_key(|(_, at)| *at))
}
