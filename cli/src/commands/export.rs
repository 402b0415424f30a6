//! `cardcase export`

mod browser;

use std::path::Path;

use cardcase::{Identity, Store};
use serde::Serialize;

use crate::app::App;
use crate::ask::file_password;
use crate::cli::Export;
use crate::new_file;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{NamedJson, print_json};
use crate::ui::say;
use crate::ui::text::counted;

#[derive(Serialize)]
struct ExportedJson {
    exported: Exported,
    file: String,
}

/// The identity that was named, or the list of all.
#[derive(Serialize)]
#[serde(untagged)]
enum Exported {
    One(NamedJson),
    All(Vec<NamedJson>),
}

pub(crate) fn run(app: &App, args: &Export) -> Result<(), Failure> {
    let store = app.store()?;
    let identities = match &args.id {
        Some(id) => vec![store.find_identity(id)?],
        None => all(app, store)?,
    };
    if let Some(profile) = browser::profile(args)? {
        let exported = browser::run(app, args, &identities, &profile)?;
        if !exported.there.is_empty() || exported.failure.is_none() {
            print_exported(app, args, &exported.there, &profile.directory)?;
        }
        return exported.failure.map_or(Ok(()), Err);
    }
    let output = args.output.as_deref().unwrap_or(Path::new("-"));
    // Before anybody types a password for nothing
    new_file::check_stdout_is_free(output, app.common.json)?;
    new_file::check_is_not_store(output, store.path())?;
    new_file::check_binary(output, args.force)?;
    if let [only] = identities.as_slice()
        && let Some(why) = only.key_limit().filter(|_| only.has_lost_key())
    {
        return Err(Failure::new(Code::Failed, format_args!("{:?} cannot be exported: {why}", only.name())));
    }
    let unlocker = app.unlocker()?;
    store.unlock_fully(&*unlocker)?;
    let password = match &args.password_file {
        Some(file) => app.input.read_password(file)?,
        None => file_password::new(output, app.can_ask(), "Write the private key without a password?")?,
    };
    let file = match args.legacy {
        true => store.export_legacy(&identities, &password, &*unlocker)?,
        false => store.export(&identities, &password, &*unlocker)?,
    };
    new_file::write(output, &file, args.force)?;
    print_exported(app, args, &identities, output)?;
    if output != Path::new("-") {
        let what = match identities.as_slice() {
            [only] => format!("{} with its private key", only.name()),
            several => format!("{} with their private keys", counted(several.len(), "identity", "identities")),
        };
        say::note(format_args!("wrote {what} to {}", output.display()));
    }
    Ok(())
}

/// With `--json`: what was exported to which file or directory.
fn print_exported(app: &App, args: &Export, identities: &[Identity], place: &Path) -> Result<(), Failure> {
    if !app.common.json {
        return Ok(());
    }
    let mut named: Vec<NamedJson> =
        identities.iter().map(|identity| NamedJson::new(identity.fingerprint(), identity.name())).collect();
    let exported = match (args.all, named.pop()) {
        (false, Some(only)) => Exported::One(only),
        (_, last) => Exported::All(named.into_iter().chain(last).collect()),
    };
    print_json(&ExportedJson { exported, file: place.display().to_string() })
}

/// Every identity that has a key.
fn all(app: &App, store: &Store) -> Result<Vec<Identity>, Failure> {
    let identities = store.identities()?;
    // A part would be mistaken for the whole
    app.check_all_shown("identities")?;
    let (lost, whole): (Vec<Identity>, Vec<Identity>) = identities.into_iter().partition(Identity::has_lost_key);
    for identity in &lost {
        say::warn(format_args!("{:?} is left out: {}", identity.name(), identity.key_limit().unwrap_or_default()));
    }
    match (whole.is_empty(), lost.is_empty()) {
        (false, _) => Ok(whole),
        (true, true) => Err(Failure::new(Code::NothingFits, "the store has no identities to export")),
        (true, false) => Err(Failure::new(Code::NothingFits, "no identity in the store has a private key to export")),
    }
}
