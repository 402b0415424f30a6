//! The agent.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::SignatureScheme;
use zeroize::Zeroizing;

use super::client::Client;
use super::frame::{Frame, Timed};
use super::grant::{Grant, Granted};
use super::place::{Place, check_peer};
use super::protocol::{Refusal, Reply, Request, VERSION, Work};
use crate::certificate::Certificate;
use crate::error::Error;
use crate::identity::PrivateKey;
use crate::vault::{KeyRow, Message, SealedKey, Vault};

/// How long whoever connected may take to ask, and to take the answer. Less than a client waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the agent before this one may take to go.
const SUCCESSION: Duration = Duration::from_secs(10);

/// Connections served at the same time; more of them wait.
const CONNECTIONS: usize = 32;

/// Of a connection's thread: little, for it may all be locked in memory. A debug build needs most of it.
const STACK: usize = 512 << 10;

/// How often the agent looks whether its time is over and its socket still there.
const TICK: Duration = Duration::from_millis(500);

/// The agent of one store, listening.
pub struct Server {
    place: Place,
    /// Of the socket it made, which another agent's may stand in place of by now.
    identity: Option<(u64, u64)>,
    listener: UnixListener,
    shared: Arc<Shared>,
    /// Goes last: as long as it is there, no other agent is.
    _only: File,
}

/// Ends an agent.
#[derive(Clone)]
pub struct Stopper(Arc<Shared>);

struct Shared {
    vault: Vault,
    digest: [u8; 32],
    until: Moment,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connections: usize,
    ended: bool,
    /// Those who asked for the end, and see it when their connections close.
    farewells: Vec<UnixStream>,
}

