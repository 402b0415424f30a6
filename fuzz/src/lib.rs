//! What the targets share: small limits, so that what is measured is the parser and not the key derivation; the
//! passwords of the seeds; what becomes of a file that was read; and a mutator that knows DER. `docs/pkcs12.md` says
//! how to run them.

use cardcase::manage::Import;
use cardcase::file::pkcs12::{Contents, Limits};
use libfuzzer_sys::fuzzer_mutate;

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

/// How deep elements are put right; deeper ones stay as they are.
const MAX_DEPTH: usize = 40;

const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const CONSTRUCTED: u8 = 0x20;

/// libFuzzer's own changes to a file, every other time with all lengths made to fit what was changed: one that does not
/// is where the parser stops.
pub fn mutate(file: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let size = fuzzer_mutate(file, size, max_size);
    let changed = &file[..size];
    if seed % 2 == 0 || changed.first() != Some(&SEQUENCE) {
        return size;
    }
    let fitting = with_lengths(changed, 0);
    match file.get_mut(..fitting.len().min(max_size)) {
        Some(whole) if whole.len() == fitting.len() => whole.copy_from_slice(&fitting),
        _ => return size,
    }
    fitting.len()
}

/// Writes elements anew, those in octet strings too, with lengths that fit; what runs over its end is cut there.
fn with_lengths(mut elements: &[u8], depth: usize) -> Vec<u8> {
    let mut written = Vec::with_capacity(elements.len());
    while let Some((tag, body, rest)) = element(elements) {
        let holds_elements = tag & CONSTRUCTED != 0 || (tag == OCTET_STRING && body.first() == Some(&SEQUENCE));
        let body = if holds_elements && depth < MAX_DEPTH { with_lengths(body, depth + 1) } else { body.to_vec() };
        let length = (body.len() as u32).to_be_bytes();
        let octets = &length[(body.len().max(1).leading_zeros() as usize - 32) / 8..];
        written.push(tag);
        if body.len() >= 0x80 {
            written.push(0x80 | octets.len() as u8);
        }
        written.extend(octets);
        written.extend(body);
        elements = rest;
    }
    written.extend(elements);
    written
}

/// The first element, and what follows it; one of indefinite length has no end.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        0x80 => (rest.len(), rest),
        _ => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (octets.iter().fold(0_usize, |sum, octet| sum.saturating_mul(256) | usize::from(*octet)), rest)
        }
    };
    let (body, rest) = rest.split_at(length.min(rest.len()));
    Some((tag, body, rest))
}
