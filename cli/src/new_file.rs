//! Files that a command writes: complete or not at all, and never over an existing file without `--force`.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::ui::failure::{Code, Failure};

/// Checks whether the file can be written, as far as that is known before there is any content. '-' is stdout.
pub(crate) fn check(path: &Path, force: bool) -> Result<(), Failure> {
    if path == Path::new("-") {
        return Ok(());
    }
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => {
            Err(Failure::new(Code::Failed, "it exists and is not a regular file").in_file(path))
        }
        Ok(_) if !force => Err(exists(path)),
        _ => Ok(()),
    }
}

/// Writes a file that only its owner can read, from the first byte on; '-' is stdout.
pub(crate) fn write(path: &Path, content: &[u8], force: bool) -> Result<(), Failure> {
    if path == Path::new("-") {
        return io::stdout().lock().write_all(content).map_err(|error| Failure::io(Path::new("stdout"), &error));
    }
    let failed = |error: io::Error| Failure::io(path, &error);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // tempfile creates it with mode 0600
    let mut file = NamedTempFile::new_in(directory).map_err(failed)?;
    // Past tempfile, whose errors name the temporary file
    file.as_file_mut().write_all(content).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    let persisted = if force { file.persist(path) } else { file.persist_noclobber(path) };
    match persisted {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(failed(error.error)),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(Code::Failed, "it already exists").in_file(path).hint("overwrite it with --force, or use another name")
}
