//! The user's dialogs in a small program that is not the command: the recipe in `examples/`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cardcase::ask::Dialogs;
use rustix::process::Signal;
use serde_json::json;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use crate::support::MODES;
use crate::support::ca::Issued;
use crate::support::executable::executable;
use crate::support::pinentry::Pinentry;
use crate::support::program;
use crate::support::question::answer;
use crate::support::scene::Scene;
use crate::support::screen::{ONCE, PERMANENT, SEND_NONE, choose};
use crate::support::server::{Ask, Kind, Server};
use crate::support::terminal::{Terminal, key};

#[path = "../../../examples/ask.rs"]
mod recipe;

const PASSWORD: &str = "correct horse";

/// Long enough for a wrong answer to take effect.
const A_WHILE: Duration = Duration::from_millis(700);

/// What the program says at its end, if nothing else has ended it.
const STILL_HERE: &str = "still here";

/// Makes a request to each of these servers, on a thread of its own.
const SERVERS: &str = "TEST_SERVERS";

/// Makes the program handle SIGTERM.
const HANDLES_SIGNALS: &str = "TEST_HANDLES_SIGNALS";

/// The program: this test program, which starts itself again.
#[test]
#[ignore = "the other tests start it"]
fn the_program() {
    if std::env::var_os(HANDLES_SIGNALS).is_some() {
        let mut signals = Signals::new([SIGTERM]).unwrap();
        std::thread::spawn(move || {
            let signal = signals.forever().next().unwrap();
            Dialogs::close_all();
            std::process::exit(128 + signal)
        });
    }
    let servers = std::env::var(SERVERS).unwrap();
    std::thread::scope(|threads| {
        for server in servers.split(' ') {
            threads.spawn(move || match recipe::get(server) {
                Ok(page) => println!("came: {}", page.lines().last().unwrap()),
                Err(error) => println!("failed: {error}"),
            });
        }
    });
    println!("{STILL_HERE}");
}

/// A person with two identities, who trusts the authority of a server that asks for one.
struct User {
    scene: Scene,
    alice: Issued,
    server: Server,
    environment: Vec<(&'static str, PathBuf)>,
}

impl User {
    fn new() -> User {
        let scene = Scene::new();
        let alice = scene.hire("alice");
        scene.hire("bob");
        let server = scene.server(Kind::Go).ask(Ask::Optional).start();
        scene.machine.run(&format!("trust {}", scene.server_root_file.display())).expect(0);
        // In place of the system's roots
        let roots = scene.guests_root.file(scene.machine.dir());
        User { alice, server, environment: vec![("SSL_CERT_FILE", roots)], scene }
    }

    /// Whose store has a primary password, and who has decided.
    fn protected() -> User {
        let user = User::new();
        user.scene.remember("localhost", &user.alice.fingerprint());
        let password = user.scene.machine.password_file(PASSWORD);
        user.scene.machine.command(["--batch", "password", "--new-password-file"]).arg(password).run().expect(0);
        user
    }

    fn with(mut self, name: &'static str, value: impl Into<PathBuf>) -> User {
        self.environment.push((name, value.into()));
        self
    }

    fn destination(&self) -> String {
        self.server.destination()
    }

    fn arguments() -> [&'static str; 4] {
        ["--exact", "ask::the_program", "--ignored", "--nocapture"]
    }

    fn this() -> PathBuf {
        std::env::current_exe().unwrap()
    }

    /// The program in a terminal.
    fn starts(&self) -> Terminal {
        self.starts_under(program::in_terminal(User::this()), &self.destination())
    }

    /// The program in a terminal, started by another one.
    fn starts_under(&self, command: pty_process::blocking::Command, servers: &str) -> Terminal {
        let command = command.args(User::arguments()).env_clear().envs(self.scene.machine.environment());
        let command = command.envs(self.environment.iter().cloned()).env(SERVERS, servers);
        Terminal::start(command, Terminal::ROWS, Terminal::COLUMNS)
    }

    /// What the program prints without a terminal.
    #[track_caller]
    fn runs(&self) -> String {
        let mut command: Command = program::named("setsid");
        command.arg("--wait").arg(User::this()).args(User::arguments()).env_clear();
        command.envs(self.scene.machine.environment()).envs(self.environment.iter().cloned());
        command.env(SERVERS, self.destination()).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "the library prints");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn assert_came(&self, how_often: usize) {
        assert_eq!(self.server.chains(), vec![self.alice.sent_chain(); how_often]);
    }
}

#[track_caller]
fn assert_ends_well(terminal: &mut Terminal) {
    terminal.wait_for(STILL_HERE);
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.text());
    assert!(terminal.echoes() && !terminal.cursor_hidden(), "the terminal is not as it was before");
}

#[test]
fn an_identity_is_chosen_once_and_remembered() {
    for mode in MODES {
        let user = User::new().with("CARDCASE_MODE", mode);
        let mut terminal = user.starts();
        answer(&mut terminal, mode, "alice", PERMANENT);
        terminal.wait_for("CN=alice");
        assert_ends_well(&mut terminal);
        let mut again = user.starts();
        assert_ends_well(&mut again);
        assert!(!String::from_utf8_lossy(again.received()).contains(SEND_NONE), "{mode}: asked again");
        user.assert_came(2);
        let decisions = user.scene.machine.json(&format!("decisions --mode {mode}"))["decisions"].clone();
        assert_eq!(decisions[0]["identity"], user.alice.fingerprint(), "{mode}");
    }
}

