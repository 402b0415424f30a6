//! The texts on the chooser's screen, in one place, and its navigation.

use super::terminal::{Terminal, key};

pub const SEND_NONE: &str = "Send no certificate";
pub const ONCE: &str = "Just this once";
pub const SESSION: &str = "Until I log out";
pub const PERMANENT: &str = "Permanently";
pub const BACK: &str = "Back";

/// The mark of the line that Enter takes.
const MARKERS: [&str; 2] = ["❯", ">"];

/// The marked line, without its mark.
pub fn marked(screen: &str) -> Option<&str> {
    screen.lines().find_map(|row| {
        let row = row.trim_start();
        MARKERS.iter().find_map(|marker| row.strip_prefix(marker)).map(str::trim)
    })
}

/// Presses the arrow key until the marked line contains the text, at most `steps` times.
#[track_caller]
pub fn go_to(terminal: &mut Terminal, text: &str, steps: usize) {
    for _ in 0..=steps {
        let here = marked(&terminal.text()).map(str::to_owned);
        if here.as_deref().is_some_and(|line| line.contains(text)) {
            return;
        }
        terminal.send(key::DOWN);
        terminal.wait_until("another marked line", |screen| {
            marked(screen).is_some_and(|line| Some(line) != here.as_deref())
        });
    }
    panic!("{text:?} is not among the lines:\n{}", terminal.text());
}

/// Selects the line that contains the text.
#[track_caller]
pub fn choose(terminal: &mut Terminal, text: &str) {
    terminal.wait_for(text);
    go_to(terminal, text, 20);
    terminal.send(key::ENTER);
}
