//! The command with a desktop keyring that is missing or hangs. src/vault/keyring.rs tests a mock that works.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::support::command::Cardcase;
use crate::support::pinentry::Pinentry;

#[test]
fn a_missing_or_hanging_keyring_does_not_block_a_command() {
    let machine = Cardcase::new();
    let new = machine.password_file("secret");
    machine.command(["--batch", "password", "--new-password-file"]).arg(new).run().expect(0);
    // Accepts connections and never answers
    let socket = machine.dir().join("bus");
    let _hangs = UnixListener::bind(&socket).unwrap();
    for (bus, patience) in [("nowhere", 0), ("bus", 3)] {
        let bus = format!("unix:path={}", machine.dir().join(bus).display());
        let run = |words: &[&str]| machine.command(words).env("DBUS_SESSION_BUS_ADDRESS", &bus);
        let pinentry = Pinentry::replying(machine.dir(), &["D secret\nOK", "D secret\nOK"]);
        let start = Instant::now();
        run(&["config", "mode", "chrome"]).env("PINENTRY_PROGRAM", &pinentry.program).run().expect(0);
        assert!(start.elapsed() < Duration::from_secs(patience + 8), "{:?}", start.elapsed());
        let kept = run(&["password", "--keyring"]).env("PINENTRY_PROGRAM", &pinentry.program).run();
        kept.expect(1).says(&["keyring cannot be used"]);
        run(&["password", "--no-keyring"]).run().expect(1).says(&["keyring cannot be used"]);
        std::fs::remove_file(machine.dir().join("told.txt")).unwrap();
    }
}
