//! What an agent is given when it starts.

use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::frame::Frame;
use super::place::Place;
use crate::error::Error;
use crate::vault::{DataKey, Kept, Vault};

/// The data key of a store with where and for how long to use it: for the pipe to the agent.
#[must_use = "the agent has to be given it"]
pub struct Grant(Frame);

#[derive(Deserialize, Serialize)]
struct Content<'a> {
    socket: &'a [u8],
    vault: [u8; 32],
    seconds: u64,
    data_key: &'a [u8],
}

/// A grant as the agent takes it.
pub(super) struct Granted {
    pub(super) place: Place,
    pub(super) vault: Vault,
    pub(super) digest: [u8; 32],
    pub(super) lifetime: Duration,
}

impl Grant {
    pub(crate) fn new(place: &Place, data_key: &DataKey, vault: [u8; 32], lifetime: Duration) -> Result<Self, Error> {
        let socket = place.socket.as_os_str().as_bytes();
        let content = Content { socket, vault, seconds: lifetime.as_secs(), data_key: data_key.as_bytes() };
        let frame = Frame::of(&content).map_err(|error| Error::Agent { detail: format!("cannot start: {error}") })?;
        Ok(Self(frame))
    }

    /// Its bytes, as [`Self::from_bytes`] takes them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.body
    }

    /// As it came through the pipe.
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(Frame { version: super::protocol::VERSION, body: bytes })
    }

    pub(super) fn take(self) -> Result<Granted, Error> {
        let invalid = || Error::Agent { detail: "cannot start: it was given nothing to hold".to_owned() };
        let content: Content<'_> = self.0.decode().ok_or_else(invalid)?;
        let data_key = DataKey::from_slice(content.data_key).ok_or_else(invalid)?;
        let socket = PathBuf::from(std::ffi::OsString::from_vec(content.socket.to_vec()));
        Ok(Granted {
            place: Place::of_socket(socket),
            vault: Vault::new(Kept::Open(data_key)),
            digest: content.vault,
            lifetime: Duration::from_secs(content.seconds),
        })
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grant(..)")
    }
}
