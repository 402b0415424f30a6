//! What an agent receives when it starts.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::frame::Frame;
use super::protocol::VERSION;
use super::socket::Socket;
use crate::error::Error;
use crate::vault::{DataKey, Vault};

/// The data key of a store, for a limited time.
pub(super) struct Lease {
    pub(super) socket: Socket,
    pub(super) vault: Vault,
    /// Identifies the vault: [`Vault::digest`].
    pub(super) digest: [u8; 32],
    pub(super) lifetime: Duration,
}

#[derive(Deserialize, Serialize)]
struct Content<'a> {
    socket: &'a [u8],
    vault: [u8; 32],
    seconds: u64,
    data_key: &'a [u8],
}

/// The bytes of a lease, for the pipe to the agent.
///
/// # Errors
/// [`Error::VaultLocked`] when the data key is not in this process.
pub(crate) fn lease(socket: &Socket, vault: &Vault, lifetime: Duration) -> Result<Zeroizing<Vec<u8>>, Error> {
    let data_key = vault.data_key()?;
    let content = Content {
        socket: socket.path().as_os_str().as_bytes(),
        vault: vault.digest(),
        seconds: lifetime.as_secs(),
        data_key: data_key.as_bytes(),
    };
    let frame = Frame::encode(&content).map_err(|error| Error::Agent { detail: format!("cannot start: {error}") })?;
    Ok(frame.body)
}

impl Lease {
    pub(super) fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Result<Self, Error> {
        let invalid = || Error::Agent { detail: "cannot start: it received no valid lease".to_owned() };
        let frame = Frame { version: VERSION, body: bytes };
        let content: Content<'_> = frame.decode().ok_or_else(invalid)?;
        let data_key = DataKey::from_slice(content.data_key).ok_or_else(invalid)?;
        Ok(Self {
            socket: Socket::from_path(PathBuf::from(OsString::from_vec(content.socket.to_vec()))),
            vault: Vault::open_with(data_key),
            digest: content.vault,
            lifetime: Duration::from_secs(content.seconds),
        })
    }
}
