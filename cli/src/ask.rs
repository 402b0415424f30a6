//! Whoever is asked: at a terminal, by a window, or by another program.

pub(crate) mod assuan;
#[cfg(feature = "keyring")]
pub(crate) mod keyring;
pub(crate) mod new_password;
pub(crate) mod pinentry;
pub(crate) mod program;
pub(crate) mod terminal;
pub(crate) mod tty;
pub(crate) mod undo;
