//! Policy: the rules of a store, and those of the administrator's files in `/etc`.
//!
//! # Example
//!
//! ```
//! # mod alice { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/alice.rs")); }
//! # let (_home, store) = alice::store()?;
//! use cardcase::Selector;
//! use cardcase::manage::{Rule, Timestamp};
//!
//! let rule = Rule::parse_typed(r#"{"pattern": "https://tracker.example", "filter": {}, "deny": true}"#)?;
//! let added = store.add_rules(&[rule], Timestamp::now())?;
//! assert!(added[0].is_new);
//!
//! // A program with its own directory for the administrator's policy files
//! let selector = Selector::new(store).with_policy_directory("/etc/my-program/policies");
//! # drop(selector);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::answer::rules::{Origin, Policy, Rule, Ruled, Rules};
use crate::error::{Error, Source};

/// Times the directory is listed while its files are being replaced.
const LISTINGS: usize = 20;

/// The administrator's policy files: every `*.json` of one directory that is not hidden, each in the form of a managed policy
/// of Chrome.
///
/// A file that cannot be read is an error and not passed over: what it forbids must not happen because of a typing error.
#[derive(Debug)]
pub(crate) struct PolicyFiles {
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
#[non_exhaustive]
pub struct SystemPolicy {
    /// Their rules, by file name.
    pub rules: Vec<Ruled>,
    /// The first of them that has PromptOnMultipleMatchingCertificates on.
    pub prompt_on_multiple: Option<PathBuf>,
    /// Entries that Chrome would pass over too, and why.
    pub skipped: Vec<String>,
}

impl PolicyFiles {
    /// The files of this directory, which need not exist.
    pub(crate) fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), last: Mutex::default() }
    }

    /// What the files say that can be used, and what is wrong with the others. For people to look at: nothing is selected
    /// while one of them is broken.
    pub(crate) fn survey(&self) -> (SystemPolicy, Vec<Error>) {
        let mut policies = SystemPolicy::default();
        let broken = match self.paths() {
            Ok(paths) => paths.iter().filter_map(|path| policies.add(path).err()).collect(),
            Err(error) => vec![error],
        };
        (policies, broken)
    }

    /// The rules of a store and those of the files.
    ///
    /// # Errors
    /// [`Error::PolicyFile`].
    pub(crate) fn join(&self, stored: Arc<Rules>) -> Result<(Arc<Rules>, bool), Error> {
        let read = self.current()?;
        let rules = &read.policies.rules;
        let prompt_on_multiple = read.policies.prompt_on_multiple.is_some();
        if rules.is_empty() {
            return Ok((stored, prompt_on_multiple));
        }
        let mut joined = read.joined.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, all)) = joined.as_ref().filter(|(before, _)| Arc::ptr_eq(before, &stored)) {
            return Ok((all.clone(), prompt_on_multiple));
        }
        let all = Arc::new(Rules::new(stored.all().iter().chain(rules).cloned().collect()));
        *joined = Some((stored, all.clone()));
        Ok((all, prompt_on_multiple))
    }

    /// A file that was listed and then was gone may have been given another name, so the directory is listed again.
    fn current(&self) -> Result<Arc<Read>, Error> {
        for _ in 1..LISTINGS {
            match self.look() {
                Err(Error::PolicyFile { path, .. })
                    if fs::symlink_metadata(&path).is_err_and(|error| is_missing(&error)) => {}
                looked => return looked,
            }
        }
        self.look()
    }

    fn look(&self) -> Result<Arc<Read>, Error> {
        let stamps = self.paths()?.into_iter().map(stamp).collect::<Result<Vec<_>, _>>()?;
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

    /// The files, by name.
    fn paths(&self) -> Result<Vec<PathBuf>, Error> {
        let failed = |source| unusable(&self.directory, source);
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            // What editors and installers put there for a moment is hidden
            let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if !is_hidden && path.extension().is_some_and(|extension| extension == "json") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

fn stamp(path: PathBuf) -> Result<Stamp, Error> {
    let found = fs::metadata(&path).map_err(|source| unusable(&path, source))?;
    Ok((path, found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

fn unusable(path: &Path, source: impl Into<Source>) -> Error {
    Error::PolicyFile { path: path.to_owned(), source: source.into() }
}

impl SystemPolicy {
    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let policy = read_policy(path)?;
        let of_file = |(index, rule): (usize, &Rule)| Ruled {
            rule: rule.clone(),
            origin: Origin::File { path: path.to_owned(), index },
        };
        self.rules.extend(policy.numbered().map(of_file));
        if policy.prompt_on_multiple == Some(true) {
            self.prompt_on_multiple.get_or_insert_with(|| path.to_owned());
        }
        self.skipped.extend(policy.skipped.iter().map(|skipped| format!("{}: {skipped}", path.display())));
        Ok(())
    }
}

/// Reads one policy file.
fn read_policy(path: &Path) -> Result<Policy, Error> {
    let bytes = read_file(path).map_err(|source| unusable(path, source))?;
    Policy::parse_managed(&bytes).map_err(|error| unusable(path, error))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: that waits for a writer where it is a pipe
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(Policy::MAX_SIZE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
