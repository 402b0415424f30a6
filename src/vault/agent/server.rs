//! The server of an agent.

#[cfg(fuzzing)]
pub(super) mod fuzzing;

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::SignatureScheme;
use zeroize::Zeroizing;

use super::client::Client;
use super::clock::Moment;
use super::confirmation::Confirmations;
use super::frame::{Frame, Timed};
use super::keys::{Keys, Opened};
use super::lease::Lease;
use super::programs;
use super::protocol::{BEFORE, Refusal, Reply, Request, Row, Row1, VERSION, Work};
use super::socket::{Inode, Socket, check_peer};
use super::{Owner, Wanted, transcript};
use crate::certificate::private_key::PrivateKey;
use crate::error::Error;
use crate::vault::{KeyRow, Message, SealedKey, ToSign, Vault};

/// How long a client may take to send its request, and to read the reply. Less than a client waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a client may keep a connection open without another request.
const IDLE: Duration = Duration::from_secs(10);

/// How long the previous agent may take to end.
const SUCCESSION: Duration = Duration::from_secs(10);

/// Connections served at the same time. For one more, an idle one ends.
const CONNECTIONS: usize = 32;

/// The stack of a connection's thread: small, because all of it may be locked in memory. A debug build needs most of it.
const STACK: usize = 512 << 10;

/// How often the agent checks whether its lease has expired and its socket still exists.
const TICK: Duration = Duration::from_millis(500);

/// Serves as the agent of a store: answers for as long as the lease says, until somebody ends it, or until its socket is gone, as it is
/// after logout. An agent that already serves for this store ends first.
///
/// `lease` is what [`Store::lease`](crate::Store::lease) gave. `owner` is asked and told about signatures for other programs. `ready` is
/// called when the agent listens; its argument is a function that ends the agent, for the handler of a signal.
///
/// # Errors
/// [`Error::Agent`] when the lease is invalid or the other agent does not end; [`Error::Io`].
pub fn serve(
    lease: Zeroizing<Vec<u8>>,
    owner: Arc<dyn Owner>,
    ready: impl FnOnce(Arc<dyn Fn() + Send + Sync>),
) -> Result<(), Error> {
    let server = Server::start(Lease::from_bytes(lease)?, owner)?;
    let shared = server.shared.clone();
    ready(Arc::new(move || shared.end()));
    server.serve();
    Ok(())
}

/// A listening agent.
struct Server {
    socket: Socket,
    /// Identifies the socket it made: another agent may have replaced it.
    inode: Option<Inode>,
    listener: UnixListener,
    shared: Arc<Shared>,
    /// Dropped last: while it exists, there is no other agent.
    _only: File,
}

struct Shared {
    vault: Vault,
    keys: Keys,
    owner: Arc<dyn Owner>,
    confirmations: Confirmations,
    digest: [u8; 32],
    until: Moment,
    state: Mutex<State>,
    /// A connection has ended, or is idle.
    changed: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// Those that are served, the oldest first.
    connections: Vec<Peer>,
    /// The number of the next connection.
    next: u64,
    ended: bool,
    /// The connections of those who asked it to end; they close when it has ended.
    farewells: Vec<Arc<UnixStream>>,
}

/// One of the connections that are served at the same time.
struct Peer {
    number: u64,
    process: Option<u32>,
    stream: Arc<UnixStream>,
    /// Whether its request is being worked on, which takes only a moment. Before and after that it is idle.
    is_working: bool,
}

impl State {
    fn peer(&mut self, number: u64) -> Option<&mut Peer> {
        self.connections.iter_mut().find(|peer| peer.number == number)
    }

