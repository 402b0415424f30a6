//! `cardcase unlock` and `lock`: the agent signs without asking, gives no keys away, and ends when it has to.

#![cfg(target_os = "linux")]
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::ca::Key;
use crate::support::command::{Cardcase, Outcome, Run};
use crate::support::program;
use crate::support::scene::Scene;
use crate::support::server::{Ask, BOTH_VERSIONS, Kind, Server, Tls};
use crate::support::{executable, missing, pss};
use rustix::process::{Pid, Signal, geteuid, kill_process};

const PRIMARY: &str = "correct horse";

/// Everything that ends by itself ends within this time.
const SOON: Duration = Duration::from_secs(20);

/// A scene with an employee called alice, and a store that a primary password protects.
fn protected() -> Scene {
    let scene = Scene::new();
    scene.hire("alice");
    protect(&scene.machine);
    scene
}

fn protect(machine: &Cardcase) {
    let password = machine.password_file(PRIMARY);
    machine.command(["password", "--new-password-file"]).arg(password).run().expect(0);
}

/// Runs the command with the primary password.
fn knowing(machine: &Cardcase, line: &str) -> Run {
    let password = machine.password_file(PRIMARY);
    machine.command(line.split_whitespace()).env("CARDCASE_PRIMARY_PASSWORD_FILE", password)
}

fn unlock(machine: &Cardcase) -> Outcome {
    knowing(machine, "unlock").run().expect(0).says(&["unlocked until"])
}

fn process(machine: &Cardcase) -> Pid {
    let status = machine.json("unlock --status");
    Pid::from_raw(i32::try_from(status["process"].as_i64().unwrap()).unwrap()).unwrap()
}

fn socket(machine: &Cardcase) -> PathBuf {
    let all = fs::read_dir(machine.runtime().join("cardcase")).unwrap().map(|entry| entry.unwrap().path());
    let mut sockets = all.filter(|path| path.extension().is_some_and(|end| end == "sock"));
    let socket = sockets.next().unwrap();
    assert!(sockets.next().is_none());
    socket
}

#[track_caller]
pub fn wait_until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < SOON, "it is never so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn assert_gone(process: Pid) {
    // If the parent does not wait for it, as the first process of a container may not, it remains a zombie
    let state = || fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    wait_until("the agent is gone", || state().is_empty() || state().contains(") Z "));
}

/// A server that accepts only employees, and that alice is remembered for.
fn server_for_alice(scene: &Scene) -> Server {
    let server = scene.server(Kind::OpenSsl).ask(Ask::Require).start();
    let line = format!("remember {} alice", server.destination());
    knowing(&scene.machine, &line).run().expect(0);
    server
}

#[track_caller]
fn assert_locked(scene: &Scene, server: &Server) {
    let before = server.chains().len();
    scene.fetch(&server.url(), &[]).expect(4).says(&["primary password", "cardcase unlock"]);
    assert_eq!(server.chains().len(), before, "something was sent");
    assert_eq!(scene.machine.json("unlock --status")["unlocked"], false);
}

#[test]
fn the_agent_signs_with_every_kind_of_key_in_both_tls_versions_without_asking() {
    let scene = Scene::new();
    let keys = [Key::P256, Key::P384, Key::Rsa2048, Key::Ed25519];
    let people = keys.map(|key| (key.name(), scene.bring(scene.employee(key.name()).key(key).issue())));
    let (pss, file) = pss::issued(&scene, "rsa-pss", 2048, "");
    scene.machine.import_file(&file);
    protect(&scene.machine);
    unlock(&scene.machine);
    for tls in BOTH_VERSIONS {
        let server = scene.server(Kind::OpenSsl).tls(tls).ask(Ask::Require).start();
        for (name, identity) in &people {
            scene.fetch(&server.url(), &["--as", name]).expect(0);
            assert_eq!(server.chains().last(), Some(&identity.sent_chain()), "{name} {tls:?}\n{}", server.said());
            assert!(server.handshakes().last().unwrap().complete, "{name} {tls:?}\n{}", server.said());
        }
        // rustls does not offer this kind of key in TLS 1.2
        if tls == Tls::V1_3 {
            scene.fetch(&server.url(), &["--as", "rsa-pss"]).expect(0);
            assert_eq!(server.chains().last().unwrap()[0], crate::support::fingerprint(&pss), "{}", server.said());
        }
    }
}

