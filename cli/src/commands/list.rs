//! `cardcase list`

use std::collections::{HashMap, HashSet};

use cardcase::manage::Enrollment;
use cardcase::manage::{Fingerprint, Name};
use cardcase::manage::{Timestamp, split_port};
use cardcase::{Destination, Error, Identity, Store};
use serde::Serialize;

use crate::app::App;
use crate::cli::List;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{EnrollmentJson, JsonRows, print_json};
use crate::ui::notices;
use crate::ui::say;
use crate::ui::stdout::Reader;
use crate::ui::table::{Table, Tint, next_block};
use crate::ui::time::{expires_soon, local_date};

/// How many identities `--json` keeps in memory until all are read; the others are read again then. They take 40 MB.
const HELD: usize = 1 << 16;

/// Identities, as they are read.
pub(crate) type Identities<'s> = Box<dyn Iterator<Item = Result<Identity, Error>> + 's>;

#[derive(Serialize)]
struct ListJson<I: Serialize> {
    identities: I,
    /// Keys that wait for their certificate; omitted where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    enrollments: Vec<EnrollmentJson>,
    /// Whether there is a primary password.
    protected: bool,
}

pub(crate) fn run(app: &App, args: &List) -> Result<(), Failure> {
    let store = app.store()?;
    let enrollments = if args.destination.is_none() { store.enrollments()? } else { Vec::new() };
    let known = args.destination.as_deref().map(|text| known_at(app, text)).transpose()?;
    let identities = || -> Result<Identities<'_>, Error> {
        let all = store.each_identity()?;
        Ok(match &known {
            None => Box::new(all),
            Some(known) => {
                let is_known = |identity: &Identity| known.contains(&identity.fingerprint());
                Box::new(all.filter(move |identity| identity.as_ref().map_or(true, is_known)))
            }
        })
    };
    let unknown = |text: &str| {
        let failure =
            Failure::new(Code::NothingFits, format_args!("no identity is remembered for {text} or was used there"));
        failure.hint(format_args!("to see which fit: cardcase explain {text}"))
    };
    if app.common.json {
        if let Some(text) = args.destination.as_deref()
            && identities()?.next().is_none()
        {
            check_all_shown(app)?;
            return Err(unknown(text));
        }
        return print_list_json(app, &identities, enrollments);
    }
    enrollments.iter().for_each(note_waiting);
    match (print_text(app, identities()?)?, &args.destination) {
        (false, Some(text)) => return Err(unknown(text)),
        (false, None) => say::note("the store has no identities; to add some: cardcase import FILE.p12"),
        (true, _) => {}
    }
    check_all_shown(app)
}

/// Prints identities as JSON; `identities` may be called twice.
pub(crate) fn print_list_json<'s>(
    app: &'s App,
    identities: &dyn Fn() -> Result<Identities<'s>, Error>,
    enrollments: Vec<Enrollment>,
) -> Result<(), Failure> {
    let store = app.store()?;
    let mut rows = json_rows(store, app.now(), identities()?);
    let held: Vec<_> = rows.by_ref().take(HELD).collect::<Result<_, _>>()?;
    // A script would mistake a part for the whole, so each row is read before the first is printed
    rows.try_for_each(|row| row.map(drop))?;
    check_all_shown(app)?;
    // Read again only if there are more: another process may have changed the list meanwhile
    let more = match held.len() < HELD {
        true => None,
        false => Some(json_rows(store, app.now(), Box::new(identities()?.skip(held.len())))),
    };
    print_json(&ListJson {
        identities: JsonRows::new(held.into_iter().map(Ok).chain(more.into_iter().flatten())),
        enrollments: enrollments.iter().map(EnrollmentJson::new).collect(),
        protected: store.has_primary_password(),
    })
}

/// The identities as JSON, made as they are read.
fn json_rows<'s>(
    store: &'s Store,
    now: Timestamp,
    mut identities: Identities<'s>,
) -> impl Iterator<Item = Result<impl Serialize, Error>> + 's {
    let mut read = move || -> Result<Option<Vec<_>>, Error> {
        let Some(block) = next_block(&mut identities)? else { return Ok(None) };
        let chains = store.chain_lengths(block.iter().map(Identity::certificate))?;
        Ok(Some(block.iter().zip(chains).map(|(identity, chain)| identity.json(chain, now)).collect()))
    };
    let mut block = Vec::new().into_iter();
    std::iter::from_fn(move || {
        loop {
            if let Some(row) = block.next() {
                return Some(Ok(row));
            }
            match read().transpose()? {
                Ok(rows) => block = rows.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    })
}

/// Prints the identities as they are read. Returns whether there are any.
pub(crate) fn print_text(app: &App, mut identities: Identities<'_>) -> Result<bool, Failure> {
    let (store, now) = (app.store()?, app.now());
    let mut table = Table::new(&["NAME", "SUBJECT", "ISSUER", "EXPIRES", "KEY", "SHA-256"]);
    let mut issuers: HashMap<Name, String> = HashMap::new();
    let mut are_some = false;
    while let Some(block) = next_block(&mut identities)? {
        // Usually there are few
        if issuers.len() > block.len() {
            issuers.clear();
        }
        if !are_some {
            notices::protection(store);
        }
        are_some = true;
        for identity in &block {
            let until = identity.certificate().not_after();
            if expires_soon(now, until) {
                say::warn(format_args!("{:?} expires {}", identity.name(), until.days_from(now)));
            }
        }
        for identity in block {
            let certificate = identity.certificate();
            let until = certificate.not_after();
            let mut expiry = format!("{} ({})", local_date(until), until.days_from(now));
            if certificate.not_after() < now {
                expiry = format!("EXPIRED {expiry}");
            }
            let issuer = match issuers.get(certificate.issuer()) {
                Some(known) => known.clone(),
                None => {
                    let name = certificate.issuer().common_name();
                    issuers.insert(certificate.issuer().clone(), name.clone());
                    name
                }
            };
            let row = vec![
                identity.name().to_owned(),
                certificate.subject().common_name(),
                issuer,
                expiry,
                key(&identity),
                certificate.fingerprint().short(),
            ];
            let tint = match until < now {
                true => Tint::Bad,
                false if expires_soon(now, until) => Tint::Doubtful,
                false => Tint::None,
            };
            if table.print_tinted_row(row, tint)? == Reader::Gone {
                return Ok(true);
            }
        }
    }
    if are_some {
        table.finish()?;
    }
    Ok(are_some)
}

/// The kind of the key, and whether it can be used.
fn key(identity: &Identity) -> String {
    let kind = identity.certificate().key();
    match (identity.is_usable_by_rustls(), identity.needs_openssl()) {
        (true, _) => kind.to_string(),
        (false, true) => format!("{kind} (OpenSSL only)"),
        (false, false) if identity.has_lost_key() => format!("{kind} (KEY LOST)"),
        (false, false) => format!("{kind} (UNUSABLE)"),
    }
}

pub(crate) fn check_all_shown(app: &App) -> Result<(), Failure> {
    ["identities", "enrollments"].into_iter().try_for_each(|table| app.check_all_shown(table))
}

fn note_waiting(enrollment: &Enrollment) {
    say::note(format_args!(
        "waiting for its certificate: {} ({}, created {}, request {})",
        enrollment.subject(),
        enrollment.key(),
        local_date(enrollment.made_at()),
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
    let used =
        used.filter(|used| at_port(used.destination.as_ref().map(|(_, port)| *port))).filter_map(|used| used.identity);
    Ok(decided.chain(used).collect())
}
