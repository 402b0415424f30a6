//! Reads the replies of a pinentry program, for the fuzz target `assuan`.

use super::assuan::reply::{ConversationError, MAX_LINE, MAX_REPLY, Replies};

/// Reads replies that arrive in pieces of this length, until one is not understood. Panics if one is longer than the limit, or a
/// refusal would control the terminal.
pub fn read_replies(piece: usize, bytes: &[u8]) {
    let mut replies = Replies::default();
    for piece in bytes.chunks(piece.clamp(1, MAX_LINE)) {
        replies.add(piece.iter());
        loop {
            match replies.next() {
                Ok(None) => break,
                Ok(Some(data)) => assert!(data.len() <= MAX_REPLY, "a reply is too long"),
                // A refusal is shown to a person
                Err(ConversationError::Refused { why, .. }) => {
                    assert!(!why.contains(char::is_control), "a refusal is not escaped");
                }
                Err(_) => return,
            }
        }
    }
}
