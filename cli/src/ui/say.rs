//! Lines on stderr: notes, hints, warnings and errors.

use cardcase::manage::plain;

use std::fmt::Display;
use std::io::{self, Write};

use console::style;

/// Prints what has happened.
pub(crate) fn note(message: impl Display) {
    line(&format!("cardcase: {}", plain(&message.to_string())));
}

/// Prints what to do next, where possible a command to copy.
pub(crate) fn hint(message: impl Display) {
    labelled(style("hint").cyan(), message);
}

/// Prints what the user should know, while the command goes on.
pub(crate) fn warn(message: impl Display) {
    labelled(style("warning").yellow(), message);
}

/// Prints why the command failed.
pub(crate) fn error(message: impl Display) {
    labelled(style("error").red().bold(), message);
}

fn labelled(label: console::StyledObject<&str>, message: impl Display) {
    line(&format!("cardcase: {}: {}", label.for_stderr(), plain(&message.to_string())));
}

/// Prints a line as it is. A closed stderr is not an error: nobody reads it.
fn line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
