//! What several commands tell about a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cardcase::Error;
use cardcase::Identity;
use cardcase::Store;
use cardcase::manage::{Certificate, Renewal, Timestamp};
use serde::Serialize;

use crate::ui::remedy::repair;
use crate::ui::say;
use crate::ui::text::word;
use crate::ui::time::{expires_soon, local_date};

/// Says so when the private keys are not protected by a password.
pub(crate) fn protection(store: &Store) {
    if !store.has_primary_password() {
        say::note("the private keys are not protected by a password; to set one: cardcase password");
    }
}

/// Warns if servers refuse an identity now, or soon, and says what to do.
pub(crate) fn prospects(identity: &Identity, now: Timestamp) {
    let (name, certificate) = (identity.name(), identity.certificate());
    let until = certificate.not_after();
    for why in identity.why_useless(now) {
        say::warn(format_args!("servers refuse {name:?}: {why}"));
    }
    if now < certificate.not_before() {
        say::hint("if that date has passed, the clock of this machine is wrong: date");
    } else if until < now {
        say::hint(request(certificate));
    } else if expires_soon(now, until) {
        say::warn(format_args!("{name:?} expires {}", until.days_from(now)));
        say::hint(request(certificate));
    }
    // If nothing signs with its key, that was said above
    let Some(limit) = identity.key_limit() else { return };
    if identity.needs_openssl() {
        say::warn(format_args!("{name:?}: {limit}"));
    }
    say::hint(match (identity.needs_openssl(), cfg!(feature = "openssl")) {
        (true, _) => "to use it: cardcase fetch --tls openssl URL",
        (false, true) => "request a certificate for a new key: cardcase enroll --help",
        (false, false) => "to try it with OpenSSL: cargo install cardcase-cli --features openssl",
    });
}

/// An identity in one line: what happened to it, what it is for, and until when.
pub(crate) fn identity_line(what: &str, identity: &Identity, now: Timestamp) -> String {
    let certificate = identity.certificate();
    let (from, until) = (certificate.not_before(), certificate.not_after());
    let validity = match (now < from, until < now) {
        (true, _) => format!("not valid before {}", local_date(from)),
        (_, true) => format!("expired {}", until.days_from(now)),
        (false, false) => format!("expires {}", until.days_from(now)),
    };
    format!(
        "{what}: {} ({}, {}, issued by {}, {validity})",
        identity.name(),
        certificate.key(),
        purpose(certificate),
        certificate.issuer().common_name(),
    )
}

/// Identities as `list --json` has them.
pub(crate) fn identities_json(
    store: &Store,
    identities: &[Arc<Identity>],
    now: Timestamp,
) -> Result<Vec<impl Serialize + use<>>, Error> {
    let chains = store.chain_lengths(identities.iter().map(|identity| identity.certificate()))?;
    Ok(identities.iter().zip(chains).map(|(identity, chain)| identity.json(chain, now)).collect())
}

/// How to request another certificate for the same person.
fn request(certificate: &Certificate) -> String {
    let subject = certificate.subject().to_string();
    format!("request a new one from its issuer: cardcase enroll --subject {} -o request.csr", word(&subject))
}

/// What a certificate is for, as a part of a sentence.
fn purpose(certificate: &Certificate) -> String {
    let Some(usages) = certificate.extended_key_usage() else { return "for any use".to_owned() };
    let names = usages.iter().map(|usage| match usage.as_str() {
        "clientAuth" => "TLS clients",
        "serverAuth" => "TLS servers",
        "emailProtection" => "e-mail",
        "codeSigning" => "signing code",
        "timeStamping" => "time stamps",
        "OCSPSigning" => "OCSP",
        "1.3.6.1.4.1.311.20.2.2" => "logging in to Windows",
        _ => "other uses",
    });
    let mut names: Vec<&str> = names.collect();
    names.sort_by_key(|name| (*name != "TLS clients", *name == "other uses"));
    names.dedup();
    match names.as_slice() {
        [] => "for no use".to_owned(),
        [only] => format!("for {only}"),
        [others @ .., last] => format!("for {} and {last}", others.join(", ")),
    }
}

/// Says what an identity took over, or would take over.
pub(crate) fn renewal(renewal: &Renewal, is_rehearsed: bool) {
    let Renewal { old, new, scopes, restricted, .. } = renewal;
    let (new, old) = (format!("{:?}", new.name()), format!("{:?} ({})", old.name(), old.fingerprint().short()));
    let now = if is_rehearsed { "would be" } else { "is now" };
    match scopes.as_slice() {
        [] => say::note(format_args!("nothing is remembered for {old}")),
        scopes => {
            let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
            say::note(format_args!("{new} {now} used instead of {old}: {}", scopes.join(", ")));
        }
    }
    if *restricted {
        say::note(format_args!("{new} {now} sent in TLS 1.3 only, like {old}"));
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
