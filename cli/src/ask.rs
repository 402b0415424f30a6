//! What the command adds to the user's dialogs, which the library has ([`cardcase::ask`]). Each file uses only those before it.

pub(crate) mod terminal;

pub(crate) mod program;

pub(crate) mod password_file;

pub(crate) mod file_password;

pub(crate) mod new_password;

#[cfg(feature = "keyring")]
pub(crate) mod keyring;

pub(crate) mod signals;
