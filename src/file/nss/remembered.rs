//! What Firefox and Thunderbird remember of their questions for a certificate: `ClientAuthRememberList`.
//!
//! The file has one entry for each host, and for each context in which the host was visited: the site of the page around it, a container
//! tab and others. Only what was answered for the host itself has a meaning outside of a browser.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use url::form_urlencoded;

use super::regular;
use crate::error::file::Error;

/// The newer form: slots of this size in bytes, and how many of them at most.
const SLOT: usize = 1286;
const SLOTS: usize = 2048;
/// Where the key of a slot ends, and its value begins.
const VALUE: usize = 262;

/// The older form: lines, and how many of them at most.
const LINES: usize = 1024;
const MAX_TEXT: u64 = 4 << 20;

/// The value for no certificate.
const NONE: &[u8] = b"no client certificate";

/// An answer to a server's question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    None,
    /// A certificate, by its issuer and by the contents of its serial number.
    Certificate {
        issuer: Vec<u8>,
        serial: Vec<u8>,
    },
}

/// An answer for a host, and the day on which it was used last, counted from 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) host: String,
    pub(super) answer: Answer,
    day: u16,
}

/// What a file remembers.
#[derive(Debug, Default)]
pub(super) struct List {
    /// One for each host.
    pub(super) remembered: Vec<Remembered>,
    /// Hosts whose answers are left out, and why.
    pub(super) left_out: Vec<(String, &'static str)>,
}

/// Reads the list in a profile; an empty one where there is none. `host` says which host is meant by what is written. Where the newer form
/// is there, the older does not count, as in Firefox.
///
/// # Errors
/// [`Error::Unreadable`].
pub(super) fn read(directory: &Path, host: impl Fn(&str) -> Option<String>) -> Result<List, Error> {
    let newer = read_file(&directory.join("ClientAuthRememberList.bin"), (SLOTS * SLOT) as u64)?;
    if let Some(bytes) = newer {
        return Ok(list(slots(&bytes), host));
    }
    let older = read_file(&directory.join("ClientAuthRememberList.txt"), MAX_TEXT)?;
    Ok(older.map(|bytes| list(lines(&bytes), host)).unwrap_or_default())
}

/// At most `limit` bytes of a file, if it is there.
fn read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let unreadable = |detail: String| Error::Unreadable { file: path.to_owned(), detail };
    let file = match regular::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| unreadable(error.to_string()))?,
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    Ok(Some(bytes))
}

/// Key, value and day of each entry.
type Raw<'a> = (&'a [u8], &'a [u8], u16);

/// The entries of the newer form. A slot that is empty or damaged stands among others.
fn slots(bytes: &[u8]) -> impl Iterator<Item = Raw<'_>> {
    bytes.chunks_exact(SLOT).take(SLOTS).filter_map(|slot| {
        let (words, _) = slot.as_chunks::<2>();
        let checksum = words.iter().fold(0, |sum, word| sum ^ u16::from_be_bytes(*word));
        let number = |at: usize| Some(u16::from_be_bytes(*words.get(at)?));
        let (score, day) = (number(1)?, number(2)?);
        let is_used = checksum == 0 && score != 0 && day != 0;
        let trimmed = |part: &[u8]| part.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let (key, value) = (slot.get(6..VALUE)?, slot.get(VALUE..)?);
        is_used.then_some((key.get(..trimmed(key))?, value.get(..trimmed(value))?, day))
    })
}

/// The entries of the older form: key, score, day and value, separated by tabs.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Raw<'_>> {
    bytes.split(|byte| *byte == b'\n').take(LINES).filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut fields = line.split(|byte| *byte == b'\t');
        let (key, _score, day, value) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let day = std::str::from_utf8(day).ok()?.parse().ok()?;
        (fields.next().is_none() && !value.is_empty()).then_some((key, value, day))
    })
}

