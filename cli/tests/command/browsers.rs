//! What Firefox and Chrome do with client certificates, row by row, in both modes: docs/browsers.md. Each test has the
//! name of its row. The server reports what it received.

mod asking;
mod connecting;
mod matching;
mod matrix;
mod remembering;

use crate::support::ca::Issued;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Server};

/// A server that asks for staff, and accepts clients without a certificate too.
fn optional(scene: &Scene) -> Server {
    scene.server(Kind::Go).ask(Ask::Optional).start()
}

/// The answers that can be remembered, and what a server then sees.
fn answers(identity: &Issued) -> [(String, Vec<Vec<String>>); 2] {
    [(identity.fingerprint(), vec![identity.sent_chain()]), ("none".to_owned(), Vec::new())]
}

/// Remembers an answer for a destination in a mode.
fn remember(scene: &Scene, mode: &str, destination: &str, answer: &str) {
    scene.remember_as(destination, answer, &format!("--mode {mode}"));
}

/// Fetches in a mode with `--batch`.
fn fetch(scene: &Scene, mode: &str, url: &str, more: &[&str]) -> crate::support::command::Outcome {
    scene.fetch(url, &[&["--mode", mode], more].concat())
}

/// The number of decisions.
fn decisions(scene: &Scene) -> usize {
    scene.machine.json("decisions")["decisions"].as_array().unwrap().len()
}
