//! The process protects its memory: no core dump, and no access by other processes of the same user.

#![cfg(target_os = "linux")]
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::command::Cardcase;
use crate::support::executable;
use crate::support::program;
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// A user who is not root. In `/proc`, a process of root belongs to root whether it is dumpable or not.
const SOMEBODY: u32 = 65534;

/// A machine whose owner is not root, and the prefix that runs a program as that owner.
fn machine_of_somebody() -> (Cardcase, Vec<String>) {
    let machine = Cardcase::new();
    if !geteuid().is_root() {
        return (machine, Vec::new());
    }
    // From util-linux, which every Debian has
    let become_somebody = format!("setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups");
    give_away(machine.dir());
    (machine, become_somebody.split(' ').map(str::to_owned).collect())
}

fn give_away(path: &Path) {
    chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

/// A copy, because the owner may not be able to read the build directory.
fn copy_of_the_command(machine: &Cardcase) -> PathBuf {
    executable::copy(env!("CARGO_BIN_EXE_cardcase"), machine.dir(), "cardcase")
}

/// Starts `import -` with the highest possible core limit and a stdin that stays open.
fn waiting_for_stdin(machine: &Cardcase, before: &[String]) -> Child {
    let program = copy_of_the_command(machine);
    let line = "ulimit -c unlimited; exec \"$@\"";
    let mut command = program::named("sh");
    command.args(["-c", line, "sh"]).args(before).arg(program).args(["--batch", "import", "-"]);
    command.env_clear().envs(machine.environment()).current_dir(machine.dir());
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // It opens the store before it reads stdin, and by then it has protected itself
    let began = Instant::now();
    while !machine.store().exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "it opens no store");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn kill(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_crash_leaves_no_core_dump() {
    let (machine, before) = machine_of_somebody();
    let mut child = waiting_for_stdin(&machine, &before);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    kill(&child, Signal::ABORT);
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped());
}

#[test]
fn processes_of_the_same_user_cannot_read_its_memory() {
    let (machine, before) = machine_of_somebody();
    let mut child = waiting_for_stdin(&machine, &before);
    let process = Path::new("/proc").join(child.id().to_string());
    assert_eq!(std::fs::metadata(process.join("mem")).unwrap().uid(), 0, "it is dumpable");
    let mut reader = program::named(before.first().map_or("cat", String::as_str));
    reader.args(before.iter().skip(1)).args(before.first().map(|_| "cat")).arg(process.join("environ"));
    let read = reader.output().unwrap();
    assert!(!read.status.success(), "its environment can be read: {}", String::from_utf8_lossy(&read.stdout));
    kill(&child, Signal::KILL);
    child.wait().unwrap();
}

/// A shell's `<(...)` goes through /proc/self, which then belongs to root.
#[test]
fn the_command_can_still_read_its_own_descriptors() {
    let (machine, before) = machine_of_somebody();
    let program = copy_of_the_command(&machine);
    let line = "echo nothing of use | \"$0\" --batch import /dev/stdin";
    let words = before.iter().map(String::as_str).chain(["sh", "-c", line]).collect::<Vec<_>>();
    let mut command = program::named(words[0]);
    command.args(&words[1..]).arg(program).env_clear().envs(machine.environment());
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("error: /dev/stdin"), "{said}");
    assert!(!said.contains("ermission"), "{said}");
}
