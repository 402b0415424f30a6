//! What profiles.ini and installs.ini say. It uses nothing else of the command, so that `fuzz/` can use it.

use std::path::{Path, PathBuf};

/// The most profiles, and the most installations.
const MAX_PROFILES: usize = 1000;

/// What both files say.
#[derive(Default)]
pub(super) struct Said {
    /// Name and directory of each profile, and whether it is marked as the default.
    pub(super) profiles: Vec<(Option<String>, PathBuf, bool)>,
    /// The directories that installations of the program use.
    pub(super) installed: Vec<PathBuf>,
}

impl Said {
    /// Adds what one of the files in a directory says.
    pub(super) fn add(&mut self, root: &Path, text: &str, is_of_installs: bool) {
        for (section, keys) in sections(text) {
            let get = |key: &str| keys.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
            if is_of_installs || section.starts_with("Install") {
                self.installed.extend(get("Default").map(|path| root.join(path)));
            } else if section.starts_with("Profile")
                && let Some(path) = get("Path")
            {
                // A path that is not relative replaces the directory
                let name = get("Name").map(str::to_owned);
                self.profiles.push((name, root.join(path), get("Default") == Some("1")));
            }
        }
        self.profiles.truncate(MAX_PROFILES);
        self.installed.truncate(MAX_PROFILES);
    }
}

/// The sections of an INI file as Mozilla's programs read it, with their keys: without quotes, escapes and values of several lines.
fn sections(text: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let mut sections: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push((name, Vec::new()));
        } else if let (Some((key, value)), Some((_, keys))) = (line.split_once('='), sections.last_mut())
            && !line.starts_with([';', '#'])
        {
            keys.push((key, value));
        }
    }
    sections
}
