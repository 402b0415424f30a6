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
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use cardcase::manage::agent;
//! use cardcase::{Error, Store, Unlocker};
//! use zeroize::Zeroizing;
//!
//! /// What to write to the stdin of a new process, which then runs `agent`.
//! fn unlock_for_an_hour(store: &Store, unlocker: &dyn Unlocker) -> Result<Zeroizing<Vec<u8>>, Error> {
//!     store.unlock_fully(unlocker)?;
//!     store.lease(Duration::from_secs(3600))
//! }
//!
//! fn agent(stdin: Zeroizing<Vec<u8>>) -> Result<(), Error> {
//!     agent::serve(stdin, |_stop| println!("ready"))
//! }
//! ```

mod client;
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

use crate::clock::Timestamp;

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
