//! The `cardcase` command with a store and an environment of its own, and with a time limit, so that a
//! command that hangs fails its test.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::Duration;

use cardcase::Selector;
use cardcase::Store;
use cardcase::manage::Session;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::ca::{self, Issued, P12, PASSWORD};
use super::program;

/// Long enough for key derivations of a debug build on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// One person's machine: a home, a session, a store. Programs started on it share them.
pub struct Cardcase {
    home: TempDir,
    store: PathBuf,
    /// The stores of selectors of this process.
    opened: Mutex<Vec<Weak<Store>>>,
}

impl Cardcase {
    pub fn new() -> Cardcase {
        let home = tempfile::tempdir().unwrap();
        let store = home.path().join("store").join("cardcase.db");
        std::fs::create_dir(home.path().join("store")).unwrap();
        let machine = Cardcase { home, store, opened: Mutex::default() };
        machine.log_in_anew();
        machine
    }

    /// A directory for files, which is removed at the end.
    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Ends the user's login session, with what was remembered for it.
    pub fn log_in_anew(&self) {
        let runtime = self.runtime();
        // The first time it does not exist
        let _ = std::fs::remove_dir_all(&runtime);
        std::fs::create_dir(&runtime).unwrap();
        restrict(&runtime);
    }

    /// `$XDG_RUNTIME_DIR`.
    pub fn runtime(&self) -> PathBuf {
        self.home.path().join("run")
    }

    /// The selector of a program on this machine that uses the library. It opens the store itself.
    pub fn selector(&self) -> Selector {
        let session = Session::in_directory(self.runtime().join("cardcase"));
        let store = Arc::new(Store::open_in_session(self.store(), session).unwrap());
        self.opened.lock().unwrap().push(Arc::downgrade(&store));
        Selector::new(store).with_policy_directory(self.policies())
    }

    /// The directory for the administrator's rules. It does not exist unless a test creates it.
    pub fn policies(&self) -> PathBuf {
        self.home.path().join("policies")
    }

    /// The whole environment of the command.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let (runtime, policies) = (self.runtime(), self.policies());
        let pairs: [(&str, &OsStr); 7] = [
            ("PATH", &path),
            ("HOME", self.home.path().as_os_str()),
            ("XDG_RUNTIME_DIR", runtime.as_os_str()),
            ("CARDCASE_STORE", self.store.as_os_str()),
            ("CARDCASE_POLICIES", policies.as_os_str()),
            ("LANG", OsStr::new("C.UTF-8")),
            ("TZ", OsStr::new("UTC0")),
        ];
        pairs.map(|(name, value)| (name.into(), value.to_owned())).to_vec()
    }

    /// The command with these arguments.
    pub fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Run {
        let arguments = arguments.into_iter().map(|each| each.as_ref().to_owned()).collect();
        Run {
            environment: self.environment(),
            arguments,
            stdin: None,
            limit: LIMIT,
            directory: None,
            before: Vec::new(),
        }
    }

    /// Runs the command with the words of `line` as arguments and an empty stdin.
    pub fn run(&self, line: &str) -> Outcome {
        self.command(line.split_whitespace()).run()
    }

    /// Runs `line --json`, which must succeed, once the history of this process is written.
    pub fn json(&self, line: &str) -> Value {
        let opened: Vec<_> = self.opened.lock().unwrap().iter().filter_map(Weak::upgrade).collect();
        opened.iter().for_each(|store| store.flush().unwrap());
        self.run(&format!("{line} --json")).expect(0).json()
    }

    /// A file that holds a password.
    pub fn password_file(&self, password: &str) -> PathBuf {
        ca::write(self.dir(), "password", "txt", password)
    }

    /// The database, opened behind the command's back.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(&self.store).unwrap()
    }

    /// Imports the identity from a `.p12` file and returns its fingerprint.
    pub fn import(&self, identity: &Issued) -> String {
        self.import_file(&identity.p12(self.dir(), P12::Default));
        identity.fingerprint()
    }

    pub fn import_file(&self, file: &Path) -> Outcome {
        let password = self.password_file(PASSWORD);
        let arguments: [&OsStr; 4] = ["import".as_ref(), file.as_ref(), "--password-file".as_ref(), password.as_ref()];
        self.command(arguments).run().expect(0)
    }

    /// Runs `--batch fetch URL --cacert FILE` with more arguments.
    pub fn fetch(&self, url: &str, authority: &Path, more: &[&str]) -> Outcome {
        let authority = authority.to_str().unwrap();
        let arguments = ["--batch", "fetch", url, "--cacert", authority];
        self.command(arguments.iter().chain(more)).run()
    }
}

