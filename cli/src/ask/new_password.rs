//! A new primary password. A weak one is warned about, and accepted.

use cardcase::Error;
use cardcase::Store;
use cardcase::Unlocker;
use cardcase::ask::Dialogs;
use zeroize::Zeroizing;
use zxcvbn::{Score, zxcvbn};

use crate::ui::failure::{Code, Failure};
use crate::ui::say;

/// How many times a person may try to type the same password twice.
const TRIES: u32 = 3;

/// The prompt.
const PROMPT: &str = "New primary password (empty for none)";

/// Asks for a new primary password, twice; an empty one means none. With `none_changes_nothing`, an empty one is not asked
/// for again.
pub(crate) fn ask(dialogs: &Dialogs, none_changes_nothing: bool) -> Result<Zeroizing<String>, Failure> {
    for attempt in 1..=TRIES {
        let new = dialogs.password(PROMPT, (attempt > 1).then_some("The passwords differ"))?;
        if (new.is_empty() && none_changes_nothing) || dialogs.password("Repeat it", None)? == new {
            return Ok(new);
        }
    }
    Err(Failure::new(Code::Failed, "the passwords differ; nothing was changed"))
}

/// Sets the new primary password of a store that is unlocked already; `None` removes it.
pub(crate) fn set(store: &Store, new: Option<&str>) -> Result<(), Error> {
    store.set_primary_password(new, &Unlocked)
}

/// Fails: if the store has to be unlocked again, another process has changed the password meanwhile.
struct Unlocked;

impl Unlocker for Unlocked {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::PasswordChanged)
    }
}

/// Warns when a password is weak. `what` it is.
pub(crate) fn warn_if_weak(password: &str, what: &str) {
    let estimate = zxcvbn(password, &["cardcase"]);
    if estimate.score() < Score::Three {
        let guesses = in_words(estimate.guesses_log10());
        let why = estimate.feedback().and_then(|feedback| feedback.warning());
        let why = why.map(|why| format!(" ({})", why.to_string().trim_end_matches('.'))).unwrap_or_default();
        say::warn(format_args!(
            "{what} is weak: {guesses} guesses are enough to find it{why}; several random words are better"
        ));
    }
}

/// A power of ten in words.
fn in_words(log10: f64) -> &'static str {
    const WORDS: [&str; 9] = [
        "a few",
        "about ten",
        "about a hundred",
        "about a thousand",
        "ten thousand",
        "a hundred thousand",
        "a million",
        "ten million",
        "a hundred million",
    ];
    WORDS.get(log10.round() as usize).copied().unwrap_or("a billion")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_shown_in_words() {
        for (log10, words) in [(0.0, "a few"), (2.9, "about a thousand"), (5.6, "a million"), (11.0, "a billion")] {
            assert_eq!(in_words(log10), words);
        }
    }
}
