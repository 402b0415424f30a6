//! Authentication codes of the store: over decisions, and over its terms, which are what is selected or trusted without
//! anybody being asked: the settings, the rules, and the authorities that verify servers.
//!
//! Whoever changes the file without being able to open its vault cannot make them, so that no key is used because of what
//! was written behind the owner's back. What is put back as it once was, and a decision or a whole store that was taken
//! away, they do not show.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use sha2::{Digest, Sha256};

use super::{Cache, SEALED_KEY, Store, as_rusqlite, sealed_key};
use crate::answer::rules::{Origin, Rule, Ruled, Rules};
use crate::answer::settings::Settings;
use crate::certificate::Fingerprint;
use crate::error::Error;
use crate::request::in_brackets;
use crate::store::settings::read_settings;
use crate::vault::{Authenticated, Message, Vault};

/// What the owner accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The settings.
    pub settings: Settings,
    /// How many rules.
    pub rules: u32,
    /// How many authorities that verify servers.
    pub trusted: u32,
    /// How many decisions for identities.
    pub decisions: usize,
}

/// A decision for an identity, as far as it says what is sent where.
pub(crate) struct DecisionRow<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
    pub(crate) identity: i64,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) session: Option<&'a str>,
    pub(crate) decided_at: i64,
}

impl DecisionRow<'_> {
    pub(crate) fn message(&self) -> Message {
        Message::new("decision")
            .field(self.host.as_bytes())
            .optional(self.port.map(u16::to_be_bytes).as_ref().map(<[u8; 2]>::as_slice))
            .number(self.identity)
            .field(self.fingerprint.as_bytes())
            .optional(self.session.map(str::as_bytes))
            .number(self.decided_at)
    }
}

/// Decisions for identities, for [`read_decision`].
pub(crate) const DECISIONS: &str =
    "SELECT d.host, d.port, d.identity, i.fingerprint, d.session, d.decided_at, d.mac, d.id
    FROM decisions d JOIN identities i ON i.id = d.identity";

/// The number of a decision, and what has to be authentic before it counts.
pub(crate) fn read_decision(row: &Row<'_>) -> rusqlite::Result<(i64, Authenticated)> {
    let (host, session): (String, Option<String>) = (row.get(0)?, row.get(4)?);
    let decision = DecisionRow {
        host: &host,
        port: row.get(1)?,
        identity: row.get(2)?,
        fingerprint: Fingerprint::from_bytes(row.get(3)?),
        session: session.as_deref(),
        decided_at: row.get(5)?,
    };
    let what = match decision.port {
        None => format!("the decision for {host}"),
        Some(port) => format!("the decision for {}:{port}", in_brackets(&host)),
    };
    Ok((row.get(7)?, Authenticated { what, message: decision.message(), code: row.get(6)? }))
}

/// The terms of one moment.
pub(crate) struct Terms {
    /// What they say, and their code.
    pub(crate) authenticated: Authenticated,
    /// The authorities that verify servers by them.
    pub(crate) trusted: Arc<HashSet<Fingerprint>>,
}

/// What of the terms changes seldom and may be long.
#[derive(Clone)]
pub(super) struct InForce {
    digest: [u8; 32],
    trusted: Arc<HashSet<Fingerprint>>,
}

/// The terms as they stand, and the rules among them. What is kept in memory of the two is of one moment: rules that were there for
/// another must not pass under the code of these.
pub(crate) fn terms(db: &Connection, cache: &mut Cache) -> rusqlite::Result<(Terms, Arc<Rules>)> {
    let (in_force, rules) = match &cache.in_force {
        Some(known) => known,
        None => cache.in_force.insert((in_force(db)?, Arc::new(read_rules(db)?))),
    };
    Ok((Terms { authenticated: read_terms(db, in_force)?, trusted: in_force.trusted.clone() }, rules.clone()))
}

