//! The socket of a store's agent.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::error::Error;

/// The files of one store's agent, in a directory that only its user can enter.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    /// The agent holds a lock on this file while it lives, so there is only one.
    lock: PathBuf,
}

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

    pub(super) fn from_path(path: PathBuf) -> Self {
        Self { lock: path.with_extension("lock"), path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The lock, or `None` if another agent holds it.
    pub(super) fn try_lock(&self) -> io::Result<Option<File>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.lock)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Distinguishes the socket of one agent from that of another at the same path; `None` when there is none.
    pub(super) fn inode(&self) -> Option<(u64, u64)> {
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
