//! Reads arbitrary bytes as the replies of a pinentry program, which arrive in pieces of any length.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// The part of the command that the reader uses.
#[path = "../../cli/src/ui/text.rs"]
#[allow(dead_code)]
mod text;

mod ui {
    pub(crate) use crate::text;
}

#[path = "../../cli/src/ask/assuan/reply.rs"]
#[allow(dead_code)]
mod reply;

mod assuan {
    use crate::reply::{ConversationError, MAX_LINE, Replies};

    /// The limit for the data of a reply, in bytes.
    const MAX_DATA: usize = 16 << 10;

    /// Reads replies until one is not understood. The first byte is the length of the pieces.
    pub(crate) fn read(input: &[u8]) {
        let Some((&piece, bytes)) = input.split_first() else { return };
        let mut replies = Replies::default();
        for piece in bytes.chunks((usize::from(piece) * 4 + 1).min(MAX_LINE)) {
            replies.add(piece.iter());
            loop {
                match replies.next() {
                    Ok(None) => break,
                    Ok(Some(data)) => assert!(data.len() <= MAX_DATA),
                    // A refusal is shown to a person
                    Err(ConversationError::Refused { why, .. }) => assert!(!why.contains(char::is_control)),
                    Err(_) => return,
                }
            }
        }
    }
}

fuzz_target!(|input: &[u8]| assuan::read(input));