#[test]
fn cancelling_is_an_error_and_not_the_end_of_the_program() {
    let user = User::new();
    for key in [key::ESCAPE, key::CTRL_C] {
        let mut terminal = user.starts();
        terminal.wait_for(SEND_NONE);
        // Nothing is under Enter
        terminal.send(key::ENTER);
        terminal.stays_for(A_WHILE);
        terminal.send(key);
        terminal.wait_for("failed: aborted");
        assert_ends_well(&mut terminal);
    }
    user.assert_came(0);
}

#[test]
fn without_a_terminal_nobody_is_asked_at_once() {
    let user = User::new();
    let start = Instant::now();
    let said = user.runs();
    assert!(said.contains("nobody can be asked"), "{said}");
    let user = user.with("CARDCASE_BATCH", "1");
    let mut terminal = user.starts();
    terminal.wait_for("nobody can be asked");
    assert_ends_well(&mut terminal);
    let locked = User::protected().runs();
    assert!(locked.contains("primary password, and nobody can be asked for it"), "{locked}");
    assert!(start.elapsed() < Duration::from_secs(60), "it waits for somebody");
    user.assert_came(0);
}

#[test]
fn a_program_of_the_users_is_asked_in_place_of_the_terminal() {
    let user = User::new();
    let answer = json!({"answer": "identity", "fingerprint": user.alice.fingerprint(), "lifetime": "once"});
    let dir = user.scene.machine.dir().to_owned();
    let chooser = executable(&dir, "chooser", &format!("#!/bin/sh\ncat > /dev/null\necho '{answer}'\n"));
    let fails = executable(&dir, "fails", "#!/bin/sh\nexit 3\n");
    let user = user.with("CARDCASE_CHOOSER", &chooser);
    let said = user.runs();
    assert!(said.contains("CN=alice"), "{said}");
    user.assert_came(1);
    let user = user.with("CARDCASE_CHOOSER", &fails);
    let said = user.runs();
    assert!(said.contains("fails: it failed, with exit status: 3"), "{said}");
    user.assert_came(1);
}

#[test]
fn a_pinentry_is_asked_for_the_primary_password() {
    let user = User::protected();
    let pinentry = Pinentry::replying(user.scene.machine.dir(), &["D wrong\nOK", "D correct horse\nOK"]);
    let user = user.with("PINENTRY_PROGRAM", &pinentry.program);
    let said = user.runs();
    assert!(said.contains("CN=alice"), "{said}");
    assert!(pinentry.told().iter().any(|line| line.starts_with("SETERROR Wrong password")), "{:?}", pinentry.told());
}

/// Without a signal handler in the program.
#[test]
fn no_key_at_a_password_ends_or_stops_the_program() {
    let user = User::protected();
    for cancels in [key::CTRL_C, "\x1c"] {
        let mut terminal = user.starts();
        terminal.wait_for("Primary password");
        terminal.send("half");
        terminal.send(cancels);
        terminal.wait_for("failed: aborted: the primary password was not given");
        assert_ends_well(&mut terminal);
    }
    user.assert_came(0);
    let mut terminal = user.starts();
    terminal.wait_for("Primary password");
    terminal.send(&format!("{}{PASSWORD}\r", key::CTRL_Z));
    terminal.wait_for("CN=alice");
    assert_ends_well(&mut terminal);
    assert!(!String::from_utf8_lossy(terminal.received()).contains("horse"));
    user.assert_came(1);
}

/// Two threads of one process, which cannot know the name of its terminal.
#[test]
fn questions_appear_in_turn_even_if_all_streams_are_redirected() {
    let user = User::new();
    let dir = user.scene.machine.dir();
    let (out, err) = (dir.join("out"), dir.join("err"));
    let redirected = r#"out=$1 err=$2; shift 2; "$@" < /dev/null > "$out" 2> "$err"; echo "ended with $?""#;
    let shell = program::in_terminal("sh").args(["-c", redirected, "sh"]).arg(&out).arg(&err).arg(User::this());
    let hosts = ["localhost", "127.0.0.1"].map(|host| format!("{host}:{}", user.server.port()));
    let mut terminal = user.starts_under(shell, &hosts.join(" "));
    for _ in hosts {
        terminal.wait_for(SEND_NONE);
        let shown = terminal.stays_for(A_WHILE);
        assert_eq!(shown.matches("asks for a client certificate").count(), 1, "both at once:\n{shown}");
        choose(&mut terminal, "alice");
        choose(&mut terminal, ONCE);
        terminal.wait_until("the end of the question", |screen| !screen.contains(ONCE));
    }
    terminal.wait_for("ended with 0");
    user.assert_came(2);
    assert_eq!(std::fs::read_to_string(err).unwrap(), "");
    let out = std::fs::read_to_string(out).unwrap();
    assert!(out.matches("CN=alice").count() == 2 && !out.contains(SEND_NONE), "{out}");
}

#[test]
fn a_program_that_handles_signals_restores_the_terminal() {
    for (user, asked) in [(User::new(), SEND_NONE), (User::protected(), "Primary password")] {
        let user = user.with(HANDLES_SIGNALS, "1");
        let mut terminal = user.starts();
        terminal.wait_for(asked);
        assert!(!terminal.echoes());
        terminal.signal(Signal::TERM);
        assert_eq!(terminal.end().code(), Some(143), "{}", terminal.text());
        assert!(terminal.echoes() && !terminal.cursor_hidden(), "{asked}");
        user.assert_came(0);
    }
}
