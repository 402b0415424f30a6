//! What the targets share: small limits, so that what is measured is the parser and not the key derivation; the
//! passwords of the seeds; and what becomes of a file that was read. `docs/pkcs12.md` says how to run them.

use cardcase::identity::Import;
use cardcase::pkcs12::{Contents, Limits};

/// None, that of `fixtures/p12`, and that of everything else.
const PASSWORDS: [&str; 3] = ["", "secret", "cardcase"];

/// Reads with every password, and pairs what was read, as `cardcase import` does.
///
/// libFuzzer's panic hook aborts, so what panics behind the wall round p12 is found too.
pub fn import<E>(read: impl Fn(&str, &Limits) -> Result<Contents, E>) {
    let mut limits = Limits::default();
    limits.file_size = 1 << 20;
    limits.iterations = 16;
    limits.total_iterations = 1000;
    limits.scrypt_memory = 1 << 16;
    for password in PASSWORDS {
        if let Ok(contents) = read(password, &limits) {
            let _ = Import::from_contents(contents);
        }
    }
}
