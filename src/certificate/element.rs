//! The elements of DER, for structures that other programs write wrong: only tags and lengths are checked.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};
use zeroize::Zeroizing;

/// One element.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: Tag,
    pub(crate) body: &'a [u8],
}

/// A sequence of elements; ends early at an invalid one.
#[derive(Clone, Copy)]
pub(crate) struct Elements<'a>(&'a [u8]);

/// The elements in these bytes.
pub(crate) fn elements(bytes: &[u8]) -> Elements<'_> {
    Elements(bytes)
}

impl<'a> Element<'a> {
    /// The element that fills these bytes.
    pub(crate) fn only(bytes: &'a [u8]) -> Option<Self> {
        let mut all = elements(bytes);
        all.next().filter(|_| all.0.is_empty())
    }

    pub(crate) fn sequence(self) -> Option<Elements<'a>> {
        (self.tag == Tag::Sequence).then_some(Elements(self.body))
    }

    pub(crate) fn oid(self) -> Option<ObjectIdentifier> {
        (self.tag == Tag::ObjectIdentifier).then(|| ObjectIdentifier::from_bytes(self.body).ok())?
    }
}

impl<'a> Elements<'a> {
    pub(crate) fn next_two(&mut self) -> Option<(Element<'a>, Element<'a>)> {
        Some((self.next()?, self.next()?))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let mut reader = SliceReader::new(self.0).ok()?;
        let element = AnyRef::decode(&mut reader).ok()?;
        self.0 = self.0.get(usize::try_from(reader.position()).ok()?..)?;
        Some(Element { tag: element.tag(), body: element.value() })
    }
}

/// The DER of one element, which may be secret.
pub(crate) fn encode(tag: Tag, body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    AnyRef::new(tag, body).ok()?.to_der().ok().map(Zeroizing::new)
}
