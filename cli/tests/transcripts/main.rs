//! Executes the transcripts in the documents and in this directory, and compares what the command writes.
//!
//! A transcript is a block of a Markdown file that is marked as `console`: lines of a shell after `$ `, each followed by what
//! it writes to stdout and stderr. The lines of a file run in one directory, in order, in an environment of their own. A
//! comment above a block, `<!-- terminal: at "TEXT" type "KEYS" -->`, makes it run in a terminal: there the block is the
//! screen, and the keys are typed when the text appears. Numbers of days, times and ports may differ.
//!
//! With `SNAPSHOTS=overwrite` in the environment, the tests write what came into the documents.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod document;
mod examples;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cardcase::manage::Certificate;
use rcgen::{DistinguishedName, DnType};

use document::{Block, Document};
use support::ca::{Authority, Issued, P12, PASSWORD, Validity};
use support::command::Cardcase;
use support::executable::executable;
use support::missing;
use support::program;
use support::server::{Kind, Server, Setup};
use support::terminal::Terminal;

/// The host in the documents.
const HOST: &str = "intranet.example.com";

/// A server that refuses every certificate of the guide.
const BANK: &str = "bank.example.com";

/// What `openssl ca` needs.
const CA_CONFIGURATION: &str = "\
[ca]
default_ca = example
[example]
certificate = ca.pem
private_key = ca.key
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
default_days = 365
policy = any
x509_extensions = client
copy_extensions = none
[any]
commonName = supplied
[client]
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
";

/// Wide enough for every line.
const COLUMNS: u16 = 160;
const ROWS: u16 = 50;

/// A directory with the files that the transcripts name, servers that ask for a certificate, and the command in front of them.
struct Stage {
    machine: Cardcase,
    /// The first is `HOST` to the transcripts. Their certificates are from one CA, which the command trusts.
    servers: Vec<(&'static str, Server)>,
    authority: Authority,
}

impl Stage {
    /// With the file of the README.
    fn with_alice() -> Stage {
        let machine = Cardcase::new();
        let root = Authority::root_named(named("Example Root"));
        let alice = root.intermediate_named(named("Example Issuing CA")).client("Alice Example").issue();
        let clients = root.file(machine.dir());
        let stage = Stage::new(machine, clients);
        std::fs::copy(alice.p12(stage.machine.dir(), P12::Default), stage.directory().join("alice.p12")).unwrap();
        stage
    }

    /// With the people of the guide, a CA of OpenSSL's, and a bank that takes none of their certificates.
    fn for_the_guide() -> Stage {
        let root = Authority::root_named(named("Example Root"));
        let issuing = root.intermediate_named(named("Example Issuing CA"));
        let machine = Cardcase::new();
        let clients = root.file(machine.dir());
        let customers = Authority::root("Bank Root").file(machine.dir());
        let mut stage = Stage::new(machine, clients);
        stage.add_server(BANK, Kind::OpenSsl, |setup| setup.without_hints().authorities_in(customers));
        let directory = stage.directory();
        let person = |name: &str, validity: Validity, file: &str| {
            let issued = issuing.client(name).validity(validity).issue();
            std::fs::copy(issued.p12(stage.machine.dir(), P12::Default), directory.join(file)).unwrap();
        };
        person("Alice Example", Validity::Now, "alice.p12");
        person("Bob Example", Validity::Soon, "bob.p12");
        person("Bob Example", Validity::Now, "bob-renewed.p12");
        person("Carol Example", Validity::Expired, "carol.p12");
        let write = |name: &str, content: &str| std::fs::write(directory.join(name), content).unwrap();
        write("ca.pem", &issuing.pem());
        std::fs::copy(issuing.key_file(stage.machine.dir()), directory.join("ca.key")).unwrap();
        write("index.txt", "");
        write("ca.conf", CA_CONFIGURATION);
        stage.add_firefox(&issuing.client("Erika Example").serial(&[0x4e, 0x21]).issue());
        stage
    }

