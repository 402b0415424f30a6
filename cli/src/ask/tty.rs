//! The terminal of this process, wherever its streams go: passwords are asked for there.
//!
//! dialoguer would show what is typed between its prompt and the moment it turns the echo off, throw it away then, take
//! the end of input (Ctrl-D) for an empty password, and leave a copy in a buffer.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr, ttyname};
use zeroize::Zeroizing;

/// Bytes a password may have; a terminal gives lines that are no longer.
const MAX_PASSWORD: usize = 4096;

/// Where to read, and where to write.
pub(crate) struct Tty {
    input: File,
    output: File,
}

impl Tty {
    /// The controlling terminal; where there is none that may be used, the one behind stdin and stderr.
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

    /// What it is called, for another program that is to draw on it.
    pub(crate) fn name() -> Option<String> {
        let named = ttyname(io::stderr(), Vec::new()).or_else(|_| ttyname(io::stdin(), Vec::new()));
        let named = named.ok().and_then(|name| name.into_string().ok());
        named.or_else(|| Self::open().map(|_| "/dev/tty".to_owned()))
    }

    /// Asks for a line that is not shown. The echo is off before the prompt is on the screen; whoever calls puts the
    /// settings back.
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
        // Never grown, which would leave a copy behind
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD));
        let mut byte = Zeroizing::new(0);
        loop {
            // Interrupted, it reads on; at the end of input it fails with `UnexpectedEof`
            self.input.read_exact(std::slice::from_mut(&mut *byte))?;
            match *byte {
                b'\n' => return Ok(line),
                _ if line.len() == MAX_PASSWORD => return Err(ErrorKind::InvalidData.into()),
                byte => line.push(byte),
            }
        }
    }
}
