//! The client of an agent.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::SignatureScheme;

use super::Status;
use super::confirmation::LIMIT;
use super::frame::{Frame, Timed};
use super::protocol::{Refusal, Reply, Request, VERSION, Work};
use super::socket::{Inode, Socket, check_peer};
use crate::certificate::Certificate;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::vault::{Holder, KeyRow, Message, SealedKey, ToSign};

/// How long an agent may take to answer, from the connection on.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before asking again when the agent has dropped the connection: there may be a crowd.
const A_MOMENT: Duration = Duration::from_millis(10);

/// Connections that stay open for further requests. The agent ends those that are idle for long, or that it needs for others.
const KEPT: usize = 4;

/// Asks the agent at a socket to work for one vault.
#[derive(Debug)]
pub(crate) struct Client {
    socket: Socket,
    vault: [u8; 32],
    /// Connections on which nobody waits for a reply.
    idle: Mutex<Vec<Connected>>,
}

/// A connection to an agent of the same user.
#[derive(Debug)]
struct Connected {
    stream: UnixStream,
    process: Option<u32>,
    /// The socket, and the process that connected to it. A process that was forked has to connect itself.
    way: (Option<Inode>, u32),
}

impl Client {
    pub(crate) fn new(socket: &Socket, vault: [u8; 32]) -> Self {
        Self { socket: socket.clone(), vault, idle: Mutex::default() }
    }

    /// Whether there is a socket. The agent behind it may be gone.
    pub(crate) fn may_be_there(&self) -> bool {
        self.socket.inode().is_some()
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
        let Some((connected, reply)) = self.ask(&Request::Status)? else { return Ok(None) };
        match reply {
            Reply::Status { vault, seconds_left } => {
                let until = Timestamp::now().0.saturating_add_unsigned(seconds_left);
                let serves = vault == self.vault && seconds_left > 0;
                let process = connected.process;
                self.keep(connected);
                Ok(Some(Status { process, until: Timestamp(until), serves }))
            }
            // Another version
            Reply::Refused(Refusal::NotUnderstood) => Ok(None),
            _ => Err(connected.unexpected_answer()),
        }
    }

    /// Ends the agent, and kills it when it does not end by itself. Returns whether there was one.
    pub(crate) fn end(&self) -> Result<bool, Error> {
        match self.ask(&Request::End) {
            Ok(None) => Ok(false),
            // Every version understands this request
            Ok(Some((connected, Reply::Ending | Reply::Refused(Refusal::NotUnderstood)))) if connected.ends() => {
                Ok(true)
            }
            asked => self.kill(asked.err()),
        }
    }

