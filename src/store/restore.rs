//! Restoring a backup: everything in it that the store does not have yet, in one transaction.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::authorities::{insert_authority, trust_authority};
use super::backup::{Backup, DecisionPart, SettingsPart, UsePart, damaged};
use super::decisions::{decision_in, insert_decision};
use super::enrollments;
use super::handle::Store;
use super::history::{insert_use, parse_use};
use super::identities::insert_identity;
use super::integrity::{DecisionRow, authenticate_terms, check_terms};
use super::keys::known_key;
use super::rules::insert_rules;
use super::settings::{read_settings, write_settings};
use super::sql::{as_rusqlite, is_about_a_column};
use crate::answer::decision::{Decision, Lifetime, Outcome, Scope};
use crate::answer::history::Use;
use crate::answer::rules::Rule;
use crate::answer::settings::Settings;
use crate::certificate::Certificate;
use crate::certificate::enrollment::Enrollment;
use crate::certificate::identity::Identity;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::request::Destination;
use crate::vault::Vault;

/// What a backup brought into a store. What the store had stays as it was.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Restored {
    /// Identities that are new. One whose name was taken has another.
    pub identities: Vec<Arc<Identity>>,
    /// Identities that the store already had, as it has them.
    pub already_present: Vec<Arc<Identity>>,
    /// CA certificates that are new.
    pub authorities: Vec<Certificate>,
    /// Certificates that verify servers from now on.
    pub trusted: Vec<Certificate>,
    /// Keys that wait for their certificates.
    pub enrollments: Vec<Enrollment>,
    /// Rules that are new, with their numbers.
    pub rules: Vec<Rule>,
    /// Decisions that are new.
    pub decisions: Vec<Decision>,
    /// Decisions of the backup where the store remembers another answer, which stays.
    pub contradicted: Vec<Decision>,
    /// The settings of the backup, if they were taken: by a store that had nothing.
    pub settings: Option<Settings>,
    /// The settings of the backup, if the store has others, which stay.
    pub other_settings: Option<Settings>,
    /// How many entries of the history are new.
    pub uses: usize,
}

impl Store {
    /// Adds everything in a backup that the store does not have; all or nothing. What the store has stays as it is: identities, answers
    /// for the same host, and settings unless the store is new. An identity whose name is taken gets a number.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] before [`Self::unlock`]; [`Error::NotAuthentic`] when the settings, rules or trusted authorities of this
    /// store are not; [`Error::BackupDamaged`] when the backup holds what no cardcase has written; [`Error::TooManyRules`]; and those of
    /// [writing](Self#errors).
    pub fn restore(&self, backup: &Backup) -> Result<Restored, Error> {
        self.transact_with_vault(|db, vault| {
            check_terms(db, vault)?;
            let restored = restore(db, vault, backup, Existing::Checked)?;
            authenticate_terms(db, vault)?;
            Ok(restored)
        })
    }

    /// What [`Self::restore`] would do. Nothing is changed, and the vault may be locked.
    ///
    /// # Errors
    /// Those of [`Self::restore`].
    pub fn would_restore(&self, backup: &Backup) -> Result<Restored, Error> {
        self.rehearse(|db, vault| restore(db, vault, backup, Existing::Unchecked))
    }
}

/// Whether the row of an identity that the store has is checked before a decision for it is added. A rehearsal cannot do that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Checked,
    Unchecked,
}

fn restore(db: &Connection, vault: &Vault, backup: &Backup, existing: Existing) -> rusqlite::Result<Restored> {
    let is_new = is_empty(db)?;
    let mut restored = Restored::default();
    for (new, part) in backup.identities.iter().zip(&backup.contents.identities) {
        match insert_identity(db, vault, new, None, Timestamp(part.added_at))? {
            (identity, true) => restored.identities.push(identity),
            (identity, false) => restored.already_present.push(identity),
        }
    }
    for (certificate, part) in backup.authorities.iter().zip(&backup.contents.authorities) {
        if insert_authority(db, certificate, Timestamp(part.added_at))? {
            restored.authorities.push(certificate.clone());
        }
        if part.trusted && trust_authority(db, certificate)? {
            restored.trusted.push(certificate.clone());
        }
    }
    for (enrollment, key) in &backup.enrollments {
        if enrollments::insert_unless_known(db, vault, enrollment, key)? {
            restored.enrollments.push(enrollment.clone());
        }
    }
    // A certificate in the backup may be the one that a key in the store waits for
    enrollments::complete(db, &restored.identities)?;
    enrollments::complete(db, &restored.already_present)?;
    for part in &backup.contents.rules {
        let rule = Rule::parse(&part.rule).map_err(|error| as_rusqlite(damaged(error)))?;
        let added = insert_rules(db, &[rule], Timestamp(part.added_at))?;
        restored.rules.extend(added.into_iter().filter(|(_, is_new)| *is_new).map(|(rule, _)| rule));
    }
    restore_settings(db, &backup.contents.settings, is_new, &mut restored)?;
    for part in &backup.contents.decisions {
        restore_decision(db, vault, part, existing, &mut restored)?;
    }
    if let Some(uses) = &backup.contents.history {
        restored.uses = restore_history(db, uses)?;
    }
    Ok(restored)
}

