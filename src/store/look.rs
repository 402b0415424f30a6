//! One look into the store: everything that answering a server takes.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::authorities::cached_authorities;
use super::cache::Cache;
use super::changes::Changes;
use super::decisions::SESSION_FIRST;
use super::handle::Store;
use super::identities::{cached_identity, identity_of_key};
use super::integrity::{digest_terms, read_decision, read_terms};
use super::remembered::{Place, Remembered, Remembering, Terms};
use super::rules::read_rules;
use super::settings::read_settings;
use super::sql::as_rusqlite;
use super::vault::prove;
use crate::answer::decision::{Answer, Scope};
use crate::answer::rules::Rules;
use crate::answer::settings::{Mode, Settings};
use crate::certificate::Fingerprint;
use crate::certificate::permission::Permit;
use crate::certificate::tried::Tried;
use crate::error::Error;
use crate::request::Destination;
use crate::vault::{KeyRow, SealedKey};

impl Store {
    /// What is remembered for a destination, in this mode or in the store's own. Every connection needs it, so it takes one
    /// transaction, and none while the file has not changed.
    pub(crate) fn remembered(&self, destination: &Destination, mode: Option<Mode>) -> Result<Arc<Remembered>, Error> {
        let place = (destination.clone(), mode, self.session().token()?);
        match self.remembered_lately(&place) {
            Some(remembered) => Ok(remembered),
            None => self.look(place),
        }
    }

    /// [`Self::remembered`], if the file has not changed since it was read: it answers without waiting.
    #[cfg(feature = "tokio")]
    pub(crate) fn remembered_unchanged(
        &self,
        destination: &Destination,
        mode: Option<Mode>,
    ) -> Result<Option<Arc<Remembered>>, Error> {
        Ok(self.remembered_lately(&(destination.clone(), mode, self.session().token()?)))
    }

    fn remembered_lately(&self, place: &Place) -> Option<Arc<Remembered>> {
        let (counter, remembered) = self.lately().get(place)?;
        let vault = self.vault();
        if !self.changes()?.is_unchanged(counter) || !Arc::ptr_eq(&vault, &remembered.vault) {
            return None;
        }
        self.follow_lock(&vault);
        Some(remembered)
    }

    fn look(&self, place: Place) -> Result<Arc<Remembered>, Error> {
        let (destination, mode, session) = &place;
        let (counter, remembered) = self.cached(|db, cache| {
            // While this reads, nobody can change the file
            let counter = self.changes().and_then(Changes::counter);
            let vault = self.vault();
            prove(db, &vault)?;
            let stored = read_settings(db)?;
            let settings = Settings { mode: mode.unwrap_or(stored.mode), ..stored };
            let scope = settings.mode.scope(destination);
            let mut query = db.prepare_cached(&format!(
                "SELECT d.host, d.port, d.identity, i.fingerprint, d.session, d.decided_at, d.mac, d.id,
                    i.name, i.requires_tls13, i.private_key, i.tried, i.permission, i.confirmation
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
            let number = self.number();
            Ok((counter, Arc::new(Remembered { settings, answer, authorities, rules, terms, vault, number })))
        })?;
        if let (Some(counter), Some(changes)) = (counter, self.changes()) {
            self.lately().keep(place, counter, &remembered, |counter| changes.is_unchanged(counter));
        }
        Ok(remembered)
    }
}

/// The terms as they are, and the rules among them.
fn terms(db: &Connection, cache: &mut Cache) -> rusqlite::Result<(Terms, Arc<Rules>)> {
    let (digest, rules) = match &cache.terms {
        Some(known) => known,
        None => cache.terms.insert((digest_terms(db)?, Arc::new(read_rules(db)?))),
    };
    Ok((read_terms(db, digest)?, rules.clone()))
}

/// Checks that the row is the one asked for: its code covers its own content, but an index of the file may be wrong.
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
    // First: its error names the damaged row
    cached_identity(db, cache, id)?;
    let fingerprint = Fingerprint::from_bytes(row.get(3)?);
    let (tried, permit) = (Tried::from_number(row.get(11)?), Permit::from_numbers(row.get(12)?, row.get(13)?));
    let key_row = KeyRow { id, fingerprint, name: row.get(8)?, requires_tls13: row.get(9)?, tried, permit };
    let key = SealedKey { row: key_row, sealed: row.get(10)? };
    let identity = identity_of_key(db, cache, &key.row)?;
    Ok((Answer::Identity(identity), Some(Remembering { key, decision })))
}
