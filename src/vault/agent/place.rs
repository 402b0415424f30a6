//! Where the agent of a store is found.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::error::Error;

/// The files of one store's agent, in a directory that is its user's alone.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(super) socket: PathBuf,
    /// Locked by the agent as long as it lives: that is what makes it the only one.
    lock: PathBuf,
}

impl Place {
    /// For the store at this canonical path.
    pub(crate) fn new(directory: &Path, store: &Path) -> Result<Self, Error> {
        let digest = Sha256::digest(store.as_os_str().as_encoded_bytes());
        let name = HEXLOWER.encode(digest.get(..8).unwrap_or_default());
        // The agent works in another directory
        let directory = std::path::absolute(directory);
        let directory = directory.map_err(|source| Error::Io { path: store.to_owned(), source })?;
        let file = |end: &str| directory.join(format!("agent-{name}.{end}"));
        Ok(Self::of_socket(file("sock")))
    }

    pub(super) fn of_socket(socket: PathBuf) -> Self {
        Self { lock: socket.with_extension("lock"), socket }
    }

    /// The lock, unless another agent has it.
    pub(super) fn try_lock(&self) -> io::Result<Option<File>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.lock)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// What tells the socket of one agent from that of another at the same place; nothing when it is gone.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        fs::symlink_metadata(&self.socket).ok().map(|found| (found.dev(), found.ino()))
    }
}

/// Which process of the same user is at the other end.
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

/// Elsewhere the directory, which is the user's alone, has to do.
#[cfg(not(target_os = "linux"))]
pub(super) fn check_peer(_stream: &UnixStream) -> io::Result<Option<u32>> {
    Ok(None)
}
