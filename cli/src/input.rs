//! Files that a command reads, and stdin, which can be read only once.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
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

    /// Opens a file, or stdin for `-`.
    pub(crate) fn open(&self, path: &Path) -> Result<File, Failure> {
        let opened = if path == Path::new("-") {
            self.take_stdin()?.as_fd().try_clone_to_owned().map(File::from)
        } else {
            File::open(path)
        };
        opened.map_err(|error| Failure::io(path, &error))
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

/// Reads a file that nobody named at the command line, of at most `limit` bytes. It may be anything: a FIFO would make this process wait,
/// and a device may have no end.
pub(crate) fn read_regular(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let check = |found: std::fs::Metadata| match found.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is not a regular file")),
    };
    check(path.metadata()?)?;
    // It may have been exchanged since
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check(file.metadata()?)?;
    read_up_to(&mut file, limit)
}

/// # Errors
/// It has more than `limit` bytes.
fn read_up_to(from: &mut dyn Read, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // Large enough for a password or a key: growing would leave a copy behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.min(MAX_PASSWORD) as usize + 1));
    if from.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// The first line of a file in UTF-8, or in UTF-16 with a byte order mark, as Windows' Notepad writes it.
///
/// # Errors
/// `InvalidData` when it is neither.
fn first_line(bytes: &[u8]) -> io::Result<Zeroizing<String>> {
    let text = match bytes {
        [0xff, 0xfe, units @ ..] => from_utf16(units, u16::from_le_bytes),
        [0xfe, 0xff, units @ ..] => from_utf16(units, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, text @ ..] | text => {
            let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            std::str::from_utf8(line).ok().map(|line| Zeroizing::new(line.to_owned()))
        }
    };
    let text =
        text.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the password in it is not UTF-8 or UTF-16"))?;
    let line = text.split('\n').next().unwrap_or_default();
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

fn from_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<Zeroizing<String>> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    // Large enough, because growing would leave a copy of the password in memory
    let mut text = Zeroizing::new(String::with_capacity(3 * units.len()));
    for letter in char::decode_utf16(units.iter().map(|bytes| unit(*bytes))) {
        text.push(letter.ok()?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_password_file_may_come_from_windows() {
        let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for file in [
            "pässword 😀".as_bytes().to_vec(),
            "pässword 😀\n".as_bytes().to_vec(),
            "\u{feff}pässword 😀\r\nanother line\r\n".as_bytes().to_vec(),
            utf16("\u{feff}pässword 😀\r\n", u16::to_le_bytes),
            utf16("\u{feff}pässword 😀", u16::to_be_bytes),
        ] {
            assert_eq!(**first_line(&file).unwrap(), *"pässword 😀", "{file:x?}");
        }
        assert_eq!(**first_line(b"").unwrap(), *"");
        assert_eq!(**first_line(b"\xef\xbb\xbf").unwrap(), *"");
        for file in [&b"\xff\n"[..], b"\xff\xfea", b"\xff\xfe\x00\xd8"] {
            assert_eq!(first_line(file).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
