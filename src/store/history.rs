//! The table of the history.

use std::collections::HashSet;

use rusqlite::{Connection, Row, named_params, params};

use super::behind::Entry;
use super::database::SHORT;
use super::decisions::{Answered, MAX_HOST};
use super::handle::Store;
use super::pages::PAGE;
use super::settings::read_settings;
use super::sql::is_about_a_column;
use crate::answer::decision::Outcome;
use crate::answer::history::Use;
use crate::answer::settings::Mode;
use crate::certificate::Fingerprint;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::request::Destination;
use crate::vault::agent::Wanted;

/// For [`parse_use`].
pub(super) const COLUMNS: &str = "at, host, port, program, identity, source, outcome, alert, tls_version";

/// Programs are named by paths of at most 4096 bytes, each of which may be escaped.
const MAX_PROGRAM: i64 = 64 << 10;

/// Entries kept; the oldest are deleted first.
pub(super) const MAX_USES: i64 = 10_000;

/// Entries deleted when one is added.
const MAX_CUT: i64 = 1000;

impl Store {
    /// Records a use. If a remembered decision gave the answer, marks it as used with this outcome; or, in chrome mode, forgets it
    /// when the server refused the answer. A decision made since then for another identity stays.
    ///
    /// A refusal is written now, since it may decide what the next connection sends. Everything else is written
    /// [in the background](Self::flush).
    ///
    /// # Errors
    /// For a refusal, those of [writing](Self#errors); those of the session.
    pub(crate) fn record(&self, used: Use, decided: Option<(Destination, Option<Mode>)>) -> Result<(), Error> {
        let entry = Entry { used, decided, session: self.session().token()? };
        if entry.used.outcome != Outcome::Refused {
            self.behind().add(entry);
            return Ok(());
        }
        self.behind().wait();
        self.transact_within(SHORT, |db| write_entry(db, &entry))
    }

    /// Records a signature that another program got from the agent, [in the background](Self::flush).
    pub fn record_signature(&self, signed: &Wanted) {
        let used = Use {
            at: Timestamp::now(),
            destination: None,
            program: Some(signed.program()),
            identity: Some(signed.identity),
            source: if signed.is_digest { Use::DIGEST } else { Use::MESSAGE }.to_owned(),
            outcome: Outcome::Unknown,
            alert: None,
            tls_version: None,
        };
        self.behind().add(Entry { used, decided: None, session: None });
    }

    /// Waits until everything that was recorded in the history is on the disk. Dropping the store waits too; a program that ends without
    /// dropping it must call this first.
    ///
    /// # Errors
    /// The first error since the last call, of those of [writing](Self#errors). What it was about is not in the history.
    pub fn flush(&self) -> Result<(), Error> {
        self.behind().flush()
    }

    /// The history, the newest entry first; of one host, if it is given. The last 10,000 entries are kept.
    ///
    /// # Errors
    /// Those of [reading](Self#errors).
    pub fn history(&self, host: Option<&str>) -> Result<Vec<Use>, Error> {
        self.each_use(host).collect()
    }

    /// The same, read while the iterator is used, a few hundred at a time. The store is not locked in between.
    ///
    /// # Errors
    /// Those of [reading](Self#errors), from the iterator, which then ends.
    pub fn each_use<'s>(&'s self, host: Option<&'s str>) -> impl Iterator<Item = Result<Use, Error>> {
        self.behind().wait();
        let mut before = i64::MAX;
        self.pages(move |db, _| {
            let mut query = db.prepare_cached(&format!(
                "SELECT {COLUMNS}, id FROM uses
                 WHERE coalesce(octet_length(host) <= ?2, octet_length(program) <= ?5)
                    AND (?1 IS NULL OR host = ?1) AND id < ?3
                 ORDER BY id DESC LIMIT ?4"
            ))?;
            let mut rows = query.query(params![host, MAX_HOST, before, PAGE, MAX_PROGRAM])?;
            let (mut page, mut is_over) = (Vec::new(), true);
            while let Some(row) = rows.next()? {
                is_over = false;
                before = row.get(9)?;
                match parse_use(row) {
                    Err(error) if is_about_a_column(&error) => {}
                    parsed => page.push(parsed?),
                }
            }
            Ok((!is_over).then_some(page))
        })
    }

    /// The identities that were sent to this host and not refused.
    pub(crate) fn used_before(&self, destination: &Destination) -> Result<HashSet<Fingerprint>, Error> {
        self.behind().wait();
        self.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT DISTINCT identity FROM uses WHERE host = ?1 AND identity IS NOT NULL AND outcome != 'refused'",
            )?;
            let rows = query.query_map([destination.host()], |row| row.get(0).map(Fingerprint::from_bytes))?;
            rows.collect()
        })
    }
}

pub(super) fn write_entry(db: &Connection, entry: &Entry) -> rusqlite::Result<()> {
    let Entry { used, decided, session } = entry;
    insert_use(db, used)?;
    let Some((destination, mode)) = decided else { return Ok(()) };
    let mode = match mode {
        Some(mode) => *mode,
        None => read_settings(db)?.mode,
    };
    let scope = mode.scope(destination);
    let decision = Answered { scope: &scope, identity: used.identity, session: session.as_deref() };
    match mode == Mode::Chrome && used.outcome == Outcome::Refused {
        true => decision.forget(db),
        false => decision.mark(db, used.at, &used.outcome.to_string()),
    }
}

pub(super) fn parse_use(row: &Row<'_>) -> rusqlite::Result<Use> {
    Ok(Use {
        at: Timestamp(row.get(0)?),
        destination: row.get::<_, Option<String>>(1)?.zip(row.get(2)?),
        program: row.get(3)?,
        identity: row.get::<_, Option<[u8; 32]>>(4)?.map(Fingerprint::from_bytes),
        source: row.get(5)?,
        outcome: row.get::<_, String>(6)?.parse().unwrap_or(Outcome::Unknown),
        alert: row.get(7)?,
        tls_version: row.get(8)?,
    })
}

pub(super) fn insert_use(db: &Connection, used: &Use) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO uses (at, host, port, program, identity, source, outcome, alert, tls_version)
         VALUES (:at, :host, :port, :program, :identity, :source, :outcome, :alert, :tls_version)",
    )?;
    insert.execute(named_params! {
        ":at": used.at.0,
        ":host": used.destination.as_ref().map(|(host, _)| host),
        ":port": used.destination.as_ref().map(|(_, port)| port),
        ":program": used.program,
        ":identity": used.identity.as_ref().map(Fingerprint::as_bytes),
        ":source": used.source,
        ":outcome": used.outcome.to_string(),
        ":alert": used.alert,
        ":tls_version": used.tls_version,
    })?;
    // A history that something else made far longer is cut by and by: others wait for this transaction
    let mut delete =
        db.prepare_cached("DELETE FROM uses WHERE id IN (SELECT id FROM uses WHERE id <= ?1 ORDER BY id LIMIT ?2)")?;
    delete.execute([db.last_insert_rowid() - MAX_USES, MAX_CUT]).map(drop)
}
