//! Mutators that know DER and the frames of the agent, and changes to SQLite files. `docs/fuzzing.md` says how to run the fuzz targets.

mod database;

pub use database::Image;

use libfuzzer_sys::fuzzer_mutate;
use sha1::{Digest, Sha1};

/// How deep lengths are corrected; deeper elements stay as they are.
const MAX_DEPTH: usize = 40;

/// The length of a frame's header, in bytes: its length and its version.
const HEADER: usize = 5;

const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const CONSTRUCTED: u8 = 0x20;

/// The first bytes of a Java keystore, and the length of the digest at its end.
const KEYSTORE: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const DIGEST: usize = 20;

/// Changes a file as libFuzzer does, and every other time corrects all lengths afterwards: a parser stops at the first wrong
/// length. Of a Java keystore it corrects the digest, without which no other change is looked at.
pub fn mutate(file: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let size = fuzzer_mutate(file, size, max_size);
    if file[..size].starts_with(&KEYSTORE) && seed % 8 != 0 {
        sign_keystore(&mut file[..size]);
        return size;
    }
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

/// Writes the digest of a Java keystore with the password of the other seeds.
fn sign_keystore(keystore: &mut [u8]) {
    let Some(end) = keystore.len().checked_sub(DIGEST) else { return };
    let password: Vec<u8> = "cardcase".bytes().flat_map(|letter| [0, letter]).collect();
    let (signed, digest) = keystore.split_at_mut(end);
    let made = Sha1::new().chain_update(password).chain_update(b"Mighty Aphrodite").chain_update(&*signed).finalize();
    digest.copy_from_slice(&made);
}

/// [`mutate`] for a file that follows a line of text. Changes one of the two.
pub fn mutate_after_line(input: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let line = input[..size].iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    if line == 0 || seed % 3 == 0 {
        return fuzzer_mutate(input, size, max_size);
    }
    line + mutate(&mut input[line..], size - line, max_size - line, seed / 3)
}

/// Changes a frame as libFuzzer does, or starts again from a known frame. Corrects the length field, except every fourth time.
pub fn mutate_frame(frame: &mut [u8], size: usize, max_size: usize, seed: u32, known: &[Vec<u8>]) -> usize {
    let mut size = size;
    if size < HEADER || seed % 16 == 0 {
        let again = &known[seed as usize / 16 % known.len()];
        size = again.len().min(max_size);
        frame[..size].copy_from_slice(&again[..size]);
    }
    size = fuzzer_mutate(frame, size, max_size);
    if size >= HEADER && seed % 4 != 0 {
        frame[..4].copy_from_slice(&(size as u32 - 4).to_be_bytes());
    }
    size
}

/// Writes elements again with correct lengths, also those inside octet strings. Elements that are too long are cut.
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

/// The first element, and what follows it. An element of indefinite length takes all the rest.
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