fn restrict(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
}

/// The command before it runs.
pub struct Run {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
    limit: Duration,
    directory: Option<PathBuf>,
    /// The programs that start it, with their arguments.
    before: Vec<OsString>,
}

impl Run {
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub fn args<I: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|each| each.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it with another program, which gets the command line as its last arguments.
    pub fn under<I: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = I>) -> Self {
        self.before.extend(words.into_iter().map(|each| each.as_ref().to_owned()));
        self
    }

    /// Starts it with a shell that runs this line first.
    fn after(self, line: &str) -> Self {
        self.under(["sh", "-c", &format!("{line}; exec \"$@\""), "sh"])
    }

    pub fn in_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    pub fn umask(self, mask: &str) -> Self {
        self.after(&format!("umask {mask}"))
    }

    /// With a umask that removes no permissions.
    pub fn open_handed(self) -> Self {
        self.umask("000")
    }

    /// With at most this many MiB of memory. It aborts when it needs more.
    pub fn memory(self, mebibytes: u32) -> Self {
        self.after(&format!("ulimit -d {}", mebibytes << 10))
    }

    /// With this limit on the size of files, in bytes. Writing more fails.
    pub fn file_size(self, limit: u64) -> Self {
        self.after(&format!("prlimit --pid $$ --fsize={limit}"))
    }

    /// Without root's privilege to ignore the permissions of files.
    pub fn bound(self) -> Self {
        match rustix::process::geteuid().is_root() {
            true => self.under(["setpriv", "--inh-caps=-all", "--bounding-set=-all"]),
            false => self,
        }
    }

    pub fn run(self) -> Outcome {
        let shown = format!("cardcase {}", self.arguments.join(OsStr::new(" ")).display());
        let mut child = self.process().spawn().unwrap();
        let stdout = read_to_end(child.stdout.take().unwrap());
        let stderr = read_to_end(child.stderr.take().unwrap());
        let mut stdin = child.stdin.take();
        if let (Some(bytes), Some(mut stdin)) = (self.stdin, stdin.take()) {
            // The command may end without reading it
            std::thread::spawn(move || drop(stdin.write_all(&bytes)));
        }
        let status = wait(child, self.limit);
        // A child process that is still running may keep the pipes open
        let text = |pipe: mpsc::Receiver<Vec<u8>>| pipe.recv_timeout(LIMIT).unwrap_or_default();
        let (stdout, stderr) = (text(stdout), text(stderr));
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let status = status.unwrap_or_else(|| panic!("{shown}: hangs; stderr:\n{stderr}"));
        Outcome { shown, status, stdout, stderr }
    }

    /// The process, for a test that does not wait for its end. It has no terminal, even where the tests have one.
    pub fn process(&self) -> Command {
        // From util-linux, which every Debian has, as are prlimit and setpriv
        let mut command = program::named("setsid");
        command.args(&self.before).arg(program::cardcase());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.args(&self.arguments).env_clear().envs(self.environment.iter().cloned());
        let stdin = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn read_to_end(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// Waits for the end of a process; kills it when the time is over.
pub fn wait(mut child: Child, limit: Duration) -> Option<ExitStatus> {
    let process = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    let waiter = std::thread::spawn(move || sender.send(child.wait().unwrap()));
    let status = receiver.recv_timeout(limit).ok();
    if status.is_none() {
        let _ = kill_process(process, Signal::KILL);
    }
    let _ = waiter.join();
    status
}

/// How a run of the command ended.
pub struct Outcome {
    shown: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    /// Fails unless this was the exit code, and shows the output.
    #[track_caller]
    pub fn expect(self, code: i32) -> Outcome {
        let (stdout, stderr) = (self.text(), &self.stderr);
        let shown = &self.shown;
        assert_eq!(self.code(), Some(code), "{shown}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        assert!(!stderr.contains("panicked at"), "{shown}: {stderr}");
        self
    }

    /// Fails unless stderr contains each of these words, in upper or lower case.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Outcome {
        let stderr = self.stderr.to_lowercase();
        for word in words {
            assert!(stderr.contains(&word.to_lowercase()), "{}: no {word:?} in: {stderr}", self.shown);
        }
        self
    }

    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error} in {}", self.shown, self.text()))
    }
}
