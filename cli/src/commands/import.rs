//! `cardcase import`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cardcase::Error;
use cardcase::Identity;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::ask::terminal::quietly;
use cardcase::file;
use cardcase::manage::plain;
use cardcase::manage::{Decision, Import};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::app::App;
use crate::ask::terminal;
use crate::cli;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::print_json;
use crate::ui::notices;
use crate::ui::progress;
use crate::ui::remedy;
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::text::{quoted, word};

/// How many times a person may try to type a file's password.
const TRIES: u32 = 3;

#[derive(Serialize)]
struct ImportJson<I> {
    imported: Vec<I>,
    already_present: Vec<I>,
    authorities: Vec<AuthorityJson>,
    left_out: Vec<LeftOutJson>,
}

/// Something in a file that is not imported.
#[derive(Serialize)]
struct LeftOutJson {
    file: String,
    what: String,
    why: String,
}

/// The passwords that were given in files.
struct Given {
    password: Option<Zeroizing<String>>,
    key_password: Option<Zeroizing<String>>,
}

/// A password that a person may be asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The password of the file.
    File,
    /// The password of its private keys, if it is another one.
    Key,
}

#[derive(Serialize)]
struct AuthorityJson {
    fingerprint: String,
    subject: String,
}

/// Reads every file before it stores the first, so that a file that cannot be read leaves the store unchanged.
pub(crate) fn run(app: &App, args: &cli::Import) -> Result<(), Failure> {
    let store = app.store()?;
    let password = |file: &Option<PathBuf>| file.as_deref().map(|file| app.input.read_password(file)).transpose();
    let given = Given { password: password(&args.password_file)?, key_password: password(&args.key_password_file)? };
    let unlocker = app.unlocker()?;
    let mut files = Vec::new();
    let (mut parts, mut paths) = (Import::default(), Vec::new());
    let mut left_out = Vec::new();
    for path in &args.files {
        // One byte more, so that the reader can say what is too large
        let bytes = app.input.read(path, file::MAX_SIZE as u64 + 1)?;
        let file = read(app, args, path, &bytes, &given).map_err(|failure| failure.in_file(path))?;
        if file.is_pkcs12() {
            files.push(pair(store, &*unlocker, file, &[path], &mut left_out)?);
        } else {
            // In PEM and DER, keys and certificates may be in separate files
            parts.extend(file);
            paths.push(path.as_path());
        }
    }
    if !paths.is_empty() {
        files.push(pair(store, &*unlocker, parts, &paths, &mut left_out)?);
    }
    for LeftOutJson { file, what, why } in &left_out {
        say::note(format_args!("{file}: left out {what}: {why}"));
    }
    if files.iter().any(|file| file.identities().next().is_some()) {
        app.offer_protection()?;
    }
    unlock(store, &*unlocker, &files, args.renew)?;
    let name = args.name.as_deref();
    let done = if args.renew {
        let (done, renewals) = store.import_and_renew(files, name, app.now())?;
        renewals.iter().for_each(notices::renewal);
        done
    } else {
        let done = store.import(files, name, app.now())?;
        let decisions = store.decisions()?;
        for new in done.imported.iter().chain(&done.already_present) {
            hint_at_renewal(store, new, &decisions)?;
        }
        done
    };

    done.imported.iter().chain(&done.already_present).for_each(|identity| notices::key_limit(identity));

    let now = app.now();
    if app.common.json {
        let json = |identities: &[Arc<Identity>]| -> Result<Vec<_>, Failure> {
            let chains = store.chain_lengths(identities.iter().map(|identity| identity.certificate()))?;
            let identities = identities.iter().zip(chains);
            Ok(identities.map(|(identity, chain)| identity.json(chain, now)).collect())
        };
        let ca = |ca: &cardcase::manage::Certificate| AuthorityJson {
            fingerprint: ca.fingerprint().to_string(),
            subject: ca.subject().to_string(),
        };
        print_json(&ImportJson {
            imported: json(&done.imported)?,
            already_present: json(&done.already_present)?,
            authorities: done.authorities.iter().map(ca).collect(),
            left_out,
        })?;
        notices::protection(store);
        return Ok(());
    }
    let mut text = String::new();
    for (what, identities) in [("imported", &done.imported), ("already present", &done.already_present)] {
        for identity in identities {
            let certificate = identity.certificate();
            text.push_str(&format!(
                "{what}: {} ({}, issued by {}, expires {})\n",
                plain(identity.name()),
                certificate.key(),
                plain(&certificate.issuer().common_name()),
                certificate.not_after().days_from(now),
            ));
        }
    }
    for authority in &done.authorities {
        text.push_str(&format!("authority: {}\n", plain(&authority.subject().to_string())));
    }
    print(&text)?;
    notices::protection(store);
    Ok(())
}

/// Unlocks the vault if something is written that needs it: a private key, or a renewal. Importing CA certificates, or
/// identities that are in the store already, does not ask for the primary password.
fn unlock(store: &Store, unlocker: &dyn Unlocker, files: &[Import], renew: bool) -> Result<(), Error> {
    let mut is_needed = false;
    for new in files.iter().flat_map(Import::identities) {
        is_needed |= match store.identity(new.fingerprint())? {
            None => true,
            Some(known) => renew && !store.renewed_by(&known)?.is_empty(),
        };
    }
    match (is_needed, renew) {
        (false, _) => Ok(()),
        // A demand for TLS 1.3 that is taken over seals the key again, which an agent cannot do
        (true, true) => store.unlock_fully(unlocker),
        (true, false) => store.unlock(unlocker),
    }
}

