//! Converts BER to DER, with fixed limits, before any other parser sees the bytes.
//!
//! NSS and Bouncy Castle write indefinite lengths and constructed strings (X.690 section 8). The other parsers support neither, and
//! yasna 0.5 slices out of range on crafted lengths. The result has definite minimal lengths, primitive strings and sorted
//! sets, and is not nested deeper than [`MAX_DEPTH`].

use zeroize::Zeroizing;

use crate::error::file::Error;

/// The maximum depth of nested elements. Real files reach about ten between two octet strings.
const MAX_DEPTH: usize = 32;

/// The maximum number of elements in a SET, which are kept in memory for sorting. Real files have a few attributes.
const MAX_IN_SET: usize = 1 << 16;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const IA5_STRING: u8 = 0x16;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(super) const CONTEXT_0: u8 = 0xa0;

/// `[0]`, primitive: the IMPLICIT OCTET STRING of EncryptedContentInfo.
const CONTEXT_0_PRIMITIVE: u8 = 0x80;
const CONSTRUCTED: u8 = 0x20;
const OCTET_STRING_IN_PIECES: u8 = OCTET_STRING | CONSTRUCTED;

/// Why bytes are not BER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BerError {
    /// The input is too short, by at least this many bytes.
    Truncated(u64),
    /// The input contradicts itself.
    Malformed(&'static str),
}

impl BerError {
    /// The error for bytes inside the file, where "cut short" would be misleading.
    pub(super) fn inside(self) -> Error {
        let what = match self {
            Self::Truncated(_) => "an inner element is longer than what holds it",
            Self::Malformed(what) => what,
        };
        Error::Damaged { what }
    }
}

/// The identifier and length octets of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) tag: u8,
    /// Length of identifier and length octets, in bytes.
    pub(super) size: usize,
    /// Length of the contents in bytes; `None` when indefinite.
    pub(super) length: Option<u64>,
}

/// Reads the header at the beginning of `bytes`, and does not check what follows.
pub(super) fn header(bytes: &[u8]) -> Result<Header, BerError> {
    let missing = |size: usize| BerError::Truncated(size.saturating_sub(bytes.len()) as u64);
    let tag = *bytes.first().ok_or_else(|| missing(2))?;
    if tag & 0x1f == 0x1f {
        return Err(BerError::Malformed("a tag number above 30"));
    }
    let first = *bytes.get(1).ok_or_else(|| missing(2))?;
    let (size, length) = match first {
        0x80 => (2, None),
        0..0x80 => (2, Some(u64::from(first))),
        _ => {
            let size = 2 + usize::from(first & 0x7f);
            if size > 2 + size_of::<u64>() {
                return Err(BerError::Malformed("a length of more than eight bytes"));
            }
            let octets = bytes.get(2..size).ok_or_else(|| missing(size))?;
            let length = octets.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet));
            (size, Some(length))
        }
    };
    Ok(Header { tag, size, length })
}

/// Re-encodes the first element of `input` as DER; returns it and how many bytes it took.
///
/// Memory is bounded by the length of the input, stack by [`MAX_DEPTH`].
pub(super) fn to_der(input: &[u8]) -> Result<(Zeroizing<Vec<u8>>, usize), BerError> {
    // Never reallocated, so that no copy of a secret is left in freed memory: DER is longer than BER only by the length
    // octets of indefinite elements over 64 KiB.
    let capacity = input.len() + input.len() / 16 + 64;
    let mut normaliser = Normaliser { input, at: 0, out: Zeroizing::new(Vec::with_capacity(capacity)) };
    normaliser.element(input.len(), 0)?;
    Ok((normaliser.out, normaliser.at))
}

struct Normaliser<'a> {
    input: &'a [u8],
    at: usize,
    out: Zeroizing<Vec<u8>>,
}

/// A header together with where its contents end.
struct Open {
    tag: u8,
    /// End of the contents, or of what the contents must lie in when the length is indefinite.
    end: usize,
    indefinite: bool,
}

