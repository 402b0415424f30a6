//! The table of the decisions.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::settings::read_settings;
use crate::answer::decision::{Answer, Decision, Lifetime, Scope};
use crate::answer::rules::Rules;
use crate::answer::settings::{Mode, Settings};
use crate::certificate::Fingerprint;
use crate::certificate::authority::Authorities;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::request::Destination;
use crate::store::{
    Cache, DecisionRow, Store, Terms, as_rusqlite, cached_authorities, cached_identity, chosen_key, identity_of_key,
    known_key, read_decision, terms,
};
use crate::vault::{Authenticated, KeyRow, SealedKey};

/// What is remembered for a destination, with everything that answering takes, all of one moment.
pub(crate) struct Remembered {
    /// The settings in force.
    pub(crate) settings: Settings,
    /// The answer, with what using the identity takes.
    pub(crate) answer: Option<(Answer, Option<Remembering>)>,
    /// Every authority.
    pub(crate) authorities: Arc<Authorities>,
    /// The rules of the store.
    pub(crate) rules: Arc<Rules>,
    /// What has to be authentic before any key is used.
    pub(crate) terms: Terms,
}

/// A remembered identity's key, and the decision as far as it has to be authentic before that key is used.
#[derive(Clone)]
pub(crate) struct Remembering {
    pub(crate) key: SealedKey,
    pub(crate) decision: Authenticated,
}

const COLUMNS: &str =
    "SELECT d.host, d.port, i.fingerprint, d.session IS NOT NULL, d.decided_at, d.last_used_at, d.last_outcome
    FROM decisions d LEFT JOIN identities i ON i.id = d.identity
    WHERE (d.session IS NULL OR d.session = :session)";

/// Of a permanent decision and one for the session, the latter answers.
const SESSION_FIRST: &str = "ORDER BY d.session IS NULL LIMIT 1";

/// Seconds after which a decision for a session is erased: half a year.
const SESSION_AT_MOST: i64 = 183 * 86_400;

impl Store {
    /// What is remembered in this scope.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn decision(&self, scope: &Scope) -> Result<Option<Decision>, Error> {
        let session = self.session().token()?;
        self.with(|db| {
            let mut query = db.prepare_cached(&format!(
                "{COLUMNS} AND d.host = :host AND coalesce(d.port, 0) = :port {SESSION_FIRST}"
            ))?;
            query
                .query_row(
                    named_params! { ":session": session, ":host": scope.host, ":port": scope.port.unwrap_or(0) },
                    parse_decision,
                )
                .optional()
        })
    }

    /// What is remembered for a destination, ready to be sent; in this mode, or in the store's own. The way of every
    /// connection, so one look into the store.
    pub(crate) fn remembered(&self, destination: &Destination, mode: Option<Mode>) -> Result<Remembered, Error> {
        let session = self.session().token()?;
        self.cached(|db, cache| {
            let stored = read_settings(db)?;
            let settings = Settings { mode: mode.unwrap_or(stored.mode), ..stored };
            let scope = settings.mode.scope(destination);
            let mut query = db.prepare_cached(&format!(
                "SELECT d.host, d.port, d.identity, i.fingerprint, d.session, d.decided_at, d.mac, d.id,
                    i.name, i.requires_tls13, i.private_key
                 FROM decisions d LEFT JOIN identities i ON i.id = d.identity
                 WHERE d.host = ?1 AND coalesce(d.port, 0) = ?2 AND (d.session IS NULL OR d.session = ?3) {SESSION_FIRST}"
            ))?;
            let mut rows = query.query(params![scope.host, scope.port.unwrap_or(0), session])?;
            let answer = match rows.next()? {
                None => None,
                Some(row) => {
                    check_scope(row, &scope, session.as_deref())?;
                    Some(parse_answer(db, cache, row)?)
                }
            };
            let authorities = cached_authorities(db, cache)?;
            let (terms, rules) = terms(db, cache)?;
            Ok(Remembered { settings, answer, authorities, rules, terms })
        })
    }

    /// Everything remembered, in every scope, by host and port.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn decisions(&self) -> Result<Vec<Decision>, Error> {
        let session = self.session().token()?;
        self.with(|db| {
            let mut query =
                db.prepare_cached(&format!("{COLUMNS} ORDER BY d.host, coalesce(d.port, 0), d.session IS NULL"))?;
            query.query_map(named_params! { ":session": session }, parse_decision)?.collect()
        })
    }

    /// Remembers an answer in place of what was remembered before. [`Lifetime::Once`] stores nothing. An identity is
    /// remembered with an authentication code, which takes an open vault. What a person chose by its name is for
    /// [`Self::remember_chosen`].
    ///
    /// # Errors
    /// [`Error::VaultLocked`]; [`Error::UnknownIdentity`] when the identity was removed meanwhile; [`Error::SealedKey`] when its
    /// row is not as cardcase wrote it, and those of [writing](crate::manage#errors).
    pub fn remember(
        &self,
        scope: &Scope,
        identity: Option<Fingerprint>,
        lifetime: Lifetime,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.remember_key(scope, lifetime, now, |db| identity.map(|identity| known_key(db, identity)).transpose())
    }

    /// Remembers what a person chose, as they saw it: under the name that it had then.
    ///
    /// # Errors
    /// [`Error::Renamed`] when the identity has another name by now, and those of [`Self::remember`].
    pub fn remember_chosen(
        &self,
        scope: &Scope,
        answer: &Answer,
        lifetime: Lifetime,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.remember_key(scope, lifetime, now, |db| match answer {
            Answer::Identity(identity) => chosen_key(db, identity).map(Some),
            Answer::None => Ok(None),
        })
    }

    fn remember_key(
        &self,
        scope: &Scope,
        lifetime: Lifetime,
        now: Timestamp,
        key: impl FnOnce(&Connection) -> rusqlite::Result<Option<SealedKey>>,
    ) -> Result<(), Error> {
        let session = match lifetime {
            Lifetime::Once => return Ok(()),
            Lifetime::Session => Some(self.session().begin()?),
            Lifetime::Permanent => None,
        };
        let current = self.session().token()?;
        self.transact(|db| {
            forget_old_sessions(db, now)?;
            let key = key(db)?;
            let code = match &key {
                None => None,
                Some(key) => {
                    let (identity, fingerprint) = (key.row.id, key.row.fingerprint);
                    let (host, session) = (scope.host.as_str(), session.as_deref());
                    let row =
                        DecisionRow { host, port: scope.port, identity, fingerprint, session, decided_at: now.0 };
                    let vault = self.current_vault(db)?;
                    // The name that the owner saw may have been put there
                    vault.check_key(key).map_err(as_rusqlite)?;
                    Some(vault.authenticate(&row.message()).map_err(as_rusqlite)?)
                }
            };
            forget_scope(db, scope, current.as_deref())?;
            let mut insert = db.prepare_cached(
                "INSERT INTO decisions (host, port, identity, session, decided_at, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let identity = key.map(|key| key.row.id);
            insert.execute(params![scope.host, scope.port, identity, session, now.0, code]).map(drop)
        })
    }

    /// Forgets what is remembered in this scope; whether there was anything.
    ///
    /// # Errors
    /// Those of [writing](crate::manage#errors).
    pub fn forget(&self, scope: &Scope) -> Result<bool, Error> {
        let session = self.session().token()?;
        self.transact(|db| Ok(forget_scope(db, scope, session.as_deref())? > 0))
    }

    /// Forgets everything, in every scope and every session; how much that was.
    ///
    /// # Errors
    /// Those of [writing](crate::manage#errors).
    pub fn forget_all(&self) -> Result<usize, Error> {
        self.transact(|db| db.execute("DELETE FROM decisions", []))
    }
}

