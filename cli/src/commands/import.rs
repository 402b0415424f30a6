//! `cardcase import`

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cardcase::Error;
use cardcase::Identity;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::ask::terminal::quietly;
use cardcase::file;
use cardcase::manage::plain;
use cardcase::manage::{Decision, Fingerprint, Import, Imported};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::app::App;
use crate::ask::file_password::TRIES;
use crate::ask::terminal;
use crate::cli;
use crate::profiles;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{AuthorityJson, DecisionJson, print_json};
use crate::ui::notices;
use crate::ui::progress;
use crate::ui::remedy;
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::text::{counted, quoted};

mod browser;
mod found;
mod kubeconfig;
mod sources;

use browser::{Browser, Remembered};
use found::{Found, LeftOutJson, Unread, holds_nothing, pair, tell_left_out, typed};
use sources::Source;

#[derive(Serialize)]
struct ImportJson<I> {
    imported: Vec<I>,
    already_present: Vec<I>,
    authorities: Vec<AuthorityJson>,
    left_out: Vec<LeftOutJson>,
    /// Only of a browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    decisions: Option<Vec<DecisionJson>>,
}

/// The passwords that were given in files, and those that opened a file before.
struct Passwords {
    given: Option<Zeroizing<String>>,
    key_given: Option<Zeroizing<String>>,
    typed: Vec<Zeroizing<String>>,
}

/// A password that a person may be asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The password of the file.
    File,
    /// The password of its private keys, if it is another one.
    Key,
}

/// Reads every file, and then stores what can be imported in one transaction. A file that cannot be read or imported keeps none of the
/// others out. It is an error if it was named itself; if only its directory was, a warning names it.
pub(crate) fn run(app: &App, args: &cli::Import) -> Result<(), Failure> {
    let mut found = Found::default();
    let sources = sources::of(&args.files, &mut found.passed_over)?;
    sources::check_one_is_there(&sources)?;
    let browser = match (browser::profile(args)?, &args.from_kubeconfig) {
        (Some(profile), _) => Some(Browser::read(app, args, profile, &mut found)?),
        (None, Some(named)) => {
            kubeconfig::read(app, Path::new(named), &mut found)?;
            None
        }
        (None, None) => {
            read_all(app, args, &*app.unlocker()?, &sources, &mut found)?;
            None
        }
    };
    tell_left_out(&found.left_out);
    found.passed_over.tell();
    if found.files.is_empty() && browser.is_none() {
        return Err(nothing(args, &sources, found));
    }
    let (store, unlocker) = (app.store()?, app.unlocker()?);
    let Found { files, mut left_out, unread, passed_over, failures, code } = found;
    let remembered = match &browser {
        Some(browser) if !args.no_decisions => browser.remembered(&mut left_out),
        _ => Vec::new(),
    };
    let done = match args.dry_run {
        true => rehearse(app, args, files)?,
        false => store_all(app, args, &*unlocker, files)?,
    };
    let known: HashSet<Fingerprint> =
        done.imported.iter().chain(&done.already_present).map(|identity| identity.fingerprint()).collect();
    let new = match &browser {
        Some(browser) => browser.new_decisions(store, remembered, &known)?,
        None => Vec::new(),
    };
    // What was imported is told even so
    let (remembered, forgotten) = match args.dry_run {
        true => (new, None),
        false => match browser::remember(app, &*unlocker, new) {
            Ok(remembered) => (remembered, None),
            Err(failure) => (Vec::new(), Some(failure)),
        },
    };
    let now = app.now();
    done.imported.iter().chain(&done.already_present).for_each(|identity| notices::prospects(identity, now));
    if app.common.json {
        left_out.extend(unread);
        left_out.extend(passed_over.into_files().map(|(path, why)| LeftOutJson::file(&path, why)));
        print_json(&ImportJson {
            imported: notices::identities_json(store, &done.imported, now)?,
            already_present: notices::identities_json(store, &done.already_present, now)?,
            authorities: done.authorities.iter().map(AuthorityJson::new).collect(),
            left_out,
            decisions: browser.as_ref().map(|_| {
                let json = |decision: Remembered| DecisionJson::permanent(decision.scope, decision.identity, now);
                remembered.into_iter().map(json).collect()
            }),
        })?;
    } else {
        let new = if args.dry_run { "would import" } else { "imported" };
        let mut text = String::new();
        for (what, identities) in [(new, &done.imported), ("already present", &done.already_present)] {
            for identity in identities {
                text.push_str(&format!("{}\n", plain(&notices::identity_line(what, identity, now))));
            }
        }
        for authority in &done.authorities {
            text.push_str(&format!("authority: {}\n", plain(&authority.subject().to_string())));
        }
        for Remembered { scope, identity } in &remembered {
            let is_meant = |known: &&Arc<Identity>| Some(known.fingerprint()) == *identity;
            let known = done.imported.iter().chain(&done.already_present).find(is_meant);
            let name = known.map_or("none (no certificate)", |known| known.name());
            text.push_str(&format!("decision: {}: {}\n", plain(&scope.to_string()), plain(name)));
        }
        print(&text)?;
    }
    if let Some(browser) = &browser {
        browser.tell_trusted(store);
    }
    match args.dry_run {
        true => say::note("nothing was changed (--dry-run)"),
        false => notices::protection(store),
    }
    if let Some(failure) = forgotten {
        return Err(Failure { message: format!("no decision was imported: {}", failure.message), ..failure });
    }
    if !failures.is_empty() {
        let (what, others) = (counted(failures.len(), "file", "files"), if args.dry_run { "would be" } else { "were" });
        let was = match (args.dry_run, failures.len()) {
            (true, _) => "would not be",
            (false, 1) => "was not",
            (false, _) => "were not",
        };
        let text = format!("{what} {was} imported, for the reasons above; the others {others}");
        match code {
            Some(code) => return Err(Failure::new(code, text)),
            None => say::warn(text),
        }
    }
    Ok(())
}