/// Hints at how an identity replaces those that it renews.
fn hint_at_renewal(store: &Store, new: &Identity, decisions: &[Decision]) -> Result<(), Failure> {
    for old in store.renewed_by(new)? {
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

/// Reads a file. While the empty password is tried, a person may already type the right one.
fn read(app: &App, args: &cli::Import, path: &Path, bytes: &[u8], given: &Given) -> Result<Import, Failure> {
    let may_ask = given.password.is_none() && app.can_ask();
    quietly(may_ask, || read_with_passwords(app, args, path, bytes, given))
}

/// Tries the empty password before it asks for one.
fn read_with_passwords(
    app: &App,
    args: &cli::Import,
    path: &Path,
    bytes: &[u8],
    given: &Given,
) -> Result<Import, Failure> {
    let name = plain(&path.display().to_string());
    let why = format!("many rounds of key derivation for {name}");
    let open = |password: &str, key_password: Option<&str>| {
        progress::during(&why, || file::read_with(bytes, password, key_password, args.max_iterations))
    };
    let mut password = given.password.clone().unwrap_or_default();
    let mut key_password = given.key_password.clone();
    let (mut asked, mut tries) = (None, 0);
    loop {
        let error = match open(&password, key_password.as_deref().map(String::as_str)) {
            Ok(import) => return Ok(import),
            Err(error) => error,
        };
        let wanted = match error {
            file::Error::WrongPassword if given.password.is_none() => Wanted::File,
            file::Error::ContentPassword | file::Error::SeveralPasswords if given.key_password.is_none() => Wanted::Key,
            error => return Err(unread(args, path, error)),
        };
        if !app.can_ask() {
            return Err(nobody_to_ask(args, wanted));
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
fn unread(args: &cli::Import, path: &Path, error: file::Error) -> Failure {
    let error = Error::File(error);
    let failure = Failure::from(&error);
    match remedy::for_import(&error, path, &again(args)) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The failure for a file that needs a password when nobody can be asked for it.
fn nobody_to_ask(args: &cli::Import, wanted: Wanted) -> Failure {
    let (what, flag) = match wanted {
        Wanted::File => ("it needs a password", "--password-file FILE"),
        Wanted::Key => ("the private key in it has a password of its own", "--key-password-file FILE"),
    };
    let failure = Failure::new(Code::NobodyToAsk, format_args!("{what}, and nobody can be asked for it"));
    failure.hint(format_args!("{} {flag}", again(args)))
}

/// The command as it was given, to be copied and completed.
fn again(args: &cli::Import) -> String {
    let mut command = vec!["cardcase import".to_owned()];
    command.extend(args.files.iter().map(|path| quoted(path)));
    for (flag, file) in [("--password-file", &args.password_file), ("--key-password-file", &args.key_password_file)] {
        command.extend(file.iter().map(|file| format!("{flag} {}", quoted(file))));
    }
    if let Some(name) = &args.name {
        command.push(format!("--name={}", word(name)));
    }
    if args.renew {
        command.push("--renew".to_owned());
    }
    command.join(" ")
}

/// Pairs the keys and certificates of some files; a key may also be in the store already. Adds to `left_out` what is not
/// imported.
fn pair(
    store: &Store,
    unlocker: &dyn Unlocker,
    mut import: Import,
    paths: &[&Path],
    left_out: &mut Vec<LeftOutJson>,
) -> Result<Import, Failure> {
    let paired = match import.pair() {
        Err(error @ Error::CertificateWithoutKey { .. }) => {
            add_known_keys(store, unlocker, &mut import).unwrap_or(Err(error))
        }
        Ok(()) if import.left_out().next().is_some() => add_known_keys(store, unlocker, &mut import).unwrap_or(Ok(())),
        paired => paired,
    };
    let path = |file: usize| paths.get(file).copied().unwrap_or(Path::new("-"));
    paired.map_err(|error| unpaired(&error, path))?;
    left_out.extend(import.left_out().map(|(file, what, why)| LeftOutJson {
        file: path(file).display().to_string(),
        what: what.to_owned(),
        why,
    }));
    Ok(import)
}

/// Pairs again with the keys that the store has; `None` if it has none.
fn add_known_keys(store: &Store, unlocker: &dyn Unlocker, import: &mut Import) -> Option<Result<(), Error>> {
    match store.add_known_keys(import, unlocker) {
        Ok(false) => None,
        Ok(true) => Some(import.pair()),
        Err(error) => Some(Err(error)),
    }
}

/// Names the file that an error is about.
fn unpaired<'a>(error: &Error, path: impl Fn(usize) -> &'a Path) -> Failure {
    let file = match error {
        Error::CertificateWithoutKey { file, .. }
        | Error::KeyWithoutCertificate { file, .. }
        | Error::InFile { file, .. } => *file,
        _ => 0,
    };
    Failure::from(error).in_file(path(file))
}
