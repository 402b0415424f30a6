//! Asks for passwords on the terminal of this process, even where its streams are redirected.
//!
//! dialoguer would show what is typed between its prompt and the moment it turns the echo off, and then discard it; it
//! would take the end of input (Ctrl-D) for an empty password, and leave a copy of the password in a buffer.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr, ttyname};
use zeroize::Zeroizing;

/// The longest password, in bytes: a terminal returns no longer lines.
const MAX_PASSWORD: usize = 4096;

/// A terminal to read from and write to.
pub(crate) struct Tty {
    input: File,
    output: File,
}

impl Tty {
    /// The controlling terminal, else the one that stdin and stderr are connected to.
    pub(crate) fn open() -> Option<Self> {
        if let Ok(input) = OpenOptions::new().read(true).write(true).open("/dev/tty") {
            return Some(Self { output: input.try_clone().ok()?, input });
        }
        let is_there = isatty(io::stdin()) && isatty(io::stderr());
        let file = |duplicate: rustix::io::Result<_>| duplicate.ok().map(File::from);
        is_there.then(|| {
            Some(Self { input: file(rustix::io::dup(io::stdin()))?, output: file(rustix::io::dup(io::stderr()))? })
        })?
    }

    /// The path of the terminal, for another program that draws on it.
    pub(crate) fn name() -> Option<String> {
        let named = ttyname(io::stderr(), Vec::new()).or_else(|_| ttyname(io::stdin(), Vec::new()));
        let named = named.ok().and_then(|name| name.into_string().ok());
        named.or_else(|| Self::open().map(|_| "/dev/tty".to_owned()))
    }

    /// Asks for a line that is not shown. The echo is off before the prompt is on the screen. The caller restores the
    /// settings.
    ///
    /// # Errors
    /// `UnexpectedEof` at the end of input, `InvalidData` when it is not UTF-8.
    pub(crate) fn password(mut self, prompt: &str) -> io::Result<Zeroizing<String>> {
        let mut settings = tcgetattr(&self.input)?;
        settings.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        settings.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&self.input, OptionalActions::Flush, &settings)?;
        write!(self.output, "{prompt}: ")?;
        let line = self.line();
        writeln!(self.output)?;
        let line = line?;
        match std::str::from_utf8(&line) {
            Ok(password) => Ok(Zeroizing::new(password.to_owned())),
            Err(_) => Err(ErrorKind::InvalidData.into()),
        }
    }

    fn line(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        // With all its capacity from the start: growing would leave a copy behind
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD));
        let mut byte = Zeroizing::new(0);
        loop {
            // Goes on after an interruption, and fails with `UnexpectedEof` at the end of input
            self.input.read_exact(std::slice::from_mut(&mut *byte))?;
            match *byte {
                b'\n' => return Ok(line),
                _ if line.len() == MAX_PASSWORD => return Err(ErrorKind::InvalidData.into()),
                byte => line.push(byte),
            }
        }
    }
}
