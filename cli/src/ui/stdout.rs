//! Data on stdout.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::ui::failure::Failure;

/// Writes to stdout. It is not an error when the reader has closed the pipe.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::io(Path::new("stdout"), &error)),
        _ => Ok(()),
    }
}
