//! The database of a browser: changes to rows and pages of one of its two files, any bytes in place of one, or any list of decisions, then
//! read as `import --from-nss` does. The files are in memory.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cardcase::file::NssDatabase;
use cardcase_fuzz::Image;
use libfuzzer_sys::fuzz_target;

/// Without a password, so that every derivation has one round.
const GOOD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/nss/nss-3.87");

const FILES: [&str; 2] = ["cert9.db", "key4.db"];

static IMAGES: LazyLock<[Image; 2]> = LazyLock::new(|| FILES.map(|file| Image::of(&Path::new(GOOD).join(file))));

static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = PathBuf::from(format!("/dev/shm/cardcase-fuzz-nss-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    FILES.iter().for_each(|file| restore(&directory, file));
    directory
});

fn restore(directory: &Path, file: &str) {
    std::fs::copy(Path::new(GOOD).join(file), directory.join(file)).unwrap();
}

fuzz_target!(|input: &[u8]| {
    let Some((which, input)) = input.split_first() else { return };
    let which = which % 6;
    let changed = match which {
        0 | 1 => FILES[usize::from(which)],
        2 => "ClientAuthRememberList.bin",
        3 => "ClientAuthRememberList.txt",
        _ => FILES[usize::from(which - 4)],
    };
    let bytes = match which {
        0 | 1 => IMAGES[usize::from(which)].changed(input),
        _ => input.to_vec(),
    };
    std::fs::write(DIRECTORY.join(changed), bytes).unwrap();
    if let Ok(mut database) = NssDatabase::open(&*DIRECTORY) {
        let _ = (database.identities(), database.decisions(|host| Some(host.to_owned())));
        for password in ["", "a password"] {
            if let Ok(mut import) = database.import(password, None) {
                let _ = import.pair();
            }
        }
        let _ = database.trusted_authorities();
    }
    match FILES.contains(&changed) {
        true => restore(&DIRECTORY, changed),
        false => std::fs::remove_file(DIRECTORY.join(changed)).unwrap(),
    }
});