    /// A profile of Firefox with an identity. It remembers to send it to one host, and none to another.
    fn add_firefox(&self, issued: &Issued) {
        let firefox = self.machine.dir().join(".mozilla/firefox");
        let profile = firefox.join("k3x9mw2p.default-release");
        std::fs::create_dir_all(&profile).unwrap();
        let ini = "[Profile0]\nName=default-release\nIsRelative=1\nPath=k3x9mw2p.default-release\nDefault=1\n";
        std::fs::write(firefox.join("profiles.ini"), ini).unwrap();
        let nss = |name: &str, arguments: &[&str]| {
            let output =
                program::named(name).args(arguments).args(["-d"]).arg(format!("sql:{}", profile.display())).output();
            let output = output.unwrap_or_else(|error| panic!("{}", missing(name, "libnss3-tools", &error)));
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        };
        nss("certutil", &["-N", "--empty-password"]);
        let file = issued.p12(self.machine.dir(), P12::Default);
        nss("pk12util", &["-i", file.to_str().unwrap(), "-W", PASSWORD, "-K", ""]);
        let issuer = Certificate::from_der(issued.der()).unwrap().issuer().der().to_vec();
        let serial = [0x4e, 0x21];
        let lengths = [serial.len(), issuer.len()].map(|length| u32::try_from(length).unwrap().to_be_bytes());
        let chosen = BASE64_STANDARD.encode([&[0; 8], &lengths.concat()[..], &serial, &issuer].concat());
        let list = format!("{HOST},,\t1\t20420\t{chosen}\nprinter.example.com,,\t1\t20420\tno client certificate\n");
        std::fs::write(profile.join("ClientAuthRememberList.txt"), list).unwrap();
    }

    /// With the identities in `fixtures/`, and files of passwords and rules.
    fn with_fixtures() -> Stage {
        let fixtures = repository().join("fixtures");
        let stage = Stage::new(Cardcase::new(), fixtures.join("server/root.pem"));
        let copy = |from: &str, to: &str| {
            std::fs::copy(fixtures.join(from), stage.directory().join(to)).unwrap();
        };
        copy("identities/openssl.p12", "alice.p12");
        copy("identities/openssl-legacy.p12", "bob.p12");
        copy("server/root.pem", "root.pem");
        let write = |name: &str, content: &str| std::fs::write(stage.directory().join(name), content).unwrap();
        write("password", "cardcase");
        write("wrong", "not the password");
        write("empty.pem", "");
        let rule =
            r#"{\"pattern\":\"https://[*.]example.com\",\"filter\":{\"ISSUER\":{\"CN\":\"Example Issuing CA\"}}}"#;
        let policy =
            format!(r#"{{"AutoSelectCertificateForUrls": ["{rule}"], "PromptOnMultipleMatchingCertificates": true}}"#);
        write("certificates.json", &policy);
        stage
    }

    fn new(machine: Cardcase, clients: PathBuf) -> Stage {
        let mut stage = Stage::without_server(machine);
        stage.add_server(HOST, Kind::OpenSsl, |setup| setup.authorities_in(clients));
        stage
    }

    fn without_server(machine: Cardcase) -> Stage {
        std::fs::create_dir(machine.dir().join("directory")).unwrap();
        std::fs::create_dir(machine.dir().join("bin")).unwrap();
        Stage { machine, servers: Vec::new(), authority: Authority::root("Server Root") }
    }

    /// Starts a server, and puts a script in front of the command that connects to it under this name.
    fn add_server(&mut self, host: &'static str, kind: Kind, prepare: impl FnOnce(Setup<'_>) -> Setup<'_>) {
        let certificate = self.authority.server(&[host]);
        self.servers.push((host, prepare(Setup::new(kind, &certificate)).start()));
        let (mut connect_to, mut ports) = (String::new(), String::new());
        for (host, server) in &self.servers {
            connect_to += &format!("--connect-to {host}:443:localhost:{} ", server.port());
            ports += &format!("*{host}*) port={} ;; ", server.port());
        }
        let script = format!(
            r#"#!/bin/sh
case $* in {ports} esac
for word; do
    case $word in
        fetch) set -- "$@" {connect_to} --cacert {file}; break ;;
        explain) set -- "$@" --connect localhost:$port --cacert {file}; break ;;
        tunnel) set -- "$@" {connect_to}; break ;;
        credential) set -- "$@" --connect localhost:$port; break ;;
    esac