/// The failure when no file holds anything to import.
fn nothing(args: &cli::Import, sources: &[Source], mut found: Found) -> Failure {
    match found.failures.len() {
        0 => {
            let names: Vec<String> = args.files.iter().map(|path| path.display().to_string()).collect();
            let failure =
                Failure::new(Code::Failed, format_args!("no certificate and no key to import in {}", names.join(", ")));
            match args.files.iter().find_map(|path| profiles::flag_for(path)) {
                Some(flag) => failure.hint(format_args!("it is a profile of a browser: cardcase import {flag}")),
                None => failure
                    .hint("a directory is searched without those in it; to import one file: cardcase import FILE"),
            }
        }
        1 if sources.len() == 1 => found.failures.remove(0),
        failed => {
            let code = found.failures.first().map_or(Code::Failed, |first| first.code);
            let what = counted(failed, "file was", "files were");
            Failure::new(code, format_args!("{what} not imported, for the reasons above; nothing was stored"))
        }
    }
}

/// Stores what the files hold.
fn store_all(app: &App, args: &cli::Import, unlocker: &dyn Unlocker, files: Vec<Import>) -> Result<Imported, Failure> {
    let store = app.store()?;
    if files.iter().any(|file| file.identities().next().is_some()) {
        app.offer_protection()?;
    }
    unlock(store, unlocker, &files, args.renew)?;
    let name = args.name.as_deref();
    if args.renew {
        let (done, renewals) = store.import_and_renew(files, name, app.now())?;
        renewals.iter().for_each(|renewal| notices::renewal(renewal, false));
        for new in done.imported.iter().chain(&done.already_present) {
            tell_not_renewed(app, new)?;
        }
        return Ok(done);
    }
    let done = store.import(files, name, app.now())?;
    let decisions = store.decisions()?;
    for new in done.imported.iter().chain(&done.already_present) {
        hint_at_renewal(app, new, &decisions)?;
    }
    Ok(done)
}

/// What would be stored, and who would take over from whom.
fn rehearse(app: &App, args: &cli::Import, files: Vec<Import>) -> Result<Imported, Failure> {
    let store = app.store()?;
    let name = args.name.as_deref();
    if !args.renew {
        return Ok(store.would_import(files, name, app.now())?);
    }
    let (done, renewals) = store.would_import_and_renew(files, name, app.now())?;
    renewals.iter().for_each(|renewal| notices::renewal(renewal, true));
    for new in done.imported.iter().chain(&done.already_present) {
        tell_not_renewed(app, new)?;
    }
    Ok(done)
}

/// Unlocks the vault if something is written that needs it: a private key, or a renewal. Importing CA certificates, or
/// identities that are in the store already, does not ask for the primary password.
fn unlock(store: &Store, unlocker: &dyn Unlocker, files: &[Import], renew: bool) -> Result<(), Error> {
    let mut is_needed = false;
    for new in files.iter().flat_map(Import::identities) {
        is_needed |= match store.identity(new.fingerprint())? {
            None => true,
            Some(known) => known.has_lost_key() || renew && !store.renewed_by(&known)?.is_empty(),
        };
    }
    match (is_needed, renew) {
        (false, _) => Ok(()),
        // A demand for TLS 1.3 that is taken over seals the key again, which an agent cannot do
        (true, true) => store.unlock_fully(unlocker),
        (true, false) => store.unlock(unlocker),
    }
}

