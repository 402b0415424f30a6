//! The table of the rules.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::damage::{RULES, numbers, row_with};
use super::handle::Store;
use super::integrity::{change_terms, restrict_terms};
use super::settings::{read_settings, write_settings};
use super::sql::{MAX_VALUE, as_rusqlite, at_any_length};
use crate::answer::policy::Policy;
use crate::answer::rules::{Rule, Rules};
use crate::answer::settings::Settings;
use crate::clock::Timestamp;
use crate::error::{Damage, Error};

/// Rules a store may hold.
const MAX_RULES: i64 = 10_000;

impl Store {
    /// The rules of the store, by number.
    ///
    /// # Errors
    /// Those of [reading](Self#errors); [`Error::RowDamaged`] when a row holds no rule.
    pub fn rules(&self) -> Result<Vec<Rule>, Error> {
        Ok(self.read(read_rules)?.all().iter().map(|rule| (**rule).clone()).collect())
    }

    /// Adds rules, all or none. Returns each rule with its number, and whether it is new: a rule that the store already has
    /// stays as it is.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::NotAuthentic`], [`Error::TooManyRules`], and those of [writing](Self#errors).
    pub fn add_rules(&self, rules: &[Rule], now: Timestamp) -> Result<Vec<(Rule, bool)>, Error> {
        self.change_terms(|db| insert_rules(db, rules, now))
    }

    /// Adds the rules of a policy as [`Self::add_rules`] does, and sets `prompt_on_multiple` if the policy sets it; all or
    /// nothing. Returns also whether `prompt_on_multiple` has changed.
    ///
    /// # Errors
    /// Those of [`Self::add_rules`].
    pub fn import_policy(&self, policy: &Policy, now: Timestamp) -> Result<(Vec<(Rule, bool)>, bool), Error> {
        self.change_terms(|db| insert_policy(db, policy, now))
    }

    /// What [`Self::import_policy`] would do. Nothing is changed, and the vault may be locked; then nothing is checked that needs it.
    ///
    /// # Errors
    /// Those of [`Self::import_policy`].
    pub fn would_import_policy(&self, policy: &Policy, now: Timestamp) -> Result<(Vec<(Rule, bool)>, bool), Error> {
        self.rehearse(|db, vault| change_terms(db, vault, |db| insert_policy(db, policy, now)))
    }

    /// Removes rules by their numbers, all or none, and returns each number with the rule as JSON, or with what stands in its row.
    /// A number that is given twice counts once. This succeeds even when the rules are not authentic.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::UnknownRule`], and those of [writing](Self#errors).
    pub fn remove_rules(&self, numbers: &[i64]) -> Result<Vec<(i64, String)>, Error> {
        let remove = |db: &Connection| {
            let mut delete = db.prepare_cached(
                "DELETE FROM rules WHERE id = ?1 RETURNING iif(octet_length(rule) <= ?2, rule, 'a rule that is too long')",
            )?;
            let remove = |number: &i64| {
                let removed = delete.query_row([*number, MAX_VALUE.into()], |row| row.get(0)).optional()?;
                removed.map(|rule| (*number, rule)).ok_or_else(|| as_rusqlite(Error::UnknownRule { number: *number }))
            };
            let mut seen = HashSet::new();
            numbers.iter().filter(|number| seen.insert(**number)).map(remove).collect()
        };
        self.transact_with_vault(|db, vault| at_any_length(db, |db| restrict_terms(db, vault, remove)))
    }
}

/// The rules, by number.
pub(super) fn read_rules(db: &Connection) -> rusqlite::Result<Rules> {
    let parse = |row: &Row<'_>| {
        let (number, json): (i64, String) = (row.get(0)?, row.get(1)?);
        let damaged = |error: Error| {
            let (id, detail) = (String::new(), error.to_string());
            as_rusqlite(Error::RowDamaged(Damage { table: RULES, row: number, id, detail }))
        };
        Ok(Arc::new(Rule::parse(&json).map_err(damaged)?.numbered(number)))
    };
    let rules = numbers(db, RULES)?.into_iter().map(|id| row_with(db, RULES, "SELECT id, rule FROM rules", id, parse));
    Ok(Rules::new(rules.collect::<rusqlite::Result<Vec<_>>>()?))
}

fn insert_policy(db: &Connection, policy: &Policy, now: Timestamp) -> rusqlite::Result<(Vec<(Rule, bool)>, bool)> {
    let added = insert_rules(db, &policy.rules, now)?;
    let before = read_settings(db)?;
    let prompt_on_multiple = policy.prompt_on_multiple.unwrap_or(before.prompt_on_multiple);
    let is_changed = prompt_on_multiple != before.prompt_on_multiple;
    if is_changed {
        write_settings(db, &Settings { prompt_on_multiple, ..before })?;
    }
    Ok((added, is_changed))
}

pub(super) fn insert_rules(db: &Connection, rules: &[Rule], now: Timestamp) -> rusqlite::Result<Vec<(Rule, bool)>> {
    // Look for each first: INSERT OR IGNORE uses up a number even when it inserts nothing
    let mut known = db.prepare_cached("SELECT id FROM rules WHERE rule = ?1")?;
    let mut insert = db.prepare_cached("INSERT INTO rules (rule, added_at) VALUES (?1, ?2) RETURNING id")?;
    let mut added = Vec::new();
    for rule in rules {
        let json = rule.to_json();
        let number = known.query_row([&json], |row| row.get(0)).optional()?;
        added.push(match number {
            Some(number) => (rule.clone().numbered(number), false),
            None => {
                let number = insert.query_row(params![json, now.0], |row| row.get(0))?;
                (rule.clone().numbered(number), true)
            }
        });
    }
    let count: i64 = db.query_row("SELECT count(*) FROM rules", [], |row| row.get(0))?;
    if count > MAX_RULES {
        return Err(as_rusqlite(Error::TooManyRules { most: MAX_RULES }));
    }
    Ok(added)
}
