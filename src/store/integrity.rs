//! The authentication codes of the store.
//!
//! Each decision for an identity has a code, and so have the *terms* of the store, as a whole: its settings, its rules and its
//! trusted authorities, that is, everything that decides what is sent or trusted without asking.
//!
//! Somebody who changes the file but cannot open its vault cannot make these codes, so no private key is used because of
//! what they wrote. The codes do not reveal that an earlier state was put back, or that a decision or a whole store was removed.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use sha2::{Digest, Sha256};

use super::cache::TermsDigest;
use super::damage::{RULES, numbers, row_with};
use super::handle::Store;
use super::keys::key_of_row;
use super::remembered::Terms;
use super::sql::{as_rusqlite, must_be_there};
use crate::certificate::Fingerprint;
use crate::error::Error;
use crate::request::in_brackets;
use crate::vault::{Authenticated, Message, Vault};

/// A decision for an identity: what its code covers.
pub(super) struct DecisionRow<'a> {
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
    pub(super) identity: i64,
    pub(super) fingerprint: Fingerprint,
    pub(super) session: Option<&'a str>,
    pub(super) decided_at: i64,
}

impl DecisionRow<'_> {
    pub(super) fn message(&self) -> Message {
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
const DECISIONS: &str = "SELECT d.host, d.port, d.identity, i.fingerprint, d.session, d.decided_at, d.mac, d.id
    FROM decisions d JOIN identities i ON i.id = d.identity";

/// The number of a decision, and what must be authentic before the decision counts.
pub(super) fn read_decision(row: &Row<'_>) -> rusqlite::Result<(i64, Authenticated)> {
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

/// Reads the settings and the code. The digest of the rest of the terms comes from the cache or from [`digest_terms`].
pub(super) fn read_terms(db: &Connection, rest: &TermsDigest) -> rusqlite::Result<Terms> {
    let mut query = db.prepare_cached(
        "SELECT mode, select_automatically, use_single_candidate, prompt_on_multiple, mac FROM settings",
    )?;
    let terms = query.query_row([], |row| {
        let message = Message::new("terms")
            .field(row.get::<_, String>(0)?.as_bytes())
            .number(row.get(1)?)
            .number(row.get(2)?)
            .number(row.get(3)?)
            .field(&rest.digest);
        let what = "what is selected without asking (settings, rules, trusted authorities)".to_owned();
        let authenticated = Authenticated { what, message, code: row.get(4)? };
        Ok(Terms { authenticated, trusted: rest.trusted.clone() })
    });
    must_be_there("settings", terms)
}

/// Digests the rules and the trusted authorities.
pub(super) fn digest_terms(db: &Connection) -> rusqlite::Result<TermsDigest> {
    let mut message = Sha256::new();
    for number in numbers(db, RULES)? {
        let rule: String = row_with(db, RULES, "SELECT rule FROM rules", number, |row| row.get(0))?;
        message.update(number.to_be_bytes());
        message.update((rule.len() as u64).to_be_bytes());
        message.update(rule);
    }
    let mut authorities =
        db.prepare_cached("SELECT fingerprint FROM authorities WHERE trusted ORDER BY fingerprint")?;
    let mut rows = authorities.query([])?;
    let mut trusted = HashSet::new();
    // No rule has this number, so it separates the two lists
    message.update((-1_i64).to_be_bytes());
    while let Some(row) = rows.next()? {
        let fingerprint: [u8; 32] = row.get(0)?;
        message.update(fingerprint);
        trusted.insert(Fingerprint::from_bytes(fingerprint));
    }
    Ok(TermsDigest { digest: message.finalize().into(), trusted: Arc::new(trusted) })
}

/// The terms, read from the file and not from the cache.
pub(super) fn read_terms_anew(db: &Connection) -> rusqlite::Result<Authenticated> {
    Ok(read_terms(db, &digest_terms(db)?)?.authenticated)
}

/// Checks the code of the terms.
///
/// # Errors
/// [`Error::NotAuthentic`].
pub(super) fn check_terms(db: &Connection, vault: &Vault) -> rusqlite::Result<()> {
    vault.check(&read_terms_anew(db)?).map_err(as_rusqlite)
}

/// Writes the code of the terms as they are now.
pub(super) fn authenticate_terms(db: &Connection, vault: &Vault) -> rusqlite::Result<()> {
    let terms = read_terms_anew(db)?;
    let code = vault.authenticate(&terms.message).map_err(as_rusqlite)?;
    db.execute("UPDATE settings SET mac = ?1", [code]).map(drop)
}

/// Changes the terms, if they are authentic.
///
/// # Errors
/// [`Error::VaultLocked`], [`Error::NotAuthentic`], and those of `change`.
pub(super) fn change_terms<T>(
    db: &Connection,
    vault: &Vault,
    change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    check_terms(db, vault)?;
    let changed = change(db)?;
    authenticate_terms(db, vault)?;
    Ok(changed)
}

/// Makes a change to the terms after which a person is asked more often, never less. The terms need not be authentic; if they
/// are not, they stay so.
///
/// # Errors
/// [`Error::VaultLocked`], and those of `change`.
pub(super) fn restrict_terms<T>(
    db: &Connection,
    vault: &Vault,
    change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let before = vault.check(&read_terms_anew(db)?);
    let changed = change(db)?;
    match before {
        Ok(()) => authenticate_terms(db, vault)?,
        // The old code stays. It fits what is left only if the owner once had exactly these terms
        Err(Error::NotAuthentic { .. }) => {}
        Err(error) => return Err(as_rusqlite(error)),
    }
    Ok(changed)
}

/// Checks the decisions for an identity, or all of them.
///
/// # Errors
/// [`Error::NotAuthentic`].
pub(super) fn check_decisions(db: &Connection, vault: &Vault, identity: Option<i64>) -> rusqlite::Result<()> {
    decisions(db, identity)?.iter().try_for_each(|(_, decision)| vault.check(decision)).map_err(as_rusqlite)
}

/// Writes the codes of the decisions for an identity, or of all decisions. The rows of the identities must be authentic: a
/// decision is for the identity whose name the owner saw.
///
/// # Errors
/// [`Error::SealedKey`] when such a row was changed.
pub(super) fn authenticate_decisions(db: &Connection, vault: &Vault, identity: Option<i64>) -> rusqlite::Result<()> {
    check_identities(db, vault, identity)?;
    authenticate_each(db, vault, &decisions(db, identity)?)
}

/// Writes the codes of the terms and of the decisions that the owner sees, as they are now. Returns the number of these
/// decisions.
///
/// # Errors
/// [`Error::SealedKey`] when the row of an identity with a decision was changed.
pub(super) fn accept(db: &Connection, vault: &Vault, session: Option<&str>) -> rusqlite::Result<usize> {
    let shown = shown_decisions(db, session)?;
    check_identities(db, vault, None)?;
    authenticate_each(db, vault, &shown)?;
    authenticate_terms(db, vault)?;
    Ok(shown.len())
}

/// Checks the permanent decisions.
///
/// # Errors
/// [`Error::NotAuthentic`].
pub(super) fn check_permanent_decisions(db: &Connection, vault: &Vault) -> rusqlite::Result<()> {
    shown_decisions(db, None)?.iter().try_for_each(|(_, decision)| vault.check(decision)).map_err(as_rusqlite)
}

pub(super) fn decisions(db: &Connection, identity: Option<i64>) -> rusqlite::Result<Vec<(i64, Authenticated)>> {
    let mut query = db.prepare_cached(&format!("{DECISIONS} WHERE ?1 IS NULL OR d.identity = ?1"))?;
    query.query_map([identity], read_decision)?.collect()
}

/// The decisions that the owner sees: permanent, or of this session.
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

/// Checks that the row of an identity, or of every identity with a decision, is as cardcase wrote it.
fn check_identities(db: &Connection, vault: &Vault, identity: Option<i64>) -> rusqlite::Result<()> {
    let mut query = db.prepare_cached(
        "SELECT id FROM identities WHERE id = ?1 OR ?1 IS NULL AND id IN (SELECT identity FROM decisions)",
    )?;
    let ids = query.query_map([identity], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    ids.into_iter().try_for_each(|id| vault.check_key(&key_of_row(db, id)?).map_err(as_rusqlite))
}

impl Store {
    /// [`change_terms`] in a transaction of its own.
    pub(super) fn change_terms<T>(&self, change: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        self.transact_with_vault(|db, vault| change_terms(db, vault, change))
    }

    /// [`restrict_terms`] in a transaction of its own.
    pub(super) fn restrict_terms<T>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.transact_with_vault(|db, vault| restrict_terms(db, vault, change))
    }
}
