//! The programs that are asking now. They end when nobody waits for their answer any more, and before this process ends.

use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

struct Running {
    child: Arc<Mutex<Child>>,
    /// What ends it before this process ends.
    signal: Signal,
}

/// A program that is asking. When this is dropped, the program is killed, unless it has ended; not the programs that it started.
pub(super) struct Asking(Arc<Mutex<Child>>);

impl Asking {
    /// Starts a program. `signal` ends it if this process ends first.
    pub(super) fn start(command: &mut Command, signal: Signal) -> io::Result<Self> {
        let mut running = lock(&RUNNING);
        let child = Arc::new(Mutex::new(command.spawn()?));
        running.push(Running { child: child.clone(), signal });
        Ok(Self(child))
    }

    /// The program. While this exists, nobody else waits for its end, so that no other process can get its number.
    pub(super) fn child(&self) -> MutexGuard<'_, Child> {
        lock(&self.0)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        lock(&RUNNING).retain(|running| !Arc::ptr_eq(&running.child, &self.0));
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Ends all programs that are asking, before this process ends. The list is never unlocked: a thread that waits for an answer
/// blocks from here on, so it cannot end the process in another way.
pub(super) fn end_all() {
    let running = lock(&RUNNING);
    for Running { child, signal } in running.iter() {
        let mut child = lock(child);
        if let Ok(None) = child.try_wait() {
            let _ = kill_process(Pid::from_child(&child), *signal);
            if *signal == Signal::KILL {
                let _ = child.wait();
            }
        }
    }
    std::mem::forget(running);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