    /// Kills the agent: the process that holds its lock, whoever listens at its socket. `error` is why it does not end by itself.
    #[cfg(target_os = "linux")]
    fn kill(&self, error: Option<Error>) -> Result<bool, Error> {
        use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

        let failed = |source: io::Error| Error::Io { path: self.socket.path().to_owned(), source };
        let Some(process) = self.socket.holder().map_err(failed)? else {
            return self.remove_if_abandoned(error);
        };
        let agent = pidfd_open(process, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
        // If it is another process that got its number, it does not hold the lock
        if self.socket.holder().map_err(failed)? == Some(process) {
            pidfd_send_signal(&agent, Signal::KILL).map_err(|error| failed(error.into()))?;
        }
        let mut watched = [rustix::event::PollFd::new(&agent, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec::try_from(PATIENCE).map_err(|error| failed(io::Error::other(error)))?;
        match rustix::event::poll(&mut watched, Some(&limit)) {
            Ok(1..) => Ok(true),
            _ => Err(agent_error(u32::try_from(process.as_raw_nonzero().get()).ok(), "does not end")),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn kill(&self, error: Option<Error>) -> Result<bool, Error> {
        self.remove_if_abandoned(error)
    }

    /// Removes a socket at which no agent listens, but another process.
    fn remove_if_abandoned(&self, error: Option<Error>) -> Result<bool, Error> {
        let failed = |source| Error::Io { path: self.socket.path().to_owned(), source };
        // Nobody can start an agent meanwhile
        let Some(_lock) = self.socket.try_lock().map_err(failed)? else {
            return Err(error.unwrap_or_else(|| agent_error(None, "does not end")));
        };
        match std::fs::remove_file(self.socket.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(false),
        }
    }

    /// Asks, and asks again if the agent drops the connection. `None`: there is no agent.
    ///
    /// # Errors
    /// [`Error::Agent`] when it does not answer.
    fn ask(&self, request: &Request<'_>) -> Result<Option<(Connected, Reply)>, Error> {
        self.ask_within(PATIENCE, request)
    }

    fn ask_within(&self, limit: Duration, request: &Request<'_>) -> Result<Option<(Connected, Reply)>, Error> {
        let until = Instant::now() + limit;
        while let Some(connected) = self.kept() {
            match connected.exchange(request, until) {
                Ok(reply) => return Ok(Some((connected, reply))),
                // The agent has ended it meanwhile, or has ended itself
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(connected.unanswered(&error)),
            }
        }
        loop {
            let Some(connected) = self.connect(until)? else { return Ok(None) };
            match connected.exchange(request, until) {
                Ok(reply) => return Ok(Some((connected, reply))),
                Err(error) if is_gone(&error) && Instant::now() < until => thread::sleep(A_MOMENT),
                Err(error) => return Err(connected.unanswered(&error)),
            }
        }
    }

    /// A connection that is still one to the agent at the socket.
    fn kept(&self) -> Option<Connected> {
        let mut idle = self.idle();
        if !idle.is_empty() {
            let way = self.way();
            idle.retain(|connected| connected.way == way);
        }
        idle.pop()
    }

    /// Keeps a connection whose request was answered.
    fn keep(&self, connected: Connected) {
        let mut idle = self.idle();
        if idle.len() < KEPT && connected.way.0.is_some() {
            idle.push(connected);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connected>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn way(&self) -> (Option<Inode>, u32) {
        (self.socket.inode(), std::process::id())
    }

    /// `None`: there is no agent.
    fn connect(&self, until: Instant) -> Result<Option<Connected>, Error> {
        let failed = |source| Error::Io { path: self.socket.path().to_owned(), source };
        // No agent can listen on a path that is too long
        if self.socket.check_path().is_err() {
            return Ok(None);
        }
        // If another agent comes in between, the connection is not kept
        let way = self.way();
        let stream = match self.socket.connect(until) {
            Ok(stream) => stream,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::TimedOut => return Err(agent_error(None, &does_not_answer())),
            Err(error) => return Err(failed(error)),
        };
        let process = check_peer(&stream).map_err(failed)?;
        Ok(Some(Connected { stream, process, way }))
    }

    /// One signature for another program, with the key of this certificate.
    ///
    /// # Errors
    /// Those of [`Store::sign_for_program`](crate::Store::sign_for_program).
    pub(crate) fn sign_for_program(
        &self,
        key: &SealedKey,
        certificate: &Certificate,
        scheme: SignatureScheme,
        what: ToSign<'_>,
    ) -> Result<Vec<u8>, Error> {
        let work = Work::SignForProgram {
            row: (&key.row).into(),
            sealed: &key.sealed,
            certificate: certificate.der(),
            scheme: scheme.into(),
            what,
        };
        self.signature(work, key, certificate)
    }

    /// Requests a signature with the key of this certificate.
    fn signature(&self, work: Work<'_>, key: &SealedKey, certificate: &Certificate) -> Result<Vec<u8>, Error> {
        let (subject, kind) = (certificate.subject().to_string(), certificate.key().to_string());
        self.work_on(work, &key.row.name, &subject, &kind, |reply| match reply {
            Reply::Signature(signature) => Ok(signature),
            other => Err(other),
        })
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
        let limit = match &work {
            Work::SignForProgram { row, .. } if row.asks_first() => LIMIT + PATIENCE,
            _ => PATIENCE,
        };
        let asked = self.ask_within(limit, &Request::Use { vault: self.vault, work })?;
        let (connected, reply) = asked.ok_or(Error::VaultLocked)?;
        let reply = match read(reply) {
            Ok(done) => {
                self.keep(connected);
                return Ok(done);
            }
            Err(reply) => reply,
        };
        Err(match reply {
            Reply::Refused(Refusal::Locked | Refusal::NotUnderstood) => Error::VaultLocked,
            Reply::Refused(Refusal::SealedKey) => Error::SealedKey { name: name.to_owned() },
            Reply::Refused(Refusal::KeyMismatch) => Error::KeyMismatch { subject: subject.to_owned() },
            Reply::Refused(Refusal::UnusableKey(detail)) => Error::UnusableKey { key: kind.to_owned(), detail },
            Reply::Refused(Refusal::NotPermitted(reason)) => Error::NotPermitted { name: name.to_owned(), reason },
            Reply::Refused(Refusal::NotConfirmed) => Error::NotConfirmed { name: name.to_owned() },
            Reply::Refused(Refusal::NotTls) => {
                connected.error("refuses to sign: a TLS client does not sign this with this key")
            }
            Reply::Refused(Refusal::Failed(detail)) => connected.error(&format!("failed: {detail}")),
            _ => connected.unexpected_answer(),
        })
    }
}

impl Connected {
    fn exchange(&self, request: &Request<'_>, until: Instant) -> io::Result<Reply> {
        let mut timed = Timed::until(&self.stream, until);
        timed.write_frame(&Frame::encode(request)?)?;
        let reply = timed.read_frame()?;
        match reply.version {
            VERSION => reply.decode().ok_or_else(|| io::Error::other("it gave an unexpected answer")),
            _ => Ok(Reply::Refused(Refusal::NotUnderstood)),
        }
    }

    /// Waits for the end of the connection. Returns whether it came in time.
    fn ends(&self) -> bool {
        match Timed::new(&self.stream, PATIENCE).read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != ErrorKind::TimedOut,
        }
    }

    fn unanswered(&self, error: &io::Error) -> Error {
        match is_gone(error) || error.kind() == ErrorKind::TimedOut {
            true => self.error(&does_not_answer()),
            false => self.error(&format!("cannot be asked: {error}")),
        }
    }

    fn unexpected_answer(&self) -> Error {
        self.error("gave an unexpected answer")
    }

    fn error(&self, detail: &str) -> Error {
        agent_error(self.process, detail)
    }
}

fn does_not_answer() -> String {
    format!("does not answer within {PATIENCE:?}")
}

fn agent_error(process: Option<u32>, detail: &str) -> Error {
    let process = process.map(|id| format!("(process {id}) ")).unwrap_or_default();
    Error::Agent { detail: format!("{process}{detail}") }
}

/// Whether there is no agent, or it has ended.
fn is_gone(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotFound | UnexpectedEof)
}

impl Holder for Client {
    fn check_held(&self) -> Result<(), Error> {
        match self.is_there()? {
            true => Ok(()),
            false => Err(Error::VaultLocked),
        }
    }

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
        self.signature(work, key, certificate)
    }
}
