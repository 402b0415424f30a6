//! Reading the command line, and saying what is wrong with it: `cardcase: error: ...`, then what to type.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use url::Url;

use crate::cli::Cli;
use crate::help;
use crate::ui::failure::Failure;
use crate::ui::text::{quoted, word};

/// The command line as it was typed.
pub(crate) struct Typed {
    pub(crate) cli: Cli,
    /// Whether `--store` was typed, and is not from the environment.
    pub(crate) names_store: bool,
}

/// Reads the command line. The help, and what is wrong, is printed here; then only the exit code is left.
pub(crate) fn read() -> Result<Typed, ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    // Making the texts of the help takes as long as reading the command line
    let command = if words.iter().any(may_ask_for_help) { help::command() } else { Cli::command() };
    // Freeing it takes a quarter of what `--version` does, and the process ends soon
    let command = Box::leak(Box::new(command));
    command.try_get_matches_from_mut(&words).and_then(|matches| typed(&matches)).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => print(&error),
        _ => {
            let failure = failure(&error, &words);
            failure.tell();
            ExitCode::from(failure.code as u8)
        }
    })
}

/// Whether a word is `help`, `--help`, or short flags that may have `-h` among them. Without one of these, clap shows no help.
fn may_ask_for_help(word: &OsString) -> bool {
    word.to_str().is_some_and(|word| match word.strip_prefix('-') {
        Some(short) if !short.starts_with('-') => short.contains('h'),
        _ => matches!(word, "help" | "--help"),
    })
}

fn typed(matches: &clap::ArgMatches) -> Result<Typed, Error> {
    let names_store = matches.value_source("store") == Some(ValueSource::CommandLine);
    Ok(Typed { cli: Cli::from_arg_matches(matches)?, names_store })
}

fn print(help: &Error) -> ExitCode {
    // A closed stdout is no error: nobody reads it
    let _ = help.print();
    ExitCode::SUCCESS
}

fn failure(error: &Error, words: &[OsString]) -> Failure {
    if let (ErrorKind::InvalidSubcommand, Some(ContextValue::String(text))) =
        (error.kind(), error.get(ContextKind::InvalidSubcommand))
        && let Some(failure) = no_command(text)
    {
        return failure;
    }
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
        lines.join(" ")
    });
    let message = paragraphs.next().unwrap_or_default();
    let failure = Failure::usage(message.strip_prefix("error: ").unwrap_or(&message));
    // A message that names the possible values needs no guess which one is meant
    let is_guess = error.kind() == ErrorKind::InvalidValue;
    let paragraphs = paragraphs.filter(|_| !is_guess);
    let tips = paragraphs.filter_map(|paragraph| paragraph.strip_prefix("tip: ").map(str::to_owned));
    tips.fold(failure, Failure::hint).hint(format_args!("cardcase {}--help", command_in(words)))
}

/// What was typed in place of a command, if it is a file or the address of a server. It is not guessed what to do with it: a file may
/// have the name of a mistyped command, and to reach a server may send a certificate.
fn no_command(text: &str) -> Option<Failure> {
    let path = Path::new(text);
    if path.is_file() {
        let failure = Failure::usage(format_args!("{text} is a file, and not a command"));
        return Some(failure.hint(format_args!("to store the identities in it: cardcase import {}", quoted(path))));
    }
    if path.is_dir() {
        return Some(Failure::usage(format_args!("{text} is a directory, and not a command")).hint("cardcase --help"));
    }
    let looks_like_a_file = [".p12", ".pfx", ".pem", ".crt", ".cer", ".key", ".der"].iter().any(|end| {
        let at = text.len().saturating_sub(end.len());
        text.get(at..).is_some_and(|last| last.eq_ignore_ascii_case(end))
    });
    if looks_like_a_file {
        let failure = Failure::usage(format_args!("there is no file {text}, and it is not a command"));
        return Some(failure.hint("to store the identities in a file: cardcase import FILE"));
    }
    let is_url = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    let is_address = text.contains('.') && text.parse::<cardcase::Destination>().is_ok();
    if is_url || is_address || text.split_once('/').is_some_and(|(host, _)| host.contains('.')) {
        let failure = Failure::usage(format_args!("{text} is the address of a server, and not a command"));
        let hint = format!("to request it: cardcase fetch {}", word(text));
        return Some(failure.hint(hint).hint(format_args!(
            "to see what the server asks for: cardcase explain {}",
            word(text.strip_prefix("https://").or(text.strip_prefix("http://")).unwrap_or(text))
        )));
    }
    None
}

/// The command in these words, with a space after each: `rules add `.
fn command_in(words: &[OsString]) -> String {
    let (mut command, mut path) = (&Cli::command(), String::new());
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(found) = command.find_subcommand(word) {
            command = found;
            path.push_str(found.get_name());
            path.push(' ');
        }
    }
    path
}
