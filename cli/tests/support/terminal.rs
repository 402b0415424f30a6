//! The command in a real pseudo-terminal, with the screen as a person sees it.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use pty_process::blocking::{Command, Pty};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};

use super::command::{Cardcase, wait};
use super::program;

/// How long anything on the screen may take to appear.
const LIMIT: Duration = Duration::from_secs(30);

/// What a key sends.
pub mod key {
    pub const ENTER: &str = "\r";
    pub const UP: &str = "\x1b[A";
    pub const DOWN: &str = "\x1b[B";
    pub const HOME: &str = "\x1b[H";
    pub const END: &str = "\x1b[F";
    pub const PAGE_UP: &str = "\x1b[5~";
    pub const PAGE_DOWN: &str = "\x1b[6~";
    pub const ESCAPE: &str = "\x1b";
    pub const CTRL_C: &str = "\x03";
    pub const CTRL_D: &str = "\x04";
    pub const CTRL_O: &str = "\x0f";
    pub const CTRL_U: &str = "\x15";
    pub const CTRL_W: &str = "\x17";
    pub const CTRL_Z: &str = "\x1a";
}

/// A terminal window in which the command runs.
pub struct Terminal {
    /// None when the window is closed.
    pty: Option<Pty>,
    child: Option<Child>,
    screen: vt100::Parser,
    received: Vec<u8>,
}

/// The result of reading from the terminal.
#[derive(PartialEq, Eq)]
enum Came {
    Something,
    Nothing,
    End,
}

impl Terminal {
    pub const ROWS: u16 = 24;
    pub const COLUMNS: u16 = 80;

    /// 24 rows of 80.
    pub fn open<I: AsRef<OsStr>>(machine: &Cardcase, arguments: impl IntoIterator<Item = I>) -> Terminal {
        Terminal::open_sized(machine, arguments, Self::ROWS, Self::COLUMNS)
    }

    pub fn open_sized<I: AsRef<OsStr>>(
        machine: &Cardcase,
        arguments: impl IntoIterator<Item = I>,
        rows: u16,
        columns: u16,
    ) -> Terminal {
        let command = program::in_terminal(program::cardcase()).args(arguments).env_clear().envs(machine.environment());
        Terminal::start(command, rows, columns)
    }

    /// Runs a shell script in which `$cardcase` is the command.
    pub fn script(machine: &Cardcase, script: &str) -> Terminal {
        let command = program::in_terminal("sh").args(["-c", script]).env_clear().envs(machine.environment());
        Terminal::start(command.env("cardcase", program::cardcase()), Self::ROWS, Self::COLUMNS)
    }

    /// Runs any program.
    pub fn start(command: Command, rows: u16, columns: u16) -> Terminal {
        Terminal::start_with_scrollback(command, rows, columns, 0)
    }

    /// Runs any program in a window that keeps so many rows that left the screen at the top, for [`Self::everything`].
    pub fn start_with_scrollback(command: Command, rows: u16, columns: u16, scrollback: usize) -> Terminal {
        let (pty, window) = pty_process::blocking::open().unwrap();
        pty.resize(pty_process::Size::new(rows, columns)).unwrap();
        let child = command.env("TERM", "xterm-256color").spawn(window).unwrap();
        let size = |length| NonZero::new(length).expect("a window has a size");
        let screen = vt100::Parser::new(size(rows), size(columns), scrollback);
        Terminal { pty: Some(pty), child: Some(child), screen, received: Vec::new() }
    }

    /// Types without waiting.
    pub fn send(&mut self, text: &str) {
        let pty = self.pty.as_mut().expect("the window was closed");
        pty.write_all(text.as_bytes()).unwrap();
        pty.flush().unwrap();
    }

