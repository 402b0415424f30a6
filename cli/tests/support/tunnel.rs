//! A running `cardcase tunnel`, and curl as its client.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::command::{Run, wait};
use super::log::Log;
use super::missing;
use super::program;
use super::scene::Scene;

const LIMIT: Duration = Duration::from_secs(30);

pub struct Tunnel {
    child: Option<Child>,
    log: Log,
    /// `unix:PATH` or `127.0.0.1:PORT`
    pub address: String,
    /// `http://localhost:PORT/`
    pub url: String,
}

impl Tunnel {
    /// To a destination on this machine, without a terminal.
    pub fn start(scene: &Scene, destination: &str, more: &[&str]) -> Tunnel {
        Tunnel::start_with(scene, destination, more, &[])
    }

    pub fn start_with(scene: &Scene, destination: &str, more: &[&str], environment: &[(&str, &str)]) -> Tunnel {
        let authority = scene.server_root_file.to_str().unwrap();
        let mut run = scene.machine.command(["tunnel", destination, "--cacert", authority]).args(more);
        for (name, value) in environment {
            run = run.env(name, value);
        }
        Tunnel::from_run(run, destination)
    }

    /// A tunnel that verifies the server with the certificates that the store trusts.
    pub fn that_trusts_the_store(scene: &Scene, destination: &str) -> Tunnel {
        Tunnel::from_run(scene.machine.command(["tunnel", destination]), destination)
    }

    pub fn from_run(run: Run, destination: &str) -> Tunnel {
        let mut child = run.process().spawn().unwrap();
        let log = Log::default();
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        let is_address = |line: &str| (line.starts_with("unix:") || line.starts_with("127.")).then(|| line.to_owned());
        let address = log.wait_for(LIMIT, is_address).unwrap_or_else(|said| panic!("no tunnel:\n{said}"));
        Tunnel { child: Some(child), log, address, url: format!("http://{destination}/") }
    }

    pub fn path(&self) -> PathBuf {
        self.address.strip_prefix("unix:").unwrap().into()
    }

    pub fn curl(&self) -> Command {
        let mut command = program::named("curl");
        command.args(["--silent", "--show-error", "--max-time", "30"]);
        if self.address.starts_with("unix:") {
            command.arg("--unix-socket").arg(self.path());
            command.arg(&self.url);
        } else {
            command.arg(format!("http://{}/", self.address));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn fetch(&self) -> Output {
        self.curl().output().unwrap_or_else(|error| panic!("{}", missing("curl", "curl", &error)))
    }

    #[track_caller]
    pub fn fetches(&self) {
        let output = self.fetch();
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), self.said());
    }

    #[track_caller]
    pub fn fails_to_fetch(&self) {
        let output = self.fetch();
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    /// Waits until it has written this.
    #[track_caller]
    pub fn says(&self, text: &str) {
        self.says_within(text, LIMIT);
    }

    #[track_caller]
    pub fn says_within(&self, text: &str, limit: Duration) {
        let found = self.log.wait_for(limit, |line| line.contains(text).then_some(()));
        found.unwrap_or_else(|said| panic!("no {text:?} in:\n{said}"));
    }

    pub fn process(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn said(&self) -> String {
        self.log.lines().join("\n")
    }

    /// Sends this signal and returns the exit code.
    pub fn end(&mut self, signal: Signal) -> Option<i32> {
        let child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        wait(child, LIMIT).expect("the tunnel does not end").code()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
