//! Unlocked for a while: another process that holds the data key, signs with it, and gives neither it nor a private key
//! away, as ssh-agent does.
//!
//! Whoever unlocked a store fully makes a [`Grant`] and starts a process that calls [`Server::start`] with it. From then on
//! [`Store::unlock`] finds the agent, in this process and every other of the same user, and asks nobody. What takes a private
//! key in the clear asks for the primary password all the same.
//!
//! Every question is a connection of its own to a Unix socket in the user's runtime directory. Both sides look at the other's
//! user. A question names the vault as the store has it by then; under another primary password the agent is of no use.
//!
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use cardcase::manage::agent::{Grant, Server};
//! use cardcase::{Error, Store, Unlocker};
//! use zeroize::Zeroizing;
//!
//! /// What to write into the stdin of a new process, which then does as `agent` does.
//! fn unlock_for_an_hour(store: &Store, unlocker: &dyn Unlocker) -> Result<Grant, Error> {
//!     store.unlock_fully(unlocker)?;
//!     store.grant(Duration::from_secs(3600))
//! }
//!
//! fn agent(stdin: Zeroizing<Vec<u8>>) -> Result<(), Error> {
//!     Server::start(Grant::from_bytes(stdin))?.serve();
//!     Ok(())
//! }
//! ```
//!
//! [`Store::unlock`]: crate::Store::unlock

mod client;
mod frame;
mod grant;
mod place;
mod protocol;
mod server;

pub(crate) use client::Client;
pub use grant::Grant;
pub(crate) use place::Place;
pub use server::{Server, Stopper};

use crate::clock::Timestamp;

/// An agent that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Its process, where the system tells.
    pub process: Option<u32>,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Whether it serves under the primary password that the store has now.
    pub serves: bool,
}
