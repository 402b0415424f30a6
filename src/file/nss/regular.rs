//! Files that may be anything: a FIFO makes whoever opens it wait, and a device may have no end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why a file of another kind is not read.
pub(super) const NOT_REGULAR: &str = "it is not a regular file";

/// Opens a regular file for reading.
///
/// # Errors
/// Those of the system, and [`NOT_REGULAR`].
pub(super) fn open(path: &Path) -> io::Result<File> {
    let check = |found: std::fs::Metadata| match found.is_file() {
        true => Ok(()),
        false => Err(io::Error::other(NOT_REGULAR)),
    };
    check(path.metadata()?)?;
    // It may have been exchanged since
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check(file.metadata()?)?;
    Ok(file)
}
