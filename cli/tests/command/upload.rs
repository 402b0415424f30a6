//! The bodies of requests: from files and pipes, complete or not at all, and again where a request is sent again.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::command::wait;
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server};

const MIB: usize = 1 << 20;

/// More than is kept of a pipe, and no multiple of what is read at once.
const LONG: usize = 9 * MIB + 7;

fn bytes(length: usize) -> Vec<u8> {
    (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn file(scene: &Scene, length: usize) -> (PathBuf, Vec<u8>) {
    let (path, bytes) = (scene.machine.dir().join(format!("{length}.bin")), bytes(length));
    fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

/// Servers that speak HTTP/1.1 and HTTP/2, and accept anybody.
fn servers(scene: &Scene) -> [Server; 2] {
    let server = || scene.server(Kind::Go).ask(Ask::Never);
    [server().http1().start(), server().start()]
}

/// Checks that the last request brought these bytes, with or without their number announced.
#[track_caller]
fn assert_arrived(server: &Server, bytes: &[u8], is_announced: bool) {
    let requests = server.requests();
    let body = &requests.last().unwrap()["body"];
    let sum = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let announced = if is_announced { bytes.len() as i64 } else { -1 };
    assert_eq!(
        (&body["complete"], &body["length"], &body["sha256"], &body["announced"]),
        (&Value::from(true), &Value::from(bytes.len()), &Value::from(sum), &Value::from(announced)),
    );
}

/// Runs `fetch` with the file as its stdin, directly or by a pipe.
fn fetch_from_stdin(scene: &Scene, url: &str, path: &Path, by_pipe: bool, more: &[&str]) -> (i32, String) {
    let arguments = ["--batch"].into_iter().map(str::to_owned).chain(scene.fetch_arguments(url));
    let run = scene.machine.command(arguments).args(["-d", "@-"]).args(more);
    let mut process = run.process();
    let mut cat = None;
    if by_pipe {
        let mut command = program::named("cat");
        let mut child = command.arg(path).stdout(Stdio::piped()).spawn().unwrap();
        process.stdin(child.stdout.take().unwrap());
        cat = Some(child);
    } else {
        process.stdin(File::open(path).unwrap());
    }
    let output = process.output().unwrap();
    // With its end of the pipe: `cat` may have been cut off
    drop(process);
    let _ = cat.map(|mut cat| cat.wait());
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_file_and_a_pipe_arrive_as_they_are() {
    let scene = Scene::new();
    for server in servers(&scene) {
        for length in [0, 1, 64 << 10, 2 * MIB, 2 * MIB + 1, LONG] {
            let (path, bytes) = file(&scene, length);
            for method in ["POST", "GET"] {
                let data = format!("@{}", path.display());
                scene.fetch(&server.url(), &["-X", method, "-d", &data]).expect(0);
                assert_arrived(&server, &bytes, true);
                for by_pipe in [false, true] {
                    let (code, stderr) = fetch_from_stdin(&scene, &server.url(), &path, by_pipe, &["-X", method]);
                    assert_eq!(code, 0, "{stderr}");
                    // What is longer than is kept has no known length
                    assert_arrived(&server, &bytes, !by_pipe || length <= 2 * MIB);
                }
            }
        }
    }
}

/// Such a file says that it is empty.
#[test]
fn a_file_without_a_length_arrives_too() {
    let scene = Scene::new();
    for server in servers(&scene) {
        scene.fetch(&server.url(), &["-d", "@/proc/version"]).expect(0);
        assert_arrived(&server, &fs::read("/proc/version").unwrap(), true);
    }
}

#[test]
fn stdin_is_sent_from_where_it_is() {
    let scene = Scene::new();
    let (path, bytes) = file(&scene, LONG);
    for server in servers(&scene) {
        let mut stdin = File::open(&path).unwrap();
        stdin.seek(SeekFrom::Start(5)).unwrap();
        let arguments = ["--batch"].into_iter().map(str::to_owned).chain(scene.fetch_arguments(&server.url()));
        let mut process = scene.machine.command(arguments).args(["-d", "@-"]).process();
        let shared = stdin.try_clone().unwrap();
        assert!(process.stdin(shared).status().unwrap().success());
        assert_arrived(&server, &bytes[5..], true);
        assert_eq!(stdin.stream_position().unwrap(), LONG as u64, "the next program would read it again");
    }
}

#[test]
fn a_redirect_that_keeps_the_method_sends_the_body_again() {
    let scene = Scene::new();
    let (path, bytes) = file(&scene, LONG);
    let (short, few) = file(&scene, 100);
    for server in servers(&scene) {
        let url = format!("{}&keep=1", server.redirect_to("localhost", "/there"));
        let data = format!("@{}", path.display());
        scene.fetch(&url, &["-L", "-d", &data]).expect(0);
        assert_arrived(&server, &bytes, true);
        for (path, bytes) in [(&short, &few), (&path, &bytes)] {
            let (code, stderr) = fetch_from_stdin(&scene, &url, path, false, &["-L"]);
            assert_eq!(code, 0, "{stderr}");
            assert_arrived(&server, bytes, true);
        }
        assert_eq!(fetch_from_stdin(&scene, &url, &short, true, &["-L"]).0, 0);
        assert_arrived(&server, &few, true);
        let before = server.requests().len();
        let (code, stderr) = fetch_from_stdin(&scene, &url, &path, true, &["-L"]);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("stdin: ") && stderr.contains("-d @FILE"), "{stderr}");
        assert_eq!(server.requests().len(), before + 1, "something was sent to where it redirects");
        // A redirect that turns it into a GET needs no body
        let url = server.redirect_to("localhost", "/there");
        assert_eq!(fetch_from_stdin(&scene, &url, &path, true, &["-L"]).0, 0);
        assert_arrived(&server, b"", true);
    }
}

#[test]
fn a_file_that_changes_meanwhile_is_not_sent_to_its_end() {
    let scene = Scene::new();
    const LENGTH: u64 = 64 << 20;
    let shrink = |file: &File| file.set_len(3 * MIB as u64).unwrap();
    let grow = |file: &File| file.set_len(LENGTH + 1).unwrap();
    let overwrite = |file: &File| file.write_all_at(b"x", LENGTH / 2).unwrap();
    for server in servers(&scene) {
        let changes = [("shrink", shrink as fn(&File)), ("grow", grow), ("overwrite", overwrite)];
        for (before, (name, change)) in changes.into_iter().enumerate() {
            let path = scene.machine.dir().join(name);
            let until = scene.machine.dir().join(format!("{name}-{}", server.port()));
            let file = File::create(&path).unwrap();
            file.set_len(LENGTH).unwrap();
            let url = server.url_at("localhost", &format!("/pause?until={}", until.display()));
            let run = scene.machine.command(["--batch"]).args(scene.fetch_arguments(&url));
            let mut process = run.args(["-X", "PUT", "-d"]).arg(format!("@{}", path.display())).process();
            let mut child = process.spawn().unwrap();
            server.says(&format!("paused {}", until.display()));
            change(&file);
            File::create(&until).unwrap();
            let mut stderr = String::new();
            std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut stderr).unwrap();
            assert_eq!(wait(child, Duration::from_secs(60)).unwrap().code(), Some(1), "{name}: {stderr}");
            assert!(stderr.contains(&format!("{name}: it changed while it was sent")), "{name}: {stderr}");
            // The server says so once it has seen the end, which may be after that of the command
            let began = Instant::now();
            while server.requests().len() <= before {
                assert!(began.elapsed() < Duration::from_secs(60), "{name}: {}", server.said());
                std::thread::sleep(Duration::from_millis(20));
            }
            let request = server.requests().pop().unwrap();
            assert_eq!(request["body"]["complete"], false, "{name}: {request}");
        }
    }
}

/// Which is what a server does that does not want so much.
#[test]
fn an_answer_before_the_end_of_the_body_is_shown() {
    let scene = Scene::new();
    let (path, _) = file(&scene, LONG);
    let data = format!("@{}", path.display());
    for server in servers(&scene) {
        let outcome = scene.fetch(&server.url_at("localhost", "/early"), &["-i", "-d", &data]).expect(0);
        assert!(outcome.text().contains(" 413 ") && outcome.text().contains("too much"), "{}", outcome.text());
        // A pipe that nobody writes to any more, and that stays open
        let arguments = ["--batch"]
            .into_iter()
            .map(str::to_owned)
            .chain(scene.fetch_arguments(&server.url_at("localhost", "/early")));
        let mut process = scene.machine.command(arguments).args(["-d", "@-"]).process();
        let mut child = process.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may have its answer already
        let _ = stdin.write_all(&bytes(3 * MIB));
        let ended = wait(child, Duration::from_secs(60)).unwrap();
        assert_eq!(ended.code(), Some(0));
        drop(stdin);
    }
}

/// In TLS 1.3 the refusal comes while the body is being sent.
#[test]
fn a_refusal_is_seen_while_the_body_is_sent() {
    let scene = Scene::new();
    scene.bring(scene.guests.client("guest").issue());
    let (path, _) = file(&scene, LONG);
    let data = format!("@{}", path.display());
    for tls in BOTH_VERSIONS {
        let server = || scene.server(Kind::Go).tls(tls).ask(Ask::Require).without_hints();
        for server in [server().http1().start(), server().start()] {
            let said = ["guest", "bad_certificate"];
            scene.fetch(&server.url(), &["--as", "guest", "-d", &data]).expect(5).says(&said);
            let (code, stderr) = fetch_from_stdin(&scene, &server.url(), &path, true, &["--as", "guest"]);
            assert_eq!(code, 5, "{stderr}");
            assert!(said.iter().all(|word| stderr.contains(word)), "{stderr}");
        }
    }
}

/// The program that writes to the pipe takes longer than a server may.
#[test]
fn the_time_that_a_pipe_takes_is_not_the_servers() {
    let scene = Scene::new();
    for server in servers(&scene) {
        let url = server.url_at("localhost", "/pause?until=/");
        let run = scene.machine.command(["--batch"]).args(scene.fetch_arguments(&url));
        // The time for the handshake is added to that for the response
        let limits = ["--speed-time", "0.5", "--connect-timeout", "2", "-d", "@-"];
        let mut child = run.args(limits).process().stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&bytes(3 * MIB)).unwrap();
        server.says("paused /");
        // This is about the passing of time
        std::thread::sleep(Duration::from_secs(4));
        stdin.write_all(b"end").unwrap();
        drop(stdin);
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut stderr).unwrap();
        assert_eq!(wait(child, Duration::from_secs(60)).unwrap().code(), Some(0), "{stderr}");
        assert_arrived(&server, &[&bytes(3 * MIB)[..], b"end"].concat(), false);
    }
}

#[test]
fn memory_does_not_grow_with_the_body() {
    let scene = Scene::new();
    let (path, bytes) = file(&scene, 200 * MIB);
    for server in servers(&scene) {
        for stdin in [false, true] {
            let data = if stdin { "@-".to_owned() } else { format!("@{}", path.display()) };
            let line = format!("cat {} | \"$@\" -d {data}", path.display());
            let run = scene.machine.command(["--batch"]).args(scene.fetch_arguments(&server.url()));
            run.memory(64).under(["sh", "-c", &line, "sh"]).run().expect(0);
            assert_arrived(&server, &bytes, !stdin);
        }
    }
}
