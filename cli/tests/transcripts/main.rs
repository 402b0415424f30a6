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

use rcgen::{DistinguishedName, DnType};

use document::{Block, Document, Step};
use support::ca::{Authority, P12};
use support::command::Cardcase;
use support::executable::executable;
use support::program;
use support::server::{Kind, Server, Setup};
use support::terminal::Terminal;

/// The host in the documents.
const HOST: &str = "intranet.example.com";

/// Wide enough for every line.
const COLUMNS: u16 = 160;
const ROWS: u16 = 50;

/// A directory with the files that the transcripts name, a server, and the command in front of it.
struct Stage {
    machine: Cardcase,
    /// Asks for a certificate; every transcript reaches it as `HOST`.
    _server: Server,
}

impl Stage {
    /// With the file of the README.
    fn with_alice() -> Stage {
        let machine = Cardcase::new();
        let root = Authority::root_named(named("Example Root"));
        let alice = root.intermediate_named(named("Example Issuing CA")).client("Alice Example").issue();
        let stage = {
            let file = root.file(machine.dir());
            Stage::new(machine, file)
        };
        std::fs::copy(alice.p12(stage.machine.dir(), P12::Default), stage.directory().join("alice.p12")).unwrap();
        stage
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
        let authority = Authority::root("Server Root");
        let certificate = authority.server(&[HOST]);
        let server = Setup::new(Kind::OpenSsl, &certificate).authorities_in(clients).start();
        Stage::with_server(machine, &authority, server)
    }

    fn with_server(machine: Cardcase, authority: &Authority, server: Server) -> Stage {
        let (port, file) = (server.port(), authority.file(machine.dir()));
        std::fs::create_dir(machine.dir().join("directory")).unwrap();
        std::fs::create_dir(machine.dir().join("bin")).unwrap();
        let script = format!(
            r#"#!/bin/sh
for word; do
    case $word in
        fetch) set -- "$@" --connect-to {HOST}:443:localhost:{port} --cacert {file}; break ;;
        explain) set -- "$@" --connect localhost:{port} --cacert {file}; break ;;
        tunnel) set -- "$@" --connect-to {HOST}:443:localhost:{port}; break ;;
        credential) set -- "$@" --connect localhost:{port}; break ;;
    esac
done
exec {command} "$@"
"#,
            file = file.display(),
            command = env!("CARGO_BIN_EXE_cardcase"),
        );
        executable(&machine.dir().join("bin"), "cardcase", &script);
        Stage { machine, _server: server }
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
        let mut document = Document::read(file);
        for number in 0..document.blocks.len() {
            let block = &document.blocks[number];
            let came = match &block.steps[..] {
                [] => self.piped(block),
                steps => self.in_a_terminal(block, steps),
            };
            document.compare(number, &came);
        }
    }

    fn piped(&self, block: &Block) -> String {
        let mut shell = program::named("setsid");
        shell.args(["sh", "-c", &self.script(block)]).env_clear().envs(self.machine.environment());
        let output = shell.stdin(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn in_a_terminal(&self, block: &Block, steps: &[Step]) -> String {
        // The last line keeps what was written last on the screen
        let script = self.script(block) + "sleep 600";
        let shell = program::in_terminal("sh").args(["-c", &script]).env_clear().envs(self.machine.environment());
        let mut terminal = Terminal::start(shell, ROWS, COLUMNS);
        for step in steps {
            terminal.wait_for(&step.at);
            terminal.send(&step.keys);
        }
        let last = block.text.lines().last().unwrap_or_default();
        terminal.wait_for(last.split(char::is_numeric).next().unwrap().trim());
        let screen = terminal.stays_for(std::time::Duration::from_millis(500));
        terminal.kill();
        screen
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
