//! Data on stdout.

use std::io::{self, ErrorKind, Write};

use crate::ui::failure::{Code, Failure};

/// Writes to stdout. It is not an error when the reader has closed the pipe.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Failed, format_args!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}
