//! The login session, which defines "until I log out".
//!
//! The user's runtime directory, which the system removes at logout, holds a random token. Each decision for the session carries
//! the token, and no longer applies once the token is gone. Without `XDG_RUNTIME_DIR` a directory in the temporary directory
//! takes its place, until the machine restarts or cleans up.
//!
//! # Example
//!
//! ```
//! use cardcase::manage::Session;
//!
//! let login = Session::login(); // for commands: all of them share it until logout
//! let own = Session::own()?; // for a service, which does not belong to a login
//! # let _ = (login, own);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use directories::ProjectDirs;

use crate::error::Error;

/// A login session, or a session of a program's own.
#[derive(Clone, Debug)]
pub struct Session {
    directory: PathBuf,
    own: Option<Arc<str>>,
}

impl Session {
    /// The login session of the user who runs this process.
    pub fn login() -> Self {
        let runtime = ProjectDirs::from("", "", "cardcase").and_then(|dirs| dirs.runtime_dir().map(Path::to_owned));
        let fallback = || std::env::temp_dir().join(format!("cardcase-{}", rustix::process::geteuid().as_raw()));
        Self { directory: runtime.unwrap_or_else(fallback), own: None }
    }

    /// A session that no other program shares: its decisions last as long as the store that was opened with it. Its directory is that
    /// of the login session, so that the machine still asks one question at a time.
    ///
    /// # Errors
    /// [`Error::Io`] when the system has no randomness.
    pub fn own() -> Result<Self, Error> {
        let login = Self::login();
        let token = login.new_token()?;
        Ok(Self { own: Some(token.into()), ..login })
    }

    /// A session that lasts as long as this directory exists.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), own: None }
    }

    /// The token, if this is a session of a program's own.
    pub(crate) fn own_token(&self) -> Option<&str> {
        self.own.as_deref()
    }

    /// The token, if the session has one yet.
    ///
    /// # Errors
    /// [`Error::Io`] when other users can enter the directory.
    pub(crate) fn token(&self) -> Result<Option<String>, Error> {
        if let Some(own) = self.own_token() {
            return Ok(Some(own.to_owned()));
        }
        match fs::read_to_string(self.token_file()) {
            Ok(token) => {
                self.check_directory()?;
                Ok(Some(token))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { path: self.token_file(), source }),
        }
    }

    /// The token, created now if the session has none yet.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be created, or other users can enter it.
    pub(crate) fn begin(&self) -> Result<String, Error> {
        if let Some(own) = self.own_token() {
            return Ok(own.to_owned());
        }
        self.prepare_directory()?;
        if let Some(token) = self.token()? {
            return Ok(token);
        }
        let failed = |source| Error::Io { path: self.token_file(), source };
        self.publish(&self.new_token()?).map_err(failed)?;
        self.token()?.ok_or_else(|| failed(ErrorKind::NotFound.into()))
    }

    fn new_token(&self) -> Result<String, Error> {
        let mut random = [0; 16];
        let failed = |error| Error::Io { path: self.token_file(), source: io::Error::other(error) };
        getrandom::fill(&mut random).map_err(failed)?;
        Ok(HEXLOWER.encode(&random))
    }

    /// Whether its directory is there yet. Creates nothing.
    ///
    /// # Errors
    /// [`Error::Io`] when other users can enter the directory, or it is not a directory.
    pub fn has_directory(&self) -> Result<bool, Error> {
        match fs::symlink_metadata(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            _ => self.check_directory().map(|()| true),
        }
    }

    /// The directory for what must not outlive the session, created now if it is missing. Only the user can enter it. The locks for
    /// asking and the socket of the agent are there.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be created, or other users can enter it.
    pub fn directory(&self) -> Result<&Path, Error> {
        self.prepare_directory()?;
        Ok(&self.directory)
    }

    /// The same directory; `None` when it is missing, or other users can enter it.
    pub(crate) fn existing_directory(&self) -> Option<&Path> {
        self.check_directory().is_ok().then_some(&*self.directory)
    }

    fn token_file(&self) -> PathBuf {
        self.directory.join("session")
    }

    fn prepare_directory(&self) -> Result<(), Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(|source| Error::Io { path: self.directory.clone(), source })?;
        self.check_directory()
    }

    /// In the temporary directory, another user may have created it first.
    fn check_directory(&self) -> Result<(), Error> {
        let failed = |source| Error::Io { path: self.directory.clone(), source };
        let found = fs::symlink_metadata(&self.directory).map_err(failed)?;
        let ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
        if ours {
            Ok(())
        } else {
            Err(failed(std::io::Error::new(
                ErrorKind::PermissionDenied,
                "it must be a directory that only you can enter",
            )))
        }
    }

    /// Writes the whole token or nothing, and never replaces that of another process.
    fn publish(&self, token: &str) -> std::io::Result<()> {
        let draft = self.directory.join(format!("session.{token}"));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?.write_all(token.as_bytes())?;
        let linked = fs::hard_link(&draft, self.token_file());
        fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_session_has_one_token_until_its_directory_goes() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("runtime");
        let session = Session::in_directory(&directory);
        assert_eq!(session.token().unwrap(), None);
        let token = session.begin().unwrap();
        assert_eq!(session.begin().unwrap(), token);
        assert_eq!(Session::in_directory(&directory).token().unwrap(), Some(token.clone()));
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(session.token().unwrap(), None);
        assert_ne!(session.begin().unwrap(), token);
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let session = Session::in_directory(home.path());
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(session.begin(), Err(Error::Io { .. })));
        let link = home.path().join("link");
        std::os::unix::fs::symlink(home.path(), &link).unwrap();
        assert!(matches!(Session::in_directory(link).begin(), Err(Error::Io { .. })));
    }
}