/// The answers that count for a host alone. Of two the later one counts, as the browser asked again.
///
/// A host may be written in several ways, and the browser has an answer for each. `host` says which host is meant, and `None` for none.
/// The answer for its usual form goes before those for the others.
fn list<'a>(entries: impl Iterator<Item = Raw<'a>>, host: impl Fn(&str) -> Option<String>) -> List {
    let mut by_host: BTreeMap<String, Vec<(bool, Remembered)>> = BTreeMap::new();
    let mut left_out = Vec::new();
    for (key, value, day) in entries {
        let Some((written, attributes)) = host_and_attributes(key) else {
            left_out.push((String::from_utf8_lossy(key).into_owned(), "its entry cannot be read"));
            continue;
        };
        let written = written.to_ascii_lowercase();
        match (host(&written), answer(value), context(&written, attributes)) {
            (None, ..) => left_out.push((written, "it is not a host name")),
            (_, None, _) => left_out.push((written, "its entry cannot be read")),
            (.., Some(context)) => left_out.push((written, context)),
            (Some(host), Some(answer), None) => {
                let is_usual = host == written;
                by_host.entry(host.clone()).or_default().push((is_usual, Remembered { host, answer, day }));
            }
        }
    }
    let mut remembered = Vec::new();
    for (host, mut answers) in by_host {
        answers.sort_by_key(|(is_usual, answer)| (*is_usual, answer.day));
        let Some((is_usual, last)) = answers.pop() else { continue };
        let others = answers.iter().filter(|(_, other)| other.answer != last.answer);
        let same_day = |(usual, other): &&(bool, Remembered)| *usual == is_usual && other.day == last.day;
        let contradicting = others.clone().filter(same_day).count();
        if contradicting > 0 {
            left_out.extend(answers.iter().chain([&(is_usual, last)]).map(|_| (host.clone(), CONTRADICTION)));
            continue;
        }
        left_out.extend(others.map(|(usual, _)| (host.clone(), if *usual == is_usual { OLDER } else { UNUSUAL })));
        remembered.push(last);
    }
    List { remembered, left_out }
}

/// Why an answer does not count.
const CONTRADICTION: &str = "two answers of the same day contradict each other";
const OLDER: &str = "an older answer; the browser asked again since";
const UNUSUAL: &str = "the host is written in an unusual way; the answer for its usual form counts";

/// The parts of a key: the host, the fingerprint of the server's certificate, which is not used any more, and the attributes.
fn host_and_attributes(key: &[u8]) -> Option<(&str, &str)> {
    let (rest, attributes) = std::str::from_utf8(key).ok()?.rsplit_once(',')?;
    let host = rest.split(',').next().filter(|host| !host.is_empty())?;
    Some((host, attributes))
}

/// Why an answer does not count outside of the browser: the context that its attributes name. `None` if it was for the host itself.
fn context(host: &str, attributes: &str) -> Option<&'static str> {
    let pairs = attributes.strip_prefix('^').unwrap_or(attributes);
    for (name, value) in form_urlencoded::parse(pairs.as_bytes()) {
        match &*name {
            "partitionKey" if is_own_site(host, &value) => {}
            "partitionKey" => return Some("the answer is for a frame in a page of another site"),
            "userContextId" => return Some("the answer is for a container tab"),
            "privateBrowsingId" => return Some("the answer is for private windows"),
            "firstPartyDomain" => return Some("the answer is for one site only (first-party isolation)"),
            _ => return Some("the answer is for a context that only the browser has"),
        }
    }
    None
}

