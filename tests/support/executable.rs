//! Programs that are scripts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program of this name that is this script. Another process writes it: while this one had it open for that, a child that
/// another thread starts would have it open too until it runs its own program, and nobody could run the script meanwhile.
#[track_caller]
pub(crate) fn executable(directory: &Path, name: &str, script: &str) -> PathBuf {
    let program = directory.join(name);
    let mut install = Command::new("install");
    install.args(["-m", "700", "/dev/stdin"]).arg(&program).stdin(Stdio::piped());
    let mut writing = install.spawn().expect("install, of coreutils");
    writing.stdin.take().expect("it is a pipe").write_all(script.as_bytes()).expect("it reads");
    assert!(writing.wait().expect("it ends").success(), "{} could not be made", program.display());
    program
}
