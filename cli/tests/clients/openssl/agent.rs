//! OpenSSL signs by itself, and the agent gives no keys away: the password opens the key in this process, and the agent is not affected.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::openssl::in_terminal;
use crate::support::apache::Apache;
use crate::support::command::Run;
use crate::support::question::{Question, assert_ends};
use crate::support::server::{Ask, BOTH_VERSIONS, Kind};
use crate::support::terminal::key;

const PRIMARY: &str = "correct horse";

/// With the primary password.
fn knowing(question: &Question, line: &str) -> Run {
    let machine = &question.scene.machine;
    machine.command(line.split_whitespace()).arg("--primary-password-file").arg(machine.password_file(PRIMARY))
}

fn agent(question: &Question) -> Value {
    let status = question.scene.machine.json("unlock --status");
    assert_eq!(status["unlocked"], json!(true));
    status["process"].clone()
}

#[test]
fn while_an_agent_runs_openssl_asks_for_the_password_and_nothing_else_changes() {
    let question = Question::new();
    let (scene, machine) = (&question.scene, &question.scene.machine);
    let password = machine.password_file(PRIMARY);
    machine.command(["password", "--new-password-file"]).arg(&password).run().expect(0);
    knowing(&question, "unlock").run().expect(0);
    let before = agent(&question);
    let password = password.to_str().unwrap();
    for tls in BOTH_VERSIONS {
        let apache = Apache::start(scene, tls);
        let (url, handshake) = (apache.url("/require/page"), scene.server(Kind::Go).tls(tls).ask(Ask::Require).start());
        // What is remembered is authentic by the agent
        for destination in [apache.destination(), handshake.destination()] {
            scene.remember(&destination, "alice");
        }
        for (url, more) in [(&url, &[][..]), (&handshake.url(), &["--tls", "openssl"])] {
            let outcome = scene.fetch(url, more).expect(4);
            let outcome = outcome.says(&["agent never gives away", "primary password", "--primary-password-file FILE"]);
            assert!(!outcome.stderr.contains("cardcase unlock"), "{}", outcome.stderr);
        }
        assert!(handshake.chains().is_empty(), "{tls:?}: something was sent");
        scene.fetch(&url, &["--primary-password-file", password]).expect(0);
        let mut terminal = in_terminal(&question, &url, &[]);
        terminal.wait_for("Primary password");
        terminal.send(PRIMARY);
        terminal.send(key::ENTER);
        assert_ends(&mut terminal, 0);
        // Apache writes down a request after it has answered, and those it refused as well
        let with_alice = || {
            let served = apache.served(2).into_iter();
            served.filter(|(_, status, _, name)| (*status, name.as_str()) == (200, "alice")).count()
        };
        let until = Instant::now() + Duration::from_secs(20);
        while with_alice() < 2 {
            assert!(Instant::now() < until, "{tls:?}: {:?}", apache.served(2));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(with_alice(), 2, "{tls:?}");
        // By rustls the agent signs as before, and nobody types
        scene.fetch(&handshake.url(), &[]).expect(0);
        assert_eq!(handshake.chains(), [question.alice.sent_chain()], "{tls:?}");
        assert_eq!(agent(&question), before, "{tls:?}");
    }
}
