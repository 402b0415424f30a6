//! `cardcase import`

use std::path::Path;

use cardcase::identity::{Identity, Import as Contents};
use cardcase::pkcs12::{self, Limits};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::app::App;
use crate::cli::Import;
use crate::output::{IdentityJson, days_from, plain, print, print_json};
use crate::report::{Code, Failure};
use crate::terminal;

/// Tries at a file's password before giving up.
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

/// Reads every file before it stores the first: one that cannot be read leaves the store as it is.
pub(crate) fn run(app: &App, args: &Import) -> Result<(), Failure> {
    let store = app.store()?;
    let password = args.password_file.as_deref().map(|file| app.read_password(file)).transpose()?;
    let mut files = Vec::new();
    for path in &args.files {
        files.push(read(app, path, password.as_ref()).map_err(|failure| failure.of_file(path))?);
    }
    store.vault().unlock(&*app.unlocker()?)?;
    let done = store.import(files, args.name.as_deref(), app.now())?;

    let authorities = store.authorities()?;
    let now = app.now();
    if app.common.json {
        let json = |identities: &[std::sync::Arc<Identity>]| {
            identities.iter().map(|identity| IdentityJson::new(identity, &authorities, now)).collect()
        };
        let ca = |ca: &cardcase::certificate::Certificate| AuthorityJson {
            fingerprint: ca.fingerprint().to_string(),
            subject: ca.subject().to_string(),
        };
        return print_json(&ImportJson {
            imported: json(&done.imported),
            already_present: json(&done.already_present),
            authorities: done.authorities.iter().map(ca).collect(),
        });
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
    print(&text)
}

fn read(app: &App, path: &Path, known: Option<&Zeroizing<String>>) -> Result<Contents, Failure> {
    let limits = Limits::default();
    // One byte more, so that the reader is who says what is too large
    let bytes = app.read(path, limits.file_size as u64 + 1)?;
    let open = |password: &str| pkcs12::read(&bytes, password, &limits);
    let contents = match known {
        Some(password) => open(password).map_err(cardcase::Error::from)?,
        None => match open("") {
            Err(pkcs12::Error::WrongPassword | pkcs12::Error::ContentPassword) => ask(app, path, &open)?,
            opened => opened.map_err(cardcase::Error::from)?,
        },
    };
    Ok(Contents::from_contents(contents)?)
}

/// Asks for the password of a file that the empty one does not open.
fn ask(
    app: &App,
    path: &Path,
    open: &dyn Fn(&str) -> Result<pkcs12::Contents, pkcs12::Error>,
) -> Result<pkcs12::Contents, Failure> {
    if !app.can_ask() {
        let failure = Failure::new(Code::NobodyToAsk, "it has a password, and nobody can be asked for it");
        return Err(failure.hint(format_args!("cardcase import {} --password-file FILE", path.display())));
    }
    let mut prompt = format!("Password of {}", path.display());
    for _ in 1..TRIES {
        match open(&terminal::password(&prompt)?) {
            Err(pkcs12::Error::WrongPassword) => prompt = format!("Wrong. Password of {}", path.display()),
            opened => return opened.map_err(|error| cardcase::Error::from(error).into()),
        }
    }
    open(&terminal::password(&prompt)?).map_err(|error| cardcase::Error::from(error).into())
}
