//! `openssl s_server` with a keyboard on which a test types.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::log::Log;
use super::program;
use super::scene::Scene;

/// `openssl s_server` with a keyboard, on which a test may type its commands.
pub struct Typed {
    child: Child,
    pub log: Log,
    pub port: u16,
}

impl Typed {
    pub fn start(scene: &Scene, tls: &str) -> Typed {
        let dir = scene.machine.dir();
        let certificate = scene.server_certificate.certificate_file(dir);
        Typed::with(scene, &[tls], &certificate, &scene.server_certificate.key_file(dir))
    }

    /// With these flags, certificate and key.
    pub fn with(scene: &Scene, flags: &[&str], certificate: &Path, key: &Path) -> Typed {
        let dir = scene.machine.dir();
        let mut command = program::named("openssl");
        command.arg("s_server").args(flags).args(["-msg", "-accept", "127.0.0.1:0", "-cert"]);
        command.arg(certificate).arg("-key").arg(key);
        command.arg("-CAfile").arg(scene.staff_root.file(dir));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::default();
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        let port = |line: &str| line.strip_prefix("ACCEPT ")?.rsplit(':').next()?.parse().ok();
        let port = log.wait_for(Duration::from_secs(20), port).unwrap();
        Typed { child, log, port }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }

    pub fn type_after(&mut self, seen: &str, line: &str) {
        self.seen(seen);
        self.type_now(line);
    }

    pub fn seen(&self, seen: &str) {
        let found = self.log.wait_for(Duration::from_secs(20), |line| line.contains(seen).then_some(()));
        found.unwrap_or_else(|said| panic!("no {seen} in:\n{said}"));
    }

    /// Types, and waits so that the server reads it separately from the next line.
    pub fn type_now(&mut self, line: &str) {
        self.child.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        // It may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
