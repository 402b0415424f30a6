//! The table of the uses.

use std::collections::HashSet;

use rusqlite::{named_params, params};

use crate::answer::decision::{Outcome, Scope};
use crate::answer::history::Use;
use crate::certificate::Fingerprint;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::request::Destination;
use crate::store::Store;

/// Entries kept; the oldest go first.
const KEPT: i64 = 10_000;

/// The decision of a scope that gave a certain answer in a session or for ever. An identity that was removed has no id, and
/// that is not the NULL of a decision for none.
const ANSWERED: &str = "WHERE host = ?1 AND coalesce(port, 0) = ?2
    AND identity IS (SELECT id FROM identities WHERE fingerprint = ?3) AND (identity IS NULL) = (?3 IS NULL)
    AND (session IS NULL OR session = ?4)";

impl Store {
    /// Records a use, and marks the decision of the scope that was `decided` in, if a decision answered, as used with this
    /// outcome. With `forget_refused` that decision is forgotten when it was refused; one made meanwhile for something else
    /// stays.
    ///
    /// # Errors
    /// Those of [writing](crate::manage#errors).
    pub fn record(&self, used: &Use, decided: Option<&Scope>, forget_refused: bool) -> Result<(), Error> {
        let session = self.session().token()?;
        let outcome = used.outcome.to_string();
        self.transact(|db| {
            let mut insert = db.prepare_cached(
                "INSERT INTO uses (at, host, port, identity, source, outcome, alert, tls_version)
                 VALUES (:at, :host, :port, :identity, :source, :outcome, :alert, :tls_version)",
            )?;
            insert.execute(named_params! {
                ":at": used.at.0,
                ":host": used.host,
                ":port": used.port,
                ":identity": used.identity.as_ref().map(Fingerprint::as_bytes),
                ":source": used.source,
                ":outcome": outcome,
                ":alert": used.alert,
                ":tls_version": used.tls_version,
            })?;
            db.prepare_cached("DELETE FROM uses WHERE id <= ?1")?.execute([db.last_insert_rowid() - KEPT])?;
            let Some(scope) = decided else { return Ok(()) };
            let (host, port) = (&scope.host, scope.port.unwrap_or(0));
            let identity = used.identity.as_ref().map(Fingerprint::as_bytes);
            if forget_refused && used.outcome == Outcome::Refused {
                let mut forget = db.prepare_cached(&format!("DELETE FROM decisions {ANSWERED}"))?;
                forget.execute(params![host, port, identity, session])?;
            } else {
                let update = format!("UPDATE decisions SET last_used_at = ?5, last_outcome = ?6 {ANSWERED}");
                let mut mark = db.prepare_cached(&update)?;
                mark.execute(params![host, port, identity, session, used.at.0, outcome])?;
            }
            Ok(())
        })
    }

    /// What was recorded, the newest first; of one host when it is given.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn history(&self, host: Option<&str>) -> Result<Vec<Use>, Error> {
        self.with(|db| {
            let mut query = db.prepare_cached(
                "SELECT at, host, port, identity, source, outcome, alert, tls_version FROM uses
                 WHERE ?1 IS NULL OR host = ?1 ORDER BY id DESC",
            )?;
            let rows = query.query_map([host], |row| {
                Ok(Use {
                    at: Timestamp(row.get(0)?),
                    host: row.get(1)?,
                    port: row.get(2)?,
                    identity: row.get::<_, Option<[u8; 32]>>(3)?.map(Fingerprint::from_bytes),
                    source: row.get(4)?,
                    outcome: row.get::<_, String>(5)?.parse().unwrap_or(Outcome::Unknown),
                    alert: row.get(6)?,
                    tls_version: row.get(7)?,
                })
            })?;
            rows.collect()
        })
    }

    /// The identities that this host was sent and did not refuse.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors).
    pub fn used_before(&self, destination: &Destination) -> Result<HashSet<Fingerprint>, Error> {
        self.with(|db| {
            let mut query = db.prepare_cached(
                "SELECT DISTINCT identity FROM uses WHERE host = ?1 AND identity IS NOT NULL AND outcome != 'refused'",
            )?;
            let rows = query.query_map([destination.host()], |row| row.get(0).map(Fingerprint::from_bytes))?;
            rows.collect()
        })
    }
}
