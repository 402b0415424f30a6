//! The primary password from a file. It is tried once.

use std::path::PathBuf;

use cardcase::Error;
use cardcase::Unlocker;
use zeroize::Zeroizing;

use crate::input::read_password_file;

/// A file that is read when the password is needed.
pub(crate) struct PasswordFile(pub(crate) PathBuf);

impl Unlocker for PasswordFile {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        match attempt {
            1 => read_password_file(&self.0).map_err(|source| Error::Io { path: self.0.clone(), source }),
            _ => Err(Error::WrongPrimaryPassword),
        }
    }
}

/// A password that was read before.
pub(crate) struct KnownPassword(pub(crate) Zeroizing<String>);

impl Unlocker for KnownPassword {
    fn primary_password(&self, attempt: u32) -> Result<Zeroizing<String>, Error> {
        if attempt == 1 { Ok(self.0.clone()) } else { Err(Error::WrongPrimaryPassword) }
    }
}
