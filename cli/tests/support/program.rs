//! Starts programs so that a test does not depend on how it was started itself: not on its environment, not on its terminal
//! and not on the signals that it ignores.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Once};

/// A program in a fixed environment.
pub fn named(name: impl AsRef<OsStr>) -> Command {
    take_signals();
    let mut command = Command::new(name);
    command.env_clear().envs(environment());
    command
}

/// The command. For the tests of another package it is where cargo has built it for those of its own.
pub fn cardcase() -> &'static Path {
    static BESIDE: LazyLock<PathBuf> = LazyLock::new(|| {
        // The tests are in `deps`
        let command = std::env::current_exe().unwrap().parent().unwrap().with_file_name("cardcase");
        assert!(command.exists(), "{} is missing: cargo build --workspace --all-features", command.display());
        command
    });
    option_env!("CARGO_BIN_EXE_cardcase").map_or_else(|| BESIDE.as_path(), Path::new)
}

/// A program in a fixed environment, for a pseudo-terminal.
pub fn in_terminal(name: impl AsRef<OsStr>) -> pty_process::blocking::Command {
    take_signals();
    pty_process::blocking::Command::new(name).env_clear().envs(environment())
}

/// The `PATH`. Debian installs servers in directories that only root's `PATH` includes.
pub fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin");
    path
}

fn environment() -> [(&'static str, OsString); 4] {
    // Kept between runs: Go caches what it has compiled there
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("home");
    std::fs::create_dir_all(&home).unwrap();
    [("PATH", path()), ("HOME", home.into()), ("LANG", "C.UTF-8".into()), ("TZ", "UTC0".into())]
}

/// A signal that is ignored here is ignored in every program that is started from here: SIGHUP under nohup, SIGINT in the
/// background of a shell. One that is handled is not. So this process handles them, by doing nothing.
fn take_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        let is_taken = |signal: i32| signal_hook::consts::FORBIDDEN.contains(&signal) || signal == PIPE;
        for signal in (1..32).filter(|signal| ignored >> (signal - 1) & 1 == 1 && !is_taken(*signal)) {
            signal_hook::flag::register(signal, Arc::default()).unwrap();
        }
    });
}

/// Rust's standard library ignores it, and restores it in what it starts.
const PIPE: i32 = signal_hook::consts::SIGPIPE;
