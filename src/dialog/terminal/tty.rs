//! The terminal of this process, even where its streams are redirected, and passwords that are typed there.
//!
//! dialoguer would show what is typed between its prompt and the moment it turns the echo off, and then discard it; it
//! would take the end of input (Ctrl-D) for an empty password, and leave a copy of the password in a buffer.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};

use console::Term;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, SpecialCodes, isatty, tcgetattr, tcsetattr, ttyname,
};
use zeroize::Zeroizing;

/// The longest password, in bytes: a terminal returns no longer lines.
const MAX_PASSWORD: usize = 4096;

/// Disables a special key (`_POSIX_VDISABLE`).
pub(super) const DISABLED: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };

/// The key that suspends a program, unless the settings of the terminal name another.
const CTRL_Z: u8 = 0x1a;

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

    /// To draw on it. Nothing is ever drawn on the streams of this process, which belong to the program.
    pub(crate) fn term(self) -> Term {
        Term::read_write_pair(self.input, self.output)
    }

    /// The terminal as a file.
    pub(crate) fn into_output(self) -> File {
        self.output
    }

    /// Writes a line.
    pub(super) fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.output, "{line}")
    }

    /// Asks for a line that is shown as it is typed, and discards what was typed before. Keys and errors are those of
    /// [`Self::password`]; the caller restores the settings likewise.
    pub(super) fn line(&mut self, prompt: &str) -> io::Result<String> {
        let keys = self.set_up(true)?;
        write!(self.output, "{prompt}: ")?;
        let line = self.read_line(&keys).inspect_err(|_| drop(writeln!(self.output)))?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Asks for a line that is not shown. The echo is off before the prompt is on the screen. The caller restores the
    /// settings.
    ///
    /// No key sends a signal meanwhile: a process that ends would leave the echo off, and one that is stopped would hold
    /// everybody else back. Ctrl-C and Ctrl-\ end the line instead, and Ctrl-Z does nothing.
    ///
    /// # Errors
    /// `Interrupted` after Ctrl-C, `UnexpectedEof` at the end of input, `InvalidData` when it is not UTF-8.
    pub(crate) fn password(mut self, prompt: &str) -> io::Result<Zeroizing<String>> {
        let keys = self.set_up(false)?;
        write!(self.output, "{prompt}: ")?;
        let line = self.read_line(&keys);
        writeln!(self.output)?;
        let line = line?;
        match std::str::from_utf8(&line) {
            Ok(password) => Ok(Zeroizing::new(password.to_owned())),
            Err(_) => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// Fails with `Interrupted` if Ctrl-C was pressed since the last line. What else was typed is discarded.
    pub(super) fn check_interrupt(&mut self) -> io::Result<()> {
        let keys = Keys::of(&tcgetattr(&self.input)?.special_codes);
        let mut typed = [0; 256];
        loop {
            let ready = poll(&mut [PollFd::new(&self.input, PollFlags::IN)], Some(&Timespec::default()));
            if !ready.is_ok_and(|ready| ready > 0) {
                return Ok(());
            }
            let typed = match self.input.read(&mut typed)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                length => typed.get(..length).unwrap_or_default(),
            };
            if typed.iter().any(|byte| keys.interrupt.contains(byte)) {
                return Err(ErrorKind::Interrupted.into());
            }
        }
    }

    /// Sets the terminal up for a line, and discards what was typed before.
    fn set_up(&mut self, echoes: bool) -> io::Result<Keys> {
        let mut settings = tcgetattr(&self.input)?;
        let keys = Keys::of(&settings.special_codes);
        settings.special_codes[SpecialCodeIndex::VEOL] = settings.special_codes[SpecialCodeIndex::VINTR];
        settings.special_codes[SpecialCodeIndex::VEOL2] = settings.special_codes[SpecialCodeIndex::VQUIT];
        settings.local_modes.remove(LocalModes::ECHONL | LocalModes::ISIG);
        settings.local_modes.set(LocalModes::ECHO, echoes);
        // VEOL2 is one of the extensions
        settings.local_modes.insert(LocalModes::ICANON | LocalModes::IEXTEN);
        tcsetattr(&self.input, OptionalActions::Flush, &settings)?;
        Ok(keys)
    }

    fn read_line(&mut self, keys: &Keys) -> io::Result<Zeroizing<Vec<u8>>> {
        // With all its capacity from the start: growing would leave a copy behind
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD));
        let mut byte = Zeroizing::new(0);
        loop {
            // Goes on after an interruption, and fails with `UnexpectedEof` at the end of input
            self.input.read_exact(std::slice::from_mut(&mut *byte))?;
            match *byte {
                b'\n' => return Ok(line),
                byte if keys.interrupt.contains(&byte) => return Err(ErrorKind::Interrupted.into()),
                byte if keys.suspend.contains(&byte) => {}
                _ if line.len() == MAX_PASSWORD => return Err(ErrorKind::InvalidData.into()),
                byte => line.push(byte),
            }
        }
    }
}

/// The keys that otherwise send signals.
struct Keys {
    interrupt: Vec<u8>,
    suspend: Vec<u8>,
}

impl Keys {
    fn of(codes: &SpecialCodes) -> Self {
        let keys = |indices: &[SpecialCodeIndex]| {
            indices.iter().map(|&index| codes[index]).filter(|&key| key != DISABLED).collect()
        };
        let mut suspend: Vec<u8> = keys(&[SpecialCodeIndex::VSUSP]);
        // Between the questions of one command it is turned off, and a person may press it all the same
        suspend.push(CTRL_Z);
        Self { interrupt: keys(&[SpecialCodeIndex::VINTR, SpecialCodeIndex::VQUIT]), suspend }
    }
}
