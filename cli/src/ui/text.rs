//! Text for people that is safe to paste into a shell, and numbers with their words.

use std::path::{Path, PathBuf};

/// Quotes a path for a shell, in a form that no command takes for a flag.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.starts_with('-') && text != "-" { word(&format!("./{text}")) } else { word(&text) }
}

/// The path from the root.
pub(crate) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Quotes any text as one word for a shell.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A number with its word: "1 rule", "2 rules".
pub(crate) fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_path_unchanged() {
        for (path, expected) in [
            ("/a/b-c_d.p12", "/a/b-c_d.p12"),
            ("-", "-"),
            ("-x y", "'./-x y'"),
            ("My Keys.p12", "'My Keys.p12'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
