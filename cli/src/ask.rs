//! Who is asked: a person at a terminal or in a window, another program, a file, or the keyring of the desktop. Each file
//! uses only those before it.

pub(crate) mod assuan;

pub(crate) mod tty;

pub(crate) mod terminal;

pub(crate) mod pinentry;

pub(crate) mod program;

pub(crate) mod password_file;

pub(crate) mod password_prompt;

pub(crate) mod new_password;

#[cfg(feature = "keyring")]
pub(crate) mod keyring;

pub(crate) mod signals;
