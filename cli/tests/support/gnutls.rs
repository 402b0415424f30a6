//! `gnutls-serv`, which verifies a client's certificate after the handshake, and has alerts of its own for refusals.

use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::log::Log;
use super::missing;
use super::program;
use super::scene::Scene;
use super::server::Tls;

const LIMIT: Duration = Duration::from_secs(20);

/// A running gnutls-serv.
pub struct GnuTls {
    child: Child,
    port: u16,
    /// Kept, so that its streams are read.
    log: Log,
}

impl GnuTls {
    /// A server that requires a certificate of staff.
    pub fn start(scene: &Scene, tls: Tls) -> Self {
        Self::start_with(
            scene,
            &format!("NORMAL:-VERS-ALL:+VERS-TLS{}", tls.number()),
            &["--require-client-cert", "--verify-client-cert"],
        )
    }

    /// With these priorities and flags.
    pub fn start_with(scene: &Scene, priority: &str, more: &[&str]) -> Self {
        let dir = scene.machine.dir();
        // It does not print the port, so it cannot choose one itself
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = program::named("gnutls-serv");
        command.args(["--http", "--port", &port.to_string(), "--priority", priority]).args(more);
        command.arg("--x509certfile").arg(scene.server_certificate.certificate_file(dir));
        command.arg("--x509keyfile").arg(scene.server_certificate.key_file(dir));
        command.arg("--x509cafile").arg(scene.staff_root.file(dir));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{}", missing("gnutls-serv", "gnutls-bin", &error)));
        let log = Log::default();
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        let is_ready = |line: &str| (line.contains("listening on IPv4") && line.contains("done")).then_some(());
        log.wait_for(LIMIT, is_ready).unwrap_or_else(|said| panic!("gnutls-serv did not start:\n{said}"));
        Self { child, port, log }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }

    /// `localhost:PORT`
    pub fn destination(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

impl Drop for GnuTls {
    fn drop(&mut self) {
        // It may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- gnutls-serv:\n{}", self.log.lines().join("\n"));
        }
    }
}
