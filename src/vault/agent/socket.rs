//! The socket of a store's agent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::error::Error;

/// The files of one store's agent, in a directory that only its user can enter.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    /// The agent holds a lock on this file while it lives, so there is only one.
    lock: PathBuf,
    /// This file is written each time that the store is locked, to notify programs that hold the data key themselves.
    locked: PathBuf,
}

/// Identifies the last time that a store was locked: inode and modification time of a file.
pub(crate) type LockMark = (u64, i64, i64);

/// The device and the number of a file.
pub(super) type Inode = (u64, u64);

/// The bytes that the path of a socket may have: those of `sun_path`, without the zero byte at its end.
const MAX_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

impl Socket {
    /// For the store at this canonical path.
    pub(crate) fn new(directory: &Path, store: &Path) -> Result<Self, Error> {
        let digest = Sha256::digest(store.as_os_str().as_encoded_bytes());
        let name = HEXLOWER.encode(digest.get(..8).unwrap_or_default());
        // The agent runs in another working directory
        let directory = std::path::absolute(directory);
        let directory = directory.map_err(|source| Error::Io { path: store.to_owned(), source })?;
        Ok(Self::from_path(directory.join(format!("agent-{name}.sock"))))
    }

    /// Checks that there can be a socket at its path.
    ///
    /// # Errors
    /// [`Error::Io`] with `InvalidFilename` when the path is too long.
    pub(crate) fn check_path(&self) -> Result<(), Error> {
        match self.path.as_os_str().len() {
            0..=MAX_PATH => Ok(()),
            length => {
                let why = format!("the path of a socket can have {MAX_PATH} bytes, and this one would have {length}");
                let source = io::Error::new(io::ErrorKind::InvalidFilename, why);
                Err(Error::Io { path: self.path.clone(), source })
            }
        }
    }

    pub(super) fn from_path(path: PathBuf) -> Self {
        Self { lock: path.with_extension("lock"), locked: path.with_extension("locked"), path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The lock, or `None` if another agent holds it.
    pub(super) fn try_lock(&self) -> io::Result<Option<File>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.lock)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        // A second lock, by which the system tells others the process that holds it
        #[cfg(target_os = "linux")]
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Some(file))
    }

    /// The process that holds the lock, as the system tells it: it cannot be another one, not even if that one listens at the
    /// socket. `None` if no other process holds it.
    #[cfg(target_os = "linux")]
    pub(super) fn holder(&self) -> io::Result<Option<rustix::process::Pid>> {
        use rustix::process::{Flock, FlockType, fcntl_getlk};

        let file = match File::open(&self.lock) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        Ok(fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?.and_then(|lock| lock.pid))
    }

    /// Connects, unless that takes too long: an agent that hangs takes no more connections once its queue is full.
    ///
    /// # Errors
    /// `TimedOut`.
    pub(super) fn connect(&self, until: Instant) -> io::Result<UnixStream> {
        use rustix::net::sockopt::{Timeout, set_socket_timeout};
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};

        let stream = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&stream, rustix::io::FdFlags::CLOEXEC)?;
        // Zero would mean no limit
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        set_socket_timeout(&stream, Timeout::Send, Some(left))?;
        match connect(&stream, &SocketAddrUnix::new(&self.path)?) {
            Err(Errno::AGAIN) => Err(io::ErrorKind::TimedOut.into()),
            connected => Ok(connected.map(|()| UnixStream::from(stream))?),
        }
    }

    /// Notes that the store was locked now.
    pub(crate) fn mark_locked(&self) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.locked)?
            .write_all(b"locked\n")
    }

    /// The mark of the last lock; `None` if the store was not locked in this session.
    pub(crate) fn lock_mark(&self) -> Option<LockMark> {
        let found = fs::symlink_metadata(&self.locked).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec()))
    }

    /// Distinguishes the socket of one agent from that of another at the same path; `None` when there is none.
    pub(super) fn inode(&self) -> Option<Inode> {
        fs::symlink_metadata(&self.path).ok().map(|found| (found.dev(), found.ino()))
    }
}

/// The process at the other end, which must be the same user's.
///
/// # Errors
/// `PermissionDenied` when it is another user's.
#[cfg(target_os = "linux")]
pub(super) fn check_peer(stream: &UnixStream) -> io::Result<Option<u32>> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    if peer.uid != rustix::process::geteuid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's"));
    }
    Ok(u32::try_from(peer.pid.as_raw_nonzero().get()).ok())
}

/// Other systems rely on the directory, which only the user can enter.
#[cfg(not(target_os = "linux"))]
pub(super) fn check_peer(_stream: &UnixStream) -> io::Result<Option<u32>> {
    Ok(None)
}
