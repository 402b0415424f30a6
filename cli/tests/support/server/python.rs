//! The server in `server.py`.

use tempfile::TempDir;

use super::{Ask, Server, Setup, listening, port_event, spawn};
use crate::support::program;

pub(super) fn start(setup: &Setup<'_>, dir: TempDir) -> Server {
    assert!(setup.ask != Ask::Unchecked, "Python's ssl module cannot ask without checking");
    let mut command = program::named("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/server.py"));
    command.arg("--listen").arg(setup.listen.to_string());
    command.arg("--cert").arg(setup.certificate_file(dir.path()));
    command.arg("--key").arg(setup.key_file(dir.path()));
    command.args(["--tls", setup.tls.map_or("", |tls| tls.number())]);
    command.args(["--ask", setup.ask.name()]);
    if let Some(file) = setup.authorities_file(dir.path()) {
        command.arg("--authorities").arg(file);
    }
    let running = spawn(command, "python3");
    listening(setup, dir, running, port_event)
}
