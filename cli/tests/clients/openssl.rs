//! TLS over OpenSSL: servers that ask in the first handshake, and servers that ask in the middle of a connection.

mod agent;
mod crowd;
mod directories;
mod handshake;
mod library;
mod places;
mod renegotiating;

use crate::support::question::Question;
use crate::support::terminal::Terminal;

/// The flag that selects OpenSSL; without it the command finds out by itself.
const OPENSSL: [&str; 2] = ["--tls", "openssl"];

fn in_terminal(question: &Question, url: &str, more: &[&str]) -> Terminal {
    let mut arguments = question.scene.fetch_arguments(url);
    arguments.extend(more.iter().map(|each| (*each).to_owned()));
    Terminal::open(&question.scene.machine, arguments)
}
