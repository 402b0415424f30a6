//! The table of the rules.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::settings::{read_settings, write_settings};
use super::{Store, as_rusqlite, read_rules};
use crate::answer::rules::{Policy, Rule, Rules};
use crate::answer::settings::Settings;
use crate::clock::Timestamp;
use crate::error::Error;

/// Rules a store may hold.
const MOST: i64 = 10_000;

impl Store {
    /// The rules of the store, by number.
    ///
    /// # Errors
    /// Those of [reading](crate::manage#errors); [`Error::StoreDamaged`] when a row holds no rule.
    pub fn rules(&self) -> Result<Arc<Rules>, Error> {
        self.with(read_rules).map(Arc::new)
    }

    /// Adds rules, all of them or none. One that is there already stays as it is.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::NotAuthentic`], [`Error::TooManyRules`], and those of [writing](crate::manage#errors).
    pub fn add_rules(&self, rules: &[Rule], now: Timestamp) -> Result<Vec<Added>, Error> {
        self.change_terms(|db| insert_rules(db, rules, now))
    }

    /// Adds the rules of a file and sets what it sets, all of it or nothing; whether that changed `prompt_on_multiple`.
    ///
    /// # Errors
    /// Those of [`Self::add_rules`].
    pub fn import_policy(&self, policy: &Policy, now: Timestamp) -> Result<(Vec<Added>, bool), Error> {
        self.change_terms(|db| {
            let added = insert_rules(db, &policy.rules, now)?;
            let before = read_settings(db)?;
            let prompt_on_multiple = policy.prompt_on_multiple.unwrap_or(before.prompt_on_multiple);
            let is_changed = prompt_on_multiple != before.prompt_on_multiple;
            if is_changed {
                write_settings(db, &Settings { prompt_on_multiple, ..before })?;
            }
            Ok((added, is_changed))
        })
    }

    /// Removes rules by their numbers, all of them or none, and gives them back as JSON. A number that is given twice counts
    /// once. That can be done whether or not the terms are authentic.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::UnknownRule`], and those of [writing](crate::manage#errors).
    pub fn remove_rules(&self, numbers: &[i64]) -> Result<Vec<String>, Error> {
        self.restrict_terms(|db| {
            let mut delete = db.prepare_cached("DELETE FROM rules WHERE id = ?1 RETURNING rule")?;
            let remove = |number: &i64| {
                let removed = delete.query_row([number], |row| row.get(0)).optional()?;
                removed.ok_or_else(|| as_rusqlite(Error::UnknownRule { number: *number }))
            };
            let mut seen = HashSet::new();
            numbers.iter().filter(|number| seen.insert(**number)).map(remove).collect()
        })
    }
}

/// A rule that was added, or was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Added {
    /// Its number.
    pub number: i64,
    /// Whether it was not there before.
    pub is_new: bool,
}

fn insert_rules(db: &Connection, rules: &[Rule], now: Timestamp) -> rusqlite::Result<Vec<Added>> {
    // Looked for first: what INSERT OR IGNORE leaves out uses up a number all the same
    let mut known = db.prepare_cached("SELECT id FROM rules WHERE rule = ?1")?;
    let mut insert = db.prepare_cached("INSERT INTO rules (rule, added_at) VALUES (?1, ?2) RETURNING id")?;
    let mut added = Vec::new();
    for rule in rules {
        let json = rule.to_json();
        let number = known.query_row([&json], |row| row.get(0)).optional()?;
        added.push(match number {
            Some(number) => Added { number, is_new: false },
            None => Added { number: insert.query_row(params![json, now.0], |row| row.get(0))?, is_new: true },
        });
    }
    let count: i64 = db.query_row("SELECT count(*) FROM rules", [], |row| row.get(0))?;
    if count > MOST {
        return Err(as_rusqlite(Error::TooManyRules { most: MOST }));
    }
    Ok(added)
}
