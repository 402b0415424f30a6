//! Any bytes as one kubeconfig or as two, at a NUL: read and brought together as `import --from-kubeconfig` does.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../cli/src/commands/import/kubeconfig/config.rs"]
mod config;

fuzz_target!(|input: &[u8]| {
    let files: Vec<_> = input.splitn(2, |byte| *byte == 0).filter_map(|file| config::parse(file).ok()).collect();
    let users = config::merged(files.iter());
    let mut names = HashSet::new();
    for (file, user, _, _) in users {
        assert!(file < files.len());
        assert!(names.insert(user), "a user counts twice");
    }
});
