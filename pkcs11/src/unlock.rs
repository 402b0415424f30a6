//! Unlocking the store by the command `cardcase`, which starts the agent, and asks a person for the primary password if there is one.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long it may take: a little longer than the command gives a person, so that it ends what it has started.
const PATIENCE: Duration = Duration::from_secs(70);

/// Runs `cardcase unlock`. Returns whether the store may be unlocked now.
pub(crate) fn unlock(store: &Path) -> bool {
    let mut command = Command::new(command());
    command.arg("--store").arg(store).args(["unlock", "--for", "pkcs11"]);
    // The streams belong to the program
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Ok(child) => wait(child),
        Err(_) => false,
    }
}

/// The command: in `PATH`, or else where cargo installs it, which is not in the `PATH` of programs that the desktop starts.
fn command() -> PathBuf {
    let name = Path::new("cardcase");
    let is_there = |directory: &PathBuf| directory.join(name).is_file();
    let paths = env::var_os("PATH").unwrap_or_default();
    let by_cargo = env::home_dir().map(|home| home.join(".cargo/bin"));
    let found = env::split_paths(&paths).chain(by_cargo).find(is_there);
    found.map_or_else(|| name.to_owned(), |directory| directory.join(name))
}

/// Waits for the end of a process, and kills it when the time is over.
fn wait(mut child: Child) -> bool {
    let until = Instant::now() + PATIENCE;
    let process = Pid::from_child(&child);
    if let Ok(handle) = pidfd_open(process, PidfdFlags::empty()) {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut watched = [PollFd::new(&handle, PollFlags::IN)];
            match poll(&mut watched, Timespec::try_from(left).ok().as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(1..) => break,
                _ => {
                    let _ = pidfd_send_signal(&handle, Signal::KILL);
                    let _ = child.wait();
                    return false;
                }
            }
        }
    }
    // A program that ignores SIGCHLD, or waits for every child, leaves nothing to wait for: the next try shows what came of it
    child.wait().map_or(true, |status| status.success())
}
