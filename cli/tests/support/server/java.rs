//! The server in `Server.java`, compiled again only when it changes.

use std::path::PathBuf;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::{Server, Setup, listening, port_event, spawn};
use crate::support::program;
use crate::support::{ca, fingerprint, missing};

const PACKAGE: &str = "default-jdk-headless";
const PASSWORD: &str = "changeit";

/// For a quick start: little compilation and no concurrent garbage collection.
const SHORT_LIVED: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

pub(super) fn start(setup: &Setup<'_>, dir: TempDir) -> Server {
    let mut command = program::named("java");
    command.args(SHORT_LIVED).arg("-cp").arg(classes()).arg("Server");
    command.arg("--listen").arg(setup.listen.to_string());
    command.arg("--keystore").arg(key_store(setup, &dir)).args(["--password", PASSWORD]);
    command.args(["--tls", setup.tls.map_or("", |tls| tls.number())]);
    command.args(["--ask", setup.ask.name(), "--hints", &setup.hints.to_string()]);
    if let Some(file) = setup.authorities_file(dir.path()) {
        command.arg("--authorities").arg(file);
    }
    let running = spawn(command, PACKAGE);
    listening(setup, dir, running, port_event)
}

/// The server's key and certificates as PKCS#12.
fn key_store(setup: &Setup<'_>, dir: &TempDir) -> PathBuf {
    let file = ca::unused(dir.path(), "server", "p12");
    let [certificate, key] = [setup.certificate_file(dir.path()), setup.key_file(dir.path())];
    let [certificate, key, out] = [&certificate, &key, &file].map(|path| path.display());
    ca::openssl(&format!("pkcs12 -export -in {certificate} -inkey {key} -out {out} -passout pass:{PASSWORD}"));
    file
}

fn classes() -> &'static PathBuf {
    static CLASSES: OnceLock<PathBuf> = OnceLock::new();
    CLASSES.get_or_init(compile)
}

/// Compiles into a directory that is named after the hash of the source. It is renamed when complete, so that tests in
/// parallel never use an incomplete one.
fn compile() -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/Server.java");
    let tag = &fingerprint(&std::fs::read(source).unwrap())[..16];
    let classes = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("server-java-{tag}"));
    if classes.exists() {
        return classes;
    }
    let built = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = program::named("javac");
    command.arg("-d").arg(built.path()).arg(source);
    let output = command.output().unwrap_or_else(|error| panic!("{}", missing("javac", PACKAGE, &error)));
    assert!(output.status.success(), "javac: {}", String::from_utf8_lossy(&output.stderr));
    let moved = std::fs::rename(built.path(), &classes);
    assert!(moved.is_ok() || classes.exists(), "{moved:?}");
    classes
}
