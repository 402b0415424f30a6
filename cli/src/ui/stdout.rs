//! Data on stdout.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::ui::failure::Failure;

/// Whether somebody still reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Reader {
    Reads,
    /// It has closed the pipe, as `head` does after ten lines. That is no error.
    Gone,
}

/// Writes to stdout. It is not an error when the reader has closed the pipe.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_part(text).map(drop)
}

/// Writes to stdout a part of what there is to print.
pub(crate) fn print_part(text: &str) -> Result<Reader, Failure> {
    print_with(|stdout| stdout.write_all(text.as_bytes()))
}

/// Writes to stdout what `write` writes, so that not all of it is in memory at once.
pub(crate) fn print_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Reader, Failure> {
    let mut stdout = io::stdout().lock();
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::io(Path::new("stdout"), &error)),
    }
}
