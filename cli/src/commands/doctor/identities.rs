//! The certificates: identities that cannot be used, or soon not any more; authorities that verify nothing.

use std::collections::HashSet;

use cardcase::manage::{Fingerprint, Outcome, Timestamp};
use cardcase::{Error, Identity, Store};

use super::finding::{Findings, Kind};
use super::place::unreadable;
use crate::ui::time::{expires_soon, local_date};

pub(super) fn examine(store: &Store, now: Timestamp, findings: &mut Findings) {
    if let Err(error) = examine_identities(store, now, findings) {
        unreadable(store, &error, findings);
    }
    if let Err(error) = examine_others(store, now, findings) {
        unreadable(store, &error, findings);
    }
}

fn examine_identities(store: &Store, now: Timestamp, findings: &mut Findings) -> Result<(), Error> {
    let accepted = accepted(store)?;
    for identity in store.each_identity()? {
        let identity = identity?;
        examine_validity(&identity, now, findings);
        examine_purpose(&identity, findings);
        if !accepted.contains(&identity.fingerprint()) {
            examine_chain(store, &identity, findings)?;
        }
    }
    Ok(())
}

fn examine_validity(identity: &Identity, now: Timestamp, findings: &mut Findings) {
    let (name, certificate) = (identity.name(), identity.certificate());
    let (from, until) = (certificate.not_before(), certificate.not_after());
    if until < now {
        let text = format!("{name:?} expired {}: import its successor, or remove it", until.days_from(now));
        findings.add(Kind::Expired, text, "cardcase import --renew FILE.p12");
    } else if expires_soon(now, until) {
        let text = format!("{name:?} expires {}: import its successor", until.days_from(now));
        findings.add(Kind::ExpiresSoon, text, "cardcase import --renew FILE.p12");
    }
    if from > now {
        let text = format!(
            "{name:?} is not yet valid; it becomes valid {}, unless the clock of this machine is wrong",
            from.days_from(now)
        );
        findings.add(Kind::NotYetValid, text, "date");
    }
}

fn examine_purpose(identity: &Identity, findings: &mut Findings) {
    let (name, certificate) = (identity.name(), identity.certificate());
    let lacks = match (certificate.allows_client_auth(), certificate.allows_signing()) {
        (true, true) => None,
        (false, _) => Some("its extended key usage lacks clientAuth"),
        (true, false) => Some("its key usage lacks digitalSignature"),
    };
    if let Some(lacks) = lacks {
        let text = format!("{name:?} is not for TLS clients: {lacks}; request a certificate for clients");
        findings.add(Kind::NotForClients, text, "cardcase enroll --help");
    }
    if let Some(limit) = identity.key_limit() {
        let command = match identity.needs_openssl() {
            true => "cardcase fetch --tls openssl URL",
            false => "cardcase enroll --help",
        };
        findings.add(Kind::UnusableKey, format!("{name:?}: {limit}"), command);
    }
}

/// Where the certificate of the issuer is missing, it is an intermediate unless the issuer is a root. Servers that have accepted the
/// identity do not need it.
fn examine_chain(store: &Store, identity: &Identity, findings: &mut Findings) -> Result<(), Error> {
    let certificate = identity.certificate();
    if !certificate.is_self_signed() && store.chain(certificate)?.is_empty() {
        let text = format!(
            "the certificate of {}, which issued {:?}, is not in the store; without it, a server may not accept the identity",
            certificate.issuer(),
            identity.name()
        );
        findings.add(Kind::MissingIntermediate, text, "cardcase import CA.pem");
    }
    Ok(())
}

/// The identities that a server has accepted.
fn accepted(store: &Store) -> Result<HashSet<Fingerprint>, Error> {
    let mut accepted = HashSet::new();
    for used in store.each_use(None) {
        let used = used?;
        accepted.extend(used.identity.filter(|_| used.outcome == Outcome::Accepted));
    }
    Ok(accepted)
}

fn examine_others(store: &Store, now: Timestamp, findings: &mut Findings) -> Result<(), Error> {
    for enrollment in store.enrollments()? {
        let text = format!(
            "a key waits for its certificate: {}, since {}",
            enrollment.subject(),
            local_date(enrollment.made_at())
        );
        findings.add(Kind::WaitingForCertificate, text, "cardcase import CERTIFICATE.pem");
    }
    for authority in store.authorities()?.iter().filter(|authority| authority.trusted) {
        let certificate = &authority.certificate;
        if let Some(why) = certificate.why_untrustable(now) {
            let text = format!("{} is trusted, and verifies no server: {why}", certificate.subject());
            let command = format!("cardcase trust --remove {}", certificate.fingerprint().short());
            findings.add(Kind::UnusableAuthority, text, command);
        }
    }
    Ok(())
}
