//! `cardcase list`

use std::collections::HashSet;

use cardcase::Destination;
use cardcase::Identity;
use cardcase::manage::Enrollment;
use cardcase::manage::Fingerprint;
use cardcase::manage::split_port;
use serde::Serialize;

use crate::app::App;
use crate::cli::List;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::print_json;
use crate::ui::notices;
use crate::ui::say;
use crate::ui::table::print_table;
use crate::ui::text::expires_soon;

#[derive(Serialize)]
struct ListJson<I> {
    identities: Vec<I>,
    /// Keys that wait for their certificate; omitted where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    enrollments: Vec<EnrollmentJson>,
    /// Whether there is a primary password.
    protected: bool,
}

#[derive(Serialize)]
struct EnrollmentJson {
    /// SHA-256 of the request.
    fingerprint: String,
    subject: String,
    key: String,
    made_at: String,
}

impl EnrollmentJson {
    fn new(enrollment: &Enrollment) -> Self {
        Self {
            fingerprint: enrollment.fingerprint().to_string(),
            subject: enrollment.subject().to_string(),
            key: enrollment.key().to_string(),
            made_at: enrollment.made_at().to_string(),
        }
    }
}

pub(crate) fn run(app: &App, args: &List) -> Result<(), Failure> {
    let store = app.store()?;
    let now = app.now();
    let mut identities = store.identities()?;
    let enrollments = if args.destination.is_none() { store.enrollments()? } else { Vec::new() };
    if let Some(text) = &args.destination {
        let known = known_at(app, text)?;
        identities.retain(|identity| known.contains(&identity.fingerprint()));
        if identities.is_empty() {
            let failure =
                Failure::new(Code::NothingFits, format_args!("no identity is remembered for {text} or was used there"));
            return Err(failure.hint(format_args!("to see which fit: cardcase explain {text}")));
        }
    }
    if app.common.json {
        let chains = store.chains(identities.iter().map(Identity::certificate))?;
        let identities = identities.iter().zip(&chains);
        let identities = identities.map(|(identity, chain)| identity.json(chain.len(), now)).collect();
        let protected = store.has_primary_password();
        let enrollments = enrollments.iter().map(EnrollmentJson::new).collect();
        // A script would mistake a part for the whole
        check_all_shown(app)?;
        return print_json(&ListJson { identities, enrollments, protected });
    }
    enrollments.iter().for_each(note_waiting);
    if identities.is_empty() {
        say::note("the store has no identities; to add some: cardcase import FILE.p12");
        return check_all_shown(app);
    }
    notices::protection(store);
    for identity in &identities {
        let until = identity.certificate().not_after();
        if expires_soon(now, until) {
            say::warn(format_args!("{:?} expires {}", identity.name(), until.days_from(now)));
        }
    }
    let rows = identities.iter().map(|identity| {
        let certificate = identity.certificate();
        let mut expiry = format!("{} ({})", certificate.not_after().date(), certificate.not_after().days_from(now));
        if certificate.not_after() < now {
            expiry = format!("EXPIRED {expiry}");
        }
        vec![
            identity.name().to_owned(),
            certificate.subject().common_name(),
            certificate.issuer().common_name(),
            expiry,
            key(identity),
            certificate.fingerprint().short(),
        ]
    });
    print_table(&["NAME", "SUBJECT", "ISSUER", "EXPIRES", "KEY", "SHA-256"], rows)?;
    check_all_shown(app)
}

/// The kind of the key, and whether it can be used.
fn key(identity: &Identity) -> String {
    let kind = identity.certificate().key();
    match (identity.is_usable_by_rustls(), identity.needs_openssl()) {
        (true, _) => kind.to_string(),
        (false, true) => format!("{kind} (OpenSSL only)"),
        (false, false) => format!("{kind} (UNUSABLE)"),
    }
}

fn check_all_shown(app: &App) -> Result<(), Failure> {
    ["identities", "enrollments"].into_iter().try_for_each(|table| app.check_all_shown(table))
}

fn note_waiting(enrollment: &Enrollment) {
    say::note(format_args!(
        "waiting for its certificate: {} ({}, created {}, request {})",
        enrollment.subject(),
        enrollment.key(),
        enrollment.made_at().date(),
        enrollment.fingerprint().short(),
    ));
}

/// The identities in decisions and in the history for this host, or for this port only if one is given.
fn known_at(app: &App, text: &str) -> Result<HashSet<Fingerprint>, Failure> {
    let (_, port) = split_port(text)?;
    let destination: Destination = text.parse()?;
    let store = app.store()?;
    let at_port = |used: Option<u16>| port.is_none() || used.is_none() || used == port;
    let decided = store.decisions()?.into_iter().filter(|decision| decision.scope.host == destination.host());
    let decided = decided.filter(|decision| at_port(decision.scope.port)).filter_map(|decision| decision.identity);
    let used = store.history(Some(destination.host()))?.into_iter();
    let used = used.filter(|used| at_port(Some(used.port))).filter_map(|used| used.identity);
    Ok(decided.chain(used).collect())
}