impl Normaliser<'_> {
    /// Copies one element, which must end at `end` at the latest.
    fn element(&mut self, end: usize, depth: usize) -> Result<(), BerError> {
        let open = self.open(end, depth)?;
        let start = self.out.len();
        let tag = match open.tag {
            OCTET_STRING_IN_PIECES => {
                self.pieces(&open, depth)?;
                OCTET_STRING
            }
            tag if tag & CONSTRUCTED != 0 => {
                self.children(&open, depth)?;
                tag
            }
            tag => {
                self.copy_to(open.end);
                tag
            }
        };
        self.close(start, tag);
        Ok(())
    }

    fn open(&mut self, end: usize, depth: usize) -> Result<Open, BerError> {
        if depth > MAX_DEPTH {
            return Err(BerError::Malformed("elements are nested too deep"));
        }
        let rest = self.input.get(self.at..end).unwrap_or_default();
        let head = header(rest).map_err(|error| self.blame(error, end))?;
        self.at += head.size;
        let Some(length) = head.length else {
            if head.tag & CONSTRUCTED == 0 {
                return Err(BerError::Malformed("a plain value of indefinite length"));
            }
            return Ok(Open { tag: head.tag, end, indefinite: true });
        };
        let room = (rest.len() - head.size) as u64;
        if length > room {
            return Err(self.blame(BerError::Truncated(length - room), end));
        }
        // Fits in usize, as it is no more than what is there
        Ok(Open { tag: head.tag, end: self.at + length as usize, indefinite: false })
    }

    /// An element that is too long for the input is truncated; one that is too long for its parent is malformed.
    fn blame(&self, error: BerError, end: usize) -> BerError {
        match error {
            BerError::Truncated(_) if end < self.input.len() => {
                BerError::Malformed("an inner element is longer than what holds it")
            }
            error => error,
        }
    }

    /// Whether the contents of `open` have ended; steps over end-of-contents octets.
    fn ended(&mut self, open: &Open) -> bool {
        if !open.indefinite {
            return self.at >= open.end;
        }
        let ended = self.input.get(self.at..open.end).unwrap_or_default().starts_with(&[0, 0]);
        if ended {
            self.at += 2;
        }
        ended
    }

    fn children(&mut self, open: &Open, depth: usize) -> Result<(), BerError> {
        let content = self.out.len();
        let mut starts = Vec::new();
        let mut tags = [0; 2];
        let mut count = 0_usize;
        while !self.ended(open) {
            let start = self.out.len();
            if open.tag == SET {
                if starts.len() == MAX_IN_SET {
                    return Err(BerError::Malformed("a set of too many elements"));
                }
                starts.push(start - content);
            }
            if open.tag == SEQUENCE
                && count == 2
                && tags == [OBJECT_IDENTIFIER, SEQUENCE]
                && self.at_string_in_pieces(open.end)
            {
                let open = self.open(open.end, depth + 1)?;
                self.pieces(&open, depth + 1)?;
                self.close(start, CONTEXT_0_PRIMITIVE);
            } else {
                self.element(open.end, depth + 1)?;
            }
            if let Some(tag) = tags.get_mut(count) {
                *tag = self.out.get(start).copied().unwrap_or_default();
            }
            count += 1;
        }
        if open.tag == SET {
            self.sort(content, &starts);
        }
        Ok(())
    }

    /// Whether a constructed `[0]` of octet strings comes next: after an object identifier and a
    /// sequence that is EncryptedContentInfo's content (RFC 5652 section 6.1), written in pieces.
    fn at_string_in_pieces(&self, end: usize) -> bool {
        let rest = self.input.get(self.at..end).unwrap_or_default();
        let Ok(head) = header(rest) else { return false };
        let first = rest.get(head.size).copied();
        head.tag == CONTEXT_0
            && (head.length == Some(0)
                || first == Some(OCTET_STRING)
                || first == Some(OCTET_STRING_IN_PIECES)
                || (head.length.is_none() && first == Some(0)))
    }

    /// Joins the octet strings that a constructed string consists of.
    fn pieces(&mut self, open: &Open, depth: usize) -> Result<(), BerError> {
        while !self.ended(open) {
            let piece = self.open(open.end, depth + 1)?;
            match piece.tag {
                OCTET_STRING => self.copy_to(piece.end),
                OCTET_STRING_IN_PIECES => self.pieces(&piece, depth + 1)?,
                _ => return Err(BerError::Malformed("a string in pieces of another type")),
            }
        }
        Ok(())
    }

    fn copy_to(&mut self, end: usize) {
        self.out.extend_from_slice(self.input.get(self.at..end).unwrap_or_default());
        self.at = end;
    }

    /// Puts the header before the contents that were written since `start`.
    fn close(&mut self, start: usize, tag: u8) {
        let header = der_header(tag, self.out.len() - start);
        self.out.splice(start..start, header);
    }

    /// Sorts the elements of a SET that begin at `starts` after `content` (X.690 section 11.6).
    fn sort(&mut self, content: usize, starts: &[usize]) {
        let unsorted = Zeroizing::new(self.out.get(content..).unwrap_or_default().to_vec());
        let ends = starts.iter().skip(1).copied().chain([unsorted.len()]);
        let mut elements: Vec<&[u8]> =
            starts.iter().zip(ends).map(|(start, end)| unsorted.get(*start..end).unwrap_or_default()).collect();
        if elements.is_sorted() {
            return;
        }
        elements.sort_unstable();
        self.out.truncate(content);
        for element in elements {
            self.out.extend_from_slice(element);
        }
    }
}

