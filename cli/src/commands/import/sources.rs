//! The files that `import` reads: those that were named, and those in directories.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use cardcase::file;

use crate::ui::failure::{Code, Failure};
use crate::ui::say;
use crate::ui::text::counted;

/// The most entries of a directory. Whoever has more certificates names some of them.
const MAX_ENTRIES: usize = 10_000;

/// How many files that are passed over are named.
const NAMED: usize = 3;

/// A file to read.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Whether only its directory was named.
    pub(super) is_in_directory: bool,
}

/// The files of directories that are not imported, and why.
#[derive(Default)]
pub(super) struct PassedOver(Vec<(PathBuf, String)>);

impl PassedOver {
    pub(super) fn add(&mut self, path: &Path, why: String) {
        self.0.push((path.to_owned(), why));
    }

    pub(super) fn into_files(self) -> impl Iterator<Item = (PathBuf, String)> {
        self.0.into_iter()
    }

    /// Names a few and says how many more there are; with `-v`, names all.
    pub(super) fn tell(&self) {
        if say::gives_details() {
            return self.tell_each(&self.0);
        }
        let Some(more) = self.0.len().checked_sub(NAMED) else { return self.tell_each(&self.0) };
        let (first, _) = self.0.split_at(NAMED);
        self.tell_each(first);
        if more > 0 {
            say::note(format_args!("passed over {} more (-v names all)", counted(more, "file", "files")));
        }
    }

    fn tell_each(&self, files: &[(PathBuf, String)]) {
        for (path, why) in files {
            say::note(format_args!("{}: passed over: {why}", path.display()));
        }
    }
}

/// The files to read, in the order they were named; those of a directory by name. Files that are hidden, are not regular, or are too
/// large are passed over, and so are the directories in a directory.
pub(super) fn of(paths: &[PathBuf], passed_over: &mut PassedOver) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for path in paths {
        if path == Path::new("-") || !path.is_dir() {
            sources.push(Source { path: path.clone(), is_in_directory: false });
            continue;
        }
        for path in entries(path)? {
            // Follows links. One that leads nowhere, or in a circle, has no metadata
            let why = match path.metadata() {
                Ok(found) if found.is_dir() => continue,
                Ok(found) if !found.is_file() => "it is not a regular file".to_owned(),
                Ok(found) if found.len() > file::MAX_SIZE as u64 => {
                    format!("it is larger than {} bytes", file::MAX_SIZE)
                }
                Ok(_) => {
                    sources.push(Source { path, is_in_directory: true });
                    continue;
                }
                Err(error) => error.to_string(),
            };
            passed_over.add(&path, why);
        }
    }
    Ok(sources)
}

/// Fails when none of the files is there: nothing can be imported, so no store is made for it.
pub(super) fn check_one_is_there(sources: &[Source]) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for Source { path, .. } in sources {
        match path.metadata() {
            Err(error) if path != Path::new("-") => missing.push(Failure::io(path, &error)),
            _ => return Ok(()),
        }
    }
    let last = missing.pop();
    missing.iter().for_each(Failure::warn);
    last.map_or(Ok(()), Err)
}

/// What is directly in a directory and not hidden, by name.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::io(directory, &error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
        if path.file_name().is_none_or(is_hidden) {
            continue;
        }
        if paths.len() == MAX_ENTRIES {
            let failure = Failure::new(Code::Failed, format_args!("it has more than {MAX_ENTRIES} entries"));
            return Err(failure.in_file(directory).hint("name some of its files: cardcase import FILE..."));
        }
        paths.push(path);
    }
    paths.sort();
    Ok(paths)
}
