//! Tests of the test servers: every server of `support` must see and record what a known client, curl, sends to it. The
//! other tests depend on this.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use crate::support::ca::{Authority, Issued, P12, PASSWORD};
use crate::support::missing;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server, Setup, Tls};
use crate::support::terminal::{Terminal, key};

fn curl(scene: &Scene, url: &str, identity: Option<&Issued>) -> String {
    let mut command = program::named("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--cacert"]);
    command.arg(&scene.server_root_file);
    if let Some(identity) = identity {
        let dir = scene.machine.dir();
        command.arg("--cert").arg(identity.certificate_file(dir));
        command.arg("--key").arg(identity.key_file(dir));
    }
    let output = command.arg(url).output();
    let output = output.unwrap_or_else(|error| panic!("{}", missing("curl", "curl", &error)));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn servers_record_what_curl_sends() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    for kind in Kind::ALL {
        for tls in BOTH_VERSIONS {
            let server = scene.server(kind).tls(tls).start();
            let said = curl(&scene, &server.url(), Some(&alice));
            let handshakes = server.handshakes();
            assert_eq!(handshakes.len(), 1, "{kind:?} {tls:?}: {said}\n{}", server.said());
            let sent = alice.sent_chain();
            let expected = if kind == Kind::Nginx { &sent[..1] } else { &sent[..] };
            assert_eq!(handshakes[0].chain, expected, "{kind:?} {tls:?}: {said}");
            assert_eq!(handshakes[0].tls, tls.number());
            assert!(handshakes[0].complete, "{kind:?} {tls:?}: {said}\n{}", server.said());
        }
    }
}

#[test]
fn servers_record_that_no_certificate_came() {
    let scene = Scene::new();
    for kind in Kind::ALL {
        for tls in BOTH_VERSIONS {
            for (ask, complete) in [(Ask::Require, false), (Ask::Optional, true)] {
                let server = scene.server(kind).tls(tls).ask(ask).start();
                curl(&scene, &server.url(), None);
                let handshakes = server.handshakes();
                assert_eq!(handshakes.len(), 1, "{kind:?} {tls:?}\n{}", server.said());
                assert_eq!(handshakes[0].chain.len(), 0);
                assert_eq!(handshakes[0].complete, complete, "{kind:?} {tls:?}\n{}", server.said());
            }
        }
    }
}

#[test]
fn openssl_names_the_alert_it_sends() {
    let scene = Scene::new();
    let stranger = scene.guests.client("stranger").issue();
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::OpenSsl).tls(tls).without_hints().start();
        curl(&scene, &server.url(), Some(&stranger));
        let handshakes = server.handshakes();
        assert_eq!(handshakes.len(), 1, "{tls:?}\n{}", server.said());
        assert_eq!(handshakes[0].error, "unknown_ca", "{tls:?}\n{}", server.said());
        assert_eq!(server.chains(), [stranger.sent_chain()]);
    }
}

#[test]
fn openssl_reads_every_p12_file_of_the_tests() {
    let scene = Scene::new();
    let alice = scene.employee("alice").issue();
    for form in [P12::Default, P12::Legacy] {
        let file = alice.p12(scene.machine.dir(), form);
        let mut command = program::named("openssl");
        command.args(["pkcs12", "-legacy", "-nodes", "-passin"]).arg(format!("pass:{PASSWORD}"));
        let output = command.arg("-in").arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 3, "{form:?}: {text}");
        assert!(text.contains("friendlyName: alice"), "{form:?}: {text}");
    }
}

/// The number of names in the server's certificate request, as `openssl s_client` shows them.
fn authorities_named(server: &Server, tls: Tls) -> usize {
    let mut command = program::named("openssl");
    command.args(["s_client", "-connect"]).arg(server.address().to_string());
    command.arg(if tls == Tls::V1_2 { "-tls1_2" } else { "-tls1_3" });
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().skip_while(|line| !line.starts_with("Acceptable client certificate"));
    names.skip(1).take_while(|line| !line.contains("ertificate Types: ") && !line.starts_with("Requested")).count()
}

#[test]
fn servers_name_all_the_authorities_they_were_given() {
    let scene = Scene::new();
    let nameless: Vec<_> = (1..=10_000).map(Authority::nameless_root).collect();
    let named: Vec<_> = (0..900).map(|number| Authority::root(&format!("Other {number}"))).collect();
    for (kind, authorities) in [(Kind::Go, &nameless), (Kind::Go, &named), (Kind::OpenSsl, &named)] {
        let all: Vec<_> = authorities.iter().collect();
        for tls in BOTH_VERSIONS {
            let setup = Setup::new(kind, &scene.server_certificate).ask(Ask::Optional);
            let server = setup.tls(tls).authorities(&all).start();
            assert_eq!(authorities_named(&server, tls), all.len(), "{kind:?} {tls:?}");
        }
    }
}

fn shell(script: &str) -> Terminal {
    let command = program::in_terminal("sh").args(["-c", script]);
    Terminal::start(command, 24, 80)
}

#[test]
fn the_terminal_shows_what_a_person_would_see() {
    let mut terminal = shell(r"stty size; printf '\033[?25l\033[5;10Hthere'; read line; printf '\033[?25h'; exit 7");
    terminal.wait_for("there");
    assert_eq!(terminal.rows()[0], "24 80");
    assert_eq!(terminal.rows()[4], "         there");
    assert!(terminal.cursor_hidden());
    assert!(!terminal.any_row_wrapped());
    terminal.send(key::ENTER);
    assert_eq!(terminal.end().code(), Some(7));
    assert!(!terminal.cursor_hidden());
}

#[test]
fn the_terminal_sends_the_signals_of_a_terminal() {
    for (close, signal) in [(false, 2), (true, 1)] {
        let mut terminal = shell("echo ready; exec sleep 60");
        terminal.wait_for("ready");
        if close {
            terminal.hang_up();
        } else {
            terminal.send(key::CTRL_C);
        }
        assert_eq!(terminal.end().signal(), Some(signal));
    }
}

#[test]
fn a_command_that_hangs_is_killed() {
    let child = program::named("sleep").arg("60").spawn().unwrap();
    assert!(crate::support::command::wait(child, std::time::Duration::from_millis(200)).is_none());
}
