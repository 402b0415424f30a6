//! The table of the decisions.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::damage::{DECISIONS, row_with, rows_with};
use super::handle::Store;
use super::integrity::DecisionRow;
use super::keys::{chosen_key, known_key};
use super::pages::{Pages, ReadRows};
use super::sql::{as_rusqlite, at_any_length, is_about_a_column};
use crate::answer::decision::{Answer, Decision, Lifetime, Scope};
use crate::certificate::Fingerprint;
use crate::clock::Timestamp;
use crate::error::{Damage, Error};
use crate::vault::SealedKey;

/// For [`parse_decision`].
const DECISION: &str =
    "SELECT d.host, d.port, i.fingerprint, d.session IS NOT NULL, d.decided_at, d.last_used_at, d.last_outcome
    FROM decisions d LEFT JOIN identities i ON i.id = d.identity
    WHERE (d.session IS NULL OR d.session = :session)";

/// For [`parse_every`].
const EVERY: &str =
    "SELECT host, port, (SELECT i.fingerprint FROM identities i WHERE i.id = d.identity), session IS NOT NULL,
    decided_at, last_used_at, last_outcome, session, identity, id FROM decisions d";

/// A decision for the session takes precedence over a permanent one.
pub(super) const SESSION_FIRST: &str = "ORDER BY d.session IS NULL LIMIT 1";

/// The decision in a scope that gave a certain answer, for the session or permanently. An identity that was removed has no id,
/// which is not the same as the NULL of a decision for no certificate.
const ANSWERED: &str = "WHERE host = ?1 AND coalesce(port, 0) = ?2
    AND identity IS (SELECT id FROM identities WHERE fingerprint = ?3) AND (identity IS NULL) = (?3 IS NULL)
    AND (session IS NULL OR session = ?4)";

/// Of the decisions in a scope, those that count in a session.
const COUNTS: &str = "WHERE host = ?1 AND coalesce(port, 0) = ?2 AND (session IS NULL OR session = ?3)";

/// The maximum length of a host in bytes: names have up to 253. No cardcase wrote a longer one.
pub(super) const MAX_HOST: i64 = 1024;

/// Seconds after which a session decision is deleted: half a year.
const MAX_SESSION: i64 = 183 * 86_400;

