//! The socket that `tunnel` listens on: a Unix socket that only its owner can use, or a loopback port.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::{geteuid, umask};
use tokio::net::{TcpListener, UnixListener};

use crate::cleanup::Cleanup;
use crate::http::socket::Socket;
use crate::ui::failure::{Code, Failure};
use crate::ui::say;

/// After how much silence of a client on a loopback port the system sends keepalive probes. For about a minute after a process has
/// closed its end, the system still answers them.
const SILENCE: Duration = Duration::from_secs(20);

/// `unix:PATH`, or a loopback address with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::usage(format_args!("--listen {text}: {why}"));
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(wrong("the path is missing")) } else { Ok(Self::Unix(path.into())) };
        }
        let address: SocketAddr =
            text.parse().map_err(|_| wrong("expected unix:PATH, 127.0.0.1:PORT or [::1]:PORT"))?;
        if !address.ip().is_loopback() {
            return Err(wrong(
                "only loopback addresses are allowed, since other machines could use your identity at this one",
            )
            .hint("use a socket that only you can use: --listen unix:PATH"));
        }
        Ok(Self::Tcp(address))
    }
}

/// In the form that `--listen` accepts.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// The bytes of `sun_path`, without the zero byte at its end.
const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// An open socket. Dropping it removes a Unix socket from its directory.
pub(crate) enum Listener {
    Unix { listener: UnixListener, path: PathBuf, _removal: Cleanup },
    Tcp(TcpListener),
}

impl Listener {
    pub(crate) async fn open(address: &Address) -> Result<Self, Failure> {
        let failed =
            |error: &io::Error| Failure::new(Code::Failed, format_args!("cannot listen on {address}: {error}"));
        match address {
            Address::Unix(path) => {
                Self::open_unix(path).map_err(|error| failed(&error).hint("use another path: --listen unix:PATH"))
            }
            Address::Tcp(at) => Ok(Self::Tcp(TcpListener::bind(at).await.map_err(|error| failed(&error))?)),
        }
    }

    fn open_unix(path: &Path) -> io::Result<Self> {
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            let why = format!("the path has {length} bytes, and that of a socket can have {MAX_SOCKET_PATH}");
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, why));
        }
        // Of two processes that find a dead socket, one must not remove the new socket of the other
        let directory =
            File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        directory.lock()?;
        make_way(path)?;
        // The socket must have its mode from the start. No other thread creates files at this point
        let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = std::os::unix::net::UnixListener::bind(path);
        umask(before);
        let listener = bound?;
        let made = identity(path)?;
        let removed = std::path::absolute(path)?;
        let removal = Cleanup::new(move || {
            // Not if another file has replaced it
            if identity(&removed).is_ok_and(|found| found == made) {
                let _ = fs::remove_file(&removed);
            }
        });
        listener.set_nonblocking(true)?;
        Ok(Self::Unix { listener: UnixListener::from_std(listener)?, path: path.to_owned(), _removal: removal })
    }

    /// The address it listens on, with the port that the system picked.
    pub(crate) fn address(&self) -> Result<Address, Failure> {
        match self {
            Self::Unix { path, .. } => Ok(Address::Unix(path.clone())),
            Self::Tcp(listener) => {
                listener.local_addr().map(Address::Tcp).map_err(|error| Failure::new(Code::Failed, error))
            }
        }
    }

    /// Accepts the next connection; over a Unix socket, only one from its owner.
    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        loop {
            match self {
                Self::Tcp(listener) => {
                    let (stream, _) = listener.accept().await?;
                    return Socket::tcp(stream, SILENCE);
                }
                Self::Unix { listener, .. } => {
                    let (stream, _) = listener.accept().await?;
                    let peer = stream.peer_cred()?.uid();
                    if peer == geteuid().as_raw() {
                        return Ok(Socket::unix(stream));
                    }
                    say::warn(format_args!("a process of the user {peer} was turned away"));
                }
            }
        }
    }
}

/// Removes a socket of this user that no process listens on.
fn make_way(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let taken = |why| Err(io::Error::new(ErrorKind::AlreadyExists, why));
    if !found.file_type().is_socket() || found.uid() != geteuid().as_raw() {
        return taken("a file that is not a socket of yours is in the way");
    }
    // A datagram socket finds out whether a process listens without opening a connection to it
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => taken("another process listens on it"),
    }
}

/// Distinguishes a file from another one that replaced it.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_on_unix_sockets_and_loopback_alone() {
        for (text, expected) in [
            ("unix:/a/b", Some(Address::Unix("/a/b".into()))),
            ("unix:b", Some(Address::Unix("b".into()))),
            ("127.0.0.1:80", Some(Address::Tcp(([127, 0, 0, 1], 80).into()))),
            ("[::1]:80", Some(Address::Tcp("[::1]:80".parse().unwrap()))),
            ("unix:", None),
            ("0.0.0.0:80", None),
            ("[::]:80", None),
            ("192.0.2.1:80", None),
            ("localhost:80", None),
            ("127.0.0.1", None),
            ("/a/b", None),
        ] {
            assert_eq!(Address::parse(text).ok(), expected, "{text}");
        }
    }
}
