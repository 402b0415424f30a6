//! Private keys in files: in the runtime directory, which is in memory as a rule and goes away at logout.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use cardcase::manage::Fingerprint;

use super::{Credential, file_name};
use crate::app::App;
use crate::ui::failure::{Code, Failure};

/// Writes the certificates and the key to one file, of mode 0600, in place of one that is there.
pub(super) fn write(app: &App, credential: &Credential) -> Result<PathBuf, Failure> {
    let directory = app.runtime_directory()?;
    let leaf = credential.certificates.first().map(|leaf| file_name(leaf.fingerprint())).unwrap_or_default();
    let path = directory.join(leaf);
    // tempfile makes it 0600, and removes it when anything fails
    let mut file = tempfile::NamedTempFile::new_in(&directory).map_err(|error| Failure::io(&directory, &error))?;
    let parts = [credential.certificates_pem().as_bytes(), credential.key_pem().as_bytes()].concat();
    file.write_all(&zeroize::Zeroizing::new(parts)).map_err(|error| Failure::io(&path, &error))?;
    file.persist(&path).map_err(|error| Failure::io(&path, &error.error))?;
    Ok(path)
}

/// Whether the system removes it at logout: without a runtime directory of the session the temporary one serves.
pub(super) fn goes_at_logout(path: &Path) -> bool {
    std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|directory| path.starts_with(directory))
}

/// Removes the file of one identity, if there is one.
pub(crate) fn forget_one(app: &App, identity: Fingerprint) -> Result<(), Failure> {
    // Where there is no such directory, nothing is in it
    let Ok(directory) = app.runtime_directory() else { return Ok(()) };
    let path = directory.join(file_name(identity));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::io(&path, &error)),
        _ => Ok(()),
    }
}

/// Removes all of them.
pub(super) fn forget_all(app: &App) -> Result<(), Failure> {
    let directory = app.runtime_directory()?;
    let failed = |error: &std::io::Error| Failure::io(&directory, error);
    let mut removed = 0;
    for entry in fs::read_dir(&directory).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("credential-") && name.ends_with(".pem") {
            fs::remove_file(entry.path()).map_err(|error| Failure::io(&entry.path(), &error))?;
            removed += 1;
        }
    }
    match removed {
        0 => Err(Failure::new(Code::NothingFits, "there is no file with a private key to remove")),
        _ => {
            app.note(&format!("removed {removed} file{} with a private key", if removed == 1 { "" } else { "s" }));
            Ok(())
        }
    }
}
