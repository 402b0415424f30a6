//! A RESTCONF server (RFC 8040) over HTTP/2: jetconf, installed by `tests/restconf.sh`. The common name of the client's
//! certificate is its user (RFC 8040 section 2.5), and NACM (RFC 8341) says what users may read: alice the host name,
//! everybody else nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::ca;
use super::log::Log;
use super::program;
use super::scene::Scene;

/// Python needs time to start and to read the data model.
const LIMIT: Duration = Duration::from_secs(40);

/// A running jetconf.
pub struct Restconf {
    child: Child,
    log: Log,
    port: u16,
    _dir: TempDir,
}

impl Restconf {
    /// For the scene's staff. It refuses clients without a certificate.
    pub fn start(scene: &Scene) -> Restconf {
        let dir = tempfile::tempdir().unwrap();
        let ours = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/restconf"));
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("restconf");
        let modules = dir.path().join("modules");
        gather(&venv.join("share/yang/modules/ietf"), &ours, &modules);
        let file = ca::write(dir.path(), "jetconf", "yaml", configuration(scene, dir.path(), &modules));
        std::fs::copy(ours.join("data.json"), dir.path().join("data.json")).unwrap();
        let mut command = program::named(venv.join("bin/python"));
        command
            .args(["-u", "-m", "jetconf", "-c"])
            .arg(file)
            .env("PYTHONPATH", ours)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command.current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("jetconf: {error}; run tests/restconf.sh"));
        let log = Log::default();
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        let port = log.wait_for(LIMIT, port).unwrap_or_else(|said| panic!("jetconf did not start:\n{said}"));
        Restconf { child, log, port, _dir: dir }
    }

    /// `localhost:PORT`
    pub fn destination(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.destination())
    }

    /// The users of the requests, in order, as soon as there were this many. jetconf writes the line before it answers, and it is read
    /// by another thread.
    #[track_caller]
    pub fn users(&self, count: usize) -> Vec<String> {
        let until = Instant::now() + LIMIT;
        loop {
            let lines = self.log.lines();
            let users: Vec<_> = lines.iter().filter_map(|line| user(line)).map(str::to_owned).collect();
            if users.len() >= count {
                return users;
            }
            assert!(Instant::now() < until, "fewer than {count} requests came");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn said(&self) -> String {
        self.log.lines().join("\n")
    }
}

impl Drop for Restconf {
    fn drop(&mut self) {
        // It may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- jetconf on {}:\n{}", self.port, self.said());
        }
    }
}

/// Copies the YANG modules into one directory, as jetconf needs them.
fn gather(ietf: &Path, ours: &Path, into: &Path) {
    const IETF: [&str; 5] = ["datastores", "inet-types", "netconf-acm", "yang-library", "yang-types"];
    std::fs::create_dir(into).unwrap();
    for name in IETF.map(|name| format!("ietf-{name}.yang")) {
        let copied = std::fs::copy(ietf.join(&name), into.join(&name));
        copied.unwrap_or_else(|error| panic!("{name}: {error}; run tests/restconf.sh"));
    }
    std::fs::copy(ours.join("device.yang"), into.join("device.yang")).unwrap();
}

/// In JSON, which is valid YAML.
fn configuration(scene: &Scene, dir: &Path, modules: &Path) -> String {
    json!({
        "GLOBAL": {
            "PIDFILE": dir.join("pid"),
            "PERSISTENT_CHANGES": false,
            "YANG_LIB_DIR": modules,
            "DATA_JSON_FILE": dir.join("data.json"),
            "BACKEND_PACKAGE": "device",
            "CLIENT_CN": true,
        },
        "HTTP_SERVER": {
            "DOC_ROOT": dir.join("www"),
            "LISTEN_LOCALHOST_ONLY": true,
            "PORT": 0,
            "SERVER_SSL_CERT": scene.server_certificate.certificate_file(dir),
            "SERVER_SSL_PRIVKEY": scene.server_certificate.key_file(dir),
            "CA_CERT": scene.staff_root.file(dir),
        },
    })
    .to_string()
}

/// `Server started on ('127.0.0.1', PORT)`
fn port(line: &str) -> Option<u16> {
    let (_, address) = line.split_once("Server started on ")?;
    address.split(|sign: char| !sign.is_ascii_digit()).filter(|part| !part.is_empty()).nth(4)?.parse().ok()
}

/// `[USER] api_get_staging: PATH`
fn user(line: &str) -> Option<&str> {
    let (before, _) = line.split_once("] api_get")?;
    Some(before.rsplit_once('[')?.1)
}