/// Says that an identity did not replace those that it renews, because no server accepts it now.
fn tell_not_renewed(app: &App, new: &Identity) -> Result<(), Failure> {
    let Some(why) = new.why_useless(app.now()).into_iter().next() else { return Ok(()) };
    for old in app.store()?.renewed_by(new)? {
        let (new_id, old_id) = (new.fingerprint().short(), old.fingerprint().short());
        say::warn(format_args!("{:?} is not used instead of {:?} ({old_id}): {why}", new.name(), old.name()));
        say::hint(format_args!("to use it anyway: cardcase renew {old_id} {new_id} --force"));
    }
    Ok(())
}

/// Hints at how an identity replaces those that it renews, if servers accept it.
fn hint_at_renewal(app: &App, new: &Identity, decisions: &[Decision]) -> Result<(), Failure> {
    if !new.why_useless(app.now()).is_empty() {
        return Ok(());
    }
    for old in app.store()?.renewed_by(new)? {
        let is_remembered = decisions.iter().any(|decision| decision.identity == Some(old.fingerprint()));
        let what = match old.requires_tls13() && !new.requires_tls13() {
            _ if is_remembered => "is remembered",
            true => "is sent in TLS 1.3 only",
            false => continue,
        };
        let (old, new) = (old.fingerprint().short(), new.fingerprint().short());
        say::hint(format_args!("it renews an identity that {what}; to use it instead: cardcase renew {old} {new}"));
    }
    Ok(())
}

/// Reads the files, and pairs their keys and certificates. Tells the failures of each at once if there are several files.
fn read_all(
    app: &App,
    args: &cli::Import,
    unlocker: &dyn Unlocker,
    sources: &[Source],
    found: &mut Found,
) -> Result<(), Failure> {
    let store = app.store()?;
    let password = |file: &Option<PathBuf>| file.as_deref().map(|file| app.input.read_password(file)).transpose();
    let mut passwords = Passwords {
        given: password(&args.password_file)?,
        key_given: password(&args.key_password_file)?,
        typed: Vec::new(),
    };
    let is_alone = sources.len() == 1;
    let fail = |found: &mut Found, failure: Failure| -> Result<(), Failure> {
        // An interrupt ends the whole command
        if failure.code == Code::Interrupted {
            return Err(failure);
        }
        if !is_alone {
            failure.warn();
        }
        found.failures.push(failure);
        Ok(())
    };
    let start = Instant::now();
    let mut parts: Vec<(&Source, Import)> = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        let path = &source.path;
        let why = match is_alone {
            true => format!("many rounds of key derivation for {}", plain(&path.display().to_string())),
            false => format!("{} of {}: {}", number + 1, sources.len(), plain(&path.display().to_string())),
        };
        // For one of many files, the time that the others took counts too
        let since = if is_alone { Instant::now() } else { start };
        // One byte more, so that the reader can say what is too large
        let bytes = app.input.read(path, file::MAX_SIZE as u64 + 1);
        let read = bytes.map_err(Unread::from).and_then(|bytes| {
            read(app, args, path, &bytes, &mut passwords, &|open| progress::during_since(since, &why, open))
                .map_err(|unread| Unread { failure: unread.failure.in_file(path), ..unread })
        });
        match read {
            // In PEM and DER, keys and certificates may be in separate files
            Ok(file) if !file.is_pkcs12() => parts.push((source, file)),
            Ok(file) => match pair(store, unlocker, &[(source, file)], &mut found.left_out)? {
                Ok(file) => found.files.push(file),
                Err(unread) => unread.into_iter().try_for_each(|(_, unread)| put_aside(found, source, unread, fail))?,
            },
            Err(unread) => put_aside(found, source, unread, fail)?,
        }
    }
    while !parts.is_empty() {
        match pair(store, unlocker, &parts, &mut found.left_out)? {
            Ok(file) => {
                found.files.push(file);
                break;
            }
            // Without these files, the others may make identities
            Err(unread) => {
                let positions: HashSet<usize> = unread.iter().map(|(position, _)| *position).collect();
                for (position, unread) in unread {
                    if let Some((source, _)) = parts.get(position) {
                        put_aside(found, source, unread, fail)?;
                    }
                }
                let mut position = 0..;
                parts.retain(|_| position.next().is_none_or(|position| !positions.contains(&position)));
            }
        }
    }
    Ok(())
}