fn der_header(tag: u8, length: usize) -> Vec<u8> {
    if length < 0x80 {
        return vec![tag, length as u8];
    }
    let octets: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
    let mut header = vec![tag, 0x80 | octets.len() as u8];
    header.extend(octets);
    header
}

/// Encodes one element.
pub(super) fn encode(tag: u8, body: &[u8]) -> Zeroizing<Vec<u8>> {
    let header = der_header(tag, body.len());
    let mut out = Zeroizing::new(Vec::with_capacity(header.len() + body.len()));
    out.extend_from_slice(&header);
    out.extend_from_slice(body);
    out
}

/// One element of what [`to_der`] returned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
    /// Header and body.
    pub(super) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The elements in this one.
    pub(super) fn children(self) -> Elements<'a> {
        Elements(self.body)
    }
}

/// A sequence of elements; ends early at an invalid one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elements<'a>(pub(super) &'a [u8]);

impl<'a> Elements<'a> {
    /// The next element, if it has this tag; stays where it is otherwise.
    pub(super) fn next_if(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.next().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let head = header(self.0).ok()?;
        let end = usize::try_from(head.length?).ok()?.checked_add(head.size)?;
        let (whole, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(Element { tag: head.tag, body: whole.get(head.size..)?, whole })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn der(input: &[u8]) -> Result<Vec<u8>, BerError> {
        to_der(input).map(|(der, _)| der.to_vec())
    }

    #[test]
    fn der_stays_unchanged() {
        let input = [0x30, 0x06, 0x02, 0x01, 0x03, 0x04, 0x01, 0xff];
        assert_eq!(der(&input).unwrap(), input);
    }

    #[test]
    fn indefinite_lengths_become_definite() {
        let input = [0x30, 0x80, 0x30, 0x80, 0x02, 0x01, 0x03, 0, 0, 0x05, 0x00, 0, 0, 0xaa];
        let (out, used) = to_der(&input).unwrap();
        assert_eq!(*out, [0x30, 0x07, 0x30, 0x03, 0x02, 0x01, 0x03, 0x05, 0x00]);
        assert_eq!(used, input.len() - 1, "what follows is not part of the element");
    }

    #[test]
    fn strings_in_pieces_are_joined() {
        let input = [0x24, 0x80, 0x04, 0x01, 1, 0x24, 0x03, 0x04, 0x01, 2, 0x04, 0x00, 0, 0];
        assert_eq!(der(&input).unwrap(), [0x04, 0x02, 1, 2]);
        assert_eq!(der(&[0x24, 0x02, 0x05, 0x00]), Err(BerError::Malformed("a string in pieces of another type")));
    }

    #[test]
    fn encrypted_content_in_pieces_is_joined() {
        let input = [0x30, 0x80, 0x06, 0x01, 0x2a, 0x30, 0x00, 0xa0, 0x80, 0x04, 0x01, 1, 0x04, 0x01, 2, 0, 0, 0, 0];
        assert_eq!(der(&input).unwrap(), [0x30, 0x09, 0x06, 0x01, 0x2a, 0x30, 0x00, 0x80, 0x02, 1, 2]);
        let explicit = [0x30, 0x09, 0x06, 0x01, 0x2a, 0x30, 0x00, 0xa0, 0x02, 0x05, 0x00];
        assert_eq!(der(&explicit).unwrap(), explicit, "an explicit [0] of something else stays");
    }

    #[test]
    fn long_lengths_become_short() {
        assert_eq!(der(&[0x30, 0x84, 0, 0, 0, 4, 0x04, 0x82, 0, 0]).unwrap(), [0x30, 0x02, 0x04, 0x00]);
    }

    #[test]
    fn sets_are_sorted() {
        let input = [0x31, 0x08, 0x04, 0x02, 9, 9, 0x02, 0x02, 1, 1];
        assert_eq!(der(&input).unwrap(), [0x31, 0x08, 0x02, 0x02, 1, 1, 0x04, 0x02, 9, 9]);
    }

    #[test]
    fn a_length_beyond_the_input_is_a_truncation() {
        assert_eq!(der(&[]), Err(BerError::Truncated(2)));
        assert_eq!(der(&[0x30]), Err(BerError::Truncated(1)));
        assert_eq!(der(&[0x30, 0x82, 0x01]), Err(BerError::Truncated(1)));
        assert_eq!(der(&[0x30, 0x05, 0x02]), Err(BerError::Truncated(4)));
        assert_eq!(der(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), Err(BerError::Truncated(0xffff_fffe)));
        let huge = [0x04, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(der(&huge), Err(BerError::Truncated(u64::MAX)));
        assert_eq!(der(&[0x30, 0x80, 0x05, 0x00]), Err(BerError::Truncated(2)), "no end-of-contents");
        assert_eq!(der(&[0x30, 0x80, 0x05, 0x00, 0x00]), Err(BerError::Truncated(1)));
    }

    #[test]
    fn a_length_beyond_the_parent_is_an_error() {
        let longer = Err(BerError::Malformed("an inner element is longer than what holds it"));
        assert_eq!(der(&[0x30, 0x03, 0x04, 0x02, 0, 0]), longer);
        assert_eq!(der(&[0x30, 0x02, 0x30, 0x80, 0, 0]), longer);
        assert_eq!(der(&[0x30, 0x01, 0x30, 0x80]), longer);
    }

    #[test]
    fn invalid_ber_is_refused() {
        assert!(matches!(der(&[0x04, 0x80, 0, 0]), Err(BerError::Malformed(_))), "a plain value of indefinite length");
        assert!(matches!(der(&[0x1f, 0x81, 0x00]), Err(BerError::Malformed(_))), "a high tag number");
        assert!(matches!(der(&[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1]), Err(BerError::Malformed(_))));
        assert!(matches!(der(&[0x30, 0xff]), Err(BerError::Malformed(_))));
    }

    #[test]
    fn nesting_depth_is_bounded() {
        for open in [[0x30, 0x80], [0x24, 0x80]] {
            let input: Vec<u8> = open.repeat(100_000);
            assert_eq!(der(&input), Err(BerError::Malformed("elements are nested too deep")));
        }
        let nested = |levels: usize| {
            let mut input = [0x30, 0x80].repeat(levels);
            input.extend([0, 0].repeat(levels));
            der(&input)
        };
        assert!(nested(MAX_DEPTH + 1).is_ok());
        assert!(nested(MAX_DEPTH + 2).is_err());
    }

    #[test]
    fn output_never_outgrows_its_first_allocation() {
        let mut input = [0x30, 0x80].repeat(MAX_DEPTH);
        input.extend(encode(OCTET_STRING, &vec![0; 1 << 17]).iter());
        input.extend([0, 0].repeat(MAX_DEPTH));
        let (out, _) = to_der(&input).unwrap();
        assert!(out.len() > input.len());
        assert!(out.capacity() <= input.len() + input.len() / 16 + 64);
    }

    #[test]
    fn elements_end_at_invalid_input() {
        let mut elements = Elements(&[0x02, 0x01, 0x03, 0x04, 0x00, 0x04, 0x05]);
        assert_eq!(elements.next().unwrap().body, [3]);
        assert!(elements.next_if(INTEGER).is_none());
        assert_eq!(elements.next_if(OCTET_STRING).unwrap().whole, [0x04, 0x00]);
        assert!(elements.next().is_none());
    }
}
