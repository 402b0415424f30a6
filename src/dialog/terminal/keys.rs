//! The keys of a menu, from the bytes that a terminal sends. `console` does not wait for the rest of a sequence, so that one that comes in
//! two parts would be Esc, which cancels, and text.

/// What begins a sequence, or is the key Esc.
const ESCAPE: u8 = 0x1b;

/// What a key means in a menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Enter,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Escape,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    EndOfInput,
    /// Ctrl-O.
    Others,
    Char(char),
    EraseChar,
    /// Ctrl-W.
    EraseWord,
    /// Ctrl-U.
    EraseAll,
}

/// What came and was not taken yet. Keys without a meaning are left out as a whole.
#[derive(Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
}

/// How many bytes are a key, and what it means, if anything; or `None` while the rest of it is missing.
type Read = Option<(usize, Option<Key>)>;

impl Keys {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next key that came as a whole.
    pub(super) fn next(&mut self) -> Option<Key> {
        while let Some((length, key)) = read(&self.bytes) {
            self.bytes.drain(..length);
            if key.is_some() {
                return key;
            }
        }
        None
    }

    /// Whether the rest of a key is missing.
    pub(super) fn has_part(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// What the part means if nothing follows.
    pub(super) fn end(&mut self) -> Option<Key> {
        let part = std::mem::take(&mut self.bytes);
        matches!(*part, [ESCAPE] | [ESCAPE, ESCAPE]).then_some(Key::Escape)
    }
}

fn read(bytes: &[u8]) -> Read {
    match *bytes {
        [] => None,
        [ESCAPE, ref rest @ ..] => after(1, escaped(rest)),
        [byte, ..] if byte.is_ascii() => Some((1, single(byte))),
        _ => {
            let valid = bytes.utf8_chunks().next()?.valid();
            match valid.chars().next() {
                Some(c) => Some((c.len_utf8(), (!c.is_control()).then_some(Key::Char(c)))),
                // `error_len` is `None` while the rest of the character is missing
                None => Some((std::str::from_utf8(bytes).err()?.error_len()?, None)),
            }
        }
    }
}

fn single(byte: u8) -> Option<Key> {
    Some(match byte {
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Down,
        0x01 => Key::Home,
        0x03 => Key::Interrupt,
        0x04 => Key::EndOfInput,
        0x05 => Key::End,
        0x08 | 0x7f => Key::EraseChar,
        0x0f => Key::Others,
        0x15 => Key::EraseAll,
        0x17 => Key::EraseWord,
        _ if byte.is_ascii_control() => return None,
        _ => Key::Char(byte.into()),
    })
}

/// What follows Esc (ECMA-48 section 5.3).
fn escaped(bytes: &[u8]) -> Read {
    match *bytes {
        [] | [ESCAPE] => None,
        [b'[', ref rest @ ..] => after(1, control_sequence(rest)),
        [b'O', ref rest @ ..] => after(1, function_key(rest)),
        [b']' | b'P' | b'X' | b'^' | b'_', ref rest @ ..] => after(1, control_string(rest)),
        // Some terminals send the arrow keys so, with Alt
        [ESCAPE, b'[' | b'O', ..] => {
            let (length, _) = escaped(bytes.get(1..)?)?;
            Some((length + 1, None))
        }
        [byte, ..] if byte.is_ascii_control() => Some((0, Some(Key::Escape))),
        // A key with Alt
        _ => Some((1, None)),
    }
}

/// What follows CSI, to its final byte (section 5.4). A key with Ctrl, Alt or Shift has parameters, and no meaning.
fn control_sequence(bytes: &[u8]) -> Read {
    // Function keys of the Linux console
    if bytes.first() == Some(&b'[') {
        return bytes.get(1).map(|_| (2, None));
    }
    let (parameters, last) = parted(bytes, |byte| matches!(byte, b' '..=b'?'))?;
    Some(match (parameters, last) {
        (_, last) if last.is_ascii_control() || !last.is_ascii() => (parameters.len(), None),
        (b"" | b"1", last) => {
            (parameters.len() + 1, arrow(last).or((parameters == b"1" && last == b'~').then_some(Key::Home)))
        }
        ([digit], b'~') => {
            let key = match digit {
                b'4' | b'8' => Some(Key::End),
                b'5' => Some(Key::PageUp),
                b'6' => Some(Key::PageDown),
                b'7' => Some(Key::Home),
                _ => None,
            };
            (2, key)
        }
        _ => (parameters.len() + 1, None),
    })
}

/// What follows SS3: the arrow and function keys of a terminal in application mode.
fn function_key(bytes: &[u8]) -> Read {
    let (parameters, last) = parted(bytes, |byte| byte.is_ascii_digit() || byte == b';')?;
    let length = parameters.len();
    Some(match last {
        last if last.is_ascii_control() || !last.is_ascii() => (length, None),
        b'M' if length == 0 => (1, Some(Key::Enter)),
        last => (length + 1, arrow(last).filter(|_| length == 0)),
    })
}

/// What follows OSC and its like, to its end: the answer of a terminal to a program that no longer waits for it.
fn control_string(bytes: &[u8]) -> Read {
    let (text, last) = parted(bytes, |byte| !byte.is_ascii_control())?;
    let length = text.len();
    match (last, bytes.get(length + 1)) {
        (0x07, _) => Some((length + 1, None)),
        (ESCAPE, None) => None,
        (ESCAPE, Some(b'\\')) => Some((length + 2, None)),
        _ => Some((length, None)),
    }
}

fn arrow(last: u8) -> Option<Key> {
    match last {
        b'A' | b'Z' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'F' => Some(Key::End),
        b'H' => Some(Key::Home),
        _ => None,
    }
}

/// The bytes that belong to it, and the first that does not, if it came.
fn parted(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> Option<(&[u8], u8)> {
    let (own, rest) = bytes.split_at(bytes.iter().position(|byte| !belongs(*byte))?);
    Some((own, *rest.first()?))
}

fn after(bytes: usize, read: Read) -> Read {
    read.map(|(length, key)| (length + bytes, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(keys: &mut Keys) -> Vec<Key> {
        std::iter::from_fn(|| keys.next()).collect()
    }

    #[test]
    fn bytes_mean_the_same_keys_in_however_many_parts_they_come() {
        let text = |text: &str| text.chars().map(Key::Char).collect::<Vec<_>>();
        let cases = [
            ("é田😀a", text("é田😀a")),
            ("\x1b[A\x1b[B\x1bOA\x1bOB\t\x1b[Z", vec![Key::Up, Key::Down, Key::Up, Key::Down, Key::Down, Key::Up]),
            ("\x1b[H\x1b[1~\x1b[7~\x1bOH\x01", vec![Key::Home; 5]),
            ("\x1b[F\x1b[4~\x1b[8~\x1bOF\x05", vec![Key::End; 5]),
            ("\x1b[5~\x1b[6~\r\n\x1bOM", vec![Key::PageUp, Key::PageDown, Key::Enter, Key::Enter, Key::Enter]),
            // Ctrl-Down, Alt-Down, F1, F5, F12, of several terminals; Delete; a bracketed paste; the answer to a query; Alt-x
            ("\x1b[1;5B\x1b[1;3B\x1bO5B\x1b\x1b[B\x1b\x1bOBx", text("x")),
            ("\x1bOP\x1b[[A\x1b[15~\x1b[24~\x1b[24;2~\x1b[3~x", text("x")),
            ("\x1b[200~x\x1b[201~\x1b]11;rgb:0000/0000/0000\x1b\\\x1b]0;t\x07\x1bx\x1b[?62;c", text("x")),
            ("\x1b\x03", vec![Key::Escape, Key::Interrupt]),
            ("\x1b[12\x03\x1bO\x03\x1b]1\x03", vec![Key::Interrupt; 3]),
            ("\x7f\x08\x0f\x15\x17\x04\x00\x1a\u{85}", {
                vec![Key::EraseChar, Key::EraseChar, Key::Others, Key::EraseAll, Key::EraseWord, Key::EndOfInput]
            }),
        ];
        for (typed, expected) in cases {
            let mut keys = Keys::default();
            keys.add(typed.as_bytes());
            assert_eq!((all(&mut keys), keys.has_part()), (expected.clone(), false), "{typed:?}");
            let single: Vec<Key> = typed
                .bytes()
                .flat_map(|byte| {
                    keys.add(&[byte]);
                    all(&mut keys)
                })
                .collect();
            assert_eq!((single, keys.has_part()), (expected, false), "{typed:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_left_out() {
        let mut keys = Keys::default();
        keys.add(b"a\xff\xe7b\x80c\xe7\x94");
        assert_eq!(all(&mut keys), ['a', 'b', 'c'].map(Key::Char));
        assert!(keys.has_part() && keys.end().is_none() && !keys.has_part());
    }

    #[test]
    fn escape_is_a_key_if_nothing_follows() {
        for (typed, expected) in [("\x1b", Some(Key::Escape)), ("\x1b\x1b", Some(Key::Escape)), ("\x1b[1", None)] {
            let mut keys = Keys::default();
            keys.add(typed.as_bytes());
            assert_eq!((all(&mut keys).len(), keys.has_part()), (0, true), "{typed:?}");
            assert_eq!((keys.end(), keys.has_part()), (expected, false), "{typed:?}");
        }
    }
}
