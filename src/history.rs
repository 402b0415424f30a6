//! History: where an identity, or none, went, why, and what became of it.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use cardcase::decisions::{Lifetime, Mode, Outcome};
//! use cardcase::request::{CertificateRequest, CertificateType, Destination};
//! use cardcase::{clock::Timestamp, selector::Selector};
//!
//! let intranet: Destination = "intranet.example.com".parse()?;
//! store.remember(&Mode::Firefox.scope(&intranet), None, Lifetime::Permanent, Timestamp::now())?;
//! let selector = Selector::new(store);
//! let request = CertificateRequest::of_types(&[CertificateType::EcdsaSign], Vec::new());
//! let prepared = selector.select(&intranet, &request)?;
//! if let Some(selection) = prepared.selection() {
//!     selector.record(&intranet, selection, Outcome::Accepted, None, Some("TLSv1.3".to_owned()))?;
//! }
//! let history = selector.store().history(Some("intranet.example.com"))?;
//! assert_eq!((history[0].identity, history[0].source.as_str()), (None, "decision"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::HashSet;

use rusqlite::{named_params, params};
use rustls::ProtocolVersion;

use crate::certificate::Fingerprint;
use crate::clock::Timestamp;
use crate::decisions::{Outcome, Scope};
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

/// The name of a version of TLS: `TLSv1.3`, as OpenSSL writes it too.
pub fn version_name(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        other => format!("{other:?}"),
    }
}

/// One answer to one certificate request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Use {
    /// When.
    pub at: Timestamp,
    /// Where it went.
    pub host: String,
    /// Where it went.
    pub port: u16,
    /// The identity, or `None` for no certificate.
    pub identity: Option<Fingerprint>,
    /// Why, as [`crate::selector::Source`] is displayed.
    pub source: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The TLS alert of a refusal, in RFC 8446's name.
    pub alert: Option<String>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: Option<String>,
}

impl Store {
    /// Records a use, and marks the decision of the scope that was `decided` in, if a decision answered, as used with this
    /// outcome. With `forget_refused` that decision is forgotten when it was refused; one made meanwhile for something else
    /// stays.
    ///
    /// # Errors
    /// Those of [writing](crate::store#errors).
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
    /// Those of [reading](crate::store#errors).
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
    /// Those of [reading](crate::store#errors).
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