impl Server {
    /// Listens at the place of the grant, from now on for as long as it says. An agent that is there already ends.
    ///
    /// # Errors
    /// [`Error::Agent`] when the grant is none or the other agent stays, [`Error::Io`].
    pub fn start(grant: Grant) -> Result<Self, Error> {
        let Granted { place, vault, digest, lifetime } = grant.take()?;
        let only = succeed(&place)?;
        let failed = |source| Error::Io { path: place.socket.clone(), source };
        match fs::remove_file(&place.socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // The directory is the user's alone, so nobody comes in before the mode is set
        let listener = UnixListener::bind(&place.socket).map_err(failed)?;
        fs::set_permissions(&place.socket, Permissions::from_mode(0o600)).map_err(failed)?;
        let shared = Shared {
            vault,
            digest,
            until: Moment::now().after(lifetime),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        Ok(Self { identity: place.identity(), place, listener, shared: Arc::new(shared), _only: only })
    }

    /// What ends it, for another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.shared.clone())
    }

    /// Answers until the time is over, somebody ends it, or its socket is gone, as it is after logout.
    pub fn serve(self) {
        let (shared, listener) = (&self.shared, &self.listener);
        thread::scope(|scope| {
            scope.spawn(|| accept(shared, listener));
            while self.place.identity() == self.identity && !shared.until.is_past() && !shared.wait() {}
            shared.end();
            // Wakes whoever waits for a connection
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.vault.lock();
        if self.place.identity() == self.identity {
            let _ = fs::remove_file(&self.place.socket);
        }
        self.shared.state().farewells.clear();
    }
}

impl Stopper {
    /// Ends the agent soon.
    pub fn stop(&self) {
        self.0.end();
    }
}

/// Waits until no other agent is at this place, and has the one that is go.
fn succeed(place: &Place) -> Result<File, Error> {
    let began = Instant::now();
    loop {
        let locked = place.try_lock().map_err(|source| Error::Io { path: place.socket.clone(), source })?;
        if let Some(only) = locked {
            return Ok(only);
        }
        if began.elapsed() > SUCCESSION {
            return Err(Error::Agent { detail: "cannot start: another one does not go".to_owned() });
        }
        // It may not listen yet
        if !Client::new(place, [0; 32]).end()? {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    while shared.take_connection() {
        let stream = listener.accept();
        let connection = Connection(shared.clone());
        match stream {
            Ok((stream, _)) => {
                // Should there be no thread, the connection ends, and whoever asked finds the vault locked
                let thread = thread::Builder::new().stack_size(STACK);
                let _ = thread.spawn(move || connection.attend(stream));
            }
            // No descriptors, or the like
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// One of the connections that are served at the same time.
struct Connection(Arc<Shared>);

impl Connection {
    fn attend(&self, stream: UnixStream) {
        // Nobody is told about those who ask nothing
        let Ok(reply) = self.exchange(&stream) else { return };
        if reply == Reply::Ending {
            self.0.state().farewells.push(stream);
            self.0.end();
        }
    }

    fn exchange(&self, stream: &UnixStream) -> io::Result<Reply> {
        check_peer(stream)?;
        let request = Timed::new(stream, PATIENCE).read_frame()?;
        let reply = self.0.answer(&request);
        Timed::new(stream, PATIENCE).write_frame(&Frame::of(&reply)?)?;
        Ok(reply)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.state().connections -= 1;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Waits a little; whether the end has come.
    fn wait(&self) -> bool {
        let waiting = |state: &mut State| !state.ended;
        let waited = self.changed.wait_timeout_while(self.state(), TICK, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Waits until there may be another connection; whether there may be one at all.
    fn take_connection(&self) -> bool {
        let full = |state: &mut State| !state.ended && state.connections >= CONNECTIONS;
        let mut state = self.changed.wait_while(self.state(), full).unwrap_or_else(PoisonError::into_inner);
        if !state.ended {
            state.connections += 1;
        }
        !state.ended
    }

    fn answer(&self, frame: &Frame) -> Reply {
        let is_end = matches!(frame.decode(), Some(Request::End));
        match frame.decode() {
            _ if is_end => Reply::Ending,
            Some(request) if frame.version == VERSION => self.answer_request(request),
            _ => Reply::Refused(Refusal::NotUnderstood),
        }
    }

    fn answer_request(&self, request: Request<'_>) -> Reply {
        match request {
            Request::End => Reply::Ending,
            Request::Status => Reply::Status { vault: self.digest, seconds_left: self.until.seconds_left() },
            Request::Use { vault, .. } if vault != self.digest || self.until.is_past() => {
                Reply::Refused(Refusal::Locked)
            }
            Request::Use { work, .. } => self.work(work).unwrap_or_else(|error| Reply::Refused(refusal(error))),
        }
    }

    fn work(&self, work: Work<'_>) -> Result<Reply, Error> {
        Ok(match work {
            Work::Sign { row, sealed, certificate, scheme, message } => {
                let key = SealedKey { row: row.into(), sealed: sealed.to_vec() };
                if !is_signed_by_clients(message, key.row.requires_tls13) {
                    return Ok(Reply::Refused(Refusal::NotTls));
                }
                let certificate = Certificate::from_der(certificate)?;
                Reply::Signature(self.vault.sign(&key, &certificate, SignatureScheme::from(scheme), message)?)
            }
            Work::Authenticate { message } => Reply::Code(self.vault.authenticate(&Message::from_bytes(message))?),
            Work::Verify { message, code } => {
                Reply::Authentic(self.vault.verify(&Message::from_bytes(message), &code)?)
            }
            Work::Seal { row, pkcs8 } => {
                let key = PrivateKey::from_pkcs8(Zeroizing::new(pkcs8.to_vec()));
                Reply::Sealed(self.vault.seal(&KeyRow::from(row), &key)?)
            }
        })
    }
}

/// Whether this is what a TLS client signs to prove that it has a key, so that no agent signs a document or a message: in TLS
/// 1.3 a text that says so (RFC 8446 section 4.4.3), in TLS 1.2 the handshake from its ClientHello on (RFC 5246 section 7.4.8).
fn is_signed_by_clients(message: &[u8], requires_tls13: bool) -> bool {
    let tls13 = [&[b' '; 64][..], b"TLS 1.3, client CertificateVerify\0"].concat();
    let client_hello = [1, 0];
    message.starts_with(&tls13) || !requires_tls13 && message.starts_with(&client_hello)
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::VaultLocked => Refusal::Locked,
        Error::SealedKey { .. } => Refusal::SealedKey,
        Error::KeyMismatch { .. } => Refusal::KeyMismatch,
        Error::UnusableKey { detail, .. } => Refusal::UnusableKey(detail),
        other => Refusal::Failed(other.to_string()),
    }
}

/// A point in time by a clock that nobody sets, and that goes on while the machine sleeps.
#[derive(Clone, Copy)]
struct Moment(Duration);

impl Moment {
    fn now() -> Self {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(clock);
        Self(Duration::try_from(now).unwrap_or_default())
    }

    fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    fn left(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    fn is_past(self) -> bool {
        self.left().is_zero()
    }

    /// Rounded up.
    fn seconds_left(self) -> u64 {
        let left = self.left();
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    }
}