/// What is signed in TLS 1.2 is the whole handshake, which every server makes differently.
#[test]
fn the_agent_knows_the_handshakes_of_every_server() {
    let scene = protected();
    unlock(&scene.machine);
    for kind in Kind::ALL {
        let server = scene.server(kind).tls(Tls::V1_2).ask(Ask::Require).start();
        scene.fetch(&server.url(), &["--as", "alice"]).expect(0);
        assert_eq!(server.chains().len(), 1, "{kind:?}\n{}", server.said());
    }
}

#[test]
fn the_agent_authenticates_changes_and_seals_imported_keys() {
    let scene = protected();
    unlock(&scene.machine);
    let bob = scene.hire("bob");
    let server = scene.server(Kind::OpenSsl).ask(Ask::Require).start();
    scene.remember(&server.destination(), "bob");
    scene.machine.run("config use-single-candidate on").expect(0);
    scene.fetch(&server.url(), &[]).expect(0);
    assert_eq!(server.chains(), [bob.sent_chain()]);
    // The same without the agent
    scene.machine.run("lock").expect(0).says(&["locked"]);
    knowing(&scene.machine, &format!("--batch fetch {} --cacert {}", server.url(), scene.server_root_file.display()))
        .run()
        .expect(0);
    assert_eq!(server.chains().len(), 2);
}

#[test]
fn commands_that_need_keys_in_the_clear_still_ask_for_the_password() {
    let scene = protected();
    unlock(&scene.machine);
    let export = format!("--batch export alice -o {}", scene.machine.dir().join("alice.p12").display());
    for line in [&export, "--batch password --new-password-file /dev/null", "--batch min-tls alice 1.3"] {
        scene.machine.run(line).expect(4).says(&["primary password"]);
    }
    assert_eq!(scene.machine.json("unlock --status")["unlocked"], true);
}

#[test]
fn lock_ends_the_agent_at_once() {
    let scene = protected();
    let server = server_for_alice(&scene);
    unlock(&scene.machine);
    scene.fetch(&server.url(), &[]).expect(0);
    let (agent, socket) = (process(&scene.machine), socket(&scene.machine));
    scene.machine.run("lock").expect(0).says(&["locked"]);
    assert!(!socket.exists());
    assert_gone(agent);
    assert_locked(&scene, &server);
    scene.machine.run("lock").expect(0).says(&["not unlocked"]);
}

#[test]
fn the_agent_ends_when_its_time_is_over() {
    let scene = protected();
    let server = server_for_alice(&scene);
    knowing(&scene.machine, "unlock --for 2s").run().expect(0);
    let agent = process(&scene.machine);
    std::thread::sleep(Duration::from_millis(2100));
    // The process may exist for another moment
    assert_locked(&scene, &server);
    assert_gone(agent);
    for wrong in ["0s", "2y", "soon", "-1h"] {
        scene.machine.run(&format!("unlock --for={wrong}")).expect(2);
    }
}

#[test]
fn the_agent_ends_at_logout() {
    let scene = protected();
    let server = server_for_alice(&scene);
    unlock(&scene.machine);
    let agent = process(&scene.machine);
    scene.machine.log_in_anew();
    assert_locked(&scene, &server);
    assert_gone(agent);
}

#[test]
fn the_agent_ends_on_signals_and_removes_its_socket() {
    let scene = protected();
    for signal in [Signal::TERM, Signal::HUP] {
        unlock(&scene.machine);
        let (agent, socket) = (process(&scene.machine), socket(&scene.machine));
        kill_process(agent, signal).unwrap();
        assert_gone(agent);
        assert!(!socket.exists(), "{signal:?}");
    }
}

#[test]
fn after_an_agent_is_killed_the_store_is_locked_and_can_be_unlocked_again() {
    let scene = protected();
    let server = server_for_alice(&scene);
    unlock(&scene.machine);
    let agent = process(&scene.machine);
    kill_process(agent, Signal::KILL).unwrap();
    assert_gone(agent);
    assert!(socket(&scene.machine).exists());
    assert_locked(&scene, &server);
    unlock(&scene.machine);
    scene.fetch(&server.url(), &[]).expect(0);
}

#[test]
fn changing_the_primary_password_ends_the_agent() {
    let scene = protected();
    let server = server_for_alice(&scene);
    unlock(&scene.machine);
    let agent = process(&scene.machine);
    let new = crate::support::ca::write(scene.machine.dir(), "new", "txt", "battery staple");
    knowing(&scene.machine, "password --new-password-file").arg(new).run().expect(0);
    assert_gone(agent);
    assert_locked(&scene, &server);
}

