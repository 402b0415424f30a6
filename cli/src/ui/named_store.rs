//! The store that was named with `--store`, in the commands that are shown to be copied: without it they would change another store.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

use cardcase::manage::plain;
use clap::Subcommand;

use crate::cli::Command;
use crate::ui::text::quoted;

/// ` --store FILE`, if that was typed.
static FLAG: OnceLock<String> = OnceLock::new();

/// From now on the commands that are shown name this store.
pub(crate) fn set(path: &Path) {
    let _ = FLAG.set(format!(" --store {}", plain(&quoted(path))));
}

/// A text whose commands name the store.
pub(crate) fn in_commands(text: &str) -> Cow<'_, str> {
    match FLAG.get() {
        Some(flag) if text.contains(COMMAND) => Cow::Owned(with_flag(text, flag)),
        _ => Cow::Borrowed(text),
    }
}

const COMMAND: &str = "cardcase ";

fn with_flag(text: &str, flag: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(COMMAND) {
        let begins_a_word = before.chars().next_back().is_none_or(|c| c.is_whitespace() || "('`".contains(c));
        let next = after.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap_or_default();
        out.push_str(before);
        out.push_str(COMMAND.trim_end());
        // And not in a sentence, such as "another cardcase is asking"
        if begins_a_word && Command::has_subcommand(next) {
            out.push_str(flag);
        }
        out.push(' ');
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_gets_the_flag_and_no_sentence_does() {
        for (text, expected) in [
            ("to set one: cardcase password", "to set one: cardcase --store a.db password"),
            ("cardcase lock; cardcase unlock", "cardcase --store a.db lock; cardcase --store a.db unlock"),
            ("unlock it first (cardcase unlock), or", "unlock it first (cardcase --store a.db unlock), or"),
            ("another cardcase is asking on this terminal", "another cardcase is asking on this terminal"),
            ("cardcase --store b.db list", "cardcase --store b.db list"),
            ("cargo install cardcase-cli", "cargo install cardcase-cli"),
            ("mycardcase list", "mycardcase list"),
            ("", ""),
        ] {
            assert_eq!(with_flag(text, " --store a.db"), expected);
        }
    }
}
