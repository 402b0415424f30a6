//! HTTP as curl and browsers take it: odd responses, servers that speak something else, proxies of the environment, time limits.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

#[cfg(feature = "openssl")]
use crate::support::apache::Apache;
use crate::support::missing;
use crate::support::program;
use crate::support::question::{Question, answer, assert_ends};
use crate::support::scene::Scene;
use crate::support::screen::{ONCE, SEND_NONE};
#[cfg(feature = "openssl")]
use crate::support::server::BOTH_VERSIONS;
use crate::support::server::{Ask, Kind, Tls};
use crate::support::terminal::Terminal;

/// The server of raw_http.py, which ends with the test.
struct RawServer {
    child: Child,
    port: String,
}

impl RawServer {
    fn start(scene: &Scene) -> RawServer {
        let dir = scene.machine.dir();
        let mut command = program::named("python3");
        command.arg("-c").arg(include_str!("../support/raw_http.py"));
        command.arg(scene.server_certificate.certificate_file(dir)).arg(scene.server_certificate.key_file(dir));
        command.arg(scene.staff_root.file(dir)).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}", missing("python3", "python3", &error)));
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        RawServer { child, port: port.trim().to_owned() }
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All of these bodies are what curl 7.88 prints, except for `no-colon`, which only browsers take.
#[test]
fn odd_responses_are_taken_as_browsers_take_them() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    scene.remember("localhost", &alice.fingerprint());
    let server = RawServer::start(&scene);
    for path in [
        "plain",
        "fold",
        "space-before-colon",
        "odd-name",
        "empty-name",
        "no-colon",
        "many-headers",
        "http2-status-line",
        "http2-after-103",
        "line-feeds",
        "chunks-with-line-feeds",
        "chunks-with-extensions",
        "no-reason",
        "latin1",
    ] {
        let url = format!("https://localhost:{}/{path}", server.port);
        let outcome = scene.fetch(&url, &[]);
        assert_eq!((outcome.code(), outcome.text().as_str()), (Some(0), "ok\n"), "{path}: {}", outcome.stderr);
    }
    let folded = scene.fetch(&format!("https://localhost:{}/fold", server.port), &["-i"]).expect(0).text();
    assert!(folded.to_lowercase().contains("x-a: one two"), "{folded}");
    // The server answered, so its answer has nothing to do with the certificate
    let outcome = scene.fetch(&format!("https://localhost:{}/no-http", server.port), &[]).expect(1);
    assert!(!outcome.stderr.contains("alice") && !outcome.stderr.contains("hint"), "{}", outcome.stderr);
}

/// Answers each connection with these bytes: at once, or after the first bytes of the client.
fn says(greeting: &'static [u8], at_once: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut hello = [0; 4096];
            if !at_once {
                let _ = connection.read(&mut hello);
            }
            let _ = connection.write_all(greeting);
            // Until the client goes
            let _ = connection.read_to_end(&mut Vec::new());
        }
    });
    port
}

#[test]
fn what_a_server_speaks_instead_of_tls_is_named() {
    let scene = Scene::new();
    for (port, named, hint) in [
        (
            says(b"HTTP/1.1 400 Bad Request\r\n\r\n", false),
            "it speaks plain HTTP on this port",
            "cardcase fetch http://localhost:",
        ),
        (says(b"<html>", false), "it speaks plain HTTP on this port", "cardcase fetch http://localhost:"),
        (says(b"SSH-2.0-OpenSSH_9.2p1\r\n", true), "it speaks SSH on this port", "usually 443"),
        (says(b"220 mail.example ESMTP\r\n", true), "it speaks SMTP or FTP on this port", "465 for SMTP"),
        (says(b"* OK IMAP4rev1\r\n", true), "it speaks IMAP on this port", "993 for IMAP"),
        (says(b"J\0\0\0\n8.0.36", true), "it does not speak TLS on this port", "usually 443"),
    ] {
        let destination = format!("localhost:{port}");
        for line in [
            format!("fetch https://{destination}/ --batch"),
            format!("fetch https://{destination}/ --batch --tls openssl"),
            format!("explain {destination} --batch"),
            format!("explain {destination} --batch --tls openssl"),
            format!("credential curl {destination} --batch --tls openssl"),
        ] {
            scene.machine.run(&line).expect(1).says(&[&destination, named, "hint: ", hint]);
        }
    }
}

#[test]
fn a_url_without_a_scheme_is_https() {
    let scene = Scene::new();
    let server = scene.server(Kind::Go).ask(Ask::Never).start();
    scene.fetch(&format!("{}/path", server.destination()), &[]).expect(0);
    scene.machine.run("fetch ftp://localhost/").expect(2).says(&["ftp", "https or http"]);
}

