//! `kill -9` during everything that writes: acknowledged changes are there afterwards, and no change is half made.
//!
//! Some processes are killed after a random time; the others when SQLite's journal appears, that is, while they write,
//! or a little later.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::support::ca::PASSWORD;
use crate::support::command::{Cardcase, Outcome, Run};
use crate::support::scene::Scene;
use rustix::process::{Pid, Signal, kill_process};

/// The seed of all random numbers.
const SEED: u64 = 0x6361_7264;

/// Identities that are imported from one file and removed by one command.
const TOGETHER: usize = 3;

/// Such files on each machine.
const FILES: usize = 6;

const HOSTS: u64 = 12;

/// Primary passwords; the empty one means none.
const PASSWORDS: [&str; 3] = ["", "first", "second"];

/// The number of processes killed on one machine, for each command.
#[derive(Clone, Copy)]
struct Kills {
    import: usize,
    remember: usize,
    remove: usize,
    password: usize,
}

impl Kills {
    fn all(self) -> usize {
        self.import + self.remember + self.remove + self.password
    }
}

/// One after the other on each machine, and all machines at the same time. 300 in total.
const MACHINES: [Kills; 8] = {
    let without_password = Kills { import: 17, remember: 17, remove: 17, password: 0 };
    let with_password = Kills { import: 3, remember: 3, remove: 3, password: 15 };
    let (one, other) = (without_password, with_password);
    [one, one, one, one, other, other, other, other]
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    fn up_to(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.below(end.as_micros() as u64 + 1))
    }
}

/// What is, or should be, in a store.
#[derive(Clone, Debug, PartialEq, Default)]
struct State {
    identities: BTreeSet<String>,
    decisions: BTreeMap<String, String>,
    password: &'static str,
}

#[derive(Clone, Debug)]
enum Change {
    /// Imports the file with this number.
    Import(usize),
    Remember(String, String),
    /// Removes the identities of this file.
    Remove(usize),
    Password(&'static str),
}

/// A machine and its acknowledged changes.
struct World {
    machine: Cardcase,
    /// Each with the fingerprints of its identities.
    files: Vec<(PathBuf, Vec<String>)>,
    state: State,
    random: Random,
    /// How long each kind of change took without a kill.
    took: BTreeMap<&'static str, Duration>,
    /// The number of journals that killed processes left.
    journals: usize,
    shown: String,
}

impl World {
    fn new(number: u64) -> World {
        let scene = Scene::new();
        let file = |file: usize| {
            let names = (0..TOGETHER).map(|one| format!("{file}-{one}"));
            let issued: Vec<_> = names.map(|name| scene.employee(&name).issue()).collect();
            let pem: String = issued.iter().map(|each| each.key_pem() + &each.pem()).collect();
            let path = crate::support::ca::write(scene.machine.dir(), "several", "pem", pem);
            (path, issued.iter().map(|each| each.fingerprint()).collect())
        };
        World {
            files: (0..FILES).map(file).collect(),
            machine: scene.machine,
            state: State::default(),
            random: Random(SEED + number),
            took: BTreeMap::new(),
            journals: 0,
            shown: format!("seed {SEED:#x}, machine {number}"),
        }
    }

    /// The command with the current primary password.
    fn command(&self, words: &[&str]) -> Run {
        with_password(self.machine.command(["--batch"]), &self.machine, self.state.password).args(words)
    }

    fn run_of(&self, change: &Change) -> Run {
        match change {
            Change::Import(file) => self.command(&["import"]).arg(&self.files[*file].0),
            Change::Remember(host, identity) => self.command(&["remember", host, identity]),
            Change::Remove(file) => self.command(&["remove", "--yes"]).args(&self.files[*file].1),
            Change::Password(new) => {
                self.command(&["password", "--new-password-file"]).arg(self.machine.password_file(new))
            }
        }
    }

    /// The state after this change.
    fn after(&self, change: &Change) -> State {
        let mut state = self.state.clone();
        match change {
            Change::Import(file) => state.identities.extend(self.files[*file].1.iter().cloned()),
            Change::Remember(host, identity) => drop(state.decisions.insert(host.clone(), identity.clone())),
            Change::Remove(file) => {
                let gone = &self.files[*file].1;
                state.identities.retain(|identity| !gone.contains(identity));
                state.decisions.retain(|_, identity| !gone.contains(identity));
            }
            Change::Password(new) => state.password = new,
        }
        state
    }

