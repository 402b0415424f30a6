//! `cardcase backup`

use std::path::Path;

use cardcase::manage::Lifetime;
use serde::Serialize;

use crate::app::App;
use crate::ask::{file_password, new_password};
use crate::cli::Backup;
use crate::new_file;
use crate::ui::failure::Failure;
use crate::ui::json::print_json;
use crate::ui::text::{counted, quoted};
use crate::ui::{progress, say};

#[derive(Serialize)]
struct BackupJson {
    file: String,
    identities: usize,
    enrollments: usize,
    authorities: usize,
    rules: usize,
    decisions: usize,
    history: bool,
}

pub(crate) fn run(app: &App, args: &Backup) -> Result<(), Failure> {
    let store = app.store()?;
    // Before anybody types a password for nothing
    new_file::check_stdout_is_free(&args.file, app.common.json)?;
    new_file::check_is_not_store(&args.file, store.path())?;
    new_file::check_binary(&args.file, args.force)?;
    let unlocker = app.unlocker()?;
    store.unlock_fully(&*unlocker)?;
    let password = match &args.password_file {
        Some(file) => app.input.read_password(file)?,
        None => file_password::new(&args.file, app.can_ask(), "Write the private keys without a password?")?,
    };
    match password.is_empty() {
        true => say::warn("the backup has no password: everybody who can read it has the private keys"),
        false => new_password::warn_if_weak(&password, "the password of the backup"),
    }
    let file = progress::during("encrypting the backup", || {
        store.backup(&password, args.with_history, app.now(), &*unlocker)
    })?;
    let permanent = store.decisions()?.iter().filter(|decision| decision.lifetime == Lifetime::Permanent).count();
    let made = BackupJson {
        file: args.file.display().to_string(),
        identities: store.identities()?.len(),
        enrollments: store.enrollments()?.len(),
        authorities: store.authorities()?.len(),
        rules: store.rules()?.len(),
        decisions: permanent,
        history: args.with_history,
    };
    new_file::write(&args.file, &file, args.force)?;
    if args.file == Path::new("-") {
        return Ok(());
    }
    if app.common.json {
        return print_json(&made);
    }
    say::note(format_args!(
        "wrote {}, {}, {} and {} to {}",
        counted(made.identities, "identity", "identities"),
        counted(made.authorities, "CA certificate", "CA certificates"),
        counted(made.decisions, "decision", "decisions"),
        counted(made.rules, "rule", "rules"),
        args.file.display(),
    ));
    let with = if password.is_empty() { "" } else { ", with its password" };
    say::hint(format_args!("to restore it{with}: cardcase restore {}", quoted(&args.file)));
    Ok(())
}