/// The rules, by number.
pub(crate) fn read_rules(db: &Connection) -> rusqlite::Result<Rules> {
    let mut query = db.prepare_cached("SELECT id, rule FROM rules ORDER BY id")?;
    let rows = query.query_map([], |row| {
        let (number, json): (i64, String) = (row.get(0)?, row.get(1)?);
        let rule = Rule::parse(&json).map_err(|error| {
            let error = Error::StoreDamaged { detail: format!("rules, row {number}: {error}") };
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
        })?;
        Ok(Ruled { rule, origin: Origin::Store(number) })
    })?;
    Ok(Rules::new(rows.collect::<rusqlite::Result<Vec<_>>>()?))
}

fn in_force(db: &Connection) -> rusqlite::Result<InForce> {
    let mut message = Sha256::new();
    let mut rules = db.prepare_cached("SELECT id, rule FROM rules ORDER BY id")?;
    let mut rows = rules.query([])?;
    while let Some(row) = rows.next()? {
        let (number, rule): (i64, String) = (row.get(0)?, row.get(1)?);
        message.update(number.to_be_bytes());
        message.update((rule.len() as u64).to_be_bytes());
        message.update(rule);
    }
    let mut authorities =
        db.prepare_cached("SELECT fingerprint FROM authorities WHERE trusted ORDER BY fingerprint")?;
    let mut rows = authorities.query([])?;
    let mut trusted = HashSet::new();
    // A number that no rule has keeps the two apart
    message.update((-1_i64).to_be_bytes());
    while let Some(row) = rows.next()? {
        let fingerprint: [u8; 32] = row.get(0)?;
        message.update(fingerprint);
        trusted.insert(Fingerprint::from_bytes(fingerprint));
    }
    Ok(InForce { digest: message.finalize().into(), trusted: Arc::new(trusted) })
}

fn read_terms(db: &Connection, in_force: &InForce) -> rusqlite::Result<Authenticated> {
    let mut query = db.prepare_cached(
        "SELECT mode, select_automatically, use_single_candidate, prompt_on_multiple, mac FROM settings",
    )?;
    query.query_row([], |row| {
        let message = Message::new("terms")
            .field(row.get::<_, String>(0)?.as_bytes())
            .number(row.get(1)?)
            .number(row.get(2)?)
            .number(row.get(3)?)
            .field(&in_force.digest);
        let what = "what is selected without asking (settings, rules, trusted authorities)".to_owned();
        Ok(Authenticated { what, message, code: row.get(4)? })
    })
}

/// The terms, read anew.
pub(super) fn read_anew(db: &Connection) -> rusqlite::Result<Authenticated> {
    read_terms(db, &in_force(db)?)
}

/// Makes the terms as they are by now authentic.
pub(super) fn authenticate_terms(db: &Connection, vault: &Vault) -> rusqlite::Result<()> {
    let terms = read_anew(db)?;
    let code = vault.authenticate(&terms.message).map_err(as_rusqlite)?;
    db.execute("UPDATE settings SET mac = ?1", [code]).map(drop)
}

/// The decisions for an identity, or for any, with their numbers.
fn decisions(db: &Connection, identity: Option<i64>) -> rusqlite::Result<Vec<(i64, Authenticated)>> {
    let mut query = db.prepare_cached(&format!("{DECISIONS} WHERE ?1 IS NULL OR d.identity = ?1"))?;
    query.query_map([identity], read_decision)?.collect()
}

/// Whether the decisions for an identity, or for any, are authentic.
pub(crate) fn check_decisions(db: &Connection, vault: &Vault, identity: Option<i64>) -> rusqlite::Result<()> {
    decisions(db, identity)?.iter().try_for_each(|(_, decision)| vault.check(decision)).map_err(as_rusqlite)
}

/// Makes the decisions for an identity, or for any, authentic. Their identities have to be: a decision is for the name that
/// the owner saw.
pub(crate) fn authenticate_decisions(db: &Connection, vault: &Vault, identity: Option<i64>) -> rusqlite::Result<()> {
    check_identities(db, vault, identity)?;
    authenticate_each(db, vault, &decisions(db, identity)?)
}

/// Those that the owner sees: permanent, or of this session.
fn shown_decisions(db: &Connection, session: Option<&str>) -> rusqlite::Result<Vec<(i64, Authenticated)>> {
    let mut query = db.prepare_cached(&format!("{DECISIONS} WHERE d.session IS NULL OR d.session = ?1"))?;
    query.query_map([session], read_decision)?.collect()
}