    /// Waits until the text is on the screen.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |screen| screen.contains(text));
    }

    /// Waits until `holds` is true for the screen.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
        let until = Instant::now() + LIMIT;
        loop {
            if holds(&self.text()) {
                return;
            }
            match self.read(until) {
                Came::Something => {}
                Came::Nothing => panic!("{what:?} did not appear in time:\n{}", self.text()),
                Came::End => panic!("the command ended before {what:?}:\n{}", self.text()),
            }
        }
    }

    /// Waits until the text is on one of these screens, and returns its index.
    #[track_caller]
    pub fn first_with(terminals: &mut [Terminal], text: &str) -> usize {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(found) = terminals.iter().position(|terminal| terminal.text().contains(text)) {
                return found;
            }
            let ready = Terminal::ready(terminals, until);
            assert!(!ready.is_empty(), "{text:?} did not appear in time on any of {} screens", terminals.len());
            for number in ready {
                let came = terminals[number].read(until);
                assert!(came == Came::Something, "a command ended before {text:?}:\n{}", terminals[number].text());
            }
        }
    }

    /// The terminals with output to read; none when the time is up.
    fn ready(terminals: &[Terminal], until: Instant) -> Vec<usize> {
        let timeout = Timespec::try_from(until.saturating_duration_since(Instant::now())).unwrap();
        let watch = |terminal| PollFd::new(Terminal::window(terminal), PollFlags::IN);
        let mut watched: Vec<_> = terminals.iter().map(watch).collect();
        poll(&mut watched, Some(&timeout)).unwrap();
        (0..watched.len()).filter(|number| !watched[*number].revents().is_empty()).collect()
    }

    /// Reads until there is no output for this long; for what must *not* happen.
    pub fn stays_for(&mut self, time: Duration) -> String {
        while self.read(Instant::now() + time) == Came::Something {}
        self.text()
    }

    /// The rows of the screen, without trailing blanks.
    pub fn rows(&self) -> Vec<String> {
        let (_, columns) = self.screen.screen().size();
        let rows = self.screen.screen().rows(0, columns.get());
        rows.map(|row| row.trim_end().to_owned()).collect()
    }

    pub fn text(&self) -> String {
        self.rows().join("\n")
    }

    /// The characters on the screen that are underlined.
    pub fn underlined(&self) -> String {
        let screen = self.screen.screen();
        let (rows, columns) = screen.size();
        let cells =
            (0..rows.get()).flat_map(|row| (0..columns.get()).filter_map(move |column| screen.cell(row, column)));
        cells.filter(|cell| cell.underline()).map(|cell| cell.contents()).collect()
    }

    /// Gives the window another size.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        let size = |length| NonZero::new(length).expect("a window has a size");
        self.screen.screen_mut().set_size(size(rows), size(columns));
        self.window().resize(pty_process::Size::new(rows, columns)).unwrap();
    }

    /// The lines on the screen, and above it those that have left it at the top, each as it was written: however often it continues on
    /// the next row.
    pub fn everything(&mut self) -> String {
        let screen = self.screen.screen_mut();
        let (rows, columns) = (screen.size().0.get(), screen.size().1.get());
        let mut text = String::new();
        let mut push = |screen: &vt100::Screen, row: u16| {
            let shown = screen.rows(0, columns).nth(row.into()).unwrap_or_default();
            text += &shown;
            if !screen.row_wrapped(row) {
                text.truncate(text.trim_end_matches(' ').len());
                text += "\n";
            }
        };
        for above in (1..=screen.scrollback_len()).rev() {
            screen.set_scrollback(above);
            push(screen, 0);
        }
        screen.set_scrollback(0);
        (0..rows).for_each(|row| push(screen, row));
        text
    }

    /// Waits until these bytes were written to it, shown or not.
    #[track_caller]
    pub fn wait_for_bytes(&mut self, bytes: &[u8]) {
        let until = Instant::now() + LIMIT;
        while !self.received.windows(bytes.len()).any(|window| window == bytes) {
            let came = self.read(until);
            assert!(came == Came::Something, "{} did not come:\n{}", bytes.escape_ascii(), self.text());
        }
    }

    /// Every byte that was written to it.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// Whether any row of the screen continues on the next one.
    pub fn any_row_wrapped(&self) -> bool {
        let screen = self.screen.screen();
        (0..screen.size().0.get()).any(|row| screen.row_wrapped(row))
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        tcgetattr(self.window()).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    pub fn cursor_hidden(&self) -> bool {
        self.screen.screen().hide_cursor()
    }

    pub fn running(&mut self) -> bool {
        matches!(self.child.as_mut().map(Child::try_wait), Some(Ok(None)))
    }

    /// Closes the window: the command loses its terminal.
    pub fn hang_up(&mut self) {
        self.pty = None;
    }

    /// Sends a signal to the command.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("ended already");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Kills the command.
    pub fn kill(mut self) {
        let mut child = self.child.take().expect("ended already");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Reads the rest of the output and waits for the command to end.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let until = Instant::now() + LIMIT;
        while self.pty.is_some() && self.read(until) == Came::Something {}
        let child = self.child.take().expect("ended already");
        let status = wait(child, until.saturating_duration_since(Instant::now()));
        status.unwrap_or_else(|| panic!("the command does not end:\n{}", self.text()))
    }

    fn window(&self) -> &Pty {
        self.pty.as_ref().expect("the window was closed")
    }

    fn read(&mut self, until: Instant) -> Came {
        let pty = self.pty.as_mut().expect("the window was closed");
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap();
        let mut watched = [PollFd::new(&*pty, PollFlags::IN)];
        if poll(&mut watched, Some(&timeout)).unwrap() == 0 {
            return Came::Nothing;
        }
        let mut bytes = [0; 4096];
        // On Linux reading fails when no process has the terminal open
        match pty.read(&mut bytes) {
            Ok(0) | Err(_) => Came::End,
            Ok(length) => {
                self.screen.process(&bytes[..length]);
                self.received.extend_from_slice(&bytes[..length]);
                Came::Something
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
