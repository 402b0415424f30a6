//! `cardcase import`

use std::path::Path;
use std::sync::Arc;

use cardcase::Error;
use cardcase::Identity;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::file;
use cardcase::manage::{Decision, Import};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::app::App;
use crate::ask::terminal;
use crate::cli;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{IdentityJson, print_json};
use crate::ui::notices;
use crate::ui::progress;
use crate::ui::remedy;
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::text::{days_from, plain};
use crate::ui::text::{quoted, word};

/// How many times a person may try to type a file's password.
const TRIES: u32 = 3;

#[derive(Serialize)]
struct ImportJson {
    imported: Vec<IdentityJson>,
    already_present: Vec<IdentityJson>,
    authorities: Vec<AuthorityJson>,
}

#[derive(Serialize)]
struct AuthorityJson {
    fingerprint: String,
    subject: String,
}

/// Reads every file before it stores the first, so that a file that cannot be read leaves the store unchanged.
pub(crate) fn run(app: &App, args: &cli::Import) -> Result<(), Failure> {
    let store = app.store()?;
    let password = args.password_file.as_deref().map(|file| app.input.read_password(file)).transpose()?;
    let unlocker = app.unlocker()?;
    let mut files = Vec::new();
    let (mut parts, mut paths) = (Import::default(), Vec::new());
    for path in &args.files {
        // One byte more, so that the reader can say what is too large
        let bytes = app.input.read(path, file::MAX_SIZE as u64 + 1)?;
        let file = read(app, args, path, &bytes, password.as_ref()).map_err(|failure| failure.in_file(path))?;
        if file.is_pkcs12() {
            files.push(pair(store, &*unlocker, file, &[path])?);
        } else {
            // In PEM and DER, keys and certificates may be in separate files
            parts.extend(file);
            paths.push(path.as_path());
        }
    }
    if !paths.is_empty() {
        files.push(pair(store, &*unlocker, parts, &paths)?);
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

    let now = app.now();
    if app.common.json {
        let json = |identities: &[Arc<Identity>]| -> Result<Vec<IdentityJson>, Failure> {
            let chains = store.chains(identities.iter().map(|identity| identity.certificate()))?;
            let identities = identities.iter().zip(&chains);
            Ok(identities.map(|(identity, chain)| IdentityJson::new(identity, chain, now)).collect())
        };
        let ca = |ca: &cardcase::manage::Certificate| AuthorityJson {
            fingerprint: ca.fingerprint().to_string(),
            subject: ca.subject().to_string(),
        };
        print_json(&ImportJson {
            imported: json(&done.imported)?,
            already_present: json(&done.already_present)?,
            authorities: done.authorities.iter().map(ca).collect(),
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
                days_from(now, certificate.not_after()),
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

fn read(
    app: &App,
    args: &cli::Import,
    path: &Path,
    bytes: &[u8],
    known: Option<&Zeroizing<String>>,
) -> Result<Import, Failure> {
    let why = format!("many rounds of key derivation for {}", plain(&path.display().to_string()));
    let open = |password: &str| {
        progress::during(&why, || match args.max_iterations {
            Some(iterations) => file::read_with_iterations(bytes, password, iterations),
            None => file::read(bytes, password),
        })
    };
    let opened = match known {
        Some(password) => open(password),
        None => match open("") {
            Err(error) if error.is_password() => return ask(app, args, path, &open),
            opened => opened,
        },
    };
    opened.map_err(|error| unread(args, error))
}

/// The failure of a file that cannot be read.
fn unread(args: &cli::Import, error: file::Error) -> Failure {
    let error = Error::File(error);
    let failure = Failure::from(&error);
    match remedy::for_import(&error, &again(args)) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Asks for the password of a file that the empty password does not open.
fn ask(
    app: &App,
    args: &cli::Import,
    path: &Path,
    open: &dyn Fn(&str) -> Result<Import, file::Error>,
) -> Result<Import, Failure> {
    if !app.can_ask() {
        let failure = Failure::new(Code::NobodyToAsk, "it needs a password, and nobody can be asked for it");
        return Err(failure.hint(format_args!("{} --password-file FILE", again(args))));
    }
    let mut prompt = format!("Password of {}", path.display());
    for _ in 1..TRIES {
        match open(&terminal::password(&prompt)?) {
            Err(error) if error.is_password() => prompt = format!("Wrong. Password of {}", path.display()),
            opened => return opened.map_err(|error| unread(args, error)),
        }
    }
    open(&terminal::password(&prompt)?).map_err(|error| unread(args, error))
}

/// The command as it was given, to be copied and completed.
fn again(args: &cli::Import) -> String {
    let mut command = vec!["cardcase import".to_owned()];
    command.extend(args.files.iter().map(|path| quoted(path)));
    if let Some(name) = &args.name {
        command.push(format!("--name={}", word(name)));
    }
    if args.renew {
        command.push("--renew".to_owned());
    }
    command.join(" ")
}

/// Pairs the keys and certificates of some files; a key may also be in the store already.
fn pair(store: &Store, unlocker: &dyn Unlocker, mut import: Import, paths: &[&Path]) -> Result<Import, Failure> {
    let paired = match import.pair() {
        Err(Error::CertificateWithoutKey { .. }) if store.add_known_keys(&mut import, unlocker)? => import.pair(),
        paired => paired,
    };
    match paired {
        Ok(()) => Ok(import),
        Err(error) => Err(unpaired(&error, paths)),
    }
}

/// Names the file that an error is about.
fn unpaired(error: &Error, paths: &[&Path]) -> Failure {
    let file = match error {
        Error::CertificateWithoutKey { file, .. } | Error::KeyWithoutCertificate { file, .. } => *file,
        _ => 0,
    };
    Failure::from(error).in_file(paths.get(file).copied().unwrap_or(Path::new("-")))
}
