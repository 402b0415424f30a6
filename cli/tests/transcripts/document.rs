//! A Markdown file with transcripts in it.

use std::path::{Path, PathBuf};

use regex::Regex;
use snapbox::{Redactions, assert_data_eq};

use crate::support::terminal::key;

pub struct Document {
    file: PathBuf,
    text: String,
    pub blocks: Vec<Block>,
}

/// What stands between the fences.
pub struct Block {
    pub text: String,
    /// Empty where the block needs no terminal.
    pub steps: Vec<Step>,
}

/// What a person types at a terminal, and when.
pub struct Step {
    pub at: String,
    pub keys: String,
}

impl Document {
    pub fn read(file: &Path) -> Document {
        let text = std::fs::read_to_string(file).unwrap();
        let mut blocks = Vec::new();
        let mut before = text.as_str();
        while let Some((above, rest)) = before.split_once("```console\n") {
            let (block, after) = rest.split_once("```\n").expect("a fence at the end");
            let comment = above.trim_end().lines().last().unwrap_or_default();
            blocks.push(Block { text: block.to_owned(), steps: steps(comment) });
            before = after;
        }
        assert!(!blocks.is_empty(), "{}: no transcripts", file.display());
        Document { file: file.to_owned(), text, blocks }
    }

    /// Fails when something else came than the block says; or writes it into the file.
    #[track_caller]
    pub fn compare(&mut self, number: usize, came: &str) {
        let expected = &self.blocks[number].text;
        let (now, then) = (comparable(came), comparable(expected));
        if now != then && std::env::var("SNAPSHOTS").is_ok_and(|value| value == "overwrite") {
            let came = came.trim_end().lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>();
            self.text = self.text.replacen(expected.as_str(), &came, 1);
            std::fs::write(&self.file, &self.text).unwrap();
        } else {
            assert_data_eq!(now, snapbox::Data::text(then).raw());
        }
    }
}

impl Block {
    /// The lines that the shell runs.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(|line| line.strip_prefix("$ "))
    }
}

/// `<!-- terminal: at "TEXT" type "KEYS", at ... -->`; `\r` is the Enter key, `\e` is Esc, and an arrow the key that has it.
fn steps(comment: &str) -> Vec<Step> {
    let Some(steps) = comment.strip_prefix("<!-- terminal:") else { return Vec::new() };
    let quoted: Vec<_> = steps.split('"').skip(1).step_by(2).collect();
    let typed = |keys: &str| {
        keys.replace("\\r", key::ENTER).replace("\\e", key::ESCAPE).replace('↓', key::DOWN).replace('↑', key::UP)
    };
    quoted.chunks_exact(2).map(|pair| Step { at: pair[0].to_owned(), keys: typed(pair[1]) }).collect()
}

/// Without blank lines, and without what is different each time.
fn comparable(text: &str) -> String {
    let mut redactions = Redactions::new();
    for (name, pattern) in [
        ("[DIRECTORY]", r"(?<redacted>/\S*/)cardcase\.db"),
        ("[FINGERPRINT]", r"\b(?<redacted>[0-9a-f]{8})\b"),
        // On a line of its own, where a column is narrow
        ("[CLOCK]", r"(?m)^(?<redacted> *\d\d:\d\d:\d\d[+-]\d\d:\d\d)"),
        ("[DAYS]", r"in (?<redacted>[\d,]+) days"),
        ("[TIME]", r"(?<redacted>20\d\d-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?)"),
    ] {
        redactions.insert(name, Regex::new(pattern).unwrap()).unwrap();
    }
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    redactions.redact(&lines.collect::<Vec<_>>().join("\n"))
}
