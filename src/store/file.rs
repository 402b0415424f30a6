//! The file of a store: only its owner can read it, and it is used only if it belongs to the user.

use std::ffi::OsString;
use std::fs::{DirBuilder, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// What SQLite puts beside the file, and trusts when it finds it: it plays a journal back into the store.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// Makes sure that the file exists and that only its owner can read it before SQLite writes a byte into it. Returns its
/// canonical path.
///
/// # Errors
/// [`Error::Store`]; [`Error::NotYours`] for a file that another user could have put there; [`Error::SharedDirectory`].
pub(super) fn prepare(path: &Path) -> Result<PathBuf, Error> {
    let failed = |source: io::Error| Error::Store { path: path.to_owned(), source: Box::new(source) };
    if let Ok(found) = path.symlink_metadata() {
        check_file(path, &found)?;
    }
    let directory = directory_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    check_directory(directory, &directory.metadata().map_err(failed)?)?;
    let created = create(path);
    // An existing file is fine, even in a read-only place
    let found = path.symlink_metadata().map_err(|missing| failed(created.err().unwrap_or(missing)))?;
    check_file(path, &found)?;
    let path = path.canonicalize().map_err(failed)?;
    check_beside(&path)?;
    restrict(&path).map_err(failed)?;
    Ok(path)
}

/// Finds a file that is there, with the same checks. Creates nothing and changes nothing. Returns its canonical path.
///
/// # Errors
/// [`Error::NoStore`], and those of [`prepare`].
pub(super) fn find(path: &Path) -> Result<PathBuf, Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NoStore { path: path.to_owned() },
        _ => Error::Store { path: path.to_owned(), source: Box::new(source) },
    };
    check_file(path, &path.symlink_metadata().map_err(failed)?)?;
    let directory = directory_of(path);
    check_directory(directory, &directory.metadata().map_err(failed)?)?;
    let path = path.canonicalize().map_err(failed)?;
    check_beside(&path)?;
    Ok(path)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Checks the files beside a store, each time before SQLite looks for them: somebody may put one there at any time.
///
/// # Errors
/// [`Error::NotYours`].
pub(super) fn check_beside(path: &Path) -> Result<(), Error> {
    for suffix in BESIDE {
        let beside = with_suffix(path, suffix);
        // Another process may create or remove it at any time
        if let Ok(found) = beside.symlink_metadata() {
            check_file(&beside, &found)?;
        }
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // The umask may deny the owner something too
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Checks that it is a regular file of the user who runs this process, and not a link: the file that is checked is the file that
/// is opened.
pub(super) fn check_file(path: &Path, found: &Metadata) -> Result<(), Error> {
    let owner = rustix::process::geteuid().as_raw();
    let reason = if found.is_symlink() {
        "it is a symbolic link".to_owned()
    } else if !found.is_file() {
        "it is not a regular file".to_owned()
    } else if found.uid() != owner {
        format!("it belongs to the user {}, and cardcase runs as the user {owner}", found.uid())
    } else if found.nlink() > 1 {
        "it is a hard link: the same file has another name too".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::NotYours { path: path.to_owned(), reason })
}

/// Checks that only the user, and root, can put files into a directory. Anyone else could put a journal beside the store, or
/// another store in its place. The sticky bit of /tmp prevents only the second.
fn check_directory(directory: &Path, found: &Metadata) -> Result<(), Error> {
    const OTHERS_WRITE: u32 = 0o022;
    let owner = rustix::process::geteuid().as_raw();
    let reason = if found.uid() != owner && found.uid() != 0 {
        format!("it belongs to the user {}", found.uid())
    } else if found.mode() & OTHERS_WRITE != 0 {
        format!("its mode is {:03o}", found.mode() & 0o777)
    } else {
        return Ok(());
    };
    Err(Error::SharedDirectory { directory: directory.to_owned(), reason })
}

fn restrict(path: &Path) -> io::Result<()> {
    match path.metadata()?.mode() & 0o077 {
        0 => Ok(()),
        _ => std::fs::set_permissions(path, Permissions::from_mode(0o600)),
    }
}

/// The path of a file that SQLite creates beside the store.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}