fn authenticate_each(db: &Connection, vault: &Vault, decisions: &[(i64, Authenticated)]) -> rusqlite::Result<()> {
    let mut update = db.prepare_cached("UPDATE decisions SET mac = ?1 WHERE id = ?2")?;
    for (id, decision) in decisions {
        update.execute(params![vault.authenticate(&decision.message).map_err(as_rusqlite)?, id])?;
    }
    Ok(())
}

/// Whether the rows of an identity, or of all that are decided for, are as cardcase wrote them.
fn check_identities(db: &Connection, vault: &Vault, identity: Option<i64>) -> rusqlite::Result<()> {
    let mut query = db.prepare_cached(&format!(
        "{SEALED_KEY} WHERE id = ?1 OR ?1 IS NULL AND id IN (SELECT identity FROM decisions)"
    ))?;
    let keys = query.query_map([identity], sealed_key)?.collect::<rusqlite::Result<Vec<_>>>()?;
    keys.iter().try_for_each(|key| vault.check_key(key)).map_err(as_rusqlite)
}

/// Whether the terms are authentic.
pub(super) fn check_terms(db: &Connection, vault: &Vault) -> rusqlite::Result<()> {
    vault.check(&read_anew(db)?).map_err(as_rusqlite)
}

/// [`Store::change_terms`] within a transaction.
pub(crate) fn change_terms<T>(
    db: &Connection,
    vault: &Vault,
    change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    check_terms(db, vault)?;
    let changed = change(db)?;
    authenticate_terms(db, vault)?;
    Ok(changed)
}

/// [`Store::restrict_terms`] within a transaction.
pub(crate) fn restrict_terms<T>(
    db: &Connection,
    vault: &Vault,
    change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let before = vault.check(&read_anew(db)?);
    let changed = change(db)?;
    match before {
        Ok(()) => authenticate_terms(db, vault)?,
        // The code stays: of what is left it is right only if that is what the owner had once
        Err(Error::NotAuthentic { .. }) => {}
        Err(error) => return Err(as_rusqlite(error)),
    }
    Ok(changed)
}

impl Store {
    /// Changes the terms, all or nothing, if they are authentic.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::NotAuthentic`], and those of [writing](crate::manage#errors).
    pub(crate) fn change_terms<T>(&self, change: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        self.transact_open(|db, vault| change_terms(db, vault, change))
    }

    /// Takes away from the terms what only makes something go where nobody was asked. That needs no authentic terms; those that
    /// are not stay so.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], and those of [writing](crate::manage#errors).
    pub(crate) fn restrict_terms<T>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.transact_open(|db, vault| restrict_terms(db, vault, change))
    }

    /// Takes the settings, the rules, the trusted authorities and the decisions that [`Self::decisions`] shows for the owner's
    /// own, as they are now, and says what they are. For after somebody looked at them, because a selection ended with
    /// [`Error::NotAuthentic`].
    ///
    /// # Errors
    /// [`Error::VaultLocked`]; [`Error::SealedKey`] when an identity that is decided for is not as cardcase wrote it, and those
    /// of writing.
    pub fn accept_terms(&self) -> Result<Accepted, Error> {
        let session = self.session().token()?;
        self.transact_open(|db, vault| {
            let count = |sql: &str| db.query_row(sql, [], |row| row.get(0));
            let shown = shown_decisions(db, session.as_deref())?;
            check_identities(db, vault, None)?;
            authenticate_each(db, vault, &shown)?;
            authenticate_terms(db, vault)?;
            Ok(Accepted {
                settings: read_settings(db)?,
                rules: count("SELECT count(*) FROM rules")?,
                trusted: count("SELECT count(*) FROM authorities WHERE trusted")?,
                decisions: shown.len(),
            })
        })
    }

    /// Runs statements that write, all or none, with the vault as it is in the file by then: another process may have set a
    /// primary password, with a new data key.
    pub(crate) fn transact_open<T>(
        &self,
        work: impl FnOnce(&Connection, &Vault) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.transact(|db| {
            let vault = self.current_vault(db)?;
            work(db, &vault)
        })
    }
}