impl Store {
    /// What is remembered in this scope.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn decision(&self, scope: &Scope) -> Result<Option<Decision>, Error> {
        let session = self.session().token()?;
        self.read(|db| {
            let mut query = db.prepare_cached(&format!(
                "{DECISION} AND d.host = :host AND coalesce(d.port, 0) = :port {SESSION_FIRST}"
            ))?;
            query
                .query_row(
                    named_params! { ":session": session, ":host": scope.host, ":port": scope.port.unwrap_or(0) },
                    parse_decision,
                )
                .optional()
        })
    }

    /// Everything that is remembered permanently or for this session, by host and port. A row that is damaged is skipped and noted in
    /// [`Self::damage`].
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn decisions(&self) -> Result<Vec<Decision>, Error> {
        self.each_decision()?.collect()
    }

    /// The same, read while the iterator is used, a few hundred at a time. The store is not locked in between: a decision that is
    /// made or forgotten meanwhile is left out.
    ///
    /// # Errors
    /// Those of [reading](Self#errors), also from the iterator, which then ends.
    pub fn each_decision(&self) -> Result<impl Iterator<Item = Result<Decision, Error>>, Error> {
        let session = self.session().token()?;
        let ids = self.read(numbers_in_order)?;
        let read: ReadRows<i64, (Decision, Option<String>)> =
            |db, ids, damaged| rows_with(db, DECISIONS, EVERY, ids, parse_every, damaged);
        let counts = move |of: Option<String>| of.is_none() || of == session;
        let rows = Pages::new(self, ids, read);
        Ok(rows.filter_map(move |row| row.map(|(decision, of)| counts(of).then_some(decision)).transpose()))
    }

    /// Remembers an answer in place of what was remembered before. [`Lifetime::Once`] stores nothing. A decision for an
    /// identity receives an authentication code, so the vault must be open. If a person chose the identity by its name, use
    /// [`Self::remember_chosen`].
    ///
    /// # Errors
    /// [`Error::VaultLocked`]; [`Error::UnknownIdentity`] when the identity has been removed; [`Error::SealedKey`] when its row is
    /// not as cardcase wrote it; and those of [writing](Self#errors).
    pub fn remember(
        &self,
        scope: &Scope,
        identity: Option<Fingerprint>,
        lifetime: Lifetime,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.remember_key(scope, lifetime, now, |db| identity.map(|identity| known_key(db, identity)).transpose())
    }

    /// Remembers what a person chose, under the name that the person saw.
    ///
    /// # Errors
    /// [`Error::Renamed`] when the identity has another name now, and those of [`Self::remember`].
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

    /// Remembers answers permanently, each where nothing is remembered yet: all of these, or none. Returns them. Each identity receives an
    /// authentication code, as with [`Self::remember`].
    ///
    /// # Errors
    /// Those of [`Self::remember`].
    pub fn remember_new(
        &self,
        answers: Vec<(Scope, Option<Fingerprint>)>,
        now: Timestamp,
    ) -> Result<Vec<(Scope, Option<Fingerprint>)>, Error> {
        let current = self.session().token()?;
        self.transact(|db| {
            let mut new = Vec::with_capacity(answers.len());
            for (scope, identity) in answers {
                let mut query = db.prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM decisions {COUNTS})"))?;
                let of = params![scope.host, scope.port.unwrap_or(0), current];
                if query.query_row(of, |row| row.get(0))? {
                    continue;
                }
                let key = identity.map(|identity| known_key(db, identity)).transpose()?;
                self.write_decision(db, &scope, key.as_ref(), None, now)?;
                new.push((scope, identity));
            }
            Ok(new)
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
            forget_scope(db, scope, current.as_deref())?;
            self.write_decision(db, scope, key.as_ref(), session.as_deref(), now)
        })
    }

    /// Writes a decision with its code, for a scope that has none.
    fn write_decision(
        &self,
        db: &Connection,
        scope: &Scope,
        key: Option<&SealedKey>,
        session: Option<&str>,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let code = match key {
            None => None,
            Some(key) => {
                let (identity, fingerprint) = (key.row.id, key.row.fingerprint);
                let host = scope.host.as_str();
                let row = DecisionRow { host, port: scope.port, identity, fingerprint, session, decided_at: now.0 };
                let vault = self.usable_vault(db)?;
                // Somebody may have put the name that the owner saw into the row
                vault.check_key(key).map_err(as_rusqlite)?;
                Some(vault.authenticate(&row.message()).map_err(as_rusqlite)?)
            }
        };
        let mut insert = db.prepare_cached(
            "INSERT INTO decisions (host, port, identity, session, decided_at, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let identity = key.map(|key| key.row.id);
        insert.execute(params![scope.host, scope.port, identity, session, now.0, code]).map(drop)
    }

    /// Forgets what is remembered in this scope, permanently and for this session. Returns what that was, and how many rows besides
    /// cannot be read.
    ///
    /// # Errors
    /// Those of [writing](Self#errors).
    pub fn forget(&self, scope: &Scope) -> Result<(Vec<Decision>, usize), Error> {
        let session = self.session().token()?;
        self.transact(|db| {
            let ids = at_any_length(db, |db| {
                let mut query = db.prepare_cached(&format!("SELECT id FROM decisions {COUNTS}"))?;
                let of = params![scope.host, scope.port.unwrap_or(0), session];
                query.query_map(of, |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()
            })?;
            let found = read_some(db, &ids)?;
            at_any_length(db, |db| forget_scope(db, scope, session.as_deref()))?;
            Ok(found)
        })
    }

    /// Forgets everything, in every scope and every session. Returns what that was, and how many rows besides cannot be read.
    ///
    /// # Errors
    /// Those of [writing](Self#errors).
    pub fn forget_all(&self) -> Result<(Vec<Decision>, usize), Error> {
        self.transact(|db| {
            let found = read_some(db, &numbers_in_order(db)?)?;
            at_any_length(db, |db| db.execute("DELETE FROM decisions", []))?;
            Ok(found)
        })
    }
}

/// The identity of the permanent decision in this scope, if there is such a decision.
pub(super) fn decision_in(db: &Connection, scope: &Scope) -> rusqlite::Result<Option<Option<Fingerprint>>> {
    let mut query = db.prepare_cached(
        "SELECT i.fingerprint FROM decisions d LEFT JOIN identities i ON i.id = d.identity
         WHERE d.host = ?1 AND coalesce(d.port, 0) = ?2 AND d.session IS NULL",
    )?;
    let found = query.query_row(params![scope.host, scope.port.unwrap_or(0)], |row| row.get::<_, Option<[u8; 32]>>(0));
    Ok(found.optional()?.map(|identity| identity.map(Fingerprint::from_bytes)))
}

/// Writes a permanent decision for a scope that has none, with the row of its identity and its code.
pub(super) fn insert_decision(
    db: &Connection,
    decision: &Decision,
    identity: Option<i64>,
    code: Option<[u8; 32]>,
) -> rusqlite::Result<()> {
    let Decision { scope, decided_at, last_used_at, last_outcome, .. } = decision;
    let mut insert = db.prepare_cached(
        "INSERT INTO decisions (host, port, identity, decided_at, last_used_at, last_outcome, mac)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let (used_at, outcome) = (last_used_at.map(|at| at.0), last_outcome.map(|outcome| outcome.to_string()));
    insert.execute(params![scope.host, scope.port, identity, decided_at.0, used_at, outcome, code]).map(drop)
}

/// The decision of a scope that gave this answer in a session or permanently.
pub(super) struct Answered<'a> {
    pub(super) scope: &'a Scope,
    pub(super) identity: Option<Fingerprint>,
    pub(super) session: Option<&'a str>,
}

impl Answered<'_> {
    /// Forgets it. A decision made since then for another identity stays.
    pub(super) fn forget(&self, db: &Connection) -> rusqlite::Result<()> {
        let Self { scope, identity, session } = self;
        let mut forget = db.prepare_cached(&format!("DELETE FROM decisions {ANSWERED}"))?;
        let identity = identity.as_ref().map(Fingerprint::as_bytes);
        forget.execute(params![scope.host, scope.port.unwrap_or(0), identity, session]).map(drop)
    }

    /// Writes when it was last used, and the outcome.
    pub(super) fn mark(&self, db: &Connection, at: Timestamp, outcome: &str) -> rusqlite::Result<()> {
        let Self { scope, identity, session } = self;
        let mut mark =
            db.prepare_cached(&format!("UPDATE decisions SET last_used_at = ?5, last_outcome = ?6 {ANSWERED}"))?;
        let identity = identity.as_ref().map(Fingerprint::as_bytes);
        mark.execute(params![scope.host, scope.port.unwrap_or(0), identity, session, at.0, outcome]).map(drop)
    }
}

