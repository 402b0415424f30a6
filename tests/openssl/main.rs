//! TLS by OpenSSL: servers that ask in the first handshake, and such as ask in the middle of a connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod agent;
mod crowd;
mod directories;
mod handshake;
mod library;
mod places;
#[path = "../support/mod.rs"]
mod support;

use support::question::Question;
use support::terminal::Terminal;

/// The flag, where it is not left to the command to find out.
const OPENSSL: [&str; 2] = ["--tls", "openssl"];

fn in_terminal(question: &Question, url: &str, more: &[&str]) -> Terminal {
    let mut arguments = question.scene.fetch_arguments(url);
    arguments.extend(more.iter().map(|each| (*each).to_owned()));
    Terminal::open(&question.scene.machine, arguments)
}
