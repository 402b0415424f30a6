//! The passwords of files.

use std::path::Path;

use zeroize::Zeroizing;

use crate::ask::terminal;
use crate::ui::failure::{Code, Failure};

/// How many times a person may try to type the password of a file.
pub(crate) const TRIES: u32 = 3;

/// Asks twice for the password of the new file at `path`. An empty one has to be confirmed, by the answer to `is_empty_meant`.
pub(crate) fn new(path: &Path, can_ask: bool, is_empty_meant: &str) -> Result<Zeroizing<String>, Failure> {
    if !can_ask {
        let failure = Failure::new(Code::NobodyToAsk, "the file needs a password, and nobody can be asked for it");
        return Err(failure.hint("give it in a file: --password-file FILE"));
    }
    let password = terminal::password(&format!("New password of {}", path.display()))?;
    if terminal::password("Repeat it")? != password {
        return Err(Failure::new(Code::Failed, "the passwords differ; nothing was written"));
    }
    if password.is_empty() && !terminal::confirm(is_empty_meant)? {
        return Err(Failure::new(Code::Interrupted, "aborted: nothing was written"));
    }
    Ok(password)
}
