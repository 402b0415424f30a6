//! Restoring a backup: everything in it that the store does not have yet, in one transaction.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::Connection;

use super::authorities::{insert_authority, is_trusted, trust_authority};
use super::backup::{Backup, DecisionPart, SettingsPart, UsePart, check_host, damaged, parse_outcome};
use super::decisions::{decision_in, insert_decision};
use super::enrollments;
use super::handle::Store;
use super::history::{COLUMNS, MAX_USES, insert_use, parse_use};
use super::identities::{insert_identity, public_keys};
use super::integrity::{DecisionRow, authenticate_terms, check_terms};
use super::keys::known_key;
use super::rules::insert_rules;
use super::settings::{read_settings, write_settings};
use super::sql::{as_rusqlite, is_about_a_column};
use crate::answer::decision::{Decision, Lifetime, Scope};
use crate::answer::history::Use;
use crate::answer::rules::Rule;
use crate::answer::settings::Settings;
use crate::certificate::Certificate;
use crate::certificate::enrollment::Enrollment;
use crate::certificate::identity::Identity;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::vault::Vault;

/// What a backup brought into a store. What the store had stays as it was.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Restored {
    /// Identities that are new. One whose name was taken has another.
    pub identities: Vec<Arc<Identity>>,
    /// Identities that the store already had, as it has them.
    pub already_present: Vec<Arc<Identity>>,
    /// Those of them that the backup restricts to TLS 1.3 and the store does not, which stays.
    pub restricted_in_backup: Vec<Arc<Identity>>,
    /// CA certificates that are new.
    pub authorities: Vec<Certificate>,
    /// Certificates that verify servers from now on.
    pub trusted: Vec<Certificate>,
    /// Certificates that are trusted in the backup, and that the store has as not trusted, which stays.
    pub trusted_in_backup: Vec<Certificate>,
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
    /// How many entries of the history in the backup no cardcase has written.
    pub uses_left_out: usize,
}

impl Store {
    /// Adds everything in a backup that the store does not have; all or nothing. What the store has stays as it is: identities,
    /// authorities, answers for the same host, and settings unless the store is new. An identity whose name is taken gets a number.
    ///
    /// # Errors
    /// [`Error::VaultLocked`] before [`Self::unlock`]; [`Error::NotAuthentic`] when the settings, rules or trusted authorities of this
    /// store are not; [`Error::BackupDamaged`] when the backup holds what no cardcase has written; [`Error::TooManyRules`]; and those of
    /// [writing](Self#errors).
    pub fn restore(&self, backup: &Backup) -> Result<Restored, Error> {
        self.transact_with_vault(|db, vault| restore(db, vault, backup))
    }

    /// What [`Self::restore`] would do. Nothing is changed, and the vault may be locked; then nothing is checked that needs it.
    ///
    /// # Errors
    /// Those of [`Self::restore`].
    pub fn would_restore(&self, backup: &Backup) -> Result<Restored, Error> {
        self.rehearse(|db, vault| restore(db, vault, backup))
    }
}

fn restore(db: &Connection, vault: &Vault, backup: &Backup) -> rusqlite::Result<Restored> {
    check_terms(db, vault)?;
    let is_new = is_empty(db)?;
    let mut restored = Restored::default();
    for (new, part) in backup.identities.iter().zip(&backup.contents.identities) {
        match insert_identity(db, vault, new, None, Timestamp(part.added_at))? {
            (identity, true) => restored.identities.push(identity),
            (identity, false) => {
                if new.requires_tls13 && !identity.requires_tls13() {
                    restored.restricted_in_backup.push(identity.clone());
                }
                restored.already_present.push(identity);
            }
        }
    }
    for (certificate, part) in backup.authorities.iter().zip(&backup.contents.authorities) {
        let is_new = insert_authority(db, certificate, Timestamp(part.added_at))?;
        if is_new {
            restored.authorities.push(certificate.clone());
        }
        if part.trusted && !is_trusted(db, certificate)? {
            if is_new {
                trust_authority(db, certificate)?;
                restored.trusted.push(certificate.clone());
            } else {
                restored.trusted_in_backup.push(certificate.clone());
            }
        }
    }
    let completed = if backup.enrollments.is_empty() { HashSet::new() } else { public_keys(db)? };
    for (enrollment, key) in &backup.enrollments {
        if !completed.contains(enrollment.canonical_public_key())
            && enrollments::insert_unless_known(db, vault, enrollment, key)?
        {
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
        restore_decision(db, vault, part, &mut restored)?;
    }
    if let Some(uses) = &backup.contents.history {
        restore_history(db, backup, uses, &mut restored)?;
    }
    authenticate_terms(db, vault)?;
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
    restored: &mut Restored,
) -> rusqlite::Result<()> {
    check_host(&part.host, part.port).map_err(as_rusqlite)?;
    let last_outcome = part.last_outcome.as_deref().map(parse_outcome).transpose().map_err(as_rusqlite)?;
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
            vault.check_key(key).map_err(as_rusqlite)?;
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

/// Merges the history by time: what is listed first is what was used last, whichever machine it was on. The store's own entries stay;
/// those of the backup fill the rest, the newest first. Entries that no cardcase has written, or that are later than the backup, are left
/// out.
fn restore_history(
    db: &Connection,
    backup: &Backup,
    parts: &[UsePart],
    restored: &mut Restored,
) -> rusqlite::Result<()> {
    let mut query = db.prepare(&format!("SELECT {COLUMNS} FROM uses ORDER BY id"))?;
    // Nobody sees a damaged entry
    let is_whole = |row: &rusqlite::Result<Use>| !row.as_ref().is_err_and(is_about_a_column);
    let mut uses: Vec<Use> = query.query_map([], parse_use)?.filter(is_whole).collect::<rusqlite::Result<_>>()?;
    // The same entry may be in the store several times
    let mut known: HashMap<Use, usize> = HashMap::new();
    for used in &uses {
        *known.entry(used.clone()).or_default() += 1;
    }
    let mut new = Vec::new();
    for part in parts {
        let Some(used) = part.parsed().filter(|used| used.at <= backup.made_at()) else {
            restored.uses_left_out += 1;
            continue;
        };
        match known.get_mut(&used) {
            Some(count) if *count > 0 => *count -= 1,
            _ => new.push(used),
        }
    }
    new.sort_by_key(|used| Reverse(used.at));
    new.truncate(usize::try_from(MAX_USES).unwrap_or(usize::MAX).saturating_sub(uses.len()));
    restored.uses = new.len();
    if new.is_empty() {
        return Ok(());
    }
    new.reverse();
    uses.extend(new);
    uses.sort_by_key(|used| used.at);
    db.execute("DELETE FROM uses", [])?;
    uses.iter().try_for_each(|used| insert_use(db, used))
}
