//! Private keys in files, for programs that take a key from nowhere else. They are in the runtime directory, which is usually in
//! memory, and is removed at logout.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use cardcase::manage::Fingerprint;
use zeroize::Zeroizing;

use crate::ui::failure::Failure;

/// Writes a key and its certificates to one file of mode 0600, which replaces a previous one.
pub(crate) fn write(
    directory: &Path,
    identity: Fingerprint,
    certificates: &str,
    key: &str,
) -> Result<PathBuf, Failure> {
    let path = directory.join(file_name(identity));
    // tempfile creates it with mode 0600, and removes it when anything fails
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(|error| Failure::io(directory, &error))?;
    let content = Zeroizing::new([certificates.as_bytes(), key.as_bytes()].concat());
    file.as_file_mut().write_all(&content).map_err(|error| Failure::io(&path, &error))?;
    file.persist(&path).map_err(|error| Failure::io(&path, &error.error))?;
    Ok(path)
}

/// Whether the system removes the file at logout. Without a runtime directory of the session, the files are in the temporary
/// directory, and stay until the machine restarts.
pub(crate) fn is_removed_at_logout(path: &Path) -> bool {
    std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|directory| path.starts_with(directory))
}

/// Removes the file of one identity, if there is one.
pub(crate) fn remove(directory: &Path, identity: Fingerprint) -> Result<(), Failure> {
    let path = directory.join(file_name(identity));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::io(&path, &error)),
        _ => Ok(()),
    }
}

/// Removes all of them, and returns how many there were.
pub(crate) fn remove_all(directory: &Path) -> Result<usize, Failure> {
    let failed = |error: &std::io::Error| Failure::io(directory, error);
    let mut removed = 0;
    for entry in fs::read_dir(directory).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("credential-") && name.ends_with(".pem") {
            fs::remove_file(entry.path()).map_err(|error| Failure::io(&entry.path(), &error))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn file_name(identity: Fingerprint) -> String {
    format!("credential-{identity}.pem")
}