    /// Ends the oldest idle connection of the process that has the most.
    fn drop_idle(&mut self) {
        let of = |process| self.connections.iter().filter(|peer| peer.process == process).count();
        let idle = self.connections.iter().filter(|peer| !peer.is_working);
        // Of several, the last is the maximum
        if let Some(victim) = idle.rev().max_by_key(|peer| of(peer.process)) {
            // Its thread finds it closed, and ends
            let _ = victim.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Server {
    /// Listens at the socket of the lease.
    fn start(lease: Lease, owner: Arc<dyn Owner>) -> Result<Self, Error> {
        let Lease { socket, vault, digest, lifetime } = lease;
        let only = succeed(&socket)?;
        let failed = |source| Error::Io { path: socket.path().to_owned(), source };
        match fs::remove_file(socket.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // Only the user can enter the directory, so nobody else can connect before the mode is set
        let listener = UnixListener::bind(socket.path()).map_err(failed)?;
        fs::set_permissions(socket.path(), Permissions::from_mode(0o600)).map_err(failed)?;
        let shared = Shared::new(vault, digest, lifetime, owner);
        Ok(Self { inode: socket.inode(), socket, listener, shared: Arc::new(shared), _only: only })
    }

    fn serve(self) {
        let (shared, listener) = (&self.shared, &self.listener);
        thread::scope(|scope| {
            scope.spawn(|| accept(shared, listener));
            while self.socket.inode() == self.inode && !shared.until.is_past() && !shared.wait() {}
            shared.end();
            // Wakes the thread that waits for a connection
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.lock();
        if self.socket.inode() == self.inode {
            let _ = fs::remove_file(self.socket.path());
        }
        self.shared.state().farewells.clear();
    }
}

/// Ends the agent at this socket, if there is one, and takes its lock.
fn succeed(socket: &Socket) -> Result<File, Error> {
    let began = Instant::now();
    loop {
        let locked = socket.try_lock().map_err(|source| Error::Io { path: socket.path().to_owned(), source })?;
        if let Some(only) = locked {
            return Ok(only);
        }
        if began.elapsed() > SUCCESSION {
            return Err(Error::Agent { detail: "cannot start: another agent does not end".to_owned() });
        }
        // It may not listen yet
        if !Client::new(socket, [0; 32]).end()? {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    while !shared.state().ended {
        match listener.accept() {
            Ok((stream, _)) => {
                // Another user gets no answer
                let Ok(process) = check_peer(&stream) else { continue };
                let Some(connection) = shared.admit(Arc::new(stream), process) else { return };
                // Without a thread the connection ends, and the client tries again
                let thread = thread::Builder::new().stack_size(STACK);
                let _ = thread.spawn(move || connection.attend());
            }
            // For example, too many open files
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// One of the connections that are served at the same time.
struct Connection {
    shared: Arc<Shared>,
    number: u64,
    process: Option<u32>,
    stream: Arc<UnixStream>,
}

impl Connection {
    /// Answers one request after the other, as long as they are answered with what they ask for.
    fn attend(&self) {
        loop {
            match self.exchange() {
                Ok(Reply::Ending) => {
                    self.shared.state().farewells.push(self.stream.clone());
                    return self.shared.end();
                }
                // A client that sends no request gets no reply
                Err(_) | Ok(Reply::Refused(_)) => return,
                Ok(_) => {}
            }
            if Timed::new(&self.stream, IDLE).wait().is_err() {
                return;
            }
        }
    }

    fn exchange(&self) -> io::Result<Reply> {
        let request = Timed::new(&self.stream, PATIENCE).read_frame()?;
        self.set_working(true)?;
        let reply = self.shared.answer(&request, self.process);
        // A client of another version is to see which one this is
        let version = if request.version == BEFORE { BEFORE } else { VERSION };
        let frame = Frame::encode_as(version, &reply)?;
        self.set_working(false)?;
        Timed::new(&self.stream, PATIENCE).write_frame(&frame)?;
        Ok(reply)
    }

    /// # Errors
    /// The agent has ended.
    fn set_working(&self, is_working: bool) -> io::Result<()> {
        let mut state = self.shared.state();
        if state.ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if let Some(peer) = state.peer(self.number) {
            peer.is_working = is_working;
        }
        drop(state);
        if !is_working {
            self.shared.changed.notify_all();
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.state().connections.retain(|peer| peer.number != self.number);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn new(vault: Vault, digest: [u8; 32], lifetime: Duration, owner: Arc<dyn Owner>) -> Self {
        Self {
            vault,
            keys: Keys::default(),
            owner,
            confirmations: Confirmations::default(),
            digest,
            until: Moment::now().after(lifetime),
            state: Mutex::default(),
            changed: Condvar::new(),
            ended: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
        self.ended.notify_all();
    }

    /// Forgets the keys, and closes the connections, except for those of the clients that asked it to end.
    fn lock(&self) {
        self.vault.lock();
        self.keys.forget();
        let state = self.state();
        let waits = |peer: &&Peer| state.farewells.iter().any(|stream| Arc::ptr_eq(stream, &peer.stream));
        for peer in state.connections.iter().filter(|peer| !waits(peer)) {
            let _ = peer.stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits for a moment. Returns whether the agent is to end.
    fn wait(&self) -> bool {
        let waiting = |state: &mut State| !state.ended;
        let waited = self.ended.wait_timeout_while(self.state(), TICK, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Adds a connection. If there are as many as are served, an idle one ends: nobody can shut out others by connecting. `None` when
    /// the agent is to end.
    fn admit(self: &Arc<Self>, stream: Arc<UnixStream>, process: Option<u32>) -> Option<Connection> {
        let is_full = |state: &mut State| {
            let is_full = !state.ended && state.connections.len() >= CONNECTIONS;
            if is_full {
                state.drop_idle();
            }
            is_full
        };
        let mut state = self.changed.wait_while(self.state(), is_full).unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.connections.push(Peer { number, process, stream: stream.clone(), is_working: false });
        Some(Connection { shared: self.clone(), number, process, stream })
    }

    /// The reply to a request of this process.
    fn answer(&self, frame: &Frame, process: Option<u32>) -> Reply {
        let answered = match frame.version {
            _ if matches!(frame.decode(), Some(Request::<Row<'_>>::End)) => Some(Reply::Ending),
            VERSION => frame.decode::<Request<'_, Row<'_>>>().map(|request| self.answer_request(request, process)),
            BEFORE => frame.decode::<Request<'_, Row1<'_>>>().map(|request| self.answer_request(request, process)),
            _ => None,
        };
        answered.unwrap_or(Reply::Refused(Refusal::NotUnderstood))
    }

    fn answer_request<R: Into<KeyRow>>(&self, request: Request<'_, R>, process: Option<u32>) -> Reply {
        match request {
            Request::End => Reply::Ending,
            Request::Status => Reply::Status { vault: self.digest, seconds_left: self.until.seconds_left() },
            Request::Use { vault, .. } if vault != self.digest || self.until.is_past() => {
                Reply::Refused(Refusal::Locked)
            }
            Request::Use { work, .. } => {
                self.work(work, process).unwrap_or_else(|error| Reply::Refused(refusal(error)))
            }
        }
    }

    fn work<R: Into<KeyRow>>(&self, work: Work<'_, R>, process: Option<u32>) -> Result<Reply, Error> {
        Ok(match work {
            Work::Sign { row, sealed, certificate, scheme, message } => {
                let key = SealedKey { row: row.into(), sealed: sealed.to_vec() };
                let scheme = SignatureScheme::from(scheme);
                let is_tls12 = || !key.row.requires_tls13 && transcript::is_tls12(message, certificate, scheme);
                if !transcript::is_tls13(message) && !is_tls12() {
                    return Ok(Reply::Refused(Refusal::NotTls));
                }
                Reply::Signature(self.keys.open(&self.vault, key, certificate)?.sign(scheme, message)?)
            }
            Work::SignForProgram { row, sealed, certificate, scheme, what } => {
                let key = SealedKey { row: row.into(), sealed: sealed.to_vec() };
                let key = self.keys.open(&self.vault, key, certificate)?;
                Reply::Signature(self.sign_for_program(&key, scheme.into(), what, process)?)
            }
            Work::Authenticate { message } => Reply::Code(self.vault.authenticate(&Message::from_bytes(message))?),
            Work::Verify { message, code } => {
                Reply::Authentic(self.vault.verify(&Message::from_bytes(message), &code)?)
            }
            Work::Opens { row, sealed } => {
                let key = SealedKey { row: row.into(), sealed: sealed.to_vec() };
                match self.vault.check_key(&key) {
                    Err(Error::SealedKey { .. }) => Reply::Authentic(false),
                    checked => checked.map(|()| Reply::Authentic(true))?,
                }
            }
            Work::Seal { row, pkcs8 } => {
                let key = PrivateKey::from_pkcs8(Zeroizing::new(pkcs8.to_vec()));
                Reply::Sealed(self.vault.seal(&row.into(), &key)?)
            }
        })
    }

    /// # Errors
    /// [`Error::NotPermitted`], [`Error::NotConfirmed`], and [`Error::UnusableKey`].
    fn sign_for_program(
        &self,
        key: &Opened,
        scheme: SignatureScheme,
        what: ToSign<'_>,
        process: Option<u32>,
    ) -> Result<Vec<u8>, Error> {
        let (row, scheme) = (key.row(), programs::scheme_of(key.certificate(), scheme));
        programs::check_permitted(row, key.certificate().der(), scheme, what)?;
        let sign = || match what {
            ToSign::Message(message) => key.sign(scheme, message),
            ToSign::Digest(digest) => key.sign_digest(&self.vault, scheme, digest),
        };
        if programs::is_self_test(what) {
            return sign();
        }
        let wanted = Wanted::new(row, process, what);
        if !self.confirmations.confirm(&*self.owner, row.permit.confirmation, &wanted) {
            return Err(Error::NotConfirmed { name: row.name.clone() });
        }
        // A person may have locked the store instead of answering
        if self.until.is_past() || self.state().ended {
            return Err(Error::VaultLocked);
        }
        let signature = sign()?;
        self.owner.told(&wanted);
        Ok(signature)
    }
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::NotPermitted { reason, .. } => Refusal::NotPermitted(reason),
        Error::NotConfirmed { .. } => Refusal::NotConfirmed,
        Error::VaultLocked => Refusal::Locked,
        Error::SealedKey { .. } => Refusal::SealedKey,
        Error::KeyMismatch { .. } => Refusal::KeyMismatch,
        Error::UnusableKey { detail, .. } => Refusal::UnusableKey(detail),
        other => Refusal::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::certificate::permission::{Confirmation, Permission, Permit};
    use crate::certificate::tried::Tried;
    use crate::crypto::sha256;
    use crate::vault::DataKey;
    use crate::vault::agent::protocol::Row;

    const VAULT: [u8; 32] = [7; 32];

    /// An owner whom nobody can ask.
    struct Nobody;

    impl Owner for Nobody {}

    /// An agent with an identity that it sealed.
    struct Scene {
        shared: Shared,
        data_key: DataKey,
        row: KeyRow,
        certificate: Vec<u8>,
        pkcs8: Vec<u8>,
        sealed: Vec<u8>,
    }

    impl Scene {
        fn new(requires_tls13: bool) -> Self {
            Self::permitting(Permission::Off, requires_tls13)
        }

        fn permitting(permission: Permission, requires_tls13: bool) -> Self {
            let data_key = DataKey::random().unwrap();
            let vault = Vault::open_with(data_key.clone());
            let shared = Shared::new(vault, VAULT, Duration::from_secs(60), Arc::new(Nobody));
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
            let fingerprint = crate::certificate::Fingerprint::from_der(&certificate);
            let (name, tried) = ("alice".to_owned(), Tried::default());
            let permit = Permit { permission, confirmation: Confirmation::Never };
            let row = KeyRow { id: 1, fingerprint, name, requires_tls13, tried, permit };
            let mut scene = Self { shared, data_key, row, certificate, pkcs8: key.serialize_der(), sealed: Vec::new() };
            let Reply::Sealed(sealed) = scene.work(Work::Seal { row: scene.row(), pkcs8: &scene.pkcs8 }) else {
                panic!("it does not seal")
            };
            scene.sealed = sealed;
            scene
        }

        fn row(&self) -> Row<'_> {
            (&self.row).into()
        }

        fn sign<'a>(&'a self, message: &'a [u8]) -> Work<'a> {
            let scheme = SignatureScheme::ECDSA_NISTP256_SHA256.into();
            Work::Sign { row: self.row(), sealed: &self.sealed, certificate: &self.certificate, scheme, message }
        }

        fn sign_for_program<'a>(&'a self, what: ToSign<'a>) -> Work<'a> {
            let scheme = SignatureScheme::ECDSA_NISTP256_SHA256.into();
            Work::SignForProgram { row: self.row(), sealed: &self.sealed, certificate: &self.certificate, scheme, what }
        }

        fn tls12(&self) -> Vec<u8> {
            transcript::tests::tls12(&self.certificate, SignatureScheme::ECDSA_NISTP256_SHA256)
        }

        fn work(&self, work: Work<'_>) -> Reply {
            self.answer(&Request::Use { vault: VAULT, work })
        }

        /// Checks that no reply holds a part of a key.
        fn answer(&self, request: &Request<'_>) -> Reply {
            let reply = self.shared.answer(&Frame::encode(request).unwrap(), None);
            let sent = Frame::encode(&reply).unwrap().body;
            for secret in [self.data_key.as_bytes().as_slice(), &self.pkcs8] {
                let shows = |part: &[u8]| sent.windows(part.len()).any(|window| window == part);
                assert!(!secret.windows(8).any(shows), "{reply:?}");
            }
            reply
        }
    }

    fn tls13() -> Vec<u8> {
        [&[b' '; 64][..], b"TLS 1.3, client CertificateVerify\0", &[5; 32]].concat()
    }

    #[test]
    fn the_agent_signs_and_authenticates() {
        let scene = Scene::new(false);
        assert!(matches!(scene.answer(&Request::Status), Reply::Status { vault: VAULT, seconds_left: 60 }));
        assert!(matches!(scene.work(scene.sign(&tls13())), Reply::Signature(_)));
        assert!(matches!(scene.work(scene.sign(&scene.tls12())), Reply::Signature(_)));
        let Reply::Code(code) = scene.work(Work::Authenticate { message: b"x" }) else { panic!("no code") };
        assert_eq!(scene.work(Work::Verify { message: b"x", code }), Reply::Authentic(true));
        assert_eq!(scene.work(Work::Verify { message: b"y", code }), Reply::Authentic(false));
    }

    #[test]
    fn the_agent_signs_only_what_tls_clients_sign() {
        let scene = Scene::new(false);
        let server_side = [&[b' '; 64][..], b"TLS 1.3, server CertificateVerify\0", &[5; 32]].concat();
        let longer = [tls13(), vec![5]].concat();
        let begun = scene.tls12().split_at(scene.tls12().len() / 2).0.to_vec();
        let of_another = transcript::tests::tls12(b"another", SignatureScheme::ECDSA_NISTP256_SHA256);
        let others = [&server_side, &longer, &begun, &of_another].map(Vec::as_slice);
        let others =
            others.into_iter().chain([&b""[..], b"I owe you", &[0x30, 0x82, 1, 0], &[b' '; 64], &[1, 0, 0, 1, 3]]);
        for other in others {
            assert_eq!(scene.work(scene.sign(other)), Reply::Refused(Refusal::NotTls), "{other:?}");
        }
        let only_tls13 = Scene::new(true);
        assert!(matches!(only_tls13.work(only_tls13.sign(&tls13())), Reply::Signature(_)));
        assert_eq!(only_tls13.work(only_tls13.sign(&only_tls13.tls12())), Reply::Refused(Refusal::NotTls));
    }

    #[test]
    fn another_program_gets_the_signatures_that_the_owner_permits() {
        let (tls13, document) = (tls13(), b"I owe you");
        let digest = sha256(document);
        let self_test = sha256(b"test text");
        for (permission, requires_tls13, permits) in [
            (Permission::Off, false, [false, false, false, false, false]),
            (Permission::Tls, false, [true, true, true, false, false]),
            (Permission::Tls, true, [true, false, true, false, false]),
            (Permission::Any, false, [true, true, true, true, true]),
            // `permit` refuses this
            (Permission::Any, true, [true, false, true, false, false]),
        ] {
            let scene = Scene::permitting(permission, requires_tls13);
            let tls12 = scene.tls12();
            let what = [
                ToSign::Message(&tls13),
                ToSign::Message(&tls12),
                ToSign::Digest(&self_test),
                ToSign::Message(document),
                ToSign::Digest(&digest),
            ];
            for (what, is_permitted) in what.into_iter().zip(permits) {
                match scene.work(scene.sign_for_program(what)) {
                    Reply::Signature(_) => assert!(is_permitted, "{permission} {what:?}"),
                    Reply::Refused(Refusal::NotPermitted(_)) => assert!(!is_permitted, "{permission} {what:?}"),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// Keeps what it is told, and says yes to one program.
    #[derive(Default)]
    struct Cautious(Mutex<Vec<Wanted>>);

    impl Owner for Cautious {
        fn confirms(&self, wanted: &Wanted, _limit: Duration) -> bool {
            wanted.process == Some(std::process::id())
        }

        fn told(&self, signed: &Wanted) {
            self.0.lock().unwrap().push(signed.clone());
        }
    }

    #[test]
    fn the_owner_is_asked_before_a_signature_and_told_of_it() {
        let owner = Arc::new(Cautious::default());
        let mut scene = Scene::permitting(Permission::Any, false);
        scene.shared.owner = owner.clone();
        scene.row.permit.confirmation = Confirmation::Each;
        let Reply::Sealed(sealed) = scene.work(Work::Seal { row: scene.row(), pkcs8: &scene.pkcs8 }) else {
            panic!("it does not seal")
        };
        scene.sealed = sealed;
        let ask = |what, process| {
            let request = Request::Use { vault: VAULT, work: scene.sign_for_program(what) };
            scene.shared.answer(&Frame::encode(&request).unwrap(), process)
        };
        let (message, own) = (tls13(), Some(std::process::id()));
        assert_eq!(ask(ToSign::Message(&message), Some(1)), Reply::Refused(Refusal::NotConfirmed));
        assert!(matches!(ask(ToSign::Message(b"test text"), Some(1)), Reply::Signature(_)), "nobody is asked for that");
        assert!(owner.0.lock().unwrap().is_empty());
        assert!(matches!(ask(ToSign::Message(&message), own), Reply::Signature(_)));
        assert!(matches!(ask(ToSign::Digest(&[7; 32]), own), Reply::Signature(_)));
        let told = owner.0.lock().unwrap();
        assert_eq!(told.iter().map(|signed| signed.is_digest).collect::<Vec<_>>(), [false, true]);
        assert_eq!(told[0].program(), std::env::current_exe().unwrap().to_string_lossy());
        assert_eq!((&*told[0].name, told[0].identity), ("alice", scene.row.fingerprint));
    }

    #[test]
    fn a_permission_that_was_not_sealed_with_the_key_opens_nothing() {
        for sealed in [Permission::Off, Permission::Tls, Permission::Any] {
            let mut scene = Scene::permitting(sealed, false);
            for permission in [Permission::Off, Permission::Tls, Permission::Any] {
                for confirmation in [Confirmation::Never, Confirmation::Each] {
                    scene.row.permit = Permit { permission, confirmation };
                    let is_sealed = permission == sealed && confirmation == Confirmation::Never;
                    let reply = scene.work(scene.sign_for_program(ToSign::Digest(&[7; 32])));
                    assert_eq!(reply != Reply::Refused(Refusal::SealedKey), is_sealed, "{sealed} {permission}");
                    let reply = scene.work(scene.sign(&tls13()));
                    assert_eq!(reply != Reply::Refused(Refusal::SealedKey), is_sealed, "{sealed} {permission}");
                }
            }
        }
    }

    #[test]
    fn a_key_signs_only_in_its_row_and_for_its_certificate() {
        let (scene, other) = (Scene::new(false), Scene::new(false));
        let message = tls13();
        // Before and after the agent has opened the key
        for is_open in [false, true] {
            assert_eq!(scene.shared.keys.len(), usize::from(is_open));
            let Work::Sign { sealed, certificate, scheme, .. } = scene.sign(&message) else { unreachable!() };
            let moved = KeyRow { name: "bob".to_owned(), ..scene.row.clone() };
            let work = Work::Sign { row: (&moved).into(), sealed, certificate, scheme, message: &message };
            assert_eq!(scene.work(work), Reply::Refused(Refusal::SealedKey));
            let changed = [&sealed[..sealed.len() - 1], &[!sealed[sealed.len() - 1]]].concat();
            let work = Work::Sign { row: scene.row(), sealed: &changed, certificate, scheme, message: &message };
            assert_eq!(scene.work(work), Reply::Refused(Refusal::SealedKey));
            let work =
                Work::Sign { row: scene.row(), sealed, certificate: &other.certificate, scheme, message: &message };
            assert_eq!(scene.work(work), Reply::Refused(Refusal::KeyMismatch));
            assert!(matches!(scene.work(scene.sign(&message)), Reply::Signature(_)));
            let scheme = SignatureScheme::ED25519.into();
            let work = Work::Sign { row: scene.row(), sealed, certificate, scheme, message: &message };
            assert!(matches!(scene.work(work), Reply::Refused(Refusal::UnusableKey(_))));
        }
    }

    #[test]
    fn opened_keys_are_bounded_and_forgotten_at_the_end() {
        let scene = Scene::new(false);
        for id in 0..100 {
            let row = KeyRow { id, ..scene.row.clone() };
            let Reply::Sealed(sealed) = scene.work(Work::Seal { row: (&row).into(), pkcs8: &scene.pkcs8 }) else {
                panic!("it does not seal")
            };
            let (certificate, scheme) = (&scene.certificate, SignatureScheme::ECDSA_NISTP256_SHA256.into());
            let work = Work::Sign { row: (&row).into(), sealed: &sealed, certificate, scheme, message: &tls13() };
            assert!(matches!(scene.work(work), Reply::Signature(_)));
        }
        assert_eq!(scene.shared.keys.len(), 32);
        assert!(matches!(scene.work(scene.sign(&tls13())), Reply::Signature(_)));
        scene.shared.lock();
        assert_eq!(scene.shared.keys.len(), 0);
        assert_eq!(scene.work(scene.sign(&tls13())), Reply::Refused(Refusal::Locked));
    }

    /// A client of an agent on another thread, over one connection.
    struct OneConnection(Arc<Shared>, UnixStream, thread::JoinHandle<()>);

    impl OneConnection {
        fn new() -> Self {
            let (near, far) = UnixStream::pair().unwrap();
            let shared = Arc::new(Scene::new(false).shared);
            let connection = shared.admit(Arc::new(far), None).unwrap();
            Self(shared, near, thread::spawn(move || connection.attend()))
        }

        /// `None` if the agent closes the connection.
        fn ask(&self, request: &Request<'_>) -> Option<Reply> {
            let mut timed = Timed::new(&self.1, PATIENCE * 5);
            timed.write_frame(&Frame::encode(request).unwrap()).ok()?;
            timed.read_frame().ok()?.decode()
        }
    }

    #[test]
    fn a_connection_serves_one_request_after_the_other_until_one_is_refused() {
        let client = OneConnection::new();
        let code = || Request::Use { vault: VAULT, work: Work::Authenticate { message: b"x" } };
        for _ in 0..3 {
            assert!(matches!(client.ask(&Request::Status), Some(Reply::Status { .. })));
            assert!(matches!(client.ask(&code()), Some(Reply::Code(_))));
        }
        let refused = Request::Use { vault: [8; 32], work: Work::Authenticate { message: b"x" } };
        assert_eq!(client.ask(&refused), Some(Reply::Refused(Refusal::Locked)));
        assert_eq!(client.ask(&code()), None);
        client.2.join().unwrap();
    }

    #[test]
    fn an_agent_that_ends_answers_on_no_connection_that_is_open() {
        for hangs_up in [false, true] {
            let client = OneConnection::new();
            assert!(matches!(client.ask(&Request::Status), Some(Reply::Status { .. })));
            client.0.end();
            if hangs_up {
                client.0.lock();
            }
            assert_eq!(client.ask(&Request::Status), None);
            client.2.join().unwrap();
        }
    }

    #[test]
    fn an_idle_connection_makes_room_for_another() {
        let client = OneConnection::new();
        assert!(matches!(client.ask(&Request::Status), Some(Reply::Status { .. })));
        let mut crowd = Vec::new();
        for _ in 0..CONNECTIONS {
            let (near, far) = UnixStream::pair().unwrap();
            let connection = client.0.admit(Arc::new(far), Some(1)).unwrap();
            crowd.push((near, thread::spawn(move || connection.attend())));
        }
        let open = client.0.state().connections.len();
        assert!(open <= CONNECTIONS, "{open}");
        client.0.end();
        client.0.lock();
        crowd.into_iter().for_each(|(_, served)| served.join().unwrap());
    }

    #[test]
    fn the_agent_is_locked_for_another_password_and_after_its_lease() {
        let mut scene = Scene::new(false);
        let work = || Work::Authenticate { message: b"x" };
        assert_eq!(scene.answer(&Request::Use { vault: [8; 32], work: work() }), Reply::Refused(Refusal::Locked));
        scene.shared.until = Moment::now();
        assert_eq!(scene.work(work()), Reply::Refused(Refusal::Locked));
    }

    #[test]
    fn only_the_request_to_end_is_understood_in_every_version() {
        let scene = Scene::new(false);
        for version in [0, VERSION + 1] {
            let asked = |request: Request<'_>| scene.shared.answer(&Frame::encode_as(version, &request).unwrap(), None);
            assert_eq!(asked(Request::End), Reply::Ending);
            assert_eq!(asked(Request::Status), Reply::Refused(Refusal::NotUnderstood));
        }
        assert_eq!(*Frame::encode(&Request::<'_, Row<'_>>::End).unwrap().body, [0], "other versions know it as this");
    }

    #[test]
    fn a_client_of_the_version_before_is_answered_in_its_version() {
        // As version 1 wrote them: a request for the status, and one that seals a key in a row without a permit
        let seal = {
            let row = (1_i64, [9_u8; 32], "alice", false, 1_u8);
            (2_u8, VAULT, (3_u8, row, &b"pkcs8"[..]))
        };
        let (near, far) = UnixStream::pair().unwrap();
        let shared = Arc::new(Scene::new(false).shared);
        let connection = shared.admit(Arc::new(far), None).unwrap();
        let served = thread::spawn(move || connection.attend());
        let ask = |body: Vec<u8>| {
            let mut timed = Timed::new(&near, PATIENCE * 5);
            timed.write_frame(&Frame { version: 1, body: Zeroizing::new(body) }).unwrap();
            timed.read_frame().unwrap()
        };
        let status = ask(vec![1]);
        assert_eq!((status.version, status.body[0]), (1, 1));
        let sealed = ask(postcard::to_allocvec(&seal).unwrap());
        assert_eq!(sealed.version, 1);
        let Some(Reply::Sealed(sealed)) = sealed.decode() else { panic!("it does not seal") };
        let row = KeyRow {
            id: 1,
            fingerprint: crate::certificate::Fingerprint::from_bytes([9; 32]),
            name: "alice".to_owned(),
            requires_tls13: false,
            tried: Tried::from_number(1),
            permit: Permit::default(),
        };
        assert_eq!(shared.vault.open(&SealedKey { row, sealed }).unwrap().pkcs8(), b"pkcs8");
        shared.end();
        drop(near);
        served.join().unwrap();
    }

    proptest! {
        #[test]
        fn no_frame_makes_the_agent_panic(version in 0..3_u8, body: Vec<u8>) {
            Scene::new(false).shared.answer(&Frame { version, body: Zeroizing::new(body) }, None);
        }

        #[test]
        fn no_changed_request_makes_the_agent_panic(at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let scene = Scene::new(false);
            let message = tls13();
            let mut frame = Frame::encode(&Request::Use { vault: VAULT, work: scene.sign(&message) }).unwrap();
            let at = at.index(frame.body.len());
            frame.body[at] = to;
            scene.shared.answer(&frame, None);
            let cut = cut.index(frame.body.len());
            frame.body.truncate(cut);
            assert_eq!(scene.shared.answer(&frame, None), Reply::Refused(Refusal::NotUnderstood));
        }
    }
}
