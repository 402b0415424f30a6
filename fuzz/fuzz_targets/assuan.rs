//! Reads arbitrary bytes as the replies of a pinentry program, which arrive in pieces of any length.

#![no_main]

use cardcase::fuzzing::read_replies;
use libfuzzer_sys::fuzz_target;

// The first byte is the length of the pieces
fuzz_target!(|input: &[u8]| {
    if let Some((&piece, bytes)) = input.split_first() {
        read_replies(usize::from(piece) * 4 + 1, bytes);
    }
});
