//! Servers of other protocols than HTTP, as ordinary processes on loopback. Each requires a certificate of the staff, and
//! reports the common name of whoever came.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::ca;
use super::log::Log;
use super::missing;
use super::program;
use super::scene::Scene;

/// How long a server may take to start or to report.
const LIMIT: Duration = Duration::from_secs(60);

/// Another process may take the port before the server listens on it.
const ATTEMPTS: usize = 5;

/// Where Debian installs the programs of each version of PostgreSQL.
const POSTGRES: &str = "/usr/lib/postgresql";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MQTT. Takes the user's name from the certificate.
    Mosquitto,
    /// NATS: begins with a line in the clear. Takes the user from the certificate.
    Nats,
    /// Waits for a request for TLS in the clear. Takes the user from the certificate.
    Postgres,
    /// SMTP with STARTTLS, by Python's aiosmtpd. Refuses by closing the connection.
    Smtp,
}

/// A running server.
pub struct Service {
    kind: Kind,
    child: Child,
    log: Log,
    port: u16,
    _dir: TempDir,
}

/// The files of a server.
struct Files {
    dir: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl Service {
    pub fn start(scene: &Scene, kind: Kind) -> Service {
        let dir = tempfile::tempdir().unwrap();
        let files = Files {
            dir: dir.path().to_owned(),
            certificate: scene.server_certificate.certificate_file(dir.path()),
            key: scene.server_certificate.key_file(dir.path()),
            authority: scene.staff_root.file(dir.path()),
        };
        if kind == Kind::Postgres {
            files.init_postgres();
        }
        for _ in 0..ATTEMPTS {
            if let Some((child, log, port)) = kind.listen(&files) {
                return Service { kind, child, log, port, _dir: dir };
            }
        }
        panic!("{kind:?} found every port in use, {ATTEMPTS} times")
    }

    /// `localhost:PORT`
    pub fn destination(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Who came, in order, as soon as this many did.
    #[track_caller]
    pub fn came(&self, count: usize) -> Vec<String> {
        let until = Instant::now() + LIMIT;
        loop {
            let lines = self.log.lines();
            let came: Vec<_> = lines.iter().filter_map(|line| self.kind.who(line)).map(str::to_owned).collect();
            if came.len() >= count {
                return came;
            }
            assert!(Instant::now() < until, "fewer than {count} came:\n{}", lines.join("\n"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already. On SIGINT PostgreSQL also ends its other processes
        let _ = match self.kind {
            Kind::Postgres => kill_process(Pid::from_child(&self.child), Signal::INT).map_err(Into::into),
            _ => self.child.kill(),
        };
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {:?} on {}:\n{}", self.kind, self.port, self.log.lines().join("\n"));
        }
    }
}

impl Kind {
    /// Starts the server. `None` if its port is in use.
    fn listen(self, files: &Files) -> Option<(Child, Log, u16)> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = self.command(files, port);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}", self.missing(&command, &error)));
        let log = Log::default();
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        let started = log.wait_for(LIMIT, |line| {
            let is_ready = line.contains(self.says_when_ready());
            (is_ready || line.to_ascii_lowercase().contains("address already in use")).then_some(is_ready)
        });
        match started {
            Ok(true) => Some((child, log, port)),
            Ok(false) => {
                let _ = child.kill();
                let _ = child.wait();
                None
            }
            Err(said) => panic!("{self:?} did not start: {}\n{said}", self.hint()),
        }
    }

    fn command(self, files: &Files, port: u16) -> Command {
        let Files { dir, certificate, key, authority } = files;
        match self {
            Kind::Mosquitto => {
                let text = format!(
                    "listener {port} 127.0.0.1\nuser root\nlog_dest stderr\nlog_type all\nrequire_certificate true\n\
                     use_identity_as_username true\ncafile {}\ncertfile {}\nkeyfile {}\n",
                    authority.display(),
                    certificate.display(),
                    key.display(),
                );
                let mut command = program::named("mosquitto");
                command.arg("-c").arg(ca::write(dir, "mosquitto", "conf", text));
                command
            }
            Kind::Nats => {
                let users = ["alice", "bob", "carol"].map(|name| format!("{{ user: 'CN={name},O=Test Clients' }}"));
                let text = format!(
                    "listen: '127.0.0.1:{port}'\ntls {{ verify_and_map: true, timeout: 60, ca_file: {authority:?}, \
                     cert_file: {certificate:?}, key_file: {key:?} }}\n\
                     authorization {{ timeout: 60, users: [{}] }}\n",
                    users.join(", "),
                );
                let mut command = program::named("nats-server");
                command.arg("-D").arg("-c").arg(ca::write(dir, "nats", "conf", text));
                command
            }
            Kind::Postgres => {
                let mut command = as_postgres("postgres");
                command.arg("-D").arg(dir.join("data")).current_dir(dir);
                let files = [("ssl_cert_file", certificate), ("ssl_key_file", key), ("ssl_ca_file", authority)];
                for (name, file) in files {
                    command.arg("-c").arg(format!("{name}={}", file.display()));
                }
                let settings =
                    "listen_addresses=127.0.0.1 unix_socket_directories= fsync=off ssl=on log_connections=on";
                for setting in settings.split(' ') {
                    command.args(["-c", setting]);
                }
                command.args(["-c", &format!("port={port}")]);
                command
            }
            Kind::Smtp => {
                let mut command = program::named(PYTHON);
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/service/smtp.py"));
                command.args([certificate, key, authority]).arg(port.to_string());
                command
            }
        }
    }

    fn says_when_ready(self) -> &'static str {
        match self {
            Kind::Mosquitto => " running",
            Kind::Nats => "Server is ready",
            Kind::Postgres => "ready to accept connections",
            Kind::Smtp => "listening",
        }
    }

    /// The common name of whoever has come, if a line of the log says so. A server writes it before it answers the client.
    fn who(self, line: &str) -> Option<&str> {
        let (before, after) = match self {
            Kind::Mosquitto => ("New client connected", "u'"),
            Kind::Nats => ("Using DistinguishedNameMatch for auth", "CN="),
            Kind::Postgres => ("connection authenticated", "CN="),
            Kind::Smtp => ("delivered by", "CN="),
        };
        let (_, rest) = line.split_once(before)?;
        let (_, who) = rest.split_once(after)?;
        who.split([',', '\'', '"']).next()
    }

    fn missing(self, command: &Command, error: &std::io::Error) -> String {
        let package = match self {
            Kind::Mosquitto => "mosquitto",
            Kind::Nats => "nats-server",
            Kind::Postgres => "postgresql",
            Kind::Smtp => "python3",
        };
        missing(&command.get_program().to_string_lossy(), package, error)
    }

    fn hint(self) -> &'static str {
        match self {
            Kind::Smtp => "it needs the Debian package python3-aiosmtpd",
            _ => "",
        }
    }
}