/// Whether a store has nothing yet.
fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM identities) AND NOT EXISTS (SELECT 1 FROM authorities)
            AND NOT EXISTS (SELECT 1 FROM enrollments) AND NOT EXISTS (SELECT 1 FROM rules)
            AND NOT EXISTS (SELECT 1 FROM decisions)",
        [],
        |row| row.get(0),
    )
}

fn restore_settings(
    db: &Connection,
    part: &SettingsPart,
    is_new: bool,
    restored: &mut Restored,
) -> rusqlite::Result<()> {
    let before = read_settings(db)?;
    let settings = Settings {
        mode: part.mode.parse().map_err(|error: Error| as_rusqlite(damaged(error)))?,
        select_automatically: part.select_automatically,
        use_single_candidate: part.use_single_candidate,
        prompt_on_multiple: part.prompt_on_multiple,
    };
    if settings == before {
        return Ok(());
    }
    if is_new && before == Settings::default() {
        write_settings(db, &settings)?;
        restored.settings = Some(settings);
    } else {
        restored.other_settings = Some(settings);
    }
    Ok(())
}

fn restore_decision(
    db: &Connection,
    vault: &Vault,
    part: &DecisionPart,
    existing: Existing,
    restored: &mut Restored,
) -> rusqlite::Result<()> {
    check_host(&part.host, part.port)?;
    let last_outcome = part.last_outcome.as_deref().map(outcome).transpose()?;
    let decision = Decision {
        scope: Scope { host: part.host.clone(), port: part.port },
        identity: part.identity.map(|digest| digest.0),
        lifetime: Lifetime::Permanent,
        decided_at: Timestamp(part.decided_at),
        last_used_at: part.last_used_at.map(Timestamp),
        last_outcome,
    };
    match decision_in(db, &decision.scope)? {
        Some(identity) if identity == decision.identity => return Ok(()),
        Some(_) => {
            restored.contradicted.push(decision);
            return Ok(());
        }
        None => {}
    }
    let key = decision.identity.map(|identity| known_key(db, identity)).transpose()?;
    let code = match &key {
        None => None,
        Some(key) => {
            if existing == Existing::Checked {
                vault.check_key(key).map_err(as_rusqlite)?;
            }
            let row = DecisionRow {
                host: &part.host,
                port: part.port,
                identity: key.row.id,
                fingerprint: key.row.fingerprint,
                session: None,
                decided_at: part.decided_at,
            };
            Some(vault.authenticate(&row.message()).map_err(as_rusqlite)?)
        }
    };
    insert_decision(db, &decision, key.map(|key| key.row.id), code)?;
    restored.decisions.push(decision);
    Ok(())
}

/// Merges the history by time: what is listed first is what was used last, whichever machine it was on.
fn restore_history(db: &Connection, parts: &[UsePart]) -> rusqlite::Result<usize> {
    let mut query =
        db.prepare("SELECT at, host, port, identity, source, outcome, alert, tls_version FROM uses ORDER BY id")?;
    // A damaged entry is of no use to anybody
    let is_whole = |row: &rusqlite::Result<Use>| !row.as_ref().is_err_and(is_about_a_column);
    let mut uses: Vec<Use> = query.query_map([], parse_use)?.filter(is_whole).collect::<rusqlite::Result<_>>()?;
    // The same entry may be in the store several times
    let mut known: HashMap<Use, usize> = HashMap::new();
    for used in &uses {
        *known.entry(used.clone()).or_default() += 1;
    }
    let mut added = 0;
    for part in parts {
        check_host(&part.host, Some(part.port))?;
        let used = Use {
            at: Timestamp(part.at),
            host: part.host.clone(),
            port: part.port,
            identity: part.identity.map(|digest| digest.0),
            source: part.source.clone(),
            outcome: outcome(&part.outcome)?,
            alert: part.alert.clone(),
            tls_version: part.tls_version.clone(),
        };
        match known.get_mut(&used) {
            Some(count) if *count > 0 => *count -= 1,
            _ => {
                uses.push(used);
                added += 1;
            }
        }
    }
    if added == 0 {
        return Ok(0);
    }
    uses.sort_by_key(|used| used.at);
    db.execute("DELETE FROM uses", [])?;
    uses.iter().try_for_each(|used| insert_use(db, used))?;
    Ok(added)
}

/// Checks that a host is written as it is remembered, and that a port is one.
fn check_host(host: &str, port: Option<u16>) -> rusqlite::Result<()> {
    let destination = Destination::new(host, port.unwrap_or(Destination::DEFAULT_PORT));
    let destination = destination.map_err(|error| as_rusqlite(damaged(error)))?;
    match destination.host() == host {
        true => Ok(()),
        false => Err(as_rusqlite(damaged(format_args!("{host:?} is not how a host is remembered")))),
    }
}

fn outcome(text: &str) -> rusqlite::Result<Outcome> {
    let outcome = [Outcome::Accepted, Outcome::Refused, Outcome::Unknown];
    let outcome = outcome.into_iter().find(|outcome| outcome.to_string() == text);
    outcome.ok_or_else(|| as_rusqlite(damaged(format_args!("{text:?} is no outcome"))))
}
