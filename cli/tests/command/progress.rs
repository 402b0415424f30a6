//! What a person sees during a long key derivation, and that nothing of it remains on the screen.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::ca::{Issued, P12, PASSWORD};
use crate::support::command::Cardcase;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::terminal::{Terminal, key};

/// The text on the screen while it takes long.
const WHY: &str = "many rounds";

/// How long nothing is shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// An identity in a file whose key derivation takes a while.
struct Slow {
    scene: Scene,
    identity: Issued,
    file: PathBuf,
}

impl Slow {
    fn new() -> Slow {
        let scene = Scene::new();
        let identity = scene.employee("alice").issue();
        let file = identity.p12(scene.machine.dir(), P12::Rounds(3_000_000));
        Slow { scene, identity, file }
    }

    fn machine(&self) -> &Cardcase {
        &self.scene.machine
    }

    fn arguments(&self) -> Vec<PathBuf> {
        let password = self.machine().password_file(PASSWORD);
        ["import".into(), self.file.clone(), "--password-file".into(), password].to_vec()
    }

    /// A terminal that shows the spinner.
    fn shown(&self, arguments: &[PathBuf]) -> Terminal {
        let start = Instant::now();
        let mut terminal = Terminal::open(self.machine(), arguments);
        terminal.wait_for(WHY);
        assert!(start.elapsed() >= PATIENCE, "too early");
        terminal
    }
}

#[test]
fn quiet_shows_no_spinner() {
    let slow = Slow::new();
    let quiet = [vec!["-q".into(), "--batch".into()], slow.arguments()].concat();
    let mut terminal = Terminal::open(slow.machine(), &quiet);
    assert!(terminal.end().success());
    assert!(!String::from_utf8_lossy(terminal.received()).contains(WHY), "{}", terminal.text());
}

#[test]
fn a_spinner_moves_and_is_removed_at_the_end() {
    let slow = Slow::new();
    let batch = [vec!["--batch".into()], slow.arguments()].concat();
    let mut terminal = slow.shown(&batch);
    let name = slow.file.file_name().unwrap().to_str().unwrap();
    let before = terminal.text();
    assert!(before.contains(name) && !before.starts_with(' '), "{before}");
    terminal.wait_until("another picture", |screen| screen != before && screen.contains(WHY));
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.text());
    let [said, rest @ ..] = &terminal.rows()[..] else { panic!("no screen") };
    assert!(said.starts_with("imported: alice"), "{said}");
    assert!(!terminal.text().contains(WHY) && !terminal.cursor_hidden(), "{rest:?}");
}

/// Under a shell, as usual: when the first program of a terminal ends, the kernel discards its last output.
#[test]
fn ctrl_c_removes_the_spinner() {
    let slow = Slow::new();
    let mut shell = program::in_terminal("sh");
    shell = shell.args(["-c", r#"trap : INT; "$@"; echo "ended with $?"; read wait"#, "sh"]);
    shell = shell.arg(env!("CARGO_BIN_EXE_cardcase")).args(slow.arguments());
    shell = shell.env_clear().envs(slow.machine().environment());
    let mut terminal = Terminal::start(shell, Terminal::ROWS, Terminal::COLUMNS);
    terminal.wait_for(WHY);
    terminal.send(key::CTRL_C);
    terminal.wait_for("ended with");
    // The kernel may echo the typed key a moment after the line was cleared
    assert_eq!(terminal.text().trim().trim_start_matches("^C"), "ended with 130");
    assert!(!terminal.cursor_hidden());
    assert_eq!(slow.machine().json("list")["identities"].as_array().unwrap().len(), 0);
}

#[test]
fn without_a_terminal_there_is_no_spinner() {
    let slow = Slow::new();
    let start = Instant::now();
    let outcome = slow.machine().command(slow.arguments()).run().expect(0);
    assert!(start.elapsed() > PATIENCE, "the file is too fast for this test");
    assert!(!outcome.stderr.contains(WHY), "{}", outcome.stderr);
    let id = slow.identity.fingerprint();
    assert_eq!(slow.machine().json("list")["identities"][0]["fingerprint"], id);
}
