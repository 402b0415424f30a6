//! The replies of an Assuan program, assembled from the bytes that it writes. They may hold a password.

use std::fmt;
use std::io::{self, ErrorKind};

use zeroize::Zeroizing;

use crate::text::plain;

/// The longest line in Assuan, in bytes without its end.
pub(in crate::dialog) const MAX_LINE: usize = 1000;

/// The longest reply to one command, in bytes.
pub(in crate::dialog) const MAX_REPLY: usize = 16 << 10;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum ConversationError {
    /// The program refused it.
    Refused { code: u32, why: String },
    /// The program cannot be started, or reading or writing failed.
    Io(io::Error),
    /// It violates the protocol.
    Nonsense,
}

impl fmt::Display for ConversationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, why } => write!(f, "refuses: {why} (error {code})"),
            Self::Io(error) if error.kind() == ErrorKind::TimedOut => f.write_str("does not answer"),
            Self::Io(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof) => {
                f.write_str("ended without an answer")
            }
            Self::Io(error) => write!(f, "cannot be used: {error}"),
            Self::Nonsense => f.write_str("does not speak the Assuan protocol"),
        }
    }
}

impl From<io::Error> for ConversationError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The bytes that were not returned yet. The buffers never grow, because that would leave copies of their content in memory.
pub(in crate::dialog) struct Replies {
    /// Lines that were not parsed yet, and the beginning of another.
    ahead: Zeroizing<Vec<u8>>,
    /// The data of the reply so far.
    data: Zeroizing<Vec<u8>>,
    /// The length of the reply so far.
    taken: usize,
}

impl Default for Replies {
    fn default() -> Self {
        Self { ahead: buffer(), data: buffer(), taken: 0 }
    }
}

impl Replies {
    /// Adds bytes that were read, at most [`MAX_LINE`] of them.
    pub(in crate::dialog) fn add<'a>(&mut self, bytes: impl Iterator<Item = &'a u8>) {
        self.ahead.extend(bytes);
    }

    /// The data of the next reply; `None` when more has to be read first.
    pub(in crate::dialog) fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, ConversationError> {
        while let Some(line) = self.line()? {
            self.taken += line.len() + 1;
            if self.taken > MAX_REPLY {
                return Err(ConversationError::Nonsense);
            }
            let mut parts = line.splitn(2, |&byte| byte == b' ');
            let (keyword, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            match keyword {
                b"OK" => return Ok(Some(self.end())),
                b"ERR" => {
                    self.end();
                    return Err(refusal(rest));
                }
                b"D" => decode(rest, &mut self.data)?,
                // Status lines, which pinentry may send at any time, and comments
                b"S" => {}
                _ if keyword.first() == Some(&b'#') => {}
                _ => return Err(ConversationError::Nonsense),
            }
        }
        Ok(None)
    }

    /// Ends a reply. Returns its data.
    fn end(&mut self) -> Zeroizing<Vec<u8>> {
        self.taken = 0;
        std::mem::replace(&mut self.data, buffer())
    }

    fn line(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, ConversationError> {
        match self.ahead.iter().position(|&byte| byte == b'\n') {
            Some(end) if end <= MAX_LINE + 1 => {
                let mut line: Zeroizing<Vec<u8>> = Zeroizing::new(self.ahead.drain(..=end).collect());
                line.pop();
                line.pop_if(|last| *last == b'\r');
                Ok(Some(line))
            }
            None if self.ahead.len() <= MAX_LINE + 1 => Ok(None),
            _ => Err(ConversationError::Nonsense),
        }
    }
}

fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(MAX_REPLY))
}

/// `CODE description`
fn refusal(text: &[u8]) -> ConversationError {
    let text = String::from_utf8_lossy(text);
    let (code, why) = text.split_once(' ').unwrap_or((&text, "no reason given"));
    match code.parse() {
        Ok(code) => ConversationError::Refused { code, why: plain(why) },
        Err(_) => ConversationError::Nonsense,
    }
}

fn decode(coded: &[u8], data: &mut Vec<u8>) -> Result<(), ConversationError> {
    let mut rest = coded;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match byte {
            b'%' => {
                let (&[high, low], after) = after.split_first_chunk().ok_or(ConversationError::Nonsense)?;
                (hex(high)? << 4 | hex(low)?, after)
            }
            byte => (byte, after),
        };
        data.push(byte);
        rest = after;
    }
    Ok(())
}

fn hex(digit: u8) -> Result<u8, ConversationError> {
    let value = char::from(digit).to_digit(16).ok_or(ConversationError::Nonsense)?;
    u8::try_from(value).map_err(|_| ConversationError::Nonsense)
}
