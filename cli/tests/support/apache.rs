//! Apache with directories that ask for client certificates in different ways.

use std::fmt::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::log::Log;
use super::missing;
use super::program;
use super::scene::Scene;
use super::server::Tls;

const LIMIT: Duration = Duration::from_secs(20);

/// The directory of the modules in Debian's apache2-bin.
const MODULES: &str = "/usr/lib/apache2/modules";

/// The directories. `/open` asks for no certificate.
const PATHS: [&str; 3] = ["open", "require", "optional"];

/// A running Apache.
pub struct Apache {
    child: Child,
    log: Log,
    port: u16,
    _dir: TempDir,
}

/// The result of a request: its path, status, TLS version, and the common name of the client's certificate or `-`.
pub type Served = (String, u16, String, String);

impl Apache {
    /// With this TLS version; it accepts staff.
    pub fn start(scene: &Scene, tls: Tls) -> Apache {
        Apache::start_with(scene, tls, "")
    }

    /// With further lines of configuration.
    pub fn start_with(scene: &Scene, tls: Tls, more: &str) -> Apache {
        let dir = tempfile::tempdir().unwrap();
        // When root starts it, it serves as another user
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        for path in PATHS {
            let file = dir.path().join("www").join(path);
            std::fs::create_dir_all(&file).unwrap();
            std::fs::write(file.join("page"), format!("this is {path}\n")).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = dir.path().join("apache.conf");
        std::fs::write(&file, configuration(scene, dir.path(), port, tls) + more).unwrap();
        let mut command = program::named("apache2");
        command.arg("-d").arg(dir.path()).arg("-f").arg(&file).arg("-DFOREGROUND");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}", missing("apache2", "apache2-bin", &error)));
        let log = Log::default();
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        let apache = Apache { child, log, port, _dir: dir };
        apache.said("resuming normal operations");
        apache
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    pub fn destination(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Waits for a line with these words.
    #[track_caller]
    pub fn said(&self, words: &str) {
        let found = self.log.wait_for(LIMIT, |line| line.contains(words).then_some(()));
        found.unwrap_or_else(|said| panic!("Apache never said {words:?}:\n{said}"));
    }

    /// All requests, as soon as there are this many.
    #[track_caller]
    pub fn served(&self, count: usize) -> Vec<Served> {
        let until = Instant::now() + LIMIT;
        loop {
            let served: Vec<_> = self.log.lines().iter().filter_map(|line| served(line)).collect();
            if served.len() >= count {
                return served;
            }
            assert!(Instant::now() < until, "fewer than {count} requests:\n{}", self.log.lines().join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn served(line: &str) -> Option<Served> {
    let mut words = line.strip_prefix("served ")?.split(' ');
    let mut next = || words.next().map(str::to_owned);
    Some((next()?, next()?.parse().ok()?, next()?, next()?))
}

fn configuration(scene: &Scene, dir: &Path, port: u16, tls: Tls) -> String {
    let files = scene.machine.dir();
    let at = dir.display();
    let mut text = String::new();
    for module in ["mpm_event", "authz_core", "ssl", "http2"] {
        writeln!(text, "LoadModule {module}_module {MODULES}/mod_{module}.so").unwrap();
    }
    if rustix::process::geteuid().is_root() {
        text += "User www-data\nGroup www-data\n";
    }
    let protocol = tls.number();
    let certificate = scene.server_certificate.certificate_file(files);
    let key = scene.server_certificate.key_file(files);
    let authority = scene.staff_root.file(files);
    let (certificate, key, authority) = (certificate.display(), key.display(), authority.display());
    writeln!(
        text,
        r#"ServerName localhost
Listen 127.0.0.1:{port}
DefaultRuntimeDir {at}
PidFile {at}/pid
Mutex sem
StartServers 1
ErrorLog /dev/stderr
LogFormat "served %U %>s %{{SSL_PROTOCOL}}x %{{SSL_CLIENT_S_DN_CN}}x" served
CustomLog /dev/stdout served
DocumentRoot {at}/www
SSLEngine on
SSLProtocol TLSv{protocol}
SSLCertificateFile {certificate}
SSLCertificateKeyFile {key}
SSLCACertificateFile {authority}
SSLVerifyDepth 5
<Directory {at}/www/require>
SSLVerifyClient require
</Directory>
<Directory {at}/www/optional>
SSLVerifyClient optional
</Directory>"#
    )
    .unwrap();
    text
}

impl Drop for Apache {
    fn drop(&mut self) {
        // On SIGTERM it also ends its worker processes. It may have ended already
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
