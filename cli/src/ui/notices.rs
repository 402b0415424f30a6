//! What several commands tell about a store.

use std::sync::atomic::{AtomicUsize, Ordering};

use cardcase::Identity;
use cardcase::Store;
use cardcase::manage::Renewal;

use crate::ui::remedy::repair;
use crate::ui::say;

/// Says so when the private keys are not protected by a password.
pub(crate) fn protection(store: &Store) {
    if !store.has_primary_password() {
        say::note("the private keys are not protected by a password; to set one: cardcase password");
    }
}

/// Warns if rustls cannot use the key of an identity, and says what to do.
pub(crate) fn key_limit(identity: &Identity) {
    let Some(limit) = identity.key_limit() else { return };
    say::warn(format_args!("{:?}: {limit}", identity.name()));
    say::hint(match (identity.needs_openssl(), cfg!(feature = "openssl")) {
        (true, _) => "to use it: cardcase fetch --tls openssl URL",
        (false, true) => "request a certificate for a new key: cardcase enroll --help",
        (false, false) => "to try it with OpenSSL: cargo install cardcase-cli --features openssl",
    });
}

/// Says what an identity took over.
pub(crate) fn renewal(renewal: &Renewal) {
    let Renewal { old, new, scopes, restricted, .. } = renewal;
    let old = format!("{:?} ({})", old.name(), old.fingerprint().short());
    match scopes.as_slice() {
        [] => say::note(format_args!("nothing is remembered for {old}")),
        scopes => {
            let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
            say::note(format_args!("{:?} is now used instead of {old}: {}", new.name(), scopes.join(", ")));
        }
    }
    if *restricted {
        say::note(format_args!("{:?} is now sent in TLS 1.3 only, like {old}", new.name()));
    }
}

/// How many of a store's damaged rows were reported.
#[derive(Default)]
pub(crate) struct DamageTold(AtomicUsize);

impl DamageTold {
    /// Warns of the damaged rows that were found since the last call.
    pub(crate) fn tell(&self, store: &Store) {
        let damage = store.damage();
        for damaged in damage.iter().skip(self.0.swap(damage.len(), Ordering::Relaxed)) {
            say::warn(format_args!("{damaged}; it was skipped"));
            say::hint(repair(damaged));
        }
    }
}

/// Warns that the history could not be written.
pub(crate) fn tell_unrecorded(error: &cardcase::Error) {
    say::warn(format_args!("some uses were not written to the history: {error}"));
}
