//! A command in the background of a terminal, or stopped, asks nobody and does not block others.

use std::time::Duration;

use crate::support::ca::PASSWORD;
use crate::support::command::Cardcase;
use crate::support::pinentry::Pinentry;
use crate::support::question::Question;
use crate::support::scene::Scene;
use crate::support::screen::{ONCE, SEND_NONE, choose};
use crate::support::server::{Ask, Kind, Server};
use crate::support::terminal::{Terminal, key};

/// Long enough for a command to stop.
const A_WHILE: Duration = Duration::from_millis(700);

/// With job control, as in an interactive shell.
fn script(scene: &Scene, server: &Server, rest: &str) -> Terminal {
    let fetch = format!("$cardcase {} -o /dev/null", scene.fetch_arguments(&server.url()).join(" "));
    Terminal::script(&scene.machine, &format!("set -m; {fetch} {rest}; echo \"ended $?\""))
}

#[test]
fn a_command_in_the_background_does_not_ask() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = script(&question.scene, &server, "& wait $!");
    terminal.wait_for("ended 4");
    let text = terminal.text();
    assert!(text.contains("foreground") && !text.contains(SEND_NONE), "{text}");
    question.assert_nothing_came_of_it(&server);
}

/// Changing the terminal from there would stop the command.
#[test]
fn a_command_in_the_background_can_ask_with_a_pinentry() {
    let machine = Cardcase::new();
    let password = machine.password_file(PASSWORD);
    machine.command(["--batch", "password", "--new-password-file"]).arg(password).run().expect(0);
    let pinentry = Pinentry::replying(machine.dir(), &[&format!("D {PASSWORD}\nOK")]);
    let command =
        format!("env PINENTRY_PROGRAM={} $cardcase config use-single-candidate on", pinentry.program.display());
    let mut terminal = Terminal::script(&machine, &format!("set -m; {command} & wait $!; echo \"ended $?\""));
    terminal.wait_for("ended 0");
    assert_eq!(machine.json("config")["use_single_candidate"], true);
}

#[test]
fn ctrl_z_does_not_stop_a_question() {
    let question = Question::new();
    let server = question.server();
    let mut terminal = script(&question.scene, &server, "");
    terminal.wait_for(SEND_NONE);
    terminal.send(key::CTRL_Z);
    terminal.stays_for(A_WHILE);
    choose(&mut terminal, "alice");
    choose(&mut terminal, ONCE);
    terminal.wait_for("ended 0");
    assert_eq!(server.chains(), [question.alice.sent_chain()]);
}

#[test]
fn ctrl_z_does_not_stop_a_password_prompt() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let password = scene.machine.password_file(PASSWORD);
    let arguments = ["password", "--new-password-file", password.to_str().unwrap()];
    scene.machine.command(arguments).run().expect(0);
    let server = scene.server(Kind::Go).ask(Ask::Require).start();
    let mut terminal = script(&scene, &server, "");
    terminal.wait_for("Primary password");
    terminal.send(key::CTRL_Z);
    terminal.stays_for(A_WHILE);
    terminal.send(&format!("{PASSWORD}\r"));
    terminal.wait_for("ended 0");
    assert_eq!(server.chains(), [alice.sent_chain()]);
}
