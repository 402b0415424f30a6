//! Any bytes as profiles.ini and installs.ini, parted at a NUL: read as `import --from-firefox` does.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../cli/src/profiles/ini.rs"]
mod ini;

fuzz_target!(|input: &[u8]| {
    let root = Path::new("/home/alice/.mozilla/firefox");
    let mut said = ini::Said::default();
    for (number, text) in input.splitn(2, |byte| *byte == 0).enumerate() {
        said.add(root, &String::from_utf8_lossy(text), number == 1);
    }
    let directories = said.profiles.iter().map(|(_, directory, _)| directory).chain(&said.installed);
    assert!(directories.count() <= 2000);
    assert!(said.profiles.iter().all(|(_, directory, _)| directory.is_absolute()));
});
