//! The passwords of files.

use std::path::Path;

use cardcase::file;
use zeroize::Zeroizing;

use crate::ask::terminal;
use crate::profiles::{Profile, Typed};
use crate::ui::failure::{Code, Failure};

/// How many times a person may try to type the password of a file.
pub(crate) const TRIES: u32 = 3;

/// Asks twice for the password of the new file at `path`. An empty one has to be confirmed, by the answer to `is_empty_meant`.
pub(crate) fn new(path: &Path, can_ask: bool, is_empty_meant: &str) -> Result<Zeroizing<String>, Failure> {
    if !can_ask {
        let failure = Failure::new(Code::NobodyToAsk, "the file needs a password, and nobody can be asked for it");
        return Err(failure.hint("give it in a file: --password-file FILE"));
    }
    let mut tries = 1;
    let mut password = terminal::password(&format!("New password of {}", path.display()))?;
    while terminal::password("Repeat it")? != password {
        if tries == TRIES {
            return Err(Failure::new(Code::Failed, "the passwords differ; nothing was written"));
        }
        tries += 1;
        password = terminal::password(&format!("They differ. New password of {}", path.display()))?;
    }
    if password.is_empty() && !terminal::confirm(is_empty_meant)? {
        return Err(Failure::new(Code::Interrupted, "aborted: nothing was written"));
    }
    Ok(password)
}

/// Opens the database of a profile: without a password, or else with the one that was given, or with those that a person types. `open`
/// tries a password.
pub(crate) fn open_profile<T>(
    profile: &Profile,
    given: Option<Zeroizing<String>>,
    can_ask: bool,
    typed: &Typed,
    open: impl FnMut(&str) -> Result<T, file::Error>,
) -> Result<(T, Zeroizing<String>), Failure> {
    open_with(&profile.password_prompt(), given, can_ask, open).map_err(|unopened| match unopened {
        Unopened::NobodyToAsk => {
            let failure = format!("{} has a password, and nobody can be asked for it", profile.told());
            let hint = format!("{} --password-file FILE", typed.again);
            Failure::new(Code::NobodyToAsk, failure).hint(hint)
        }
        Unopened::NotAnswered(failure) => failure,
        Unopened::Refused(error) => profile.failed(error, typed),
    })
}

/// Why something with a password was not opened.
pub(crate) enum Unopened {
    NobodyToAsk,
    /// The person gave no password.
    NotAnswered(Failure),
    /// For another reason, or with the last password that was tried.
    Refused(file::Error),
}

/// Opens something without a password, or else with the one that was given, or with those that a person types. `open` tries a password.
/// Returns the one that fits too.
pub(crate) fn open_with<T>(
    prompt: &str,
    given: Option<Zeroizing<String>>,
    can_ask: bool,
    mut open: impl FnMut(&str) -> Result<T, file::Error>,
) -> Result<(T, Zeroizing<String>), Unopened> {
    let is_given = given.is_some();
    let (mut password, mut given, mut tries) = (Zeroizing::new(String::new()), given, 0);
    loop {
        let error = match open(&password) {
            Ok(opened) => return Ok((opened, password)),
            Err(error) => error,
        };
        if error.is_password()
            && let Some(given) = given.take()
        {
            password = given;
            continue;
        }
        if !error.is_password() || is_given || tries == TRIES {
            return Err(Unopened::Refused(error));
        }
        if !can_ask {
            return Err(Unopened::NobodyToAsk);
        }
        let wrong = if tries > 0 { "Wrong. " } else { "" };
        tries += 1;
        password = terminal::password(&format!("{wrong}{prompt}")).map_err(Unopened::NotAnswered)?;
    }
}
