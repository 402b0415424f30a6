//! What Firefox and Chrome do with client certificates, row by row, in both modes: docs/browsers.md. Each test is named
//! after its row; what a server got is read at the server.

mod asking;
mod connecting;
mod matching;
mod matrix;
mod remembering;

use crate::support::ca::Issued;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind, Server};

/// A server that asks for staff, and takes none as well.
fn optional(scene: &Scene) -> Server {
    scene.server(Kind::Go).ask(Ask::Optional).start()
}

/// The answers there are to remember, and what a server then sees.
fn answers(identity: &Issued) -> [(String, Vec<Vec<String>>); 2] {
    [(identity.fingerprint(), vec![identity.sent_chain()]), ("none".to_owned(), Vec::new())]
}

/// Decides for a destination in a mode.
fn remember(scene: &Scene, mode: &str, destination: &str, answer: &str) {
    scene.remember_as(destination, answer, &format!("--mode {mode}"));
}

/// Fetches in a mode, without ever asking.
fn fetch(scene: &Scene, mode: &str, url: &str, more: &[&str]) -> crate::support::command::Outcome {
    scene.fetch(url, &[&["--mode", mode], more].concat())
}

/// How many decisions there are.
fn decisions(scene: &Scene) -> usize {
    scene.machine.json("decisions")["decisions"].as_array().unwrap().len()
}