/// Moves the decisions for one identity to another. Returns their scopes.
pub(super) fn move_decisions(db: &Connection, from: i64, to: i64) -> rusqlite::Result<Vec<Scope>> {
    let mut update = db.prepare_cached(
        "UPDATE decisions SET identity = ?2, last_outcome = NULL WHERE identity = ?1 RETURNING host, port",
    )?;
    let rows = update.query_map([from, to], |row| Ok(Scope { host: row.get(0)?, port: row.get(1)? }))?;
    rows.collect()
}

/// Deletes what counts in this scope and session. A decision of another session stays: that session may be on another machine,
/// or may have another runtime directory.
fn forget_scope(db: &Connection, scope: &Scope, session: Option<&str>) -> rusqlite::Result<usize> {
    let mut delete = db.prepare_cached(&format!("DELETE FROM decisions {COUNTS}"))?;
    delete.execute(params![scope.host, scope.port.unwrap_or(0), session])
}

/// A session that has ended looks the same as one on another machine, but none lasts this long.
fn forget_old_sessions(db: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM decisions WHERE session IS NOT NULL AND decided_at < ?1")?;
    delete.execute([now.0.saturating_sub(MAX_SESSION)]).map(drop)
}

/// The decisions with these numbers that can be read, and how many cannot.
fn read_some(db: &Connection, ids: &[i64]) -> rusqlite::Result<(Vec<Decision>, usize)> {
    let mut damaged = Vec::new();
    let rows = rows_with(db, DECISIONS, EVERY, ids, parse_every, &mut damaged)?;
    Ok((rows.into_iter().map(|(decision, _)| decision).collect(), damaged.len()))
}

/// The numbers of all rows, by host and port; a decision for the session stands before a permanent one. A host that cardcase has not
/// written may be longer, and ends a query.
fn numbers_in_order(db: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut query = db.prepare_cached(
        "SELECT id FROM decisions
         ORDER BY iif(octet_length(host) <= ?1, host, ''), coalesce(port, 0), session IS NULL, id",
    )?;
    query.query_map([MAX_HOST], |row| row.get(0))?.collect()
}

/// The decisions that the owner sees: permanent, or of this session; without their last use, which no code covers.
///
/// # Errors
/// [`Error::RowDamaged`] when one, of any session, cannot be read.
pub(super) fn shown_decisions(db: &Connection, session: Option<&str>) -> rusqlite::Result<Vec<Decision>> {
    let mut shown = Vec::new();
    for id in numbers_in_order(db)? {
        let (decision, of) = row_with(db, DECISIONS, EVERY, id, parse_every)?;
        if of.is_none() || of.as_deref() == session {
            shown.push(Decision { last_used_at: None, last_outcome: None, ..decision });
        }
    }
    Ok(shown)
}

/// A decision of any session, and its session.
///
/// # Errors
/// [`Error::RowDamaged`].
fn parse_every(row: &Row<'_>) -> rusqlite::Result<(Decision, Option<String>)> {
    let damaged = |detail: String| -> rusqlite::Result<rusqlite::Error> {
        Ok(as_rusqlite(Error::RowDamaged(Damage { table: DECISIONS, row: row.get(9)?, id: String::new(), detail })))
    };
    match parse_decision(row).and_then(|decision| Ok((decision, row.get(7)?))) {
        Ok((decision, _)) if decision.identity.is_none() && row.get::<_, Option<i64>>(8)?.is_some() => {
            Err(damaged(format!("the identity of the decision for {} is not in the store", decision.scope))?)
        }
        Err(error) if is_about_a_column(&error) => Err(damaged(error.to_string())?),
        parsed => parsed,
    }
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