done
exec {command} "$@"
"#,
            file = self.authority.file(self.machine.dir()).display(),
            command = env!("CARGO_BIN_EXE_cardcase"),
        );
        executable(&self.machine.dir().join("bin"), "cardcase", &script);
    }

    fn directory(&self) -> PathBuf {
        self.machine.dir().join("directory")
    }

    /// A shell script that writes each line of a block as it is in the transcript, and runs it.
    fn script(&self, block: &Block) -> String {
        let bin = self.machine.dir().join("bin");
        let mut script = format!("exec 2>&1; cd {}; PATH={}:$PATH; ", self.directory().display(), bin.display());
        for line in block.lines() {
            let shown = line.replace('\'', r"'\''");
            script += &format!("was=$?; printf '%s\\n' '$ {shown}'; (exit $was); {line}\n");
        }
        script
    }

    fn play(&self, file: &Path) {
        self.play_with(file, |block| match &block.steps[..] {
            [] => self.piped(block),
            _ => self.in_a_terminal(block, ROWS, COLUMNS),
        });
    }

    /// Everything in a terminal of 80 by 24.
    fn play_in_a_terminal(&self, file: &Path) {
        self.play_with(file, |block| self.in_a_terminal(block, Terminal::ROWS, Terminal::COLUMNS));
    }

    fn play_with(&self, file: &Path, run: impl Fn(&Block) -> String) {
        let mut document = Document::read(file);
        for number in 0..document.blocks.len() {
            let came = run(&document.blocks[number]);
            document.compare(number, &came);
        }
    }

    fn piped(&self, block: &Block) -> String {
        let mut shell = program::named("setsid");
        shell.args(["sh", "-c", &self.script(block)]).env_clear().envs(self.machine.environment());
        let output = shell.stdin(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn in_a_terminal(&self, block: &Block, rows: u16, columns: u16) -> String {
        // A title of the window says that all lines are done; the last one keeps the screen as it is then
        let script = self.script(block) + r"printf '\033]0;done\007'; sleep 600";
        let shell = program::in_terminal("sh").args(["-c", &script]).env_clear().envs(self.machine.environment());
        let mut terminal = Terminal::start_with_scrollback(shell, rows, columns, 1000);
        for step in &block.steps {
            terminal.wait_for(&step.at);
            terminal.send(&step.keys);
        }
        terminal.wait_for_bytes(b"\x1b]0;done\x07");
        let shown = terminal.everything();
        terminal.kill();
        shown
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Example Ltd");
    name.push(DnType::CommonName, common_name);
    name
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn readme() {
    Stage::with_alice().play(&repository().join("README.md"));
}

#[test]
fn guide() {
    Stage::for_the_guide().play_in_a_terminal(&repository().join("docs/guide.md"));
}

#[test]
fn command_line() {
    Stage::with_fixtures().play(&repository().join("docs/cli.md"));
}

#[test]
fn moving() {
    Stage::with_fixtures().play(&repository().join("docs/moving.md"));
}

#[test]
fn rules() {
    Stage::with_fixtures().play(&repository().join("docs/rules.md"));
}

#[test]
fn errors() {
    Stage::with_fixtures().play(&repository().join("cli/tests/transcripts/errors.md"));
}

#[test]
fn json() {
    Stage::with_fixtures().play(&repository().join("cli/tests/transcripts/json.md"));
}
