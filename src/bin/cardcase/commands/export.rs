//! `cardcase export`

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

use cardcase::pkcs12::Protection;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::app::App;
use crate::cli::Export;
use crate::report::{Code, Failure};
use crate::terminal;

pub(crate) fn run(app: &App, args: &Export) -> Result<(), Failure> {
    let store = app.store()?;
    let identity = store.find_identity(&args.id)?;
    // Before anybody types a password for nothing
    check_output(&args.output, args.force)?;
    let unlocker = app.unlocker()?;
    store.unlock_fully(&*unlocker)?;
    let password = password(app, args)?;
    let protection = if args.legacy { Protection::Legacy } else { Protection::Aes256 };
    let file = store.export(&identity, &password, protection, &*unlocker)?;
    if args.output == Path::new("-") {
        return io::stdout().lock().write_all(&file).map_err(|error| Failure::io(Path::new("stdout"), &error));
    }
    write(&args.output, &file, args.force)?;
    app.note(&format!("{} is in {}, with its private key", identity.name(), args.output.display()));
    Ok(())
}

fn check_output(path: &Path, force: bool) -> Result<(), Failure> {
    if path == Path::new("-") {
        return match io::stdout().is_terminal() {
            true => Err(Failure::usage("stdout is a terminal, and the file is binary: name a file with -o FILE")),
            false => Ok(()),
        };
    }
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => {
            Err(Failure::new(Code::Failed, "it is there and is not a regular file").of_file(path))
        }
        Ok(_) if !force => Err(exists(path)),
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(Code::Failed, "it is there already").of_file(path).hint("overwrite it with --force, or name another")
}

/// The new file's password. Empty only when somebody says so: in a file, or asked twice.
fn password(app: &App, args: &Export) -> Result<Zeroizing<String>, Failure> {
    if let Some(file) = &args.password_file {
        return app.read_password(file);
    }
    if !app.can_ask() {
        let failure = Failure::new(Code::NobodyToAsk, "the file needs a password, and nobody can be asked for it");
        return Err(failure.hint("give it in a file: --password-file FILE"));
    }
    let password = terminal::password(&format!("New password of {}", args.output.display()))?;
    if terminal::password("The same again")? != password {
        return Err(Failure::new(Code::Failed, "the two differ; nothing was written"));
    }
    if password.is_empty() && !terminal::confirm("Write the private key with no password to protect it?")? {
        return Err(Failure::new(Code::Interrupted, "aborted: nothing was written"));
    }
    Ok(password)
}

/// Writes a file that is its owner's alone from the first byte on, and there whole or not at all.
fn write(path: &Path, content: &[u8], force: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(path, &error);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // 0600 by its own rules
    let mut file = NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    let persisted = if force { file.persist(path) } else { file.persist_noclobber(path) };
    match persisted {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(failed(error.error)),
    }
}
