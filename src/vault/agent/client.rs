//! The client of an agent.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustls::SignatureScheme;

use super::Status;
use super::frame::{Frame, Timed};
use super::protocol::{Refusal, Reply, Request, VERSION, Work};
use super::socket::{Socket, check_peer};
use crate::certificate::Certificate;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::vault::{Holder, KeyRow, Message, SealedKey};

/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the agent at a socket to work for one vault.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    vault: [u8; 32],
}

/// A connection to an agent of the same user.
struct Connected {
    stream: UnixStream,
    process: Option<u32>,
}

impl Client {
    pub(crate) fn new(socket: &Socket, vault: [u8; 32]) -> Self {
        Self { socket: socket.path().to_owned(), vault }
    }

    /// Whether there is a socket. The agent behind it may be gone.
    pub(crate) fn may_be_there(&self) -> bool {
        std::fs::symlink_metadata(&self.socket).is_ok()
    }

    /// Whether there is an agent that works for the vault.
    ///
    /// # Errors
    /// [`Error::Agent`] when it does not answer.
    pub(crate) fn is_there(&self) -> Result<bool, Error> {
        Ok(self.status()?.is_some_and(|status| status.serves))
    }

    /// The status of the agent; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Agent`] when it does not answer.
    pub(crate) fn status(&self) -> Result<Option<Status>, Error> {
        let Some(connected) = self.connect()? else { return Ok(None) };
        match connected.ask(&Request::Status) {
            Ok(Reply::Status { vault, seconds_left }) => {
                let until = Timestamp::now().0.saturating_add_unsigned(seconds_left);
                let serves = vault == self.vault && seconds_left > 0;
                Ok(Some(Status { process: connected.process, until: Timestamp(until), serves }))
            }
            // Another version
            Ok(Reply::Refused(Refusal::NotUnderstood)) => Ok(None),
            Ok(_) => Err(connected.unexpected_answer()),
            Err(Error::VaultLocked) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends the agent, and kills it when it does not end by itself. Returns whether there was one.
    pub(crate) fn end(&self) -> Result<bool, Error> {
        let Some(connected) = self.connect()? else { return Ok(false) };
        match connected.ask(&Request::End) {
            // Every version understands this request
            Ok(Reply::Ending | Reply::Refused(Refusal::NotUnderstood)) if connected.ends() => Ok(true),
            Err(Error::VaultLocked) => Ok(true),
            _ => connected.kill().map(|()| true),
        }
    }

    /// `None`: there is no agent.
    fn connect(&self) -> Result<Option<Connected>, Error> {
        let failed = |source| Error::Io { path: self.socket.clone(), source };
        let stream = match UnixStream::connect(&self.socket) {
            Ok(stream) => stream,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let process = check_peer(&stream).map_err(failed)?;
        Ok(Some(Connected { stream, process }))
    }

    fn work<T>(&self, work: Work<'_>, read: impl FnOnce(Reply) -> Result<T, Reply>) -> Result<T, Error> {
        self.work_on(work, "a private key", "a certificate", "of its kind", read)
    }

    /// Requests some work; `name`, `subject` and `kind` are for the errors.
    fn work_on<T>(
        &self,
        work: Work<'_>,
        name: &str,
        subject: &str,
        kind: &str,
        read: impl FnOnce(Reply) -> Result<T, Reply>,
    ) -> Result<T, Error> {
        let connected = self.connect()?.ok_or(Error::VaultLocked)?;
        let reply = connected.ask(&Request::Use { vault: self.vault, work })?;
        read(reply).map_err(|reply| match reply {
            Reply::Refused(Refusal::Locked | Refusal::NotUnderstood) => Error::VaultLocked,
            Reply::Refused(Refusal::SealedKey) => Error::SealedKey { name: name.to_owned() },
            Reply::Refused(Refusal::KeyMismatch) => Error::KeyMismatch { subject: subject.to_owned() },
            Reply::Refused(Refusal::UnusableKey(detail)) => Error::UnusableKey { key: kind.to_owned(), detail },
            Reply::Refused(Refusal::NotTls) => {
                connected.error("refuses to sign: a TLS client does not sign this with this key")
            }
            Reply::Refused(Refusal::Failed(detail)) => connected.error(&format!("failed: {detail}")),
            _ => connected.unexpected_answer(),
        })
    }
}

impl Connected {
    /// # Errors
    /// [`Error::VaultLocked`] when the agent ends meanwhile, [`Error::Agent`] when it does not answer.
    fn ask(&self, request: &Request<'_>) -> Result<Reply, Error> {
        let asked = Frame::encode(request).and_then(|frame| {
            let mut timed = Timed::new(&self.stream, PATIENCE);
            timed.write_frame(&frame)?;
            timed.read_frame()
        });
        match asked {
            Ok(reply) if reply.version == VERSION => reply.decode().ok_or_else(|| self.unexpected_answer()),
            Ok(_) => Ok(Reply::Refused(Refusal::NotUnderstood)),
            Err(error) if is_gone(&error) => Err(Error::VaultLocked),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                Err(self.error(&format!("does not answer within {PATIENCE:?}")))
            }
            Err(error) => Err(self.error(&format!("cannot be asked: {error}"))),
        }
    }

    /// Waits for the end of the connection. Returns whether it came in time.
    fn ends(&self) -> bool {
        match Timed::new(&self.stream, PATIENCE).read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != ErrorKind::TimedOut,
        }
    }

    fn kill(&self) -> Result<(), Error> {
        let process = self.process.and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        // A program may be its own agent, and must not kill itself
        let other = process.filter(|process| *process != rustix::process::getpid());
        let killed = other.is_some_and(|process| {
            rustix::process::kill_process(process, rustix::process::Signal::KILL).is_ok() && self.ends()
        });
        if killed { Ok(()) } else { Err(self.error("does not end")) }
    }

    fn unexpected_answer(&self) -> Error {
        self.error("gave an unexpected answer")
    }

    fn error(&self, detail: &str) -> Error {
        let process = self.process.map(|id| format!("(process {id}) ")).unwrap_or_default();
        Error::Agent { detail: format!("{process}{detail}") }
    }
}

/// Whether there is no agent, or it has ended.
fn is_gone(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotFound | UnexpectedEof)
}

