//! The file of a store: made for its owner alone, and used only where it is its owner's.

use std::ffi::OsString;
use std::fs::{DirBuilder, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// What SQLite puts beside the file and takes what it finds there for: a journal is played back into the store.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// The file exists and is its owner's alone before SQLite writes a byte into it. Gives its canonical path.
///
/// # Errors
/// [`Error::Store`]; [`Error::NotYours`] for what another user could have put there.
pub(super) fn prepare(path: &Path) -> Result<PathBuf, Error> {
    let failed = |source: io::Error| Error::Store { path: path.to_owned(), source: Box::new(source) };
    let created = create(path);
    // What is there already, be it in a read-only place, will do
    let found = path.symlink_metadata().map_err(|missing| failed(created.err().unwrap_or(missing)))?;
    check_is_ours(path, &found)?;
    let path = path.canonicalize().map_err(failed)?;
    for suffix in BESIDE {
        let beside = with_suffix(&path, suffix);
        // Another process may just have made it, or removed it
        if let Ok(found) = beside.symlink_metadata() {
            check_is_ours(&beside, &found)?;
        }
    }
    restrict(&path).map_err(failed)?;
    Ok(path)
}

fn create(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // The umask may have taken something away from the owner too
    file.set_permissions(Permissions::from_mode(0o600))
}

/// A regular file of the user who runs this process, and not a link to one: what is checked is what is opened.
fn check_is_ours(path: &Path, found: &Metadata) -> Result<(), Error> {
    let owner = rustix::process::geteuid().as_raw();
    let reason = if found.is_symlink() {
        "it is a symbolic link".to_owned()
    } else if !found.is_file() {
        "it is not a regular file".to_owned()
    } else if found.uid() != owner {
        format!("it belongs to the user {}, and cardcase runs as the user {owner}", found.uid())
    } else {
        return Ok(());
    };
    Err(Error::NotYours { path: path.to_owned(), reason })
}

fn restrict(path: &Path) -> io::Result<()> {
    match path.metadata()?.mode() & 0o077 {
        0 => Ok(()),
        _ => std::fs::set_permissions(path, Permissions::from_mode(0o600)),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}
