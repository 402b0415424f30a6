//! JSON as Chrome reads policies: a byte order mark at the start and a comma after the last element are allowed
//! (`base::JSON_ALLOW_TRAILING_COMMAS`), in the file and in the entries in it.

use serde_json::Value;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(in crate::answer) fn read(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(&without_trailing_commas(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)))
}

/// Replaces each with a space, so that errors still name the right line and column.
fn without_trailing_commas(text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    // Without spaces: the byte before, and the position of the comma if that was one after an element
    let (mut before, mut comma) = (b'[', None);
    for &byte in text {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if !byte.is_ascii_whitespace() {
            if let Some(place) = comma.filter(|_| matches!(byte, b']' | b'}')).and_then(|at: usize| out.get_mut(at)) {
                *place = b' ';
            }
            let after_element = !matches!(before, b'[' | b'{' | b',' | b':');
            comma = (byte == b',' && after_element).then_some(out.len());
            in_string = byte == b'"';
            before = byte;
        }
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_comma_after_the_last_element_is_allowed() {
        let cases = [
            ("[1,2,]", Some("[1,2]")),
            ("[[1 , ] ,\n]", Some("[[1]]")),
            (r#"{"a":{"b":"x",},}"#, Some(r#"{"a":{"b":"x"}}"#)),
            (r#"{"a":",]","b\"":",}"}"#, Some(r#"{"a":",]","b\"":",}"}"#)),
            (r#"["\\",]"#, Some(r#"["\\"]"#)),
            ("\u{feff}[]", Some("[]")),
            ("[,]", None),
            ("[1,,]", None),
            ("{,}", None),
            (r#"{"a":,}"#, None),
            ("1,", None),
            ("// x\n[]", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes()).ok().map(|value| value.to_string()).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn valid_json_reads_the_same(text in r#"[\[\]{},:"\\ 1a]{0,12}"#) {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(read(text.as_bytes()).unwrap(), value);
            }
        }
    }
}
