//! Servers that ask at different points of a response, where browsers differ.

use std::time::Duration;

use serde_json::json;

use crate::openssl::in_terminal;
use crate::support::MODES;
use crate::support::ca::Key;
use crate::support::question::{Question, answer, assert_ends};
use crate::support::scene::Scene;
use crate::support::screen::{ONCE, PERMANENT, SEND_NONE};
use crate::support::server::{BOTH_VERSIONS, Tls};
use crate::support::typed::Typed;

/// Types a response in two halves, and a server's command before, between or after them.
pub(crate) struct Halves {
    pub(crate) server: Typed,
    tls: Tls,
}

pub(crate) const FIRST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello\n";
pub(crate) const SECOND: &str = "world\n";

impl Halves {
    pub(crate) fn start(scene: &Scene, tls: Tls) -> Halves {
        let flag = format!("-tls{}", tls.number().replace('.', "_"));
        Halves { server: Typed::start(scene, &flag), tls }
    }

    pub(crate) fn destination(&self) -> String {
        format!("localhost:{}", self.server.port)
    }

    /// Renegotiation with a request for a certificate, or a request after the handshake.
    pub(crate) fn ask(&mut self) {
        self.server.type_now(if self.tls == Tls::V1_2 { "R\n" } else { "c\n" });
    }

    /// Waits until the server has verified this many certificates with this name.
    pub(crate) fn verified(&self, name: &str) {
        let found = self.server.log.wait_for(Duration::from_secs(20), |line| {
            (line.starts_with("depth=0") && line.contains(name)).then_some(())
        });
        found.unwrap_or_else(|said| panic!("{name} never came:\n{said}"));
    }
}

#[test]
fn a_server_asks_before_the_headers_in_both_modes() {
    let question = Question::new();
    for mode in MODES {
        for tls in BOTH_VERSIONS {
            let mut halves = Halves::start(&question.scene, tls);
            let mut terminal = in_terminal(&question, &halves.server.url(), &["--mode", mode, "--tls", "openssl"]);
            halves.server.seen("GET / HTTP/1.1");
            halves.ask();
            terminal.wait_for(SEND_NONE);
            answer(&mut terminal, mode, "bob", PERMANENT);
            halves.verified("bob");
            halves.server.type_now(FIRST);
            halves.server.type_now(SECOND);
            assert_ends(&mut terminal, 0);
            question.scene.machine.run(&format!("forget --all --mode {mode}")).expect(0);
        }
    }
}

#[test]
fn within_the_body_a_server_asks_in_firefox_mode_alone() {
    let question = Question::new();
    for tls in BOTH_VERSIONS {
        let mut halves = Halves::start(&question.scene, tls);
        let url = halves.server.url();
        let mut terminal = in_terminal(&question, &url, &["--mode", "firefox", "--tls", "openssl"]);
        halves.server.type_after("GET / HTTP/1.1", FIRST);
        terminal.wait_for("hello");
        halves.ask();
        terminal.wait_for(SEND_NONE);
        answer(&mut terminal, "firefox", "bob", ONCE);
        halves.verified("bob");
        halves.server.type_now(SECOND);
        assert_ends(&mut terminal, 0);
        assert!(terminal.text().contains("world"), "{tls:?}: {}", terminal.text());
        let used = &question.scene.machine.json("history")["uses"][0];
        assert_eq!((&used["outcome"], &used["source"]), (&json!("accepted"), &json!("ask")), "{tls:?}");

        // Not even what is remembered goes out there
        let mut halves = Halves::start(&question.scene, tls);
        question.scene.remember_as(&halves.destination(), "bob", "--mode chrome");
        let url = halves.server.url();
        let mut terminal = in_terminal(&question, &url, &["--mode", "chrome", "--tls", "openssl"]);
        halves.server.type_after("GET / HTTP/1.1", FIRST);
        terminal.wait_for("hello");
        halves.ask();
        assert_ends(&mut terminal, 1);
        assert!(terminal.text().contains("which is not done in chrome mode"), "{tls:?}: {}", terminal.text());
        assert!(!halves.server.log.lines().iter().any(|line| line.contains("bob")), "{tls:?}: sent all the same");
    }
}

/// In TLS 1.3 `s_server` asks as often as the test wants.
#[test]
fn a_choice_for_once_is_asked_again_by_every_request_after_the_handshake() {
    let question = Question::new();
    // OpenSSL has a place for each kind of key, and would choose among them
    question.scene.bring(question.scene.employee("rachel").key(Key::Rsa2048).issue());
    let mut halves = Halves::start(&question.scene, Tls::V1_3);
    let url = halves.server.url();
    let mut terminal = in_terminal(&question, &url, &["--mode", "firefox", "--tls", "openssl"]);
    halves.server.seen("GET / HTTP/1.1");
    for name in ["alice", "rachel", "bob"] {
        halves.ask();
        terminal.wait_for(SEND_NONE);
        answer(&mut terminal, "firefox", name, ONCE);
        halves.verified(name);
        terminal.wait_until("the question to go", |screen| !screen.contains(SEND_NONE));
    }
    halves.server.type_now(FIRST);
    halves.server.type_now(SECOND);
    assert_ends(&mut terminal, 0);
}
