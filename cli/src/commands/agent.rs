//! `cardcase agent`, which `cardcase unlock` starts: a process of its own, without terminal, in no directory.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};

use cardcase::manage::agent::{Grant, Server, Stopper};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

use crate::app::App;
use crate::hardening;
use crate::ui::failure::{Code, Failure};

/// Bytes a grant may have.
const MAX_GRANT: u64 = 64 << 10;

/// What the agent says first when it listens; warnings follow. Anything else is why it does not.
pub(crate) const LISTENING: &str = "listening\n";

pub(crate) fn run(app: &App) -> Result<(), Failure> {
    let (server, said) = match start(app) {
        Ok((server, warning)) => (Some(server), format!("{LISTENING}{}", warning.unwrap_or_default())),
        Err(failure) => (None, failure.message),
    };
    // Who reads it waits for the end of the pipe
    let told = write!(io::stdout(), "{said}").and_then(|()| close_stdout());
    match (told, server) {
        (Ok(()), Some(server)) => server.serve(),
        (Err(_), _) | (_, None) => return Err(Failure::new(Code::Failed, said)),
    }
    Ok(())
}

/// The agent, and what is to be warned of.
fn start(app: &App) -> Result<(Server, Option<String>), Failure> {
    // Signals of the terminal are not for it. That fails where it leads a session already
    let _ = rustix::process::setsid();
    // Before there is anything to lock
    let warning = hardening::keep_memory_resident().err().map(|why| {
        format!(
            "the memory of the agent may be swapped out to disk: {why}; encrypt the swap space, or raise: ulimit -l\n"
        )
    });
    let bytes = read_grant().map_err(|error| Failure::new(Code::Failed, format_args!("cannot start: {error}")))?;
    let server = Server::start(Grant::from_bytes(bytes))?;
    if let Err(error) = end_on_signals(server.stopper()) {
        app.warn(&format!("signals: {error}"));
    }
    Ok((server, warning))
}

fn read_grant() -> io::Result<Zeroizing<Vec<u8>>> {
    // As long as it may get: growing would leave copies behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_GRANT as usize + 1));
    io::stdin().lock().take(MAX_GRANT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn close_stdout() -> io::Result<()> {
    io::stdout().flush()?;
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    Ok(())
}

fn end_on_signals(stopper: Stopper) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP])?;
    std::thread::Builder::new().spawn(move || signals.forever().for_each(|_| stopper.stop()))?;
    Ok(())
}
