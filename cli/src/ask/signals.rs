//! Signals that end the process: what is on the terminal is put back first.

use cardcase::ask::{Dialogs, terminal};
use signal_hook::consts::{
    SIGABRT, SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::cleanup;
use crate::ui::failure::Code;
use crate::ui::progress;

/// Those that end a process by default and can be caught. Linux has more of them, for real time, that nobody sends by hand.
const ENDING: [i32; 12] =
    [SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGABRT, SIGALRM, SIGIO, SIGPROF, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU];

/// On a signal: restores the terminal, cleans up, and ends the process. SIGINT, SIGTERM and SIGHUP are requests, which exit codes
/// answer; the others end it as if they were not caught, so that an abort is still seen as one.
pub(crate) fn restore_terminal_on_signals() {
    let Ok(mut signals) = Signals::new(ENDING) else { return };
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        Dialogs::close_all();
        progress::clear();
        cleanup::run_all();
        let code = match signal {
            SIGINT => Code::Interrupted as i32,
            // The terminal was closed while someone was asked on it
            SIGHUP if terminal::was_asked() => Code::NobodyToAsk as i32,
            SIGTERM | SIGHUP => 128 + signal,
            _ => {
                // It returns if the signal is one that it would ignore
                let _ = emulate_default_handler(signal);
                128 + signal
            }
        };
        std::process::exit(code)
    });
}
