//! Programs that are made for a test.
//!
//! Another process writes them: while this one had a program open for that, a child that another thread starts would have it
//! open too until it runs its own program, and nobody could run it meanwhile.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program of this name that is this script.
#[track_caller]
pub(crate) fn executable(directory: &Path, name: &str, script: &str) -> PathBuf {
    let program = directory.join(name);
    install(Path::new("/dev/stdin"), &program, script.as_bytes());
    program
}

/// A program of this name that is another one.
#[track_caller]
// The command's own tests take scripts alone
#[allow(dead_code)]
pub(crate) fn copy(of: &str, directory: &Path, name: &str) -> PathBuf {
    let program = directory.join(name);
    install(Path::new(of), &program, b"");
    program
}

#[track_caller]
fn install(from: &Path, to: &Path, input: &[u8]) {
    let mut install = Command::new("install");
    install.args(["-m", "755"]).args([from, to]).stdin(Stdio::piped());
    let mut writing = install.spawn().expect("install, of coreutils");
    writing.stdin.take().expect("it is a pipe").write_all(input).expect("it reads");
    assert!(writing.wait().expect("it ends").success(), "{} could not be made", to.display());
}