/// Notes a file that is not imported: as passed over if it is one of a directory and holds nothing, and as a failure otherwise.
fn put_aside(
    found: &mut Found,
    source: &Source,
    unread: Unread,
    fail: impl Fn(&mut Found, Failure) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let prefix = format!("{}: ", source.path.display());
    let why = unread.failure.message.strip_prefix(&prefix).unwrap_or(&unread.failure.message).to_owned();
    if source.is_in_directory && unread.holds_nothing {
        found.passed_over.add(&source.path, why);
        return Ok(());
    }
    found.unread.push(LeftOutJson::file(&source.path, why));
    if !source.is_in_directory {
        found.code.get_or_insert(unread.failure.code);
    }
    fail(found, unread.failure)
}

/// Reads a file, and shows progress with `during`. While the empty password is tried, a person may already type the right one.
fn read(
    app: &App,
    args: &cli::Import,
    path: &Path,
    bytes: &[u8],
    passwords: &mut Passwords,
    during: &dyn Fn(&mut dyn FnMut()),
) -> Result<Import, Unread> {
    let may_ask = passwords.given.is_none() && app.can_ask();
    quietly(may_ask, || read_with_passwords(app, args, path, bytes, passwords, during))
}

/// Tries the empty password, and those that opened other files, before it asks for one.
fn read_with_passwords(
    app: &App,
    args: &cli::Import,
    path: &Path,
    bytes: &[u8],
    passwords: &mut Passwords,
    during: &dyn Fn(&mut dyn FnMut()),
) -> Result<Import, Unread> {
    let name = plain(&path.display().to_string());
    let open = |password: &str, key_password: Option<&str>| {
        let mut opened = Err(file::Error::WrongPassword);
        during(&mut || opened = file::read_with(bytes, password, key_password, args.max_iterations));
        opened
    };
    let mut password = passwords.given.clone().unwrap_or_default();
    let mut key_password = passwords.key_given.clone();
    let mut untried = passwords.typed.clone().into_iter();
    let (mut asked, mut tries) = (None, 0);
    loop {
        let error = match open(&password, key_password.as_deref().map(String::as_str)) {
            Ok(import) => {
                if passwords.given.is_none() && !password.is_empty() && !passwords.typed.contains(&password) {
                    passwords.typed.push(password);
                }
                return Ok(import);
            }
            Err(error) => error,
        };
        let wanted = match error {
            file::Error::WrongPassword if passwords.given.is_none() => Wanted::File,
            file::Error::ContentPassword | file::Error::SeveralPasswords if passwords.key_given.is_none() => {
                Wanted::Key
            }
            error => return Err(unread(args, path, error)),
        };
        if wanted == Wanted::File
            && let Some(typed) = untried.next()
        {
            password = typed;
            continue;
        }
        if !app.can_ask() {
            return Err(nobody_to_ask(args, wanted).into());
        }
        tries = if asked == Some(wanted) { tries + 1 } else { 1 };
        if tries > TRIES {
            return Err(unread(args, path, error));
        }
        asked = Some(wanted);
        let again = if tries > 1 { "Wrong. " } else { "" };
        match wanted {
            Wanted::File => password = terminal::password(&format!("{again}Password of {name}"))?,
            Wanted::Key => {
                key_password = Some(terminal::password(&format!("{again}Password of the private key in {name}"))?);
            }
        }
    }
}

/// The failure of a file that cannot be read.
fn unread(args: &cli::Import, path: &Path, error: file::Error) -> Unread {
    let holds_nothing = holds_nothing(&error);
    let error = Error::File(error);
    let failure = Failure::from(&error);
    let failure = match remedy::for_import(&error, path, &typed(args).again_without_limit) {
        Some(hint) => failure.hint(hint),
        None => failure,
    };
    let failure = match error {
        Error::File(file::Error::NamesFiles { .. }) => failure.hint(format_args!(
            "or, under the names of its contexts: cardcase import --from-kubeconfig {}",
            quoted(path)
        )),
        _ => failure,
    };
    let failure = match profiles::flag_for_file(path).filter(|_| holds_nothing) {
        Some(flag) => failure.hint(format_args!("it is a part of a browser's database: cardcase import {flag}")),
        None => failure,
    };
    Unread { holds_nothing, failure }
}

/// The failure for a file that needs a password when nobody can be asked for it.
fn nobody_to_ask(args: &cli::Import, wanted: Wanted) -> Failure {
    let (what, flag) = match wanted {
        Wanted::File => ("it needs a password", "--password-file FILE"),
        Wanted::Key => ("the private key in it has a password of its own", "--key-password-file FILE"),
    };
    let failure = Failure::new(Code::NobodyToAsk, format_args!("{what}, and nobody can be asked for it"));
    failure.hint(format_args!("{} {flag}", typed(args).again))
}
