//! An application that has chosen ring as the only provider of rustls, and installs none: rustls finds it.
//!
//! It connects to a server that asks for a certificate, and prints whom the server saw. `ClientConfig::builder()` panics as soon as
//! a dependency turns on another provider.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use cardcase::connect::blocking::Connector;
use cardcase::manage::{Lifetime, Scope, Session, Timestamp};
use cardcase::{Destination, Selector, Store, file};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

macro_rules! fixture {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../../fixtures/", $name)
    };
}

/// Files of fixtures/README.md, with a key on a curve and an RSA key, and whose identities they hold.
const FILES: [(&str, &str); 2] =
    [(fixture!("identities/openssl.p12"), "Alice Example"), (fixture!("identities/openssl-legacy.p12"), "Bob Example")];

fn main() -> Result<(), Box<dyn Error>> {
    for version in ["-tls1_2", "-tls1_3"] {
        for (file, name) in FILES {
            let seen = subject_seen_by_server(file, version)?;
            println!("openssl s_server {version} saw {seen}");
            if !seen.contains(name) {
                return Err(format!("it should have seen {name}").into());
            }
        }
    }
    Ok(())
}

fn subject_seen_by_server(file: &str, version: &str) -> Result<String, Box<dyn Error>> {
    let server = Server::start(version)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(fixture!("server/root.pem"))?)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();

    let home = tempfile::tempdir()?;
    let session = Session::in_directory(home.path().join("session"));
    let store = Store::open_in_session(home.path().join("cardcase.db"), session)?;
    store.import(vec![file::read(&std::fs::read(file)?, "cardcase")?], None, Timestamp::now())?;
    let identity = store.identities()?.first().ok_or("nothing was imported")?.fingerprint();
    let scope = Scope { host: "localhost".to_owned(), port: None };
    store.remember(&scope, Some(identity), Lifetime::Permanent, Timestamp::now())?;

    let connector = Connector::new(Arc::new(Selector::new(Arc::new(store))), config);
    let destination: Destination = format!("localhost:{}", server.port).parse()?;
    let mut connection = connector.connect(&destination, || TcpStream::connect(("127.0.0.1", server.port)))?;
    connection.stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    connection.stream.read_to_string(&mut page)?;
    let (_, certificate) = page.split_once("Client certificate").ok_or("the server saw no certificate")?;
    let subject = certificate.lines().find_map(|line| line.trim().strip_prefix("Subject: "));
    Ok(subject.ok_or("the certificate has no subject")?.to_owned())
}

/// `openssl s_server`, which requires a certificate and answers with a page about the connection.
struct Server {
    process: Child,
    port: u16,
    /// Without a reader, it would end at its next message.
    _output: BufReader<ChildStdout>,
}

impl Server {
    fn start(version: &str) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", version, "-www", "-Verify", "3", "-verify_return_error"])
            .args(["-CAfile", fixture!("server/root.pem"), "-cert", fixture!("server/localhost.pem")])
            .args(["-cert_chain", fixture!("server/localhost.pem"), "-key", fixture!("server/localhost.key")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut output = BufReader::new(process.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        while output.read_line(&mut line)? > 0 {
            if let Some(port) = line.trim_end().strip_prefix("ACCEPT 127.0.0.1:") {
                return Ok(Self { process, port: port.parse()?, _output: output });
            }
            line.clear();
        }
        Err("openssl s_server did not start".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