/// Whether a partition is that of the pages of the host itself: `(https,example.com)` is that of `www.example.com` too. A port may
/// follow, or an `f` for a frame that is inside of a page of another site.
fn is_own_site(host: &str, partition: &str) -> bool {
    let Some(inside) = partition.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else { return false };
    let mut fields = inside.split(',').skip(1);
    let Some(site) = fields.next().filter(|site| !site.is_empty()) else { return false };
    if fields.any(|field| field.parse::<u16>().is_err()) {
        return false;
    }
    // An IPv6 address, with signs that a file name may have
    let address =
        site.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(|address| address.replace('+', ":"));
    let site = address.as_deref().unwrap_or(site);
    let host = host.strip_suffix('.').unwrap_or(host);
    host.strip_suffix(site).is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

/// The value of an entry: eight bytes that are zero, two lengths, a serial number and an issuer.
fn answer(value: &[u8]) -> Option<Answer> {
    if value == NONE {
        return Some(Answer::None);
    }
    let bytes = BASE64_STANDARD.decode(value).ok()?;
    let (zeros, rest) = bytes.split_first_chunk::<8>()?;
    let (serial_length, rest) = rest.split_first_chunk::<4>()?;
    let (issuer_length, rest) = rest.split_first_chunk::<4>()?;
    let length = |bytes: &[u8; 4]| usize::try_from(u32::from_be_bytes(*bytes)).ok();
    let (serial, issuer) = rest.split_at_checked(length(serial_length)?)?;
    let is_whole = *zeros == [0; 8] && Some(issuer.len()) == length(issuer_length) && !issuer.is_empty();
    is_whole.then(|| Answer::Certificate { issuer: issuer.to_vec(), serial: serial.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(key: &str, value: &[u8], day: u16) -> Vec<u8> {
        let mut slot = vec![0; SLOT];
        slot[2..6].copy_from_slice(&[[0, 1], day.to_be_bytes()].concat());
        slot[6..6 + key.len()].copy_from_slice(key.as_bytes());
        slot[VALUE..VALUE + value.len()].copy_from_slice(value);
        let checksum = slot.as_chunks::<2>().0.iter().fold(0, |sum, word| sum ^ u16::from_be_bytes(*word));
        slot[..2].copy_from_slice(&checksum.to_be_bytes());
        slot
    }

    fn of(slots: &[Vec<u8>]) -> (Vec<String>, Vec<String>) {
        let usual = |host: &str| (!host.contains('*')).then(|| host.trim_end_matches('.').to_owned());
        let list = list(super::slots(&slots.concat()), usual);
        let hosts = list.remembered.into_iter().map(|entry| format!("{} {}", entry.host, entry.day));
        (hosts.collect(), list.left_out.into_iter().map(|(host, why)| format!("{host}: {why}")).collect())
    }

    fn certificate(serial: u8) -> Vec<u8> {
        let bytes = [[0; 8].as_slice(), &[0, 0, 0, 1], &[0, 0, 0, 2], &[serial], &[0x30, 0]].concat();
        BASE64_STANDARD.encode(bytes).into_bytes()
    }

    #[test]
    fn empty_and_damaged_slots_are_skipped() {
        let mut damaged = slot("damaged.example,,", NONE, 5);
        damaged[100] ^= 1;
        let cut = slot("cut.example,,", NONE, 5)[..1000].to_vec();
        let slots = [slot("a.example,,", NONE, 5), vec![0; SLOT], damaged, slot("b.example,,", NONE, 6), cut];
        assert_eq!(of(&slots), (vec!["a.example 5".to_owned(), "b.example 6".to_owned()], vec![]));
        let many: Vec<_> = (0..3000).map(|number| slot(&format!("{number}.example,,"), NONE, 1)).collect();
        assert_eq!(of(&many).0.len(), SLOTS);
    }

    #[test]
    fn an_answer_counts_only_for_the_host_itself() {
        for (host, attributes, counts) in [
            ("a.example", "", true),
            ("a.example", "^partitionKey=%28https%2Ca.example%29", true),
            ("www.a.example", "^partitionKey=%28https%2Ca.example%29", true),
            ("a.example", "^partitionKey=%28https%2Ca.example%2C8443%29", true),
            ("a.example", "^partitionKey=%28https%2Ca.example%2Cf%29", false),
            ("::1", "^partitionKey=%28https%2C%5B%2B%2B1%5D%29", true),
            ("nota.example", "^partitionKey=%28https%2Ca.example%29", false),
            ("a.example", "^partitionKey=%28https%2Cwww.a.example%29", false),
            ("a.example", "^partitionKey=%28https%2C%29", false),
            ("a.example.", "^partitionKey=%28https%2C%29", false),
            ("a.example.", "^partitionKey=%28https%2Ca.example%29", true),
            ("a.example", "^partitionKey=", false),
            ("a.example", "^userContextId=1&partitionKey=%28https%2Ca.example%29", false),
            ("a.example", "^privateBrowsingId=1", false),
            ("a.example", "^firstPartyDomain=a.example", false),
            ("a.example", "^somethingNew=1", false),
        ] {
            let (found, left_out) = of(&[slot(&format!("{host},,{attributes}"), NONE, 1)]);
            assert_eq!(
                (found.len(), left_out.len()),
                (usize::from(counts), usize::from(!counts)),
                "{host} {attributes}"
            );
        }
    }

    #[test]
    fn of_two_answers_the_later_counts() {
        let two = |first: u16, second: u16, serial: u8| {
            of(&[slot("a.example,AB:CD,", &certificate(1), first), slot("a.example,,", &certificate(serial), second)])
        };
        assert_eq!(two(3, 4, 2).0, ["a.example 4"]);
        assert_eq!(two(4, 3, 2).0, ["a.example 4"]);
        assert_eq!(two(4, 4, 1), (vec!["a.example 4".to_owned()], vec![]));
        assert_eq!(two(4, 4, 2).0, Vec::<String>::new());
    }

    /// Each is a host, an answer (0 is none) and a day; then the answer that counts, and how many are left out.
    #[test]
    fn the_usual_form_of_a_host_goes_before_the_others() {
        for (entries, counts, left_out) in [
            (&[("a.example", 0, 5), ("a.example.", 1, 5)][..], Some(0), 1),
            (&[("a.example.", 1, 9), ("a.example", 0, 5)], Some(0), 1),
            (&[("a.example.", 1, 5), ("a.example", 1, 5)], Some(1), 0),
            (&[("a.example.", 1, 5), ("A.example.", 2, 5)], None, 2),
            (&[("a.example.", 1, 5), ("A.example.", 2, 6)], Some(2), 1),
            (&[("a.example", 1, 5), ("A.example", 2, 5), ("a.example.", 0, 9)], None, 3),
            (&[("*.example", 1, 5)], None, 1),
        ] {
            let value = |answer: u8| if answer == 0 { NONE.to_vec() } else { certificate(answer) };
            let slots: Vec<Vec<u8>> =
                entries.iter().map(|(host, answer, day)| slot(&format!("{host},,"), &value(*answer), *day)).collect();
            let usual = |host: &str| (!host.contains('*')).then(|| host.trim_end_matches('.').to_owned());
            let list = list(super::slots(&slots.concat()), usual);
            let found: Vec<&Answer> = list.remembered.iter().map(|entry| &entry.answer).collect();
            let expected = counts.map(|counts| answer(&value(counts)).unwrap());
            assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{entries:?}");
            assert_eq!(list.left_out.len(), left_out, "{entries:?}: {:?}", list.left_out);
        }
    }

    #[test]
    fn a_value_that_cannot_be_read_is_told() {
        let huge = BASE64_STANDARD.encode([[0; 8].as_slice(), &[0xff; 8], &[1, 2]].concat());
        for value in [b"nonsense".as_slice(), b"AAAA", huge.as_bytes()] {
            let (found, left_out) = of(&[slot("a.example,,", value, 1), slot("no-comma", NONE, 1)]);
            assert_eq!((found.len(), left_out.len()), (0, 2));
        }
    }
}
