//! The flags of `fetch` that are curl's, beside curl itself with the same server.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::command::{Cardcase, Outcome, wait};
use crate::support::missing;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, Kind};
use crate::support::terminal::{Terminal, key};

/// The server of coded_http.py, which ends with the test.
struct Server {
    child: Child,
    port: String,
}

impl Server {
    fn start() -> Server {
        let mut command = program::named("python3");
        command.arg("-c").arg(include_str!("../support/coded_http.py")).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}", missing("python3", "python3", &error)));
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Server { child, port: port.trim().to_owned() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fetch(machine: &Cardcase, url: &str, flags: &[&str]) -> Outcome {
    machine.command(["fetch", url].iter().chain(flags)).run()
}

/// What curl writes, and whether it succeeds.
fn curl(url: &str, flags: &[&str]) -> (Vec<u8>, bool, Vec<u8>) {
    let output = program::named("curl").args(flags).arg(url).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{}", missing("curl", "curl", &error)));
    (output.stdout, output.status.success(), output.stderr)
}

/// Headers are in lower case here, as HTTP/2 has them.
fn lower(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_lowercase()
}

#[test]
fn bodies_heads_and_failures_are_those_of_curl() {
    let (machine, server) = (Cardcase::new(), Server::start());
    for (path, flags) in [
        ("/plain", &[][..]),
        ("/plain", &["--compressed"]),
        ("/gzip", &[]),
        ("/gzip", &["--compressed"]),
        ("/deflate", &["--compressed"]),
        ("/raw", &["--compressed"]),
        ("/br", &["--compressed"]),
        ("/both", &["--compressed"]),
        ("/gzip", &["--compressed", "-i"]),
        ("/gzip", &["--compressed", "-I"]),
        ("/br-br", &["--compressed"]),
        ("/gzip", &["-I", "-X", "GET"]),
        ("/zstd", &["-I"]),
        ("/404", &[]),
        ("/404", &["-f"]),
        ("/404", &["-f", "-i"]),
        ("/404", &["-I"]),
        ("/404", &["-fI"]),
        ("/plain", &["-f"]),
        ("/plain", &["-X", "GET", "-i"]),
    ] {
        let url = server.url(path);
        let (expected, succeeds, _) = curl(&url, &[&["-s"][..], flags].concat());
        let outcome = fetch(&machine, &url, flags);
        assert_eq!(lower(&outcome.stdout), lower(&expected), "{path} {flags:?}: {}", outcome.stderr);
        assert_eq!(outcome.code(), Some(if succeeds { 0 } else { 1 }), "{path} {flags:?}: {}", outcome.stderr);
    }
}

#[test]
fn what_is_asked_for_is_what_curl_asks_for() {
    let (machine, server) = (Cardcase::new(), Server::start());
    let url = server.url("/request");
    let password = machine.password_file("pass:word");
    let seen =
        |flags: &[&str]| -> Value { serde_json::from_slice(&fetch(&machine, &url, flags).expect(0).stdout).unwrap() };
    let by_curl = |flags: &[&str]| -> Value { serde_json::from_slice(&curl(&url, flags).0).unwrap() };
    let login = seen(&["-u", "alice", "--password-file", password.to_str().unwrap()]);
    assert_eq!(login["authorization"], by_curl(&["-u", "alice:pass:word"])["authorization"]);
    assert_eq!(seen(&["-u", "alice:"])["authorization"], by_curl(&["-u", "alice:"])["authorization"]);
    assert_eq!(seen(&["--compressed"])["accept-encoding"], "deflate, gzip, br");
    assert_eq!(seen(&[])["accept-encoding"], Value::Null);
    let outcome = fetch(&machine, &url, &["-I", "-d", "x"]);
    assert_eq!((outcome.code(), curl(&url, &["-I", "-d", "x"]).1), (Some(2), false));
}

#[test]
fn a_password_is_asked_for_and_is_never_an_argument() {
    let (machine, server) = (Cardcase::new(), Server::start());
    let url = server.url("/request");
    let refused = fetch(&machine, &url, &["-u", "alice:secret"]).expect(2).says(&["other users", "--password-file"]);
    assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
    fetch(&machine, &url, &["-u", "alice"]).expect(4).says(&["alice", "--password-file"]);
    // Not if something else is wrong, and not if it would not be sent
    fetch(&machine, &url, &["-u", "alice", "--as", "nobody"]).expect(3);
    let given = fetch(&machine, &url, &["-u", "alice", "-H", "Authorization: Bearer x"]).expect(0).json();
    assert_eq!(given["authorization"], "Bearer x");
    let file = machine.password_file("secret");
    let both = ["-u", "alice:", "--password-file", file.to_str().unwrap()];
    fetch(&machine, &url, &both).expect(2).says(&["empty password"]);
    let mut terminal = Terminal::open(&machine, ["fetch", &url, "-u", "alice"]);
    terminal.wait_for("Password of alice");
    terminal.send("secret");
    terminal.send(key::ENTER);
    terminal.wait_for("Basic YWxpY2U6c2VjcmV0");
    assert!(terminal.end().success());
    assert!(!terminal.text().contains("secret"), "{}", terminal.text());
}

#[test]
fn silence_and_details_are_as_in_curl() {
    let (machine, server) = (Cardcase::new(), Server::start());
    let (missing, plain) = (server.url("/404"), server.url("/plain"));
    for flags in [&["-sf"][..], &["-sSf"], &["-f"]] {
        let (_, _, expected) = curl(&missing, flags);
        let outcome = fetch(&machine, &missing, flags).expect(1);
        let is_silent = flags == ["-sf"];
        assert_eq!(
            (outcome.stderr.is_empty(), expected.is_empty()),
            (is_silent, is_silent),
            "{flags:?}: {}",
            outcome.stderr
        );
    }
    // -v decides about details, and -s about everything else
    let details = fetch(&machine, &missing, &["-sfv"]).expect(1).stderr;
    assert!(details.contains("> GET /404") && !details.contains("error"), "{details}");
    assert!(lower(&curl(&missing, &["-sfv"]).2).contains("> get /404"));
    // Nothing is sent before there is a connection
    let unsent = fetch(&machine, "http://127.0.0.1:1/", &["-v"]).expect(1).stderr;
    assert!(!unsent.contains("> GET"), "{unsent}");
    let password = machine.password_file("secret");
    let flags = ["-v", "-u", "alice", "--password-file", password.to_str().unwrap()];
    let (told, by_curl) = (fetch(&machine, &plain, &flags).expect(0), curl(&plain, &["-v"]).2);
    for line in ["> get /plain", "> accept: */*", "< content-length: 27"] {
        assert!(lower(&by_curl).contains(line) && told.stderr.to_lowercase().contains(line), "{line}: {}", told.stderr);
    }
    assert!(!told.stderr.contains("YWxpY2U6c2VjcmV0"), "{}", told.stderr);
    assert!(told.stderr.contains("store: "), "{}", told.stderr);
}

#[test]
fn a_response_that_expands_without_end_is_never_in_memory() {
    let (machine, server) = (Cardcase::new(), Server::start());
    let file = machine.dir().join("body");
    let arguments = ["fetch", &server.url("/bomb"), "--compressed", "-o", file.to_str().unwrap()];
    machine.command(arguments).memory(64).run().expect(0);
    assert_eq!(file.metadata().unwrap().len(), 256 << 20);
}

#[test]
fn a_coding_that_was_not_asked_for_and_an_end_that_is_missing_are_errors() {
    let (machine, server) = (Cardcase::new(), Server::start());
    fetch(&machine, &server.url("/zstd"), &["--compressed"]).expect(1).says(&["zstd", "--compressed"]);
    // curl takes what there is
    for path in ["/cut", "/cut-deflate", "/cut-br"] {
        fetch(&machine, &server.url(path), &["--compressed"]).expect(1).says(&["incomplete"]);
    }
    // A layer that has ended, or failed, takes nothing more
    for path in ["/br-tail", "/br-br-tail", "/br-br-wrong"] {
        fetch(&machine, &server.url(path), &["--compressed"]).expect(1).says(&["incomplete"]);
    }
    // As it was sent
    fetch(&machine, &server.url("/zstd"), &[]).expect(0);
    // There is no body to decompress
    fetch(&machine, &server.url("/zstd"), &["-I", "--compressed"]).expect(0);
}

#[test]
fn a_compressed_page_that_refuses_is_recognised() {
    let (scene, backend) = (Scene::new(), Server::start());
    let address = backend.url("").trim_start_matches("http://").parse().unwrap();
    let front = scene.server(Kind::Nginx).ask(Ask::Optional).in_front_of(address).start();
    let url = front.url_at("localhost", "/refuses");
    for flags in [&["--compressed"][..], &[]] {
        scene.fetch(&url, &[flags, &["--credentials", "omit"]].concat()).expect(5).says(&["its page says so"]);
        assert_eq!(scene.machine.json("history")["uses"][0]["outcome"], "refused", "{flags:?}");
    }
}

#[test]
fn a_file_is_opened_for_the_first_byte() {
    let (machine, server) = (Cardcase::new(), Server::start());
    let file = machine.dir().join("body");
    let output = ["-o", file.to_str().unwrap()];
    for (path, flags, left) in [("/404", "-f", "good"), ("/zstd", "--compressed", "good"), ("/empty", "-f", "")] {
        std::fs::write(&file, "good").unwrap();
        fetch(&machine, &server.url(path), &[&output[..], &[flags]].concat());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), left, "{path}");
    }
    // curl does the same
    std::fs::write(&file, "good").unwrap();
    curl(&server.url("/404"), &[&output[..], &["-sf"]].concat());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "good");
}