/// The proxy is a destination of its own, and gets no identity that was not decided for it, however it is named.
#[test]
fn a_proxy_of_the_environment_is_used_and_gets_no_identity_that_was_not_decided_for_it() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let (proxy, server, [_, at]) = scene.behind_a_proxy(Tls::V1_3);
    let fetch = |variables: &[(&str, &str)], more: &[&str]| {
        let run = scene.machine.command(scene.fetch_arguments(&server.url())).arg("--batch").args(more);
        variables.iter().fold(run, |run, (name, value)| run.env(name, value)).run()
    };
    scene.remember("localhost", &alice.fingerprint());
    for name in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        fetch(&[(name, &at)], &[]).expect(4).says(&["127.0.0.1"]);
    }
    proxy.assert_nothing_came("undecided");
    scene.remember("127.0.0.1", "none");
    fetch(&[("https_proxy", &at)], &[]).expect(0);
    proxy.assert_nothing_came("decided for none");
    let through = proxy.requests().len();
    assert!(through > 0, "the proxy was not used");
    for (variables, more) in [
        (&[("https_proxy", &*at), ("no_proxy", "localhost")][..], &[][..]),
        (&[("https_proxy", &*at), ("NO_PROXY", "*")], &[]),
        (&[("http_proxy", &*at), ("HTTP_PROXY", &*at)], &[]),
        (&[("https_proxy", &*at)], &["-x", ""]),
    ] {
        fetch(variables, more).expect(0);
        assert_eq!(proxy.requests().len(), through, "{variables:?} {more:?}");
    }
    fetch(&[("https_proxy", "socks5://127.0.0.1:1")], &[]).expect(2).says(&["https_proxy", "socks5", "http or https"]);
}

#[test]
fn time_limits_are_as_in_curl() {
    let scene = Scene::new();
    let destination = format!("localhost:{}", says(b"", false));
    let fetch = |more: &str| scene.machine.run(&format!("fetch https://{destination}/ --batch {more}"));
    fetch("--max-time 0.5").expect(1).says(&["not complete within 500ms", "--max-time"]);
    fetch("-m 0.5 --tls openssl").expect(1).says(&["not complete within 500ms"]);
    fetch("--connect-timeout 0.5").expect(1).says(&[&destination, "within 500ms"]);
    fetch("--connect-timeout 0.5 --max-time 0").expect(1).says(&[&destination, "within 500ms"]);
    for wrong in ["--max-time x", "--max-time=-1", "--connect-timeout inf"] {
        fetch(wrong).expect(2).says(&["expected seconds"]);
    }
    let server = scene.server(Kind::Go).ask(Ask::Never).start();
    scene.fetch(&server.url(), &["--max-time", "20", "--connect-timeout", "20"]).expect(0);
}

/// What a person sees of a response on a terminal: no control character of it, and nothing of what is no text. A pipe gets every byte.
#[test]
fn a_response_cannot_control_the_terminal() {
    let scene = Scene::new();
    let server = RawServer::start(&scene);
    let fetch = |path: &str, more: &str| {
        let root = scene.server_root_file.display();
        format!("fetch https://localhost:{}/{path} --cacert {root} --credentials omit {more}", server.port)
    };
    let on_terminal = |path: &str, more: &str| {
        let mut terminal = Terminal::open(&scene.machine, fetch(path, more).split_whitespace());
        let code = terminal.end().code();
        (code, terminal.text(), String::from_utf8_lossy(terminal.received()).into_owned())
    };
    let (code, shown, received) = on_terminal("escapes", "-i");
    assert_eq!(code, Some(0), "{shown}");
    for escaped in [r"x-title: ", r"\u{1b}]0;owned\u{7}\u{1b}[31mred", r"\u{9b}2J\u{202e}\u{ffa0}next\u{d}line"] {
        assert!(shown.contains(escaped), "{escaped} in\n{shown}");
    }
    for control in ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\u{ffa0}'] {
        assert!(!received.contains(control), "{control:?} in {received:?}");
    }

    let (code, shown, received) = on_terminal("binary", "");
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("is not text") && shown.contains("-o -"), "{shown}");
    assert!(!received.contains("head"), "{received:?}");

    // Where the person says so, and where there is no terminal
    let (code, _, received) = on_terminal("binary", "-o -");
    assert_eq!(code, Some(0));
    assert!(received.contains("head\0"), "{received:?}");
    let piped = |path: &str| scene.machine.run(&fetch(path, "")).expect(0).stdout;
    assert_eq!(piped("binary"), b"head\0\xff\xfe\x9b2J\n");
    assert!(piped("escapes").starts_with(b"\x1b]0;owned\x07\x1b[31mred\r\n\xc2\x9b2J"));
}

