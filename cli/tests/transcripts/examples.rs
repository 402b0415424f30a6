//! The examples at the end of each command's help are taken from there, and run.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{HOST, Stage, named};
use crate::support::ca::{self, Authority, Issued, P12, Validity};
use crate::support::command::Cardcase;
use crate::support::executable::executable;
use crate::support::program;
use crate::support::server::Kind;

/// The exit codes with which these say what they found.
const FOUND: [&str; 2] = ["cardcase expires", "cardcase doctor"];

/// With a store, and beside it the files that the examples name.
fn stage() -> Stage {
    let machine = Cardcase::new();
    let root = Authority::root_named(named("Example Root"));
    let issuer = root.intermediate_named(named("Example Issuing CA"));
    let clients = root.file(machine.dir());
    let mut stage = Stage::without_server(machine);
    stage.add_server(HOST, Kind::Go, |setup| setup.authorities_in(clients));
    let port = stage.servers[0].1.port();
    let curl = format!("#!/bin/sh\nPATH=${{PATH#*:}}\nexec curl --connect-to {HOST}:443:localhost:{port} \"$@\"\n");
    executable(&stage.machine.dir().join("bin"), "curl", &curl);

    let issue = |name: &str, validity| issuer.client(name).validity(validity).issue();
    let alice = issue("Alice Example", Validity::Now);
    let put = |name: &str, content: &[u8]| std::fs::write(stage.directory().join(name), content).unwrap();
    let p12 = |name: &str, identity: &Issued| {
        let made = identity.p12_with_password(stage.machine.dir(), P12::Default, "");
        put(name, &std::fs::read(made).unwrap());
    };
    p12("alice.p12", &alice);
    p12("alice-2025.p12", &issue("Alice Example", Validity::Soon));
    p12("alice-new.p12", &issue("Alice Example", Validity::Now));
    p12("bob.p12", &issue("Bob Example", Validity::Now));
    let other = issue("Alice Example", Validity::Now);
    put("alice.pem", other.pem().as_bytes());
    put("alice.key", other.key_pem().as_bytes());
    put("CA.pem", stage.authority.pem().as_bytes());
    put("server.pem", ca::own_server(&["printer.example.com"], |_| {}).pem().as_bytes());
    put("password", b"cardcase");
    put("old", b"");
    put("new", b"cardcase");

    let run =
        |line: &str| stage.machine.command(line.split_whitespace()).in_directory(stage.directory()).run().expect(0);
    for name in ["alice", "alice-2025", "bob"] {
        run(&format!("import {name}.p12 --name {name}"));
    }
    run(&format!("remember {HOST} alice"));
    run("trust CA.pem");
    assert_eq!(stage.run(&format!("cardcase fetch https://{HOST}/")), Some(0));
    std::fs::copy(stage.machine.store(), stage.directory().join("work.db")).unwrap();
    run("backup cards.backup --password-file password");
    stage
}

impl Stage {
    /// The exit code of a line of a shell. What serves until it is stopped is stopped when it has said where it listens.
    #[track_caller]
    fn run(&self, line: &str) -> Option<i32> {
        let bin = self.machine.dir().join("bin");
        let serves = line.starts_with("cardcase tunnel ");
        let script = format!("HOST={HOST}; PATH={}:$PATH; {}{line}", bin.display(), if serves { "exec " } else { "" });
        let mut shell: Command = program::named("sh");
        shell.args(["-c", &script]).env_clear().envs(self.machine.environment()).current_dir(self.directory());
        shell.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        if serves {
            let mut first = String::new();
            stdout.read_line(&mut first).unwrap();
            assert!(!first.is_empty(), "{line}: it does not say where it listens");
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        }
        std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
        child.wait().unwrap().code()
    }

    fn help(&self, command: &str) -> String {
        let words = command.split_whitespace().chain(["--help"]);
        self.machine.command(words).run().expect(0).text()
    }
}

/// The commands in the groups of `cardcase --help`.
fn commands(help: &str) -> Vec<String> {
    let groups = help.split("Options of every command:").next().unwrap();
    let lines = groups.lines().filter_map(|line| line.strip_prefix("  "));
    lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

fn restore(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[test]
fn every_example_in_the_help_works() {
    let stage = stage();
    let prepared = stage.machine.dir().join("prepared.db");
    restore(stage.machine.store(), &prepared);
    let commands = commands(&stage.help(""));
    assert!(commands.len() > 25, "{commands:?}");
    for command in commands {
        let help = stage.help(&command);
        let (_, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{command} has no examples"));
        for example in examples.lines().map(|line| line.strip_prefix("  ").unwrap()) {
            restore(&prepared, stage.machine.store());
            let code = stage.run(example);
            let is_expected = match code {
                Some(0) => true,
                Some(1) => FOUND.iter().any(|found| example.starts_with(found)),
                Some(143) => example.starts_with("cardcase tunnel "),
                _ => false,
            };
            assert!(is_expected, "{example}: {code:?}");
        }
    }
}
