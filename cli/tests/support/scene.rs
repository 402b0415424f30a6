//! What most tests share: the issuer of the server's certificate, the issuers of the clients', and
//! one machine with the command on it.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::ca::{Authority, Client, Issued, PASSWORD};
use super::command::Cardcase;
use super::server::{Ask, Kind, Server, Setup, Tls};

/// A machine, a server certificate for this host, and authorities for clients.
pub struct Scene {
    pub machine: Cardcase,
    pub server_root: Authority,
    pub server_certificate: Issued,
    /// `--cacert`
    pub server_root_file: PathBuf,
    pub staff_root: Authority,
    /// Between the root and the employees' certificates.
    pub staff: Authority,
    /// Another authority, which servers accept only when a test says so.
    pub guests_root: Authority,
    pub guests: Authority,
}

impl Scene {
    pub fn new() -> Scene {
        let machine = Cardcase::new();
        let server_root = Authority::root("Server Root");
        let server_root_file = server_root.file(machine.dir());
        let server_certificate = server_root.server(&["localhost", "127.0.0.1", "::1"]);
        let staff_root = Authority::root("Staff Root");
        let staff = staff_root.intermediate("Staff Issuing");
        let guests_root = Authority::root("Guests Root");
        let guests = guests_root.intermediate("Guests Issuing");
        Scene { machine, server_root, server_certificate, server_root_file, staff_root, staff, guests_root, guests }
    }

    /// A server that asks for staff certificates.
    pub fn server(&self, kind: Kind) -> Setup<'_> {
        Setup::new(kind, &self.server_certificate).authorities(&[&self.staff_root])
    }

    pub fn employee(&self, name: &str) -> Client<'_> {
        self.staff.client(name)
    }

    /// Issues and imports an employee's identity.
    pub fn hire(&self, name: &str) -> Issued {
        self.bring(self.employee(name).email(&format!("{name}@example.com")).issue())
    }

    /// Imports an identity.
    pub fn bring(&self, identity: Issued) -> Issued {
        self.machine.import(&identity);
        identity
    }

    /// A proxy at 127.0.0.1 and a server behind it at localhost, which both accept any client; and the arguments for the proxy.
    pub fn behind_a_proxy(&self, tls: Tls) -> (Server, Server, [String; 2]) {
        let proxy = self.server(Kind::Python).tls(tls).ask(Ask::Optional).start();
        let server = self.server(Kind::Go).tls(tls).ask(Ask::Optional).start();
        let through = ["--proxy".to_owned(), proxy.url_at("127.0.0.1", "")];
        (proxy, server, through)
    }

    /// The arguments of a `fetch` that may ask.
    pub fn fetch_arguments(&self, url: &str) -> Vec<String> {
        let authority = self.server_root_file.to_str().unwrap();
        ["fetch", url, "--cacert", authority].map(str::to_owned).to_vec()
    }

    /// Fetches with `--batch`.
    pub fn fetch(&self, url: &str, more: &[&str]) -> super::command::Outcome {
        self.machine.fetch(url, &self.server_root_file, more)
    }

    /// A configuration for the library that trusts the same servers as `--cacert`.
    pub fn client_config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.server_root.der().to_vec())).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth()
    }

    /// Runs `remember` with a permanent lifetime.
    pub fn remember(&self, destination: &str, answer: &str) {
        self.remember_as(destination, answer, "");
    }

    pub fn remember_as(&self, destination: &str, answer: &str, more: &str) {
        let line = format!("remember {destination} {answer} --for permanent {more}");
        self.machine.run(&line).expect(0);
    }

    pub fn password() -> &'static str {
        PASSWORD
    }
}
