//! How long a key in the chooser takes with 10,000 and 100,000 candidates: from the key to the bytes that show what it did, of the whole
//! command in a pseudo-terminal. Aim with 10,000: no key takes longer than 50 ms. The floor is `cat` in a raw terminal, which shows
//! each key and does nothing else.
// Whatever fails ends the measurement
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "../../benches/matching/crowd.rs"]
mod crowd;
#[path = "../../tests/library/pki.rs"]
mod pki;
#[path = "../../tests/library/tls.rs"]
mod tls;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::num::NonZero;
use std::process::Child;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pty_process::blocking::{Command, Pty};
use rustls::ServerConnection;

use crowd::Authorities;
use pki::{Ca, Home};
use tls::{optional_client, server};

const CROWDS: [usize; 2] = [10_000, 100_000];

/// How often each key is pressed.
const ROUNDS: usize = 20;

const WORDS: &str = "person 777";

fn main() {
    // As criterion does, for `cargo test --benches`
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut floor = Terminal::start(Command::new("sh").args(["-c", "stty raw -echo; echo ready; cat"]));
    floor.wait(|screen| screen.contains("ready"));
    let times = (0..ROUNDS).flat_map(|_| WORDS.chars()).scan(String::new(), |typed, c| {
        typed.push(c);
        Some(floor.time(&c.to_string(), |screen| screen.contains(typed.trim_end())))
    });
    report("floor: cat", times.take(WORDS.len()).collect());
    for identities in CROWDS {
        println!("{identities} candidates");
        measure(identities);
    }
}

fn measure(identities: usize) {
    let (home, authorities, servers) = (Home::new(), Authorities::new(10), Ca::root("Servers"));
    authorities.fill(&home.open(), identities);
    let port = serve(&servers, &authorities);
    let trusted = home.path().join("servers.pem");
    let pem = BASE64_STANDARD.encode(servers.certificate.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
    std::fs::write(&trusted, pem).unwrap();
    let command = Command::new(env!("CARGO_BIN_EXE_cardcase")).arg("--store").arg(home.store_file());
    let command = command.args(["fetch", &format!("https://localhost:{port}/"), "--cacert"]).arg(trusted);
    let start = Instant::now();
    let mut terminal = Terminal::start(command.env("XDG_RUNTIME_DIR", home.path()));
    terminal.wait(|screen| screen.contains("Send no certificate"));
    report("start of the command to the first page", vec![start.elapsed()]);

    let is_at = |place: usize| move |screen: &str| screen.contains(&format!("{place} of {identities}"));
    report("arrow down", (1..=ROUNDS).map(|place| terminal.time("\x1b[B", is_at(place))).collect());
    let is_marked = |screen: &str| screen.lines().any(|line| line.starts_with("> Send no"));
    let ends = (0..ROUNDS).map(|_| {
        let end = terminal.time("\x1b[F", is_marked);
        let home = terminal.time("\x1b[H", is_at(1));
        end.max(home)
    });
    report("End, Home", ends.collect());
    let pages = (0..ROUNDS).map(|_| {
        let before = place(&terminal.text());
        terminal.time("\x1b[6~", |screen| place(screen) > before)
    });
    report("page down", pages.collect());

    for round in ["the first search", "a later search"] {
        let (mut keys, mut typed) = (Vec::new(), String::new());
        let start = Instant::now();
        for c in WORDS.chars() {
            typed.push(c);
            let shown = format!("Search: {}", typed.trim_end());
            keys.push(terminal.time(&c.to_string(), |screen| screen.contains(&shown)));
        }
        terminal.wait(|screen| screen.contains(&format!(" of {identities})")));
        let whole = start.elapsed();
        report(&format!("a letter of {round}"), keys);
        report(&format!("all {} letters of {round}, until all were searched", WORDS.len()), vec![whole]);
        let shorter = terminal.time("\x17", |screen| screen.contains("Search: person   ("));
        report("Ctrl-W", vec![shorter]);
        report("Ctrl-U", vec![terminal.time("\x15", |screen| !screen.contains("Search:"))]);
    }
    report("those that do not fit", vec![terminal.time("\x0f", |screen| screen.contains("These do not fit"))]);
    terminal.send("\x03");
}

/// Asks every client for a certificate, and accepts none as well.
fn serve(servers: &Ca, authorities: &Authorities) -> u16 {
    let config = Arc::new(server(servers, "localhost", optional_client(&[&authorities.root.certificate])));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut connection) = (stream.unwrap(), ServerConnection::new(config.clone()).unwrap());
            // Until the client hangs up
            thread::spawn(move || while connection.complete_io(&mut stream).is_ok_and(|(read, _)| read > 0) {});
        }
    });
    port
}

/// In which place the marked row is: "7 of 10000" among the keys.
fn place(screen: &str) -> Option<usize> {
    let (before, _) = screen.lines().last()?.rsplit_once(" of ")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// The longest and the median.
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let (longest, median) = (milliseconds(times[times.len() - 1]), milliseconds(times[times.len() / 2]));
    println!("  {what:58} longest {longest:8.2} ms, median {median:8.2} ms");
}

struct Terminal {
    pty: Pty,
    child: Child,
    screen: vt100::Parser,
}

impl Terminal {
    /// 24 rows of 80.
    fn start(command: Command) -> Self {
        let (pty, window) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        let child = command.env("TERM", "xterm-256color").spawn(window).unwrap();
        let size = |length| NonZero::new(length).unwrap();
        Self { pty, child, screen: vt100::Parser::new(size(24), size(80), 0) }
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    fn send(&mut self, keys: &str) {
        self.pty.write_all(keys.as_bytes()).unwrap();
    }

    fn wait(&mut self, holds: impl Fn(&str) -> bool) {
        let mut bytes = [0; 1 << 16];
        while !holds(&self.text()) {
            let length = self.pty.read(&mut bytes).unwrap();
            self.screen.process(&bytes[..length]);
        }
    }

    /// From the key until this is on the screen.
    fn time(&mut self, keys: &str, holds: impl Fn(&str) -> bool) -> Duration {
        let start = Instant::now();
        self.send(keys);
        self.wait(holds);
        start.elapsed()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