impl Holder for Client {
    fn seal(&self, row: &KeyRow, pkcs8: &[u8]) -> Result<Vec<u8>, Error> {
        self.work(Work::Seal { row: row.into(), pkcs8 }, |reply| match reply {
            Reply::Sealed(sealed) => Ok(sealed),
            other => Err(other),
        })
    }

    fn opens(&self, key: &SealedKey) -> Result<bool, Error> {
        self.work(Work::Opens { row: (&key.row).into(), sealed: &key.sealed }, |reply| match reply {
            Reply::Authentic(opens) => Ok(opens),
            other => Err(other),
        })
    }

    fn authenticate(&self, message: &Message) -> Result<[u8; 32], Error> {
        self.work(Work::Authenticate { message: message.as_bytes() }, |reply| match reply {
            Reply::Code(code) => Ok(code),
            other => Err(other),
        })
    }

    fn verify(&self, message: &Message, code: &[u8; 32]) -> Result<bool, Error> {
        self.work(Work::Verify { message: message.as_bytes(), code: *code }, |reply| match reply {
            Reply::Authentic(is_authentic) => Ok(is_authentic),
            other => Err(other),
        })
    }

    fn sign(
        &self,
        key: &SealedKey,
        certificate: &Certificate,
        scheme: SignatureScheme,
        message: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let work = Work::Sign {
            row: (&key.row).into(),
            sealed: &key.sealed,
            certificate: certificate.der(),
            scheme: scheme.into(),
            message,
        };
        let (subject, kind) = (certificate.subject().to_string(), certificate.key().to_string());
        self.work_on(work, &key.row.name, &subject, &kind, |reply| match reply {
            Reply::Signature(signature) => Ok(signature),
            other => Err(other),
        })
    }
}
