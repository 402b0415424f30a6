//! Lines on stderr: notes, hints, warnings and errors. On a terminal they are broken between words, but a command to copy stays on one
//! line.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use cardcase::manage::plain;
use console::{Term, style};
use unicode_width::UnicodeWidthStr;

use crate::ui::named_store;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Volume {
    /// Not even errors: `fetch -s`.
    Nothing,
    /// Nothing but errors: `-q`.
    Errors,
    Normal,
}

static VOLUME: AtomicU8 = AtomicU8::new(Volume::Normal as u8);

/// Whether details are said: `-v`.
static DETAILS: AtomicBool = AtomicBool::new(false);

/// Sets how much is said from now on, and whether details are said besides.
pub(crate) fn set_volume(volume: Volume, details: bool) {
    VOLUME.store(volume as u8, Ordering::Relaxed);
    DETAILS.store(details, Ordering::Relaxed);
}

/// Whether details are said.
pub(crate) fn gives_details() -> bool {
    DETAILS.load(Ordering::Relaxed)
}

/// Whether this much is said.
pub(crate) fn is_said(volume: Volume) -> bool {
    VOLUME.load(Ordering::Relaxed) >= volume as u8
}

/// Prints what the command does, with `-v`.
pub(crate) fn detail(message: impl Display) {
    if gives_details() {
        line("cardcase: ", &plain(&message.to_string()));
    }
}

/// Prints a line of HTTP, with `-v`; `mark` is the direction.
pub(crate) fn http(mark: char, text: &str) {
    if gives_details() {
        write(&format!("{mark} {}", plain(text)));
    }
}

/// Prints what has happened.
pub(crate) fn note(message: impl Display) {
    if is_said(Volume::Normal) {
        line("cardcase: ", &plain(&message.to_string()));
    }
}

/// Prints what to do next, where possible a command to copy.
pub(crate) fn hint(message: impl Display) {
    if is_said(Volume::Normal) {
        remedy(message);
    }
}

/// Prints what the user should know, while the command goes on.
pub(crate) fn warn(message: impl Display) {
    if is_said(Volume::Normal) {
        labelled(style("warning").yellow(), message);
    }
}

/// Prints why the command failed.
pub(crate) fn error(message: impl Display) {
    if is_said(Volume::Errors) {
        labelled(style("error").red().bold(), message);
    }
}

/// Prints what to do after a failure.
pub(crate) fn remedy(message: impl Display) {
    if is_said(Volume::Errors) {
        labelled(style("hint").cyan(), message);
    }
}

fn labelled(label: console::StyledObject<&str>, message: impl Display) {
    line(&format!("cardcase: {}: ", label.for_stderr()), &plain(&message.to_string()));
}

fn line(label: &str, message: &str) {
    let message = &named_store::in_commands(message);
    let terminal = Term::stderr();
    match terminal.is_term() {
        true => {
            let width = usize::from(terminal.size().1);
            write(&format!("{label}{}", broken(message, width, console::measure_text_width(label))));
        }
        false => write(&format!("{label}{message}")),
    }
}

/// Prints a line as it is. A closed stderr is not an error: nobody reads it.
fn write(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A message broken between words, where `used` columns of the first line are taken. The command at its end stands on a line of its
/// own, unbroken, if it does not fit on the last one.
fn broken(message: &str, width: usize, used: usize) -> String {
    let start = start_of_command(message);
    let (text, command) = message.split_at(start);
    let parts = text.split_inclusive(' ').chain((!command.is_empty()).then_some(command));
    let (mut lines, mut column) = (String::new(), used);
    let mut is_begun = false;
    for part in parts {
        let needed = part.trim_end_matches(' ').width();
        if is_begun && column + needed > width {
            lines.truncate(lines.trim_end_matches(' ').len());
            lines.push('\n');
            column = 0;
        }
        is_begun = true;
        lines.push_str(part);
        column += part.width();
    }
    lines
}

/// Where the first command to copy begins, with which a message ends: at its start, or after a colon. The length of the message if there
/// is none.
fn start_of_command(message: &str) -> usize {
    let programs = ["cardcase ", "openssl ", "chmod ", "ls -", "curl "];
    let is_command = |text: &str| programs.iter().any(|program| text.starts_with(program));
    if is_command(message) {
        return 0;
    }
    let after = |(at, sign): (usize, &str)| at + sign.len();
    let mut starts = message.match_indices(": ").map(after).filter(|at| message.get(*at..).is_some_and(is_command));
    starts.next().unwrap_or(message.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_broken_between_words_and_commands_are_not() {
        for (message, expected) in [
            ("short", "short"),
            ("a server that nobody knows", "a server\nthat nobody knows"),
            (
                "to see it: cardcase explain a.example:8443 --mode chrome",
                "to see it:\ncardcase explain a.example:8443 --mode chrome",
            ),
            ("cardcase remember a.example ID --mode chrome", "cardcase remember a.example ID --mode chrome"),
            ("to see: cardcase", "to see:\ncardcase"),
            ("aaaaaaaaaa bbbbbbbbb ccccccccccc", "aaaaaaaaaa\nbbbbbbbbb\nccccccccccc"),
            (
                "mend: chmod 600 a.example.db; to see: cardcase doctor --store a",
                "mend:\nchmod 600 a.example.db; to see: cardcase doctor --store a",
            ),
            ("anuninterruptedword-of-text", "anuninterruptedword-of-text"),
            ("名前名前 名前名前 名前", "名前名前\n名前名前 名前"),
        ] {
            assert_eq!(broken(message, 20, 10), expected, "{message}");
        }
    }
}
