//! A question in a terminal: the identities, the server, and the answers.

use serde_json::json;

use super::ca::Issued;
use super::scene::Scene;
use super::screen::{SEND_NONE, choose};
use super::server::{Ask, Kind, Server};
use super::terminal::Terminal;

/// Three identities that fit what the server asks for.
pub struct Question {
    pub scene: Scene,
    pub alice: Issued,
    pub bob: Issued,
}

impl Question {
    pub fn new() -> Question {
        let scene = Scene::new();
        let (alice, bob) = (scene.hire("alice"), scene.hire("bob"));
        scene.hire("carol");
        Question { scene, alice, bob }
    }

    pub fn server(&self) -> Server {
        self.scene.server(Kind::Go).ask(Ask::Optional).start()
    }

    /// Starts a fetch in a terminal and waits for the chooser.
    pub fn asked(&self, server: &Server, more: &[&str]) -> Terminal {
        let mut terminal = self.fetch(server, more);
        terminal.wait_for(SEND_NONE);
        terminal
    }

    pub fn fetch(&self, server: &Server, more: &[&str]) -> Terminal {
        let mut arguments = self.scene.fetch_arguments(&server.url());
        arguments.extend(more.iter().map(|each| (*each).to_owned()));
        Terminal::open(&self.scene.machine, arguments)
    }

    #[track_caller]
    pub fn assert_nothing_came_of_it(&self, server: &Server) {
        assert!(server.chains().is_empty(), "something was sent:\n{}", server.said());
        assert!(server.requests().is_empty(), "something was fetched:\n{}", server.said());
        self.assert_nothing_stored();
    }

    #[track_caller]
    pub fn assert_nothing_stored(&self) {
        for mode in ["firefox", "chrome"] {
            let decisions = self.scene.machine.json(&format!("decisions --mode {mode}"));
            assert_eq!(decisions["decisions"], json!([]), "{mode}");
        }
    }
}

/// Picks an identity or none, and in firefox mode a lifetime. Chrome mode does not ask for one.
#[track_caller]
pub fn answer(terminal: &mut Terminal, mode: &str, row: &str, lifetime: &str) {
    choose(terminal, row);
    if mode == "firefox" {
        choose(terminal, lifetime);
    }
}

#[track_caller]
pub fn assert_ends(terminal: &mut Terminal, code: i32) {
    let status = terminal.end();
    assert_eq!(status.code(), Some(code), "{status}\n{}", terminal.text());
    assert!(!terminal.cursor_hidden(), "the cursor stays hidden");
}