/// Forgets what counts in this scope and session. What another session decided, on another machine or without the same
/// runtime directory, is not ours to forget.
fn forget_scope(db: &Connection, scope: &Scope, session: Option<&str>) -> rusqlite::Result<usize> {
    let mut delete = db.prepare_cached(
        "DELETE FROM decisions WHERE host = ?1 AND coalesce(port, 0) = ?2 AND (session IS NULL OR session = ?3)",
    )?;
    delete.execute(params![scope.host, scope.port.unwrap_or(0), session])
}

/// A session that is over cannot be told from one elsewhere, but none lasts so long.
fn forget_old_sessions(db: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM decisions WHERE session IS NOT NULL AND decided_at < ?1")?;
    delete.execute([now.0.saturating_sub(SESSION_AT_MOST)]).map(drop)
}

/// Whether the row that was found is the one asked for: its code is made over what it says, and an index of the file may lie.
fn check_scope(row: &Row<'_>, scope: &Scope, session: Option<&str>) -> rusqlite::Result<()> {
    let (found, of_session) = (Scope { host: row.get(0)?, port: row.get(1)? }, row.get::<_, Option<String>>(4)?);
    if found == *scope && (of_session.is_none() || of_session.as_deref() == session) {
        return Ok(());
    }
    Err(as_rusqlite(Error::StoreDamaged { detail: format!("the decision for {found} was found for {scope}") }))
}

fn parse_answer(db: &Connection, cache: &mut Cache, row: &Row<'_>) -> rusqlite::Result<(Answer, Option<Remembering>)> {
    let Some(id) = row.get(2)? else { return Ok((Answer::None, None)) };
    let (_, decision) = read_decision(row)?;
    // First of all: it says which row is damaged
    cached_identity(db, cache, id)?;
    let fingerprint = Fingerprint::from_bytes(row.get(3)?);
    let key_row = KeyRow { id, fingerprint, name: row.get(8)?, requires_tls13: row.get(9)? };
    let key = SealedKey { row: key_row, sealed: row.get(10)? };
    let identity = identity_of_key(db, cache, &key.row)?;
    Ok((Answer::Identity(identity), Some(Remembering { key, decision })))
}

fn parse_decision(row: &Row<'_>) -> rusqlite::Result<Decision> {
    Ok(Decision {
        scope: Scope { host: row.get(0)?, port: row.get(1)? },
        identity: row.get::<_, Option<[u8; 32]>>(2)?.map(Fingerprint::from_bytes),
        lifetime: if row.get(3)? { Lifetime::Session } else { Lifetime::Permanent },
        decided_at: Timestamp(row.get(4)?),
        last_used_at: row.get::<_, Option<i64>>(5)?.map(Timestamp),
        last_outcome: row.get::<_, Option<String>>(6)?.and_then(|text| text.parse().ok()),
    })
}