/// Debian's, for which Debian packages modules.
const PYTHON: &str = "/usr/bin/python3";

impl Files {
    /// Makes a database with the user postgres, whom everyone with a certificate may be.
    fn init_postgres(&self) {
        if rustix::process::geteuid().is_root() {
            // It does not run as root, and needs to own its files
            std::fs::set_permissions(&self.dir, std::fs::Permissions::from_mode(0o755)).unwrap();
            let owned = program::named("chown").args(["-R", "postgres"]).arg(&self.dir).status().unwrap();
            assert!(owned.success(), "the user postgres is missing: apt-get install postgresql");
        }
        std::fs::set_permissions(&self.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = as_postgres("initdb");
        command.args(["--no-sync", "--no-instructions", "--auth=reject", "--username=postgres", "-D"]);
        let made = command.arg(self.dir.join("data")).current_dir(&self.dir).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let write = |name: &str, text: &str| std::fs::write(self.dir.join("data").join(name), text).unwrap();
        write("pg_hba.conf", "hostssl all all 127.0.0.1/32 cert map=staff\n");
        write("pg_ident.conf", "staff /^.*$ postgres\n");
    }
}

/// A program of the newest PostgreSQL, as the user postgres if root runs the tests.
fn as_postgres(name: &str) -> Command {
    let versions = std::fs::read_dir(POSTGRES).into_iter().flatten().map(|version| version.unwrap().path());
    let newest = versions.filter(|version| version.join("bin/postgres").exists()).max();
    let newest =
        newest.unwrap_or_else(|| panic!("no PostgreSQL in {POSTGRES}; install it: apt-get install postgresql"));
    let program = newest.join("bin").join(name);
    if !rustix::process::geteuid().is_root() {
        return program::named(program);
    }
    let mut command = program::named("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}
