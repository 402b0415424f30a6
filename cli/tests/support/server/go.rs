//! The server in `server.go`, compiled once for each test program.

use std::path::PathBuf;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::{Server, Setup, listening, port_event, spawn};
use crate::support::missing;
use crate::support::program;

pub(super) fn start(setup: &Setup<'_>, dir: TempDir) -> Server {
    let mut command = program::named(compiled());
    command.arg("-listen").arg(format!("{}", std::net::SocketAddr::new(setup.listen, 0)));
    command.arg("-cert").arg(setup.certificate_file(dir.path()));
    command.arg("-key").arg(setup.key_file(dir.path()));
    command.args(["-tls", setup.tls.map_or("", |tls| tls.number())]);
    command.args(["-ask", setup.ask.name()]);
    command.arg(format!("-hints={}", setup.hints)).arg(format!("-http1={}", setup.http1));
    if let Some(file) = setup.authorities_file(dir.path()) {
        command.arg("-authorities").arg(file);
    }
    let running = spawn(command, "golang-go");
    listening(setup, dir, running, port_event)
}

fn compiled() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(compile)
}

/// Compiles into a new directory and then renames the program, so that tests in parallel never run an
/// incomplete file. Go's cache makes the second time quick.
fn compile() -> PathBuf {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let built = directory.path().join("server");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/server.go");
    let mut command = program::named("go");
    command.args(["build", "-o"]).arg(&built).arg(source).current_dir(&directory);
    let output = command.output().unwrap_or_else(|error| panic!("{}", missing("go", "golang-go", &error)));
    assert!(output.status.success(), "go build: {}", String::from_utf8_lossy(&output.stderr));
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("server-go");
    std::fs::rename(built, &program).unwrap();
    program
}