    fn is_stored(&self, file: usize) -> bool {
        self.state.identities.contains(&self.files[file].1[0])
    }

    /// A random change of this kind. Prepares the store for it.
    fn change(&mut self, kind: &str) -> Change {
        let wanted = kind == "import";
        if kind == "password" {
            let others: Vec<_> = PASSWORDS.into_iter().filter(|other| *other != self.state.password).collect();
            return Change::Password(self.random.of(&others));
        }
        let mut fitting: Vec<usize> = (0..FILES).filter(|file| self.is_stored(*file) != wanted).collect();
        if fitting.is_empty() {
            let file = self.random.below(FILES as u64) as usize;
            self.make(&if wanted { Change::Remove(file) } else { Change::Import(file) });
            fitting.push(file);
        }
        let file = self.random.of(&fitting);
        match kind {
            "import" => Change::Import(file),
            "remove" => Change::Remove(file),
            _ => {
                let host = format!("host{}.example", self.random.below(HOSTS));
                let identity = self.random.of(&self.files[file].1);
                Change::Remember(host, identity)
            }
        }
    }

    /// Makes a change without a kill.
    fn make(&mut self, change: &Change) {
        let began = Instant::now();
        self.run_of(change).run().expect(0);
        let took = self.took.entry(kind_of(change)).or_default();
        *took = (*took).max(began.elapsed());
        self.state = self.after(change);
    }

    /// Starts a change and kills it. Returns whether it was killed before it ended.
    fn is_killed_in(&mut self, kind: &'static str) -> bool {
        let change = self.change(kind);
        let run = self.run_of(&change);
        let mut process = run.process().spawn().unwrap();
        if self.random.below(2) == 0 {
            std::thread::sleep(self.random.up_to(self.took[kind]));
        } else {
            while !self.journal().exists() && process.try_wait().unwrap().is_none() {}
            std::thread::sleep(self.random.up_to(Duration::from_millis(4)));
        }
        let _ = kill_process(Pid::from_child(&process), Signal::KILL);
        let ended = process.wait_with_output().unwrap();
        let left = self.journal().metadata().is_ok_and(|journal| journal.len() > 0);
        self.journals += usize::from(left);
        self.take_stock(&change, is_acknowledged(&ended));
        ended.status.code().is_none()
    }

    fn journal(&self) -> PathBuf {
        let mut path = self.machine.store().as_os_str().to_owned();
        path.push("-journal");
        path.into()
    }

    /// Opens the store, which must be as before or as after the change; after an acknowledged change, only as after it.
    fn take_stock(&mut self, change: &Change, acknowledged: bool) {
        let after = self.after(change);
        let before = if acknowledged { after.clone() } else { self.state.clone() };
        let shown = format!("{}: {change:?}, acknowledged: {acknowledged}", self.shown);
        if before.password != after.password {
            self.state.password = self.password_in_force(&[before.password, after.password], &shown);
        } else {
            self.state.password = after.password;
        }
        let found = self.look();
        assert!(found == before || found == after, "{shown}\nfound {found:?}\nbefore {before:?}\nafter {after:?}");
        self.state = found;
        if let Change::Import(file) = change
            && self.is_stored(*file)
        {
            let identity = self.random.of(&self.files[*file].1);
            assert_eq!(self.export(&identity, self.state.password).code(), Some(0), "{shown}: {identity} has no key");
        }
        self.assert_whole(&shown);
    }

    fn look(&self) -> State {
        let json = |line: &str| self.command(&["--json", line]).run().expect(0).json();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let (listed, decided) = (json("list"), json("decisions"));
        let listed = listed["identities"].as_array().unwrap().iter();
        let decided = decided["decisions"].as_array().unwrap().iter();
        State {
            identities: listed.map(|identity| text(&identity["fingerprint"])).collect(),
            decisions: decided.map(|decision| (text(&decision["host"]), text(&decision["identity"]))).collect(),
            password: self.state.password,
        }
    }

