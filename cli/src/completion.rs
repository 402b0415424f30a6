//! Completions for shells. The script that `cardcase completions SHELL` prints runs `cardcase __complete SHELL ...` at each Tab, which
//! answers from the command line and from the store. It asks for nothing, writes nothing, and says nothing when it cannot answer.
//!
//! An answer is a line, with its parts divided by U+001F, which no name contains:
//!
//! - `value`, the word, and a description;
//! - `files`, what stands before the path in the word (as in `--cacert=`), and the extensions of the files that are meant;
//! - `directories` and `programs`, likewise, without extensions.

mod line;

mod candidates;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use cardcase::Store;
use clap::{CommandFactory, ValueEnum};
use clap_complete::engine::{self, CompletionCandidate};

use crate::cli::{Cli, Shell};
use candidates::Source;
use line::{Line, Word};

/// The first argument of the command that the scripts run.
pub(crate) const COMMAND: &str = "__complete";

/// Divides the parts of an answer.
const DIVIDER: char = '\u{1f}';

/// The script for a shell.
pub(crate) fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("completion/cardcase.bash"),
        Shell::Fish => include_str!("completion/cardcase.fish"),
        Shell::Zsh => include_str!("completion/cardcase.zsh"),
    }
}

/// Answers the script of a shell, whose arguments stand after [`COMMAND`].
pub(crate) fn answer(mut arguments: impl Iterator<Item = OsString>) {
    let shell = arguments.next().and_then(|name| Shell::from_str(name.to_str()?, false).ok());
    let given: Vec<String> = arguments.map(|each| each.to_string_lossy().into_owned()).collect();
    let typed = match (shell, given.as_slice()) {
        (Some(Shell::Bash), [line, fragment]) => Line::parse(line, fragment),
        // These divide the line themselves
        (Some(Shell::Zsh), [words @ .., last]) => Line::divided(words, Word::plain(last)),
        (Some(Shell::Fish), [words @ .., last]) => Line::divided(words, Word::of(last)),
        _ => return,
    };
    let answers = match typed.is_redirected {
        true => vec![Answer { kind: "files".to_owned(), word: String::new(), more: String::new() }],
        false => complete(&typed),
    };
    let text: String = match shell {
        Some(Shell::Bash) => answers.iter().filter_map(|answer| answer.for_bash(&typed.last)).collect(),
        _ => answers.iter().map(Answer::to_line).collect(),
    };
    // If the shell no longer reads it, nobody needs it
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// One line of the answer.
struct Answer {
    /// `value`, or what the shell itself completes.
    kind: String,
    word: String,
    more: String,
}

impl Answer {
    fn to_line(&self) -> String {
        format!("{}{DIVIDER}{}{DIVIDER}{}\n", self.kind, self.word, self.more)
    }

    /// The answer as bash inserts it: quoted, without what stands before the part that bash replaces. That part is added, unquoted.
    fn for_bash(&self, last: &Word) -> Option<String> {
        let word = if self.kind == "value" { last.quoted(&self.word)? } else { self.word.clone() };
        Some(format!("{}{DIVIDER}{word}{DIVIDER}{}{DIVIDER}{}\n", self.kind, self.more, last.fragment()))
    }
}

fn complete(typed: &Line) -> Vec<Answer> {
    let source = Source::new(store(&typed.words), &typed.words);
    let mut command = candidates::attach(Cli::command(), &source);
    let words = [vec!["cardcase".to_owned()], typed.words.clone(), vec![typed.last.value.clone()]].concat();
    let index = words.len() - 1;
    let found = engine::complete(&mut command, words.into_iter().map(Into::into).collect(), index, None);
    let mut found = found.unwrap_or_default();
    // Flags only where one was begun: those of every command would hide what else there is
    let is_flag = typed.last.value.starts_with('-');
    found.retain(|each| !each.is_hide_set() && (is_flag || !each.get_value().to_string_lossy().starts_with('-')));
    found.iter().map(described).collect()
}

fn described(candidate: &CompletionCandidate) -> Answer {
    let word = candidate.get_value().to_string_lossy().into_owned();
    let tag = candidate.get_tag().map(ToString::to_string).unwrap_or_default();
    match candidates::directive(&tag) {
        Some((kind, extensions)) => Answer { kind: kind.to_owned(), word, more: extensions.to_owned() },
        None => {
            let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
            let more = help.lines().next().unwrap_or_default().to_owned();
            Answer { kind: "value".to_owned(), word, more }
        }
    }
}

/// The store that the command on the line would use, if it exists and can be read at once.
fn store(words: &[String]) -> Option<Store> {
    let path = match line::value_of(words, "--store") {
        Some(named) => in_home(&named),
        None => match std::env::var_os("CARDCASE_STORE") {
            Some(path) => path.into(),
            None => Store::default_path().ok()?,
        },
    };
    Store::open_to_read(path).ok()
}

/// The shell has not expanded the tilde yet.
fn in_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path.into(),
    }
}

/// Every argument of the command that takes a value, for a test that none is forgotten.
#[cfg(test)]
fn arguments(command: &clap::Command, path: &str) -> Vec<(String, clap::Arg)> {
    let own = command.get_arguments().filter(|arg| arg.get_action().takes_values() && !arg.is_hide_set());
    let mut all: Vec<_> = own.map(|arg| (format!("{path} {}", arg.get_id()), arg.clone())).collect();
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        all.extend(arguments(sub, &format!("{path} {}", sub.get_name())));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An argument without completions is one that only its user can know.
    #[test]
    fn every_argument_is_completed_or_free_text() {
        let command = candidates::attach(Cli::command(), &Source::new(None, &[]));
        for (path, arg) in arguments(&command, "cardcase") {
            let is_completed =
                arg.get::<engine::ArgValueCompleter>().is_some() || !arg.get_possible_values().is_empty();
            let name = candidates::value_name(&arg);
            assert!(is_completed != candidates::FREE_TEXT.contains(&name.as_str()), "{path}: {name}");
        }
    }
}