/// Each server is verified, and then does not send a proper HTTP response in time. With both TLS libraries.
#[test]
fn no_server_keeps_fetch_waiting_or_reading_for_ever() {
    let scene = Scene::new();
    let server = RawServer::start(&scene);
    let slow = "--connect-timeout 1 --speed-time 1 --speed-limit 20";
    let cases = [
        ("silent", slow, &["no response within 2s", "--speed-time SECONDS"][..]),
        ("drip-head", slow, &["no response within 2s", "--speed-time SECONDS"]),
        ("drip-1xx", slow, &["no response within 2s"]),
        ("silent-body", slow, &["less than 20 bytes per second for 1s", "--speed-time SECONDS"]),
        ("drip-body", slow, &["less than 20 bytes per second for 1s"]),
        ("drip-page", slow, &["less than 20 bytes per second for 1s"]),
        ("silent", "--speed-time 0 --max-time 2", &["not complete within 2s"]),
        ("drip-body", "--speed-limit 0 --max-time 2", &["not complete within 2s"]),
        // These are limited whatever the speed of the server
        ("endless-headers", "--max-time 50", &["header"]),
        ("endless-header", "--max-time 50", &["header"]),
        ("endless-1xx", "--max-time 50 --speed-time 0", &["headers without end"]),
        ("endless-size", "--max-time 50 --speed-time 0", &["without end"]),
        ("endless-extension", "--max-time 50 --speed-time 0", &["chunk"]),
        ("endless-trailers", "--max-time 50 --speed-time 0", &["trailer"]),
        ("redirect", "-L --max-time 50", &["more than 50 redirects"]),
    ];
    let fetch = |path: &str, more: &str| {
        let root = scene.server_root_file.display();
        let line =
            format!("--batch fetch https://localhost:{}/{path} --cacert {root} --credentials omit {more}", server.port);
        scene.machine.command(line.split_whitespace()).memory(192).run()
    };
    let libraries: &[&str] = if cfg!(feature = "openssl") { &["rustls", "openssl"] } else { &["rustls"] };
    for library in libraries {
        for (path, more, words) in cases {
            fetch(path, &format!("{more} --tls {library}")).expect(1).says(&["localhost"]).says(words);
        }
        // A response that takes longer than the limits, but is fast enough
        let steady = fetch("steady", &format!("{slow} --tls {library}")).expect(0);
        assert_eq!(steady.stdout.len(), 999_999);
    }
}

/// With rustls no connection is open while a person chooses. With OpenSSL one is, in the handshake or in the middle of the response, and
/// nothing is read from it.
#[test]
fn the_time_that_a_person_takes_does_not_count_as_the_servers() {
    let question = Question::new();
    let wait = |url: &str, more: &[&str]| {
        let mut arguments = question.scene.fetch_arguments(url);
        arguments
            .extend(["--connect-timeout", "1", "--speed-time", "1"].iter().chain(more).map(|&each| each.to_owned()));
        let mut terminal = Terminal::open(&question.scene.machine, arguments);
        terminal.wait_for(SEND_NONE);
        terminal.stays_for(Duration::from_secs(4));
        answer(&mut terminal, "firefox", "alice", ONCE);
        assert_ends(&mut terminal, 0);
    };
    let server = question.server();
    wait(&server.url(), &[]);
    assert_eq!(server.chains(), [question.alice.sent_chain()]);
    #[cfg(feature = "openssl")]
    for tls in BOTH_VERSIONS {
        let apache = Apache::start(&question.scene, tls);
        wait(&server.url(), &["--tls", "openssl"]);
        wait(&apache.url("/require/page"), &["--tls", "openssl"]);
    }
}

/// A server that accepts connections and sends nothing. The error is not that of the system.
#[test]
fn a_server_without_a_handshake_is_named_after_30_seconds() {
    let scene = Scene::new();
    scene.hire("alice");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let destination = format!("localhost:{}", listener.local_addr().unwrap().port());
    let commands = ["explain", "explain --tls openssl", "credential git", "explain --request"];
    thread::scope(|scope| {
        for command in commands.iter().filter(|command| cfg!(feature = "openssl") || !command.contains("openssl")) {
            let (scene, destination) = (&scene, &destination);
            scope.spawn(move || {
                let outcome = scene.machine.run(&format!("--batch {command} {destination}")).expect(1);
                let outcome = outcome.says(&[destination, "no TLS handshake within 30s"]);
                assert!(!outcome.stderr.contains("os error"), "{command}: {}", outcome.stderr);
            });
        }
    });
}

#[test]
fn a_clock_before_1970_is_an_error() {
    let scene = Scene::new();
    let alice = scene.hire("alice");
    let server = scene.server(Kind::OpenSsl).ask(Ask::Require).start();
    scene.remember(&server.destination(), &alice.fingerprint());
    let (url, destination, root) = (server.url(), server.destination(), scene.server_root_file.display().to_string());
    let in_1969 = |line: &str| {
        let run = scene.machine.command(line.split_whitespace()).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        run.under(["faketime", "-f", "1969-06-01 00:00:00"]).run()
    };
    for line in [
        format!("--batch fetch {url} --cacert {root}"),
        format!("--batch explain {destination} --cacert {root}"),
        format!("--batch credential git {destination} --cacert {root}"),
    ] {
        in_1969(&line).expect(1).says(&["the clock of this machine is before 1970", "date"]);
    }
    assert!(server.chains().is_empty());
    for line in ["list", "show alice", "decisions", "history", "rules", "authorities", "config", "forget --all"] {
        in_1969(line).expect(0);
    }
}