/// What `doctor` says of the agent.
fn assert_doctor_finds(machine: &Cardcase, code: &str, times: usize) {
    let found = machine.run("doctor --json").json();
    let codes = found["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap());
    assert_eq!(codes.filter(|found| *found == code).count(), times, "{found}");
}

/// As if another machine, which does not know of this agent, had changed it.
#[test]
fn an_agent_with_an_old_password_is_not_used() {
    let scene = protected();
    let server = server_for_alice(&scene);
    unlock(&scene.machine);
    let agent = process(&scene.machine);
    let elsewhere = scene.machine.dir().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).unwrap();
    let new = crate::support::ca::write(scene.machine.dir(), "new", "txt", "battery staple");
    let changed = knowing(&scene.machine, "password --new-password-file").arg(&new).env("XDG_RUNTIME_DIR", elsewhere);
    changed.run().expect(0);
    assert_locked(&scene, &server);
    assert_doctor_finds(&scene.machine, "agent_outdated", 1);
    let again = scene.machine.command(["unlock", "--primary-password-file"]).arg(&new).run();
    again.expect(0);
    assert_gone(agent);
    assert_doctor_finds(&scene.machine, "agent_outdated", 0);
    scene.fetch(&server.url(), &[]).expect(0);
}

#[test]
fn unlock_says_why_it_fails() {
    let scene = Scene::new();
    scene.machine.run("unlock").expect(0).says(&["not protected", "cardcase password"]);
    protect(&scene.machine);
    scene.machine.run("--batch unlock").expect(4).says(&["primary password"]);
    let wrong = crate::support::ca::write(scene.machine.dir(), "wrong", "txt", "wrong");
    scene.machine.command(["unlock", "--primary-password-file"]).arg(wrong).run().expect(6);
    let runtime = scene.machine.runtime().join("cardcase");
    fs::create_dir_all(&runtime).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
    knowing(&scene.machine, "unlock").run().expect(1).says(&["only you can enter"]);
}

/// On Linux the path of a socket can have 107 bytes. Everything that needs no socket works in such a directory.
#[test]
fn a_runtime_directory_whose_path_is_too_long_for_a_socket_is_named() {
    let scene = protected();
    let server = server_for_alice(&scene);
    let long = scene.machine.dir().join("l".repeat(100));
    fs::create_dir(&long).unwrap();
    fs::set_permissions(&long, fs::Permissions::from_mode(0o700)).unwrap();
    let there = |run: Run| run.env("XDG_RUNTIME_DIR", &long).run();
    there(knowing(&scene.machine, "unlock")).expect(1).says(&["107", "socket", "hint: ", "XDG_RUNTIME_DIR"]);
    for line in ["unlock --status", "lock", "list"] {
        there(scene.machine.command(line.split_whitespace())).expect(0);
    }
    let root = scene.server_root_file.display();
    there(knowing(&scene.machine, &format!("--batch fetch {} --cacert {root}", server.url()))).expect(0);
    let tunnel = format!("--batch tunnel {} --cacert {root}", server.destination());
    there(knowing(&scene.machine, &tunnel)).expect(1).says(&["107", "--listen unix:PATH"]);
}

#[test]
fn several_unlocks_at_once_leave_one_agent() {
    let scene = protected();
    let server = server_for_alice(&scene);
    std::thread::scope(|scope| {
        let unlocks: Vec<_> = (0..4).map(|_| scope.spawn(|| knowing(&scene.machine, "unlock").run())).collect();
        unlocks.into_iter().for_each(|unlock| drop(unlock.join().unwrap().expect(0)));
    });
    scene.fetch(&server.url(), &[]).expect(0);
    let agent = process(&scene.machine);
    scene.machine.run("lock").expect(0);
    assert_gone(agent);
    assert_locked(&scene, &server);
}

#[test]
fn fifty_fetches_at_once_all_succeed() {
    let scene = protected();
    let server = server_for_alice(&scene);
    unlock(&scene.machine);
    std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..50).map(|_| scope.spawn(|| scene.fetch(&server.url(), &[]))).collect();
        fetches.into_iter().for_each(|fetch| drop(fetch.join().unwrap().expect(0)));
    });
    assert_eq!(server.chains().len(), 50);
}

/// A frame with any length in its header.
fn frame(length: u32, rest: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes(), rest].concat()
}

