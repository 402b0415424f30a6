//! The server in `renegotiating.c`, compiled once for each test program: it asks by renegotiation, and ends the connection in
//! one of several ways when the client declines.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::log::Log;
use super::missing;
use super::program;
use super::scene::Scene;

const LIMIT: Duration = Duration::from_secs(20);

/// How it ends a connection whose client declines.
pub const ENDINGS: [&str; 5] = ["alert", "reset", "close", "notify", "silence"];

pub struct Renegotiating {
    child: Child,
    log: Log,
    port: u16,
}

impl Renegotiating {
    /// A server that accepts staff.
    pub fn start(scene: &Scene, ending: &str) -> Self {
        Self::start_with(scene, &[ending])
    }

    /// A server that also asks in the first handshake.
    pub fn start_asking_first(scene: &Scene, ending: &str) -> Self {
        Self::start_with(scene, &[ending, "first"])
    }

    fn start_with(scene: &Scene, more: &[&str]) -> Self {
        let dir = scene.machine.dir();
        let mut command = program::named(compiled());
        command.arg(scene.server_certificate.certificate_file(dir)).arg(scene.server_certificate.key_file(dir));
        command.arg(scene.staff_root.file(dir)).args(more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::default();
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        let port = log.wait_for(LIMIT, |line| line.strip_prefix("listening ")?.parse().ok());
        let port = port.unwrap_or_else(|said| panic!("it did not start:\n{said}"));
        Self { child, log, port }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/page", self.port)
    }

    /// `localhost:PORT`
    pub fn destination(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Waits until it has said this: `served METHOD NAME`, `declined METHOD`.
    #[track_caller]
    pub fn says(&self, words: &str) {
        let found = self.log.wait_for(LIMIT, |line| (line == words).then_some(()));
        found.unwrap_or_else(|said| panic!("no {words:?} in:\n{said}"));
    }

    pub fn said(&self) -> Vec<String> {
        self.log.lines()
    }
}

impl Drop for Renegotiating {
    fn drop(&mut self) {
        // It may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn compiled() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(compile)
}

/// Compiles into a new directory and then renames the program, so that tests in parallel never run an incomplete file.
fn compile() -> PathBuf {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let built = directory.path().join("server");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/renegotiating.c");
    let mut command = program::named("cc");
    command.args(["-Wall", "-Werror", "-O1", "-o"]).arg(&built).arg(source).args(["-lssl", "-lcrypto"]);
    let output = command.output().unwrap_or_else(|error| panic!("{}", missing("cc", "gcc libssl-dev", &error)));
    assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("server-renegotiating");
    std::fs::rename(built, &program).unwrap();
    program
}
