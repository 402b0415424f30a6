//! Writes programs for a test.
//!
//! Another process writes them. If this process had the file open for writing, a child that another thread starts at that moment
//! would inherit the descriptor, and executing the file would fail with "text file busy".

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Writes a script with this name.
#[track_caller]
pub(crate) fn executable(directory: &Path, name: &str, script: &str) -> PathBuf {
    let program = directory.join(name);
    install(Path::new("/dev/stdin"), &program, script.as_bytes());
    program
}

/// Copies a program to this name.
#[track_caller]
// The unit tests of the command only need scripts
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
    let mut writing = install.spawn().expect("install belongs to coreutils");
    writing.stdin.take().expect("stdin is a pipe").write_all(input).expect("install reads its stdin");
    assert!(writing.wait().expect("install ends").success(), "{} could not be written", to.display());
}
