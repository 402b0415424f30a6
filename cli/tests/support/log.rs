//! Collects the output of a child process line by line, and waits for a line with a time limit.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The lines of one or more streams, in the order of arrival.
#[derive(Clone, Default)]
pub struct Log {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    open: usize,
}

impl Log {
    /// Reads `stream` to its end on another thread.
    pub fn follow(&self, stream: impl Read + Send + 'static) {
        self.shared.0.lock().unwrap().open += 1;
        let log = self.clone();
        std::thread::spawn(move || log.read(BufReader::new(stream)));
    }

    fn read(&self, mut stream: impl BufRead) {
        let mut line = Vec::new();
        // Certificates' names need not be UTF-8
        while stream.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.change(|state| state.lines.push(text));
            line.clear();
        }
        self.change(|state| state.open -= 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.0.lock().unwrap());
        self.shared.1.notify_all();
    }

    pub fn lines(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().lines.clone()
    }

    /// The first line for which `find` returns a value. Fails with all lines when the streams end or
    /// the time is up.
    pub fn wait_for<T>(&self, limit: Duration, find: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let until = Instant::now() + limit;
        let mut state = self.shared.0.lock().unwrap();
        loop {
            if let Some(found) = state.lines.iter().find_map(|line| find(line)) {
                return Ok(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if state.open == 0 || left.is_zero() {
                return Err(state.lines.join("\n"));
            }
            state = self.shared.1.wait_timeout(state, left).unwrap().0;
        }
    }
}
