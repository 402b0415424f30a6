//! Files that a command reads, and stdin, which can be read only once.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::ui::failure::Failure;

/// The largest password file, in bytes.
const MAX_PASSWORD: u64 = 64 << 10;

/// The inputs of one run of the command.
#[derive(Default)]
pub(crate) struct Input {
    stdin_taken: Cell<bool>,
}

impl Input {
    /// Reads a file, or stdin for `-`, of at most `limit` bytes.
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let read = if path == Path::new("-") {
            read_up_to(&mut self.take_stdin()?, limit)
        } else {
            File::open(path).and_then(|mut file| read_up_to(&mut file, limit))
        };
        read.map_err(|error| Failure::io(path, &error))
    }

    /// Reads the first line of a password file, without its line ending.
    pub(crate) fn read_password(&self, path: &Path) -> Result<Zeroizing<String>, Failure> {
        first_line(&self.read(path, MAX_PASSWORD)?).map_err(|error| Failure::io(path, &error))
    }

    fn take_stdin(&self) -> Result<io::StdinLock<'static>, Failure> {
        if self.stdin_taken.replace(true) {
            return Err(Failure::usage("stdin ('-') can be read only once: use a file for the other input"));
        }
        Ok(io::stdin().lock())
    }
}

/// Reads the first line of a password file that is not stdin.
pub(crate) fn read_password_file(path: &Path) -> io::Result<Zeroizing<String>> {
    first_line(&read_up_to(&mut File::open(path)?, MAX_PASSWORD)?)
}

/// # Errors
/// `FileTooLarge` beyond `limit` bytes.
fn read_up_to(from: &mut dyn Read, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // Large enough for a password or a key: growing would leave a copy behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.min(MAX_PASSWORD) as usize + 1));
    if from.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// # Errors
/// `InvalidData` when it is not UTF-8.
fn first_line(bytes: &[u8]) -> io::Result<Zeroizing<String>> {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(password) => Ok(Zeroizing::new(password.to_owned())),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the password in it is not UTF-8")),
    }
}
