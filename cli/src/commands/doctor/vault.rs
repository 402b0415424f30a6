//! The private keys: whether they are protected, whether they open, and what opens them.

use std::path::PathBuf;

use cardcase::{Error, Store, Unlocker};
use zeroize::Zeroizing;

use super::finding::{Findings, Kind};
use super::place::unreadable;
use crate::ui::remedy;
use crate::ui::text::quoted;

pub(super) fn examine(store: &Store, findings: &mut Findings) {
    examine_agent(store, findings);
    examine_authenticity(store, findings);
    if !store.has_primary_password() {
        // A store without keys has nothing to protect
        if store.each_identity().is_ok_and(|mut identities| identities.next().is_some()) {
            findings.add(Kind::NotProtected, "the private keys are not protected by a password", "cardcase password");
        }
        return;
    }
    examine_keyring(findings);
}

fn examine_agent(store: &Store, findings: &mut Findings) {
    if let Err(error) = store.session().has_directory() {
        let command = match &error {
            Error::Io { path, .. } => format!("chmod 700 {}", quoted(path)),
            _ => "ls -ld \"$XDG_RUNTIME_DIR/cardcase\"".to_owned(),
        };
        findings.add(Kind::RuntimeDirectory, format!("nothing can be remembered until logout: {error}"), command);
        return;
    }
    match store.agent() {
        Ok(Some(agent)) if !agent.serves => {
            let text = "an agent runs for a primary password that the store no longer has";
            findings.add(Kind::AgentOutdated, text, "cardcase lock; cardcase unlock");
        }
        Ok(_) => {}
        Err(error @ (Error::Agent { .. } | Error::Io { .. })) => {
            findings.add(Kind::AgentBroken, error, "cardcase lock; cardcase unlock");
        }
        Err(error) => unreadable(store, &error, findings),
    }
}

fn examine_authenticity(store: &Store, findings: &mut Findings) {
    // Without a password it is open; otherwise an agent may hold the key
    match store.unlock(&NobodyIsAsked).and_then(|()| store.check_authenticity()) {
        Ok(wrong) => wrong.iter().for_each(|error| not_ours(error, findings)),
        Err(error @ Error::VaultReplaced { .. }) => not_ours(&error, findings),
        Err(Error::VaultLocked | Error::Agent { .. } | Error::Declined) => {
            let text = "it was not checked whether the private keys open, because the store is locked";
            findings.add(Kind::NotChecked, text, "cardcase unlock && cardcase doctor");
        }
        // A damaged row is reported with the others
        Err(Error::RowDamaged(_)) => {}
        Err(error) => unreadable(store, &error, findings),
    }
}

fn not_ours(error: &Error, findings: &mut Findings) {
    let kind = match error {
        Error::NotAuthentic { .. } => Kind::NotAuthentic,
        _ => Kind::KeyDoesNotOpen,
    };
    match remedy::for_error(error) {
        Some(command) => findings.add(kind, error, command),
        None => findings.add_without_command(kind, error),
    }
}

/// A keyring may ask for a password of its own when it is read, so only the way to it is examined.
fn examine_keyring(findings: &mut Findings) {
    if !cfg!(feature = "keyring") {
        let text = "this cardcase was built without the desktop's keyring, so the primary password is asked for";
        findings.add(Kind::KeyringUnreachable, text, "cargo install cardcase-cli --features keyring");
        return;
    }
    let bus = std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some_and(|address| !address.is_empty());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let is_reachable = bus || runtime.is_some_and(|directory| directory.join("bus").exists());
    if cfg!(target_os = "linux") && !is_reachable {
        let text = "the desktop's keyring cannot be reached (no session bus), so the primary password is asked for";
        findings.add(Kind::KeyringUnreachable, text, "cardcase unlock");
    }
}

/// Only what opens without a password is opened.
struct NobodyIsAsked;

impl Unlocker for NobodyIsAsked {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::VaultLocked)
    }
}
