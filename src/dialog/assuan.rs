//! A program that speaks GnuPG's Assuan protocol on its stdin and stdout, as far as pinentry needs it. Time and memory
//! are limited, whatever the program does.

pub(crate) mod reply;

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use zeroize::Zeroizing;

use super::running::Asking;
pub(crate) use reply::ConversationError;
use reply::{MAX_LINE, Replies};

/// How long the program may take to exit after its input was closed.
const GRACE: Duration = Duration::from_millis(500);

/// A conversation with a program, which is ended when this is dropped.
pub(crate) struct Conversation {
    program: Asking,
    /// `None` once the conversation is over.
    to: Option<ChildStdin>,
    from: ChildStdout,
    replies: Replies,
}

impl Conversation {
    /// Starts a program, and waits until it is ready.
    pub(crate) fn start(program: &OsStr, limit: Duration) -> Result<Self, ConversationError> {
        // It may have drawn on the terminal, and puts that back
        let signal = Signal::TERM;
        let program = Asking::start(Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()), signal)?;
        let (to, from) = {
            let mut child = program.child();
            (child.stdin.take(), child.stdout.take())
        };
        let (Some(to), Some(from)) = (to, from) else { return Err(ConversationError::Nonsense) };
        let mut conversation = Self { program, to: Some(to), from, replies: Replies::default() };
        conversation.reply(limit)?;
        Ok(conversation)
    }

    /// Sends a command, and returns the data in the reply.
    pub(crate) fn request(
        &mut self,
        command: &str,
        parameter: &str,
        limit: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, ConversationError> {
        let to = self.to.as_mut().ok_or(ConversationError::Nonsense)?;
        to.write_all(line(command, parameter).as_bytes())?;
        self.reply(limit)
    }

    /// Reads up to the line that ends a reply.
    fn reply(&mut self, limit: Duration) -> Result<Zeroizing<Vec<u8>>, ConversationError> {
        let until = Instant::now() + limit;
        loop {
            if let Some(data) = self.replies.next()? {
                return Ok(data);
            }
            self.read(until)?;
        }
    }

    fn read(&mut self, until: Instant) -> io::Result<()> {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        let mut watched = [PollFd::new(&self.from, PollFlags::IN)];
        match poll(&mut watched, Some(&left)) {
            Ok(0) => return Err(ErrorKind::TimedOut.into()),
            Err(rustix::io::Errno::INTR) => return Ok(()),
            polled => polled?,
        };
        let mut bytes = Zeroizing::new([0; MAX_LINE]);
        match self.from.read(&mut *bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            length => {
                self.replies.add(bytes.iter().take(length));
                Ok(())
            }
        }
    }
}

/// Closes the program's input. If it does not exit then, it is killed.
impl Drop for Conversation {
    fn drop(&mut self) {
        self.to = None;
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            if let Ok(Some(_)) = self.program.child().try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A command with its parameter, cut to the longest line.
fn line(command: &str, parameter: &str) -> String {
    let mut line = command.to_owned();
    for c in parameter.chars() {
        let mut bytes = [0; 4];
        let coded = match c {
            '%' => "%25",
            '\r' => "%0D",
            '\n' => "%0A",
            // At the end of a line it would continue the line
            '\\' => "%5C",
            c => c.encode_utf8(&mut bytes),
        };
        if line.len() + coded.len() > MAX_LINE {
            break;
        }
        line.push_str(coded);
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use rustix::process::Pid;

    use super::*;
    use crate::dialog::executable::executable;

    const SOON: Duration = Duration::from_secs(10);

    /// Starts a conversation with a shell script.
    fn start(script: &str) -> Result<Conversation, ConversationError> {
        let directory = tempfile::tempdir().unwrap();
        let program = executable(directory.path(), "pinentry", &format!("#!/bin/sh\n{script}\n"));
        Conversation::start(program.as_os_str(), SOON)
    }

    fn asked(script: &str) -> Result<Zeroizing<Vec<u8>>, ConversationError> {
        start(script)?.request("GETPIN", "", Duration::from_millis(300))
    }

    #[test]
    fn data_lines_are_decoded_and_joined() {
        for (said, data) in [
            ("D a%25b%0ac", "a%b\nc"),
            ("D  with  spaces ", " with  spaces "),
            ("D one\\nD two", "onetwo"),
            ("S PASSWORD_FROM_CACHE\\n# a comment\\n#\\nD x\\r", "x"),
            ("D %C3%A4", "ä"),
            ("D", ""),
            ("S NOTHING", ""),
        ] {
            let script = format!("echo OK; read ask; printf '%b\\n' '{said}'; echo OK; read end");
            assert_eq!(*asked(&script).unwrap(), *data.as_bytes(), "{said:?}");
        }
    }

    #[test]
    fn a_refusal_is_distinguished_from_what_is_no_reply() {
        let refused = asked("echo OK; read ask; echo ERR 83886179 cancelled; read end");
        assert!(matches!(refused, Err(ConversationError::Refused { code: 83_886_179, .. })), "{refused:?}");
        for nonsense in [
            "echo hello",
            "echo OK; read ask; echo ERR zero",
            "echo OK; read ask; echo 'D %zz'; echo OK",
            "echo OK; read ask; echo 'D %2'; echo OK",
            "echo OK; read ask; echo INQUIRE more; read end",
            "echo OK; read ask; head -c 1100 /dev/zero; read end",
            "echo OK; read ask; yes '# on and on'",
        ] {
            let answer = asked(nonsense);
            assert!(matches!(answer, Err(ConversationError::Nonsense)), "{nonsense}: {answer:?}");
        }
    }

    #[test]
    fn waiting_has_a_limit() {
        let start = Instant::now();
        let mut answer = asked("echo OK; trap '' TERM; while :; do sleep 1; done");
        assert!(
            matches!(&answer, Err(ConversationError::Io(error)) if error.kind() == ErrorKind::TimedOut),
            "{answer:?}"
        );
        assert!(start.elapsed() < SOON / 2);
        for ended in ["exit 3", "echo OK; exit 0", "echo OK; read ask; printf 'D half'"] {
            answer = asked(ended);
            assert_eq!(answer.unwrap_err().to_string(), "ended without an answer", "{ended}");
        }
    }

    #[test]
    fn the_program_is_gone_afterwards() {
        let conversation = start("echo OK; while :; do sleep 0.1; done").unwrap();
        let running = Pid::from_child(&conversation.program.child());
        drop(conversation);
        assert!(rustix::process::test_kill_process(running).is_err());
    }

    #[test]
    fn a_parameter_stays_on_its_line() {
        assert_eq!(line("SETDESC ", "50%\r\nof C:\\"), "SETDESC 50%25%0D%0Aof C:%5C\n");
        let long = line("SETDESC ", &"é%".repeat(1000));
        assert!(long.len() <= MAX_LINE + 1 && long.ends_with('\n'), "{}", long.len());
    }
}
