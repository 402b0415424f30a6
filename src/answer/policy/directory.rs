//! The policy files of the administrator.

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Policy;
use crate::answer::rules::{Rule, Rules};
use crate::error::{Error, Source};

/// Times the directory is listed while its files are being replaced.
const LISTINGS: usize = 20;

/// The policy files of the administrator: every `*.json` of one directory that is not hidden, each in the form of a managed
/// policy of Chrome.
///
/// A file that cannot be read is an error and is not skipped: what it forbids must not happen because of a typing error.
#[derive(Debug)]
pub(crate) struct PolicyFiles {
    directory: PathBuf,
    last: Mutex<Option<Arc<Read>>>,
}

/// What the directory held when it was last read.
#[derive(Debug)]
struct Read {
    stamps: Vec<Stamp>,
    policy: Policy,
    /// The rules of a store, and the same with those of the files.
    joined: Mutex<Option<(Arc<Rules>, Arc<Rules>)>>,
}

/// Identifies one state of a file: path, inode, time of change in seconds and nanoseconds, length.
type Stamp = (PathBuf, u64, i64, i64, u64);

impl Policy {
    /// What the administrator's policy files say, as far as they can be read, and what is wrong with the others: those in this
    /// directory, as in [`Selector::with_policy_directory`](crate::Selector::with_policy_directory). To show to people: nothing is
    /// selected while one of them is broken.
    pub fn survey(directory: &Path) -> (Self, Vec<Error>) {
        PolicyFiles::in_directory(directory).survey()
    }
}

impl PolicyFiles {
    /// The files of this directory, which need not exist.
    pub(crate) fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), last: Mutex::default() }
    }

    /// What the files that can be used say, and what is wrong with the others. For showing to people: nothing is selected while
    /// one of the files is broken.
    pub(crate) fn survey(&self) -> (Policy, Vec<Error>) {
        let mut policy = Policy::default();
        let broken = match self.paths() {
            Ok(paths) => paths.iter().filter_map(|path| add_file(&mut policy, path).err()).collect(),
            Err(error) => vec![error],
        };
        (policy, broken)
    }

    /// The rules of a store with those of the files, and whether a file sets PromptOnMultipleMatchingCertificates. Reads the
    /// files only when one of them has changed.
    ///
    /// # Errors
    /// [`Error::PolicyFile`].
    pub(crate) fn join(&self, stored: Arc<Rules>) -> Result<(Arc<Rules>, bool), Error> {
        let read = self.current()?;
        let prompt_on_multiple = read.policy.prompt_on_multiple == Some(true);
        if read.policy.rules.is_empty() {
            return Ok((stored, prompt_on_multiple));
        }
        let mut joined = read.joined.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, all)) = joined.as_ref().filter(|(before, _)| Arc::ptr_eq(before, &stored)) {
            return Ok((all.clone(), prompt_on_multiple));
        }
        let of_files = read.policy.rules.iter().map(|rule: &Rule| Arc::new(rule.clone()));
        let all = Arc::new(Rules::new(stored.all().iter().cloned().chain(of_files).collect()));
        *joined = Some((stored, all.clone()));
        Ok((all, prompt_on_multiple))
    }

    /// A file that is listed and then missing may have been renamed, so the directory is listed again. What counts is that
    /// reading it failed so: it may be back by now.
    fn current(&self) -> Result<Arc<Read>, Error> {
        for _ in 1..LISTINGS {
            match self.read() {
                Err(Error::PolicyFile { source, .. }) if source.downcast_ref::<io::Error>().is_some_and(is_missing) => {
                }
                read => return read,
            }
        }
        self.read()
    }

    fn read(&self) -> Result<Arc<Read>, Error> {
        let stamps = self.paths()?.into_iter().map(stamp).collect::<Result<Vec<_>, _>>()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = last.as_ref().filter(|read| read.stamps == stamps) {
            return Ok(read.clone());
        }
        let mut policy = Policy::default();
        for (path, ..) in &stamps {
            add_file(&mut policy, path)?;
        }
        let read = Arc::new(Read { stamps, policy, joined: Mutex::default() });
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
            // The temporary files of editors and installers are hidden
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

fn add_file(policy: &mut Policy, path: &Path) -> Result<(), Error> {
    let bytes = read_file(path).map_err(|source| unusable(path, source))?;
    let read = Policy::parse_managed(&bytes, path).map_err(|error| unusable(path, error))?;
    policy.add_file(path, read);
    Ok(())
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened: opening a pipe waits for a writer
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(Policy::MAX_SIZE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
