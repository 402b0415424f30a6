//! `cardcase export`

use std::io::{self, IsTerminal};
use std::path::Path;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::app::App;
use crate::ask::terminal;
use crate::cli::Export;
use crate::new_file;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{NamedJson, print_json};
use crate::ui::say;

#[derive(Serialize)]
struct ExportedJson {
    exported: NamedJson,
    file: String,
}

pub(crate) fn run(app: &App, args: &Export) -> Result<(), Failure> {
    let store = app.store()?;
    let identity = store.find_identity(&args.id)?;
    // Before anybody types a password for nothing
    new_file::check_stdout_is_free(&args.output, app.common.json)?;
    check_output(&args.output, args.force)?;
    let unlocker = app.unlocker()?;
    store.unlock_fully(&*unlocker)?;
    let password = password(app, args)?;
    let file = match args.legacy {
        true => store.export_legacy(&identity, &password, &*unlocker)?,
        false => store.export(&identity, &password, &*unlocker)?,
    };
    new_file::write(&args.output, &file, args.force)?;
    if app.common.json {
        let exported = NamedJson::new(identity.fingerprint(), identity.name());
        print_json(&ExportedJson { exported, file: args.output.display().to_string() })?;
    }
    if args.output != Path::new("-") {
        say::note(format_args!("wrote {} with its private key to {}", identity.name(), args.output.display()));
    }
    Ok(())
}

fn check_output(path: &Path, force: bool) -> Result<(), Failure> {
    if path == Path::new("-") && io::stdout().is_terminal() {
        return Err(Failure::usage("stdout is a terminal, and the file is binary: name a file with -o FILE"));
    }
    new_file::check(path, force)
}

/// The new file's password. An empty one has to be in a file, or to be confirmed.
fn password(app: &App, args: &Export) -> Result<Zeroizing<String>, Failure> {
    if let Some(file) = &args.password_file {
        return app.input.read_password(file);
    }
    if !app.can_ask() {
        let failure = Failure::new(Code::NobodyToAsk, "the file needs a password, and nobody can be asked for it");
        return Err(failure.hint("give it in a file: --password-file FILE"));
    }
    let password = terminal::password(&format!("New password of {}", args.output.display()))?;
    if terminal::password("Repeat it")? != password {
        return Err(Failure::new(Code::Failed, "the passwords differ; nothing was written"));
    }
    if password.is_empty() && !terminal::confirm("Write the private key without a password?")? {
        return Err(Failure::new(Code::Interrupted, "aborted: nothing was written"));
    }
    Ok(password)
}
