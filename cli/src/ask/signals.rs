//! Signals that end the process: what is on the terminal is put back first.

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::ask::assuan;
use crate::ask::terminal;
use crate::cleanup;
use crate::ui::failure::Code;
use crate::ui::progress;

/// On a signal: restores the terminal, cleans up, and exits.
pub(crate) fn restore_terminal_on_signals() {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP]) else { return };
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        assuan::stop();
        terminal::restore();
        progress::clear();
        cleanup::run_all();
        std::process::exit(match signal {
            SIGINT => Code::Interrupted as i32,
            // The terminal was closed while someone was asked on it
            SIGHUP if terminal::was_asked() => Code::NobodyToAsk as i32,
            signal => 128 + signal,
        });
    });
}