    /// Which of these passwords opens a key. Without a password, every password is accepted, so the empty one is tried
    /// first.
    fn password_in_force(&mut self, candidates: &[&'static str], shown: &str) -> &'static str {
        let all: Vec<_> = self.state.identities.iter().cloned().collect();
        let identity = self.random.of(&all);
        let mut candidates = candidates.to_vec();
        candidates.sort_unstable();
        for candidate in candidates {
            let outcome = self.export(&identity, candidate);
            match (outcome.code(), candidate) {
                (Some(0), _) => return candidate,
                (Some(4), "") | (Some(6), _) => {}
                _ => panic!("{shown}: with {candidate:?} {}", outcome.stderr),
            }
        }
        panic!("{shown}: no password opens {identity}");
    }

    /// Exports an identity. This succeeds only if the key opens and belongs to the certificate.
    fn export(&self, identity: &str, password: &str) -> Outcome {
        let run = with_password(self.machine.command(["--batch"]), &self.machine, password);
        let file = self.machine.password_file(PASSWORD);
        run.args(["export", identity, "--legacy", "-o", "-", "--password-file"]).arg(file).run()
    }

    fn assert_whole(&self, shown: &str) {
        let database = self.machine.database();
        let said: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(said, "ok", "{shown}");
        let dangling = database.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap();
        assert!(!dangling, "{shown}: a decision on an identity that is not there");
    }

    fn every_key_opens(&self) {
        for identity in &self.state.identities {
            let outcome = self.export(identity, self.state.password);
            assert_eq!(outcome.code(), Some(0), "{}: {identity}: {}", self.shown, outcome.stderr);
        }
    }
}

fn with_password(run: Run, machine: &Cardcase, password: &str) -> Run {
    match password {
        "" => run,
        _ => run.arg("--primary-password-file").arg(machine.password_file(password)),
    }
}

fn kind_of(change: &Change) -> &'static str {
    match change {
        Change::Import(_) => "import",
        Change::Remember(..) => "remember",
        Change::Remove(_) => "remove",
        Change::Password(_) => "password",
    }
}

/// Either the exit code says so, or the output that follows the change.
fn is_acknowledged(ended: &Output) -> bool {
    ended.status.success() || String::from_utf8_lossy(&ended.stdout).contains("imported: ")
}

/// Kills as many processes as requested. Returns how many of them left a journal.
fn kill_on(number: usize, kills: Kills) -> usize {
    let mut world = World::new(number as u64);
    let kinds = [
        ("import", kills.import),
        ("remember", kills.remember),
        ("remove", kills.remove),
        ("password", kills.password),
    ];
    let mut left: Vec<&'static str> = kinds.iter().flat_map(|(kind, count)| vec![*kind; *count]).collect();
    world.make(&Change::Import(0));
    world.make(&Change::Import(1));
    world.make(&Change::Remove(1));
    let identity = world.files[0].1[0].clone();
    world.make(&Change::Remember("localhost".to_owned(), identity));
    if kills.password > 0 {
        world.make(&Change::Password("second"));
        world.make(&Change::Password("first"));
    }
    for attempt in 0.. {
        assert!(attempt < 5 * kills.all(), "{}: hardly any process is killed in time", world.shown);
        let Some(next) = left.len().checked_sub(1) else { break };
        let next = world.random.below(next as u64 + 1) as usize;
        // A password can only be tested if there is an identity
        if left[next] == "password" && world.state.identities.is_empty() {
            world.make(&Change::Import(0));
        }
        if world.is_killed_in(left[next]) {
            left.swap_remove(next);
        }
    }
    world.every_key_opens();
    world.journals
}

#[test]
fn the_store_is_intact_after_each_of_300_kills() {
    assert_eq!(MACHINES.iter().map(|kills| kills.all()).sum::<usize>(), 300);
    let journals: usize = std::thread::scope(|scope| {
        let start = |(number, kills): (usize, &Kills)| {
            let kills = *kills;
            scope.spawn(move || kill_on(number, kills))
        };
        let machines: Vec<_> = MACHINES.iter().enumerate().map(start).collect();
        machines.into_iter().map(|machine| machine.join().unwrap()).sum()
    });
    println!("{journals} of 300 were killed while they wrote");
    assert!(journals >= 30, "only {journals} of 300 were killed while they wrote");
}
