//! The dialogs: who is asked which identity to send, and for the primary password.
//!
//! From top to bottom, each file uses only those above it:
//!
//! ```text
//! environment the variables that say who is asked
//! running     the programs that are asking: they end before this process does
//! terminal    the user's terminal: one question at a time, and its settings afterwards
//! assuan      a conversation with a pinentry program
//! pinentry    asks for passwords with a program
//! program     asks with a program which identity to send
//! dialogs     the user's dialogs: which of these is asked
//! for_user    the selector of the user who runs the program
//! ```

pub(crate) mod assuan;
pub(crate) mod dialogs;
mod environment;
mod for_user;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod pinentry;
mod program;
mod running;
pub mod terminal;

#[cfg(test)]
#[path = "../tests/support/executable.rs"]
mod executable;