#[test]
fn invalid_requests_do_not_harm_the_agent() {
    let scene = protected();
    let server = server_for_alice(&scene);
    unlock(&scene.machine);
    let (agent, socket) = (process(&scene.machine), socket(&scene.machine));
    let noise: Vec<u8> = (0..10_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let mut half_asked = Vec::new();
    for bytes in [
        &b""[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &frame(0, &[1, 1]),
        &frame(u32::MAX, &noise),
        &frame((1 << 20) + 1, &noise),
        &frame(1 << 20, &noise),
        &frame(2, &[1, 99]),
        &frame(2, &[99, 1]),
        &frame(10_001, &[&[1], noise.as_slice()].concat()),
        // A field that is longer than the frame
        &frame(43, &[&[1, 2], [0; 32].as_slice(), &[1], &[0xff; 8]].concat()),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // The agent may have closed the connection already
        let _ = stream.write_all(bytes);
        half_asked.push(stream);
    }
    // More connections than it serves at the same time
    half_asked.extend((0..40).map(|_| UnixStream::connect(&socket).unwrap()));
    scene.fetch(&server.url(), &[]).expect(0);
    assert_eq!(process(&scene.machine), agent);
    for mut stream in half_asked {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = Vec::new();
        // The connection is reset if the agent left something unread
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 64, "{answer:?}");
    }
    let status = || fs::read_to_string(format!("/proc/{}/status", agent.as_raw_nonzero())).unwrap();
    // A thread ends a little later than its connection
    wait_until("few threads", || number(&status(), "Threads:") <= 5);
    let status = status();
    assert!(number(&status, "VmRSS:") < 64 << 10, "{status}");
}

fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_agent_that_hangs_is_named_and_can_be_ended() {
    let scene = protected();
    let server = server_for_alice(&scene);
    unlock(&scene.machine);
    let agent = process(&scene.machine);
    kill_process(agent, Signal::STOP).unwrap();
    let named = agent.as_raw_nonzero().to_string();
    scene.fetch(&server.url(), &[]).expect(1).says(&["does not answer", &named, "cardcase lock"]);
    assert_doctor_finds(&scene.machine, "agent_broken", 1);
    scene.machine.run("lock").expect(0).says(&["locked"]);
    assert_gone(agent);
    assert_locked(&scene, &server);
}

/// Connects as long as it can, from one process after the other, and says so; then waits for the end of its input.
const CROWD: &str = r#"
import resource, socket, sys
most = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (most + 50, most + 50))
crowd = []
for _ in range(most):
    each = socket.socket(socket.AF_UNIX)
    each.setblocking(False)
    try:
        each.connect(sys.argv[1])
    except BlockingIOError:
        break
    crowd.append(each)
print(len(crowd), flush=True)
sys.stdin.read()
"#;

/// A process with many connections to a socket, which sends nothing.
struct Crowd(std::process::Child);

