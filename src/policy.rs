//! Policy: the rules of a store, and those of the administrator's files in `/etc`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::rules::{Origin, Policy, Rule, Ruled, Rules};
use crate::store::{Cache, Store};

/// Rules a store may hold.
const MOST: i64 = 10_000;

impl Store {
    /// The rules of the store, by number.
    ///
    /// # Errors
    /// Those of reading; [`Error::StoreDamaged`] when a row holds no rule.
    pub fn rules(&self) -> Result<Arc<Rules>, Error> {
        self.cached(cached_rules)
    }

    /// Adds rules, all of them or none. One that is there already stays as it is. Gives the number of each.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::NotAuthentic`], [`Error::TooManyRules`], and those of writing.
    pub fn add_rules(&self, rules: &[Rule], now: Timestamp) -> Result<Vec<i64>, Error> {
        let added = self.change_terms(|db| {
            let mut insert = db.prepare_cached("INSERT OR IGNORE INTO rules (rule, added_at) VALUES (?1, ?2)")?;
            let mut number = db.prepare_cached("SELECT id FROM rules WHERE rule = ?1")?;
            let mut numbers = Vec::new();
            for rule in rules {
                let json = rule.to_json();
                insert.execute(params![json, now.0])?;
                numbers.push(number.query_row([json], |row| row.get(0))?);
            }
            let count: i64 = db.query_row("SELECT count(*) FROM rules", [], |row| row.get(0))?;
            if count > MOST {
                let error = Error::TooManyRules { most: MOST };
                return Err(rusqlite::Error::ToSqlConversionFailure(Box::new(error)));
            }
            Ok(numbers)
        })?;
        Ok(added)
    }

    /// Removes rules by their numbers, all of them or none, and gives them back as JSON.
    ///
    /// # Errors
    /// [`Error::VaultLocked`], [`Error::NotAuthentic`], [`Error::UnknownRule`], and those of writing.
    pub fn remove_rules(&self, numbers: &[i64]) -> Result<Vec<String>, Error> {
        self.change_terms(|db| {
            let mut delete = db.prepare_cached("DELETE FROM rules WHERE id = ?1 RETURNING rule")?;
            let remove = |number: &i64| {
                let removed = delete.query_row([number], |row| row.get(0)).optional()?;
                removed.ok_or_else(|| {
                    rusqlite::Error::ToSqlConversionFailure(Box::new(Error::UnknownRule { number: *number }))
                })
            };
            numbers.iter().map(remove).collect()
        })
    }
}

pub(crate) fn cached_rules(db: &Connection, cache: &mut Cache) -> rusqlite::Result<Arc<Rules>> {
    if let Some(rules) = &cache.rules {
        return Ok(rules.clone());
    }
    let mut query = db.prepare_cached("SELECT id, rule FROM rules ORDER BY id")?;
    let rows = query.query_map([], |row| {
        let (number, json): (i64, String) = (row.get(0)?, row.get(1)?);
        let rule = Rule::parse(&json).map_err(|error| {
            let error = Error::StoreDamaged { detail: format!("rules, row {number}: {error}") };
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
        })?;
        Ok(Ruled { rule, origin: Origin::Store(number) })
    })?;
    let rules = Arc::new(Rules::new(rows.collect::<rusqlite::Result<Vec<_>>>()?));
    cache.rules = Some(rules.clone());
    Ok(rules)
}

/// The administrator's policy files: every `*.json` of one directory, each in the form of a managed policy of Chrome.
///
/// A file that cannot be read is an error and not passed over: what it forbids must not happen because of a typing error.
#[derive(Debug)]
pub struct PolicyFiles {
    directory: PathBuf,
    last: Mutex<Option<Arc<Read>>>,
}

/// What the directory held when it was read last.
#[derive(Debug)]
struct Read {
    stamps: Vec<Stamp>,
    policies: SystemPolicy,
    /// The rules of a store, and the same with those of the files.
    joined: Mutex<Option<(Arc<Rules>, Arc<Rules>)>>,
}

/// A file as it was when it was read; another one in its place differs in something.
type Stamp = (PathBuf, u64, i64, i64, u64);

/// What all policy files say together.
#[derive(Clone, Debug, Default)]
pub struct SystemPolicy {
    /// Their rules, by file name.
    pub rules: Vec<Ruled>,
    /// Whether one of them has PromptOnMultipleMatchingCertificates on.
    pub prompt_on_multiple: bool,
    /// Entries that Chrome would pass over too, and why.
    pub skipped: Vec<String>,
}

impl PolicyFiles {
    /// Where the administrator's files are.
    pub const DIRECTORY: &str = "/etc/cardcase/policies/managed";

    /// The files of this directory, which need not exist.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), last: Mutex::default() }
    }

    /// What the files say by now. Reads them only when one of them changed.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::PolicyFile`], with the file.
    pub fn read(&self) -> Result<SystemPolicy, Error> {
        self.current().map(|read| read.policies.clone())
    }

    /// The rules of a store and those of the files.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub(crate) fn join(&self, stored: Arc<Rules>) -> Result<(Arc<Rules>, bool), Error> {
        let read = self.current()?;
        let SystemPolicy { rules, prompt_on_multiple, .. } = &read.policies;
        if rules.is_empty() {
            return Ok((stored, *prompt_on_multiple));
        }
        let mut joined = read.joined.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, all)) = joined.as_ref().filter(|(before, _)| Arc::ptr_eq(before, &stored)) {
            return Ok((all.clone(), *prompt_on_multiple));
        }
        let all = Arc::new(Rules::new(stored.all().iter().chain(rules).cloned().collect()));
        *joined = Some((stored, all.clone()));
        Ok((all, *prompt_on_multiple))
    }

    fn current(&self) -> Result<Arc<Read>, Error> {
        let stamps = self.stamps()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = last.as_ref().filter(|read| read.stamps == stamps) {
            return Ok(read.clone());
        }
        let mut policies = SystemPolicy::default();
        for (path, ..) in &stamps {
            policies.add(path)?;
        }
        let read = Arc::new(Read { stamps, policies, joined: Mutex::default() });
        *last = Some(read.clone());
        Ok(read)
    }

    fn stamps(&self) -> Result<Vec<Stamp>, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            entries => entries.map_err(failed(&self.directory))?,
        };
        let mut stamps = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed(&self.directory))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let found = fs::metadata(&path).map_err(failed(&path))?;
                stamps.push((path, found.ino(), found.mtime(), found.mtime_nsec(), found.len()));
            }
        }
        stamps.sort();
        Ok(stamps)
    }
}

impl SystemPolicy {
    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let policy = read_policy(path)?;
        let of_file = |(index, rule): (usize, &Rule)| Ruled {
            rule: rule.clone(),
            origin: Origin::File { path: path.to_owned(), index },
        };
        self.rules.extend(policy.numbered().map(of_file));
        self.prompt_on_multiple |= policy.prompt_on_multiple == Some(true);
        self.skipped.extend(policy.skipped.iter().map(|skipped| format!("{}: {skipped}", path.display())));
        Ok(())
    }
}

/// Reads one policy file.
///
/// # Errors
/// [`Error::Io`] and [`Error::PolicyFile`], with the file.
fn read_policy(path: &Path) -> Result<Policy, Error> {
    let too_large = || Error::Io { path: path.to_owned(), source: ErrorKind::FileTooLarge.into() };
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > Policy::MAX_SIZE as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, Policy::MAX_SIZE as u64 + 1), &mut bytes)
        .map_err(failed)?;
    Policy::parse(&bytes).map_err(|error| Error::PolicyFile { path: path.to_owned(), source: Box::new(error) })
}