#[test]
fn what_nobody_reads_is_not_decompressed() {
    let (machine, server) = (Cardcase::new(), Server::start());
    let mut child = machine.command(["fetch", &server.url("/bombs"), "--compressed"]).process().spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    let ended = wait(child, Duration::from_secs(60)).expect("it goes on");
    assert!(ended.success(), "{ended}");
}

#[test]
fn max_time_ends_a_command_whose_stderr_nobody_reads() {
    let (machine, server) = (Cardcase::new(), Server::start());
    // Longer than a pipe
    let child = machine.command(["fetch", &server.url("/long"), "-v", "--max-time", "1"]).process().spawn();
    let ended = wait(child.unwrap(), Duration::from_secs(60)).expect("it waits for ever");
    assert_eq!(ended.code(), Some(1));
}

#[test]
fn max_time_ends_the_wait_for_the_first_piece_of_a_pipe() {
    let (machine, server) = (Cardcase::new(), Server::start());
    let run = machine.command(["fetch", &server.url("/plain"), "-d", "@-", "--max-time", "1"]).stdin("");
    let mut child = run.process().spawn().unwrap();
    // Never closed, and nothing is written
    let stdin = child.stdin.take().unwrap();
    let begun = Instant::now();
    let status = thread::spawn(move || child.wait().unwrap()).join().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(30));
    drop(stdin);
}