impl Crowd {
    /// Returns the number of its connections too.
    fn gather(socket: &Path, most: usize) -> (Crowd, usize) {
        let mut command = program::named("python3");
        command.args(["-c", CROWD]).arg(socket).arg(most.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}", missing("python3", "python3", &error)));
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        (Crowd(child), said.trim().parse().unwrap())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It may have ended already
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_crowd_at_the_socket_does_not_shut_out_its_owner() {
    let scene = protected();
    let server = server_for_alice(&scene);
    unlock(&scene.machine);
    let (agent, socket) = (process(&scene.machine), socket(&scene.machine));
    let _crowd: Vec<Crowd> = (0..20).map(|_| Crowd::gather(&socket, 100).0).collect();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // And those that come all the time, and send a byte now and then
        for _ in 0..2 {
            scope.spawn(|| {
                let mut held = VecDeque::new();
                while !ended.load(Ordering::Relaxed) {
                    if let Ok(mut stream) = UnixStream::connect(&socket) {
                        let _ = stream.write_all(&[0]);
                        held.push_back(stream);
                    }
                    held.truncate(100);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        for _ in 0..5 {
            scene.fetch(&server.url(), &[]).expect(0);
            assert_eq!(process(&scene.machine), agent);
        }
        scene.machine.run("lock").expect(0).says(&["locked"]);
        ended.store(true, Ordering::Relaxed);
    });
    assert_gone(agent);
    assert_locked(&scene, &server);
}

/// Its queue of connections is full, so that nobody even gets its process number from the socket.
#[test]
fn an_agent_that_hangs_in_a_crowd_is_ended_too() {
    let scene = protected();
    let server = server_for_alice(&scene);
    unlock(&scene.machine);
    let (agent, socket) = (process(&scene.machine), socket(&scene.machine));
    kill_process(agent, Signal::STOP).unwrap();
    let crowd: Vec<(Crowd, usize)> = (0..10).map(|_| Crowd::gather(&socket, 900)).collect();
    assert!(crowd.last().unwrap().1 == 0, "the queue is not full");
    scene.fetch(&server.url(), &[]).expect(1).says(&["does not answer", "cardcase lock"]);
    scene.machine.run("unlock --status").expect(1).says(&["does not answer", "cardcase lock"]);
    scene.machine.run("lock").expect(0).says(&["locked"]);
    assert_gone(agent);
    drop(crowd);
    assert_locked(&scene, &server);
}

/// A process of the same user that only listens at the socket, and holds no lock.
#[test]
fn a_process_that_is_no_agent_is_not_killed() {
    let scene = protected();
    let server = server_for_alice(&scene);
    unlock(&scene.machine);
    let (agent, socket) = (process(&scene.machine), socket(&scene.machine));
    kill_process(agent, Signal::KILL).unwrap();
    assert_gone(agent);
    fs::remove_file(&socket).unwrap();
    // This process, which answers nobody
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    scene.fetch(&server.url(), &[]).expect(1).says(&["does not answer", "cardcase lock"]);
    scene.machine.run("lock").expect(0).says(&["not unlocked"]);
    assert!(!socket.exists());
    assert_locked(&scene, &server);
    unlock(&scene.machine);
    scene.fetch(&server.url(), &[]).expect(0);
}

/// A user who is not root. In `/proc`, a process of root belongs to root whether it is dumpable or not.
const SOMEBODY: u32 = 65534;

fn give_away(path: &Path) {
    chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

/// Runs a command line on the machine as its owner, who is not root. The owner may not be able to read the build
/// directory.
fn as_owner(machine: &Cardcase, line: &str) -> String {
    let program = machine.dir().join("cardcase");
    if !program.exists() {
        executable::copy(env!("CARGO_BIN_EXE_cardcase"), machine.dir(), "cardcase");
        give_away(machine.dir());
    }
    let mut command = program::named(&program);
    if geteuid().is_root() {
        command = program::named("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    }
    command.args(line.split_whitespace()).env_clear().envs(machine.environment()).current_dir("/");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {stderr}");
    format!("{stderr}{}", String::from_utf8_lossy(&output.stdout))
}

#[test]
fn other_users_and_processes_cannot_access_the_agent() {
    let machine = Cardcase::new();
    let password = machine.password_file(PRIMARY);
    as_owner(&machine, &format!("password --new-password-file {}", password.display()));
    let said = as_owner(&machine, &format!("unlock --primary-password-file {}", password.display()));
    let status: serde_json::Value = serde_json::from_str(&as_owner(&machine, "unlock --status --json")).unwrap();
    let proc = PathBuf::from(format!("/proc/{}", status["process"]));
    let read = |name: &str| fs::read_to_string(proc.join(name)).unwrap();

    let path = socket(&machine);
    let directory = path.parent().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(directory).unwrap().mode() & 0o7777, 0o700);

    assert_eq!(fs::metadata(proc.join("mem")).unwrap().uid(), 0, "it is dumpable");
    let limits = read("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    let is_locked = number(&read("status"), "VmLck:") > 0;
    assert_ne!(is_locked, said.contains("swapped out"), "{said}");
    // Nothing secret is where everybody can read it, and the agent has a session of its own
    assert!(read("cmdline").ends_with("cardcase\0agent\0"));
    let stat = read("stat");
    let session = stat.rsplit(") ").next().unwrap().split_whitespace().nth(3).unwrap();
    assert_eq!(session, status["process"].to_string());
    // Root may read everything
    if geteuid().is_root() {
        let environment = read("environ");
        let names: BTreeSet<&str> =
            environment.split_terminator('\0').map(|pair| pair.split_once('=').unwrap().0).collect();
        // What asking in a window takes. The command had more
        assert_eq!(names, BTreeSet::from(["CARDCASE_STORE", "HOME", "LANG", "PATH", "XDG_RUNTIME_DIR"]));
        assert_another_user_is_refused(&path);
    }
    as_owner(&machine, "lock");
}

/// The request is a valid one: to end the agent.
fn assert_another_user_is_refused(socket: &Path) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let _ = stream.write_all(&frame(2, &[1, 0]));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"", "root is answered");
    assert!(socket.exists());
}

#[test]
fn the_memory_of_the_agent_is_locked_or_unlock_warns() {
    let scene = protected();
    let said = unlock(&scene.machine).stderr;
    let status = fs::read_to_string(format!("/proc/{}/status", process(&scene.machine).as_raw_nonzero())).unwrap();
    assert_ne!(number(&status, "VmLck:") > 0, said.contains("swapped out"), "{said}");
}
