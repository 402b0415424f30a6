//! `cardcase import`

use std::path::Path;
use std::sync::Arc;

use cardcase::Error;
use cardcase::Identity;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::file::pem;
use cardcase::file::pkcs12;
use cardcase::file::pkcs12::{Contents, Limits};
use cardcase::manage::Certificate;
use cardcase::manage::Decision;
use cardcase::manage::Import as Paired;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::app::App;
use crate::ask::terminal;
use crate::cli::Import;
use crate::ui::failure::{Code, Failure};
use crate::ui::json::{IdentityJson, print_json};
use crate::ui::notices;
use crate::ui::progress;
use crate::ui::say;
use crate::ui::stdout::print;
use crate::ui::text::{days_from, plain};
use crate::ui::text::{quoted, word};

/// How many times a person may try to type a file's password.
const TRIES: u32 = 3;

/// How many derivations a file needs, counting the ways to encode the password.
const DERIVATIONS: u64 = 20;

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
pub(crate) fn run(app: &App, args: &Import) -> Result<(), Failure> {
    let store = app.store()?;
    let password = args.password_file.as_deref().map(|file| app.input.read_password(file)).transpose()?;
    let unlocker = app.unlocker()?;
    let limits = limits(args.max_iterations);
    let mut files = Vec::new();
    let mut parts = Vec::new();
    for path in &args.files {
        // One byte more, so that the reader is who says what is too large
        let bytes = app.input.read(path, limits.file_size as u64 + 1)?;
        match read(app, args, path, &bytes, password.as_ref(), &limits).map_err(|failure| failure.of_file(path))? {
            Read::Whole(contents) => files.push(pair(store, &*unlocker, &[(path, contents)])?),
            Read::Part(contents) => parts.push((path.as_path(), contents)),
        }
    }
    if !parts.is_empty() {
        files.push(pair(store, &*unlocker, &parts)?);
    }
    if files.iter().any(|file| !file.identities.is_empty()) {
        app.offer_protection()?;
    }
    unlock(store, &*unlocker, &files, args.renew)?;
    let name = args.name.as_deref();
    let done = if args.renew {
        let (done, renewals) = store.import_and_renew(files, name, app.now())?;
        renewals.iter().for_each(|renewal| notices::renewal(renewal));
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

/// Unlocks the store if a private key or a renewal is to be written. CA certificates, and identities that are in the store
/// already, need no primary password.
fn unlock(store: &Store, unlocker: &dyn Unlocker, files: &[Paired], renew: bool) -> Result<(), Error> {
    let mut takes_it = false;
    for new in files.iter().flat_map(|file| &file.identities) {
        takes_it |= match store.identity(new.certificate.fingerprint())? {
            None => true,
            Some(known) => renew && !store.renewed_by(&known)?.is_empty(),
        };
    }
    match (takes_it, renew) {
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

/// What a file held, and whether its keys and certificates may be in different files.
enum Read {
    /// PKCS#12
    Whole(Contents),
    /// PEM or DER
    Part(Contents),
}

/// What a file may cost. Who allows more rounds at a time allows more in all: each of a file's derivations has as many.
fn limits(max_iterations: Option<u64>) -> Limits {
    let mut limits = Limits::default();
    if let Some(iterations) = max_iterations {
        limits.iterations = iterations;
        limits.total_iterations = limits.total_iterations.max(iterations.saturating_mul(DERIVATIONS));
    }
    limits
}

fn read(
    app: &App,
    args: &Import,
    path: &Path,
    bytes: &[u8],
    known: Option<&Zeroizing<String>>,
    limits: &Limits,
) -> Result<Read, Failure> {
    let is_pkcs12 = pkcs12::recognise(bytes);
    let why = format!("many rounds of key derivation for {}", plain(&path.display().to_string()));
    let open = |password: &str| -> Result<Contents, Error> {
        progress::during(&why, || {
            Ok(if is_pkcs12 { pkcs12::read(bytes, password, limits)? } else { pem::read(bytes, password, limits)? })
        })
    };
    let contents = match known {
        Some(password) => open(password).map_err(|error| unread(args, error))?,
        None => match open("") {
            Err(error) if is_password(&error) => ask(app, args, path, &open)?,
            opened => opened.map_err(|error| unread(args, error))?,
        },
    };
    Ok(if is_pkcs12 { Read::Whole(contents) } else { Read::Part(contents) })
}

/// Names the flag that allows more rounds, where that is what is missing.
fn unread(args: &Import, error: Error) -> Failure {
    let cost = match &error {
        Error::Pkcs12(pkcs12::Error::TooCostly { what, value, .. })
        | Error::Pem(pem::Error::Common(pkcs12::Error::TooCostly { what, value, .. })) => Some((*what, *value)),
        _ => None,
    };
    match cost {
        Some((what, value)) if what.starts_with("rounds") && value < u64::MAX => {
            Failure::from(&error).hint(format_args!("if you trust the file: {} --max-iterations {value}", again(args)))
        }
        _ => error.into(),
    }
}

fn is_password(error: &Error) -> bool {
    match error {
        Error::Pkcs12(error) => matches!(error, pkcs12::Error::WrongPassword | pkcs12::Error::ContentPassword),
        Error::Pem(error) => error.is_password(),
        _ => false,
    }
}

/// Asks for the password of a file that the empty one does not open.
fn ask(
    app: &App,
    args: &Import,
    path: &Path,
    open: &dyn Fn(&str) -> Result<Contents, Error>,
) -> Result<Contents, Failure> {
    if !app.can_ask() {
        let failure = Failure::new(Code::NobodyToAsk, "it needs a password, and nobody can be asked for it");
        return Err(failure.hint(format_args!("{} --password-file FILE", again(args))));
    }
    let mut prompt = format!("Password of {}", path.display());
    for _ in 1..TRIES {
        match open(&terminal::password(&prompt)?) {
            Err(error) if is_password(&error) => prompt = format!("Wrong. Password of {}", path.display()),
            opened => return opened.map_err(|error| unread(args, error)),
        }
    }
    open(&terminal::password(&prompt)?).map_err(|error| unread(args, error))
}

/// The command as it was given, to be copied and completed.
fn again(args: &Import) -> String {
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

/// Brings the keys and certificates of some files together; a key may also be in the store already.
fn pair(store: &Store, unlocker: &dyn Unlocker, files: &[(&Path, Contents)]) -> Result<Paired, Failure> {
    let mut all = Contents::default();
    for (_, contents) in files {
        all.extend(contents.clone());
    }
    let paired = match Paired::from_contents(all.clone()) {
        Err(error @ Error::CertificateWithoutKey { .. }) => {
            if store.add_known_keys(&mut all, unlocker)? {
                Paired::from_contents(all)
            } else {
                Err(error)
            }
        }
        paired => paired,
    };
    paired.map_err(|error| {
        let hint = match error {
            Error::CertificateWithoutKey { .. } => {
                Some("give the file with its private key too: cardcase import FILE KEY")
            }
            Error::KeyWithoutCertificate { .. } => {
                Some("give the file with its certificate too: cardcase import FILE CERTIFICATE")
            }
            _ => None,
        };
        let mut failure = Failure::from(&error);
        if let Some(hint) = hint {
            failure.hints = vec![hint.to_owned()];
        }
        failure.of_file(culprit(&error, files))
    })
}

/// Which of the files an error is about.
fn culprit<'a>(error: &Error, files: &'a [(&'a Path, Contents)]) -> &'a Path {
    let certificate = |bag: &pkcs12::CertificateBag| Certificate::from_der(bag.der.clone());
    let found = match error {
        Error::CertificateWithoutKey { subject } => files.iter().find(|(_, contents)| {
            let mut certificates = contents.certificates.iter().filter_map(|bag| certificate(bag).ok());
            certificates.any(|certificate| certificate.subject().to_string() == *subject)
        }),
        Error::KeyWithoutCertificate { .. } => files.get(first_lonely_key(files)),
        _ => files.iter().find(|(_, contents)| contents.certificates.iter().any(|bag| certificate(bag).is_err())),
    };
    found.or(files.first()).map_or(Path::new("-"), |(path, _)| path)
}

/// The place of the first file with a key that no certificate of any file belongs to. There may be thousands of files,
/// so it is found by halving.
fn first_lonely_key(files: &[(&Path, Contents)]) -> usize {
    let mut all = Contents::default();
    all.certificates.extend(files.iter().flat_map(|(_, contents)| contents.certificates.clone()));
    let places: Vec<usize> = (0..files.len()).collect();
    places.partition_point(|&place| {
        let mut tried = all.clone();
        tried.keys.extend(files.iter().take(place + 1).flat_map(|(_, contents)| contents.keys.clone()));
        !matches!(Paired::from_contents(tried), Err(Error::KeyWithoutCertificate { .. }))
    })
}
