//! The agent of `cardcase unlock`: a process of its own, without a terminal. It is this program, started as
//! `cardcase agent`.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cardcase::ask::Dialogs;
use cardcase::manage::agent::{self, Owner, Wanted};
use cardcase::manage::plain;
use cardcase::{Error, Store};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

use crate::hardening;
use crate::ui::failure::{Code, Failure};
use crate::ui::say;

/// The largest lease, in bytes.
const MAX_LEASE: u64 = 64 << 10;

/// What the agent prints first once it listens; warnings follow. Anything else is the reason why it does not listen.
const LISTENING: &str = "listening\n";

/// The variables that a pinentry program needs, and those that say where the store's session is. All others, which may hold secrets, stay
/// here.
const VARIABLES: [&str; 14] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "PATH",
    "PINENTRY_PROGRAM",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_CURRENT_DESKTOP",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_TYPE",
];

/// Starts the agent of a store, and waits until it listens. Returns its warnings, a line each.
///
/// The lease goes through a pipe, which no other process can read.
pub(crate) fn start(store: &Store, lifetime: Duration) -> Result<String, Failure> {
    let lease = store.lease(lifetime)?;
    let mut process = spawn(store).map_err(|error| failed(&format!("cannot be started: {error}")))?;
    // It may have ended already, and have written why
    let given = process.stdin.take().map(|mut stdin| stdin.write_all(&lease));
    let mut said = String::new();
    let read = process.stdout.take().map(|mut stdout| stdout.read_to_string(&mut said));
    match (given, read) {
        (_, Some(Ok(read))) if read > 0 => match said.strip_prefix(LISTENING) {
            Some(warnings) => Ok(warnings.to_owned()),
            None => Err(failed(said.trim())),
        },
        (Some(Err(error)), _) | (_, Some(Err(error))) => Err(failed(&format!("cannot be started: {error}"))),
        _ => Err(failed("ended before it listened")),
    }
}

/// The failure of an agent; `why` follows "the agent".
pub(crate) fn failed(why: &str) -> Failure {
    Failure::new(Code::Failed, format_args!("the agent {why}"))
}

/// Starts this program again, without most of its environment.
fn spawn(store: &Store) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("agent").current_dir("/").env_clear().env("CARDCASE_STORE", store.path());
    command.envs(VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    // If the agent kept stderr open, a program that reads the output of this command would wait for its end
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

/// Runs the agent in this process until its lease expires or a signal ends it.
pub(crate) fn run(store: PathBuf) -> Result<(), Failure> {
    // Keeps signals of the terminal away. It fails if this process already leads a session
    let _ = rustix::process::setsid();
    // Before there is anything to lock
    let warning = hardening::keep_memory_resident().err().map(|why| {
        format!(
            "the memory of the agent may be swapped out to disk: {why}; encrypt the swap space, or raise: ulimit -l\n"
        )
    });
    let lease = read_lease().map_err(|error| not_started(format!("cannot start: {error}")))?;
    let owner = Arc::new(StoreOwner { path: store, store: Mutex::default() });
    let served = agent::serve(lease, owner.clone(), |stop| {
        if let Err(error) = end_on_signals(stop.clone()) {
            say::warn(format_args!("signals: {error}"));
        }
        // Without the process that waits for it, nobody knows of the agent
        if answer(&format!("{LISTENING}{}", warning.unwrap_or_default())).is_err() {
            stop();
        }
    });
    owner.end();
    served.map_err(|error| not_started(Failure::from(error).message))
}

/// Asks in a window before another program gets a signature, and writes each signature to the history.
struct StoreOwner {
    path: PathBuf,
    /// Opened when it is needed first.
    store: Mutex<Option<Arc<Store>>>,
}

impl StoreOwner {
    /// Closes the question that is open, and waits until the history is written.
    fn end(&self) {
        Dialogs::close_all();
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*store {
            // There is nobody to tell
            let _ = store.flush();
        }
    }

    fn store(&self) -> Result<Arc<Store>, Error> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        match &*store {
            Some(store) => Ok(store.clone()),
            None => Ok(store.insert(Arc::new(Store::open_existing(&self.path)?)).clone()),
        }
    }
}

impl Owner for StoreOwner {
    fn confirms(&self, wanted: &Wanted, limit: Duration) -> bool {
        let what = match wanted.is_digest {
            true => "It sends a digest, which may be of anything.",
            false => "It sends a whole message of a TLS connection.",
        };
        let question = format!("{}\nwants to sign with {:?}.\n{what}", wanted.program(), plain(&wanted.name));
        let asked = self
            .store()
            .and_then(|store| Dialogs::for_user(&store).needed_by(&store, &wanted.program()).confirm(&question, limit));
        asked.unwrap_or(false)
    }

    fn told(&self, signed: &Wanted) {
        // Without the store, it is not recorded
        if let Ok(store) = self.store() {
            store.record_signature(signed);
        }
    }
}

/// Writes why the agent does not listen.
fn not_started(why: String) -> Failure {
    let _ = answer(&why);
    Failure::new(Code::Failed, why)
}

/// Writes to the process that started this one, which reads until the end of the pipe.
fn answer(text: &str) -> io::Result<()> {
    write!(io::stdout(), "{text}")?;
    io::stdout().flush()?;
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    Ok(())
}

fn read_lease() -> io::Result<Zeroizing<Vec<u8>>> {
    // With all its capacity from the start: growing would leave copies behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEASE as usize + 1));
    io::stdin().lock().take(MAX_LEASE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn end_on_signals(stop: Arc<dyn Fn() + Send + Sync>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP])?;
    std::thread::Builder::new().spawn(move || signals.forever().for_each(|_| stop()))?;
    Ok(())
}
