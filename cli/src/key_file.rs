//! Private keys in files, for programs that take a key from nowhere else. They are in the runtime directory, which is usually in
//! memory, and is removed at logout.

use std::fs;
use std::path::{Path, PathBuf};

use cardcase::manage::Fingerprint;
use zeroize::Zeroizing;

use crate::new_file;
use crate::ui::failure::Failure;

/// How the names of files with the certificates that verify servers begin.
const AUTHORITIES: &str = "authorities-";

/// Writes a key and its certificates to one file of mode 0600, which replaces a previous one.
pub(crate) fn write(
    directory: &Path,
    identity: Fingerprint,
    certificates: &str,
    key: &str,
) -> Result<PathBuf, Failure> {
    let [path, draft] = names(identity).map(|name| directory.join(name));
    let content = Zeroizing::new([certificates.as_bytes(), key.as_bytes()].concat());
    new_file::put(&path, &draft, &content, true).map_err(|error| Failure::io(&path, &error))?;
    Ok(path)
}

/// Writes the certificates that verify servers, beside the keys. The name depends on what is in the file, so no program gets the
/// certificates of another.
pub(crate) fn write_authorities(directory: &Path, certificates: &str) -> Result<PathBuf, Failure> {
    let digest = Fingerprint::from_der(certificates.as_bytes());
    let [path, draft] = ["pem", "new.pem"].map(|end| directory.join(format!("{AUTHORITIES}{digest}.{end}")));
    new_file::put(&path, &draft, certificates.as_bytes(), true).map_err(|error| Failure::io(&path, &error))?;
    Ok(path)
}

/// Whether the system removes the file at logout. Without a runtime directory of the session, the files are in the temporary
/// directory, and stay until the machine restarts.
pub(crate) fn is_removed_at_logout(path: &Path) -> bool {
    std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|directory| path.starts_with(directory))
}

/// Removes the files of one identity.
pub(crate) fn remove(directory: &Path, identity: Fingerprint) -> Result<(), Failure> {
    names(identity).iter().try_for_each(|name| remove_file(&directory.join(name)).map(drop))
}

/// Removes all of them, and returns how many files with a private key there were.
pub(crate) fn remove_all(directory: &Path) -> Result<usize, Failure> {
    let failed = |error: &std::io::Error| Failure::io(directory, error);
    let mut removed = 0;
    for entry in fs::read_dir(directory).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(AUTHORITIES) {
            remove_file(&entry.path())?;
        } else if name.starts_with("credential-") && name.ends_with(".pem") && remove_file(&entry.path())? {
            removed += 1;
        }
    }
    Ok(removed)
}

fn remove_file(path: &Path) -> Result<bool, Failure> {
    new_file::remove(path).map_err(|error| Failure::io(path, &error))
}

/// The names of the file that programs read, and of the draft that replaces it. A process that is killed may leave the draft.
fn names(identity: Fingerprint) -> [String; 2] {
    [format!("credential-{identity}.pem"), format!("credential-{identity}.new.pem")]
}
