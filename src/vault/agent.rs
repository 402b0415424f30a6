//! The agent of a store: another process that holds the data key for a while and signs with it, as ssh-agent does.
//!
//! A program that has unlocked a store fully starts a process, writes a [lease](crate::Store::lease) to it, and that process
//! calls [`serve`]. From then on [`Store::unlock`](crate::Store::unlock) finds the agent, in every process of the same user, and
//! asks nobody. The agent never gives away the data key or a private key; what needs a private key in the clear still asks for the
//! primary password.
//!
//! Requests go over connections to a Unix socket in the user's runtime directory, and both sides check the user of the other.
//! A program keeps a few connections open. A request names the vault that the store has at that time: after a change of the
//! primary password the agent cannot be used.
//!
//! The agent also signs for programs that cannot use this library, through the PKCS#11 module: what the owner of an identity
//! [permits](crate::Store::permit). An [`Owner`] is asked first, where that is wanted, and told of each signature.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use cardcase::manage::agent::{self, Owner};
//! use cardcase::{Error, Store, Unlocker};
//! use zeroize::Zeroizing;
//!
//! /// What to write to the stdin of a new process, which then runs `agent`.
//! fn unlock_for_an_hour(store: &Store, unlocker: &dyn Unlocker) -> Result<Zeroizing<Vec<u8>>, Error> {
//!     store.unlock_fully(unlocker)?;
//!     store.lease(Duration::from_secs(3600))
//! }
//!
//! /// Is asked nothing, so that nothing is signed for other programs where the owner of the store wants to be asked.
//! struct Nobody;
//!
//! impl Owner for Nobody {}
//!
//! fn agent(stdin: Zeroizing<Vec<u8>>) -> Result<(), Error> {
//!     agent::serve(stdin, Arc::new(Nobody), |_stop| println!("ready"))
//! }
//! ```

mod client;
mod clock;
mod confirmation;
mod frame;
mod keys;
mod lease;
mod programs;
mod protocol;
mod server;
mod socket;
mod transcript;

pub(crate) use client::Client;
pub(crate) use lease::lease;
#[cfg(fuzzing)]
pub use server::fuzzing::Agent;
pub use server::serve;
pub(crate) use socket::{LockMark, Socket};

use std::path::PathBuf;
use std::time::Duration;

use crate::certificate::Fingerprint;
use crate::clock::Timestamp;
use crate::text::plain;
use crate::vault::{KeyRow, ToSign};

/// A running agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The number of its process, if the system tells it.
    pub process: Option<u32>,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Whether it works for the primary password that the store has now.
    pub serves: bool,
}

/// Whom an agent asks and tells about signatures for other programs.
pub trait Owner: Send + Sync {
    /// Whether a program may have a signature. Nobody may take longer than `limit` to answer.
    fn confirms(&self, _wanted: &Wanted, _limit: Duration) -> bool {
        false
    }

    /// A program got a signature.
    fn told(&self, _signed: &Wanted) {}
}

/// A signature that another program wants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wanted {
    /// The identity.
    pub identity: Fingerprint,
    /// Its name.
    pub name: String,
    /// The file of the program, if the system tells it. It is a hint and no proof: another program of the same user can pass for it.
    pub executable: Option<PathBuf>,
    /// The number of its process, if the system tells it.
    pub process: Option<u32>,
    /// Whether the program sends a digest, and not a whole message.
    pub is_digest: bool,
}

impl Wanted {
    fn new(row: &KeyRow, process: Option<u32>, what: ToSign<'_>) -> Self {
        Self {
            identity: row.fingerprint,
            name: row.name.clone(),
            executable: process.and_then(|id| std::fs::read_link(format!("/proc/{id}/exe")).ok()),
            process,
            is_digest: matches!(what, ToSign::Digest(_)),
        }
    }

    /// The program, as one line for a person: its file, or else the number of its process.
    pub fn program(&self) -> String {
        match (&self.executable, self.process) {
            (Some(executable), _) => plain(&executable.to_string_lossy()),
            (None, Some(process)) => format!("process {process}"),
            (None, None) => "an unknown program".to_owned(),
        }
    }
}
