//! A new primary password: asked for, and said to be weak where it is. What it has to be like is nobody's rule.

use cardcase::Error;
use cardcase::Store;
use cardcase::Unlocker;
use zeroize::Zeroizing;
use zxcvbn::{Score, zxcvbn};

use crate::ask::password_prompt::PasswordPrompt;
use crate::ui::failure::{Code, Failure};
use crate::ui::say;

/// Tries at typing the same twice.
const TRIES: u32 = 3;

/// What is asked for.
const PROMPT: &str = "New primary password (empty for none)";

/// Asks for a new primary password, twice; an empty one is none. Where `none_changes_nothing`, one that is empty need not be
/// repeated.
pub(crate) fn ask(prompt: &PasswordPrompt, none_changes_nothing: bool) -> Result<Zeroizing<String>, Failure> {
    for attempt in 1..=TRIES {
        let new = prompt.ask(PROMPT, (attempt > 1).then_some("The two differ"))?;
        if (new.is_empty() && none_changes_nothing) || prompt.ask("The same again", None)? == new {
            return Ok(new);
        }
    }
    Err(Failure::new(Code::Failed, "the two differ; nothing was changed"))
}

/// Sets the new primary password of a store that was unlocked before it was asked for; `None` removes it.
pub(crate) fn set(store: &Store, new: Option<&str>) -> Result<(), Error> {
    store.set_primary_password(new, &Unlocked)
}

/// Whoever asks after the store was unlocked finds another password than was given.
struct Unlocked;

impl Unlocker for Unlocked {
    fn primary_password(&self, _attempt: u32) -> Result<Zeroizing<String>, Error> {
        Err(Error::PasswordChanged)
    }
}

/// Says so when a password is weak. It is taken all the same.
pub(crate) fn warn_if_weak(password: &str) {
    let estimate = zxcvbn(password, &["cardcase"]);
    if estimate.score() < Score::Three {
        let guesses = in_words(estimate.guesses_log10());
        let why = estimate.feedback().and_then(|feedback| feedback.warning());
        let why = why.map(|why| format!(" ({})", why.to_string().trim_end_matches('.'))).unwrap_or_default();
        say::warn(format_args!(
            "the new primary password is weak: {guesses} guesses find it{why}; several random words are better"
        ));
    }
}

/// A power of ten, as people say it.
fn in_words(log10: f64) -> &'static str {
    const WORDS: [&str; 9] = [
        "a few",
        "some ten",
        "some hundred",
        "some thousand",
        "ten thousand",
        "a hundred thousand",
        "a million",
        "ten million",
        "a hundred million",
    ];
    WORDS.get(log10.round() as usize).copied().unwrap_or("a thousand million")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_said_in_words() {
        for (log10, words) in [(0.0, "a few"), (2.9, "some thousand"), (5.6, "a million"), (11.0, "a thousand million")]
        {
            assert_eq!(in_words(log10), words);
        }
    }
}
