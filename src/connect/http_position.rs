//! Where in an HTTP/1.1 exchange a connection is: browsers differ in where they let a server ask.

use std::sync::{Arc, Mutex, PoisonError};

use crate::answer::settings::Mode;

/// What becomes of a request for a certificate that comes in the middle of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// The request is answered.
    Answer,
    /// The connection fails.
    Fail,
    /// The connection ends, as if the server had closed it.
    End,
}

/// A part of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Before the end of the headers of the response, or before any request.
    #[default]
    Head,
    /// In the body of the response.
    Body,
    /// After it.
    After,
}

/// Where a connection is in its HTTP/1.1 exchange. It recognises the end of the headers of a response. Where the body ends only
/// its reader knows, and says so with [`HttpPosition::finished`]. Clones share one position.
#[derive(Clone, Debug, Default)]
pub(super) struct HttpPosition(Arc<Mutex<Progress>>);

#[derive(Debug, Default)]
struct Progress {
    part: Part,
    /// Whether another exchange on the same connection came before.
    is_another: bool,
    /// The line being read, as far as it matters.
    line: Vec<u8>,
    /// Whether the headers being read are those of an interim response (RFC 9110 section 15.2).
    interim: bool,
    in_headers: bool,
}

/// How much of a line is looked at: `HTTP/1.1 100`.
const STATUS: usize = 12;

impl HttpPosition {
    /// The body of the response was read to its end. What is written next is another request.
    pub(super) fn finished(&self) {
        self.with(|progress| progress.part = Part::After);
    }

    pub(super) fn written(&self) {
        self.with(|progress| {
            if progress.part == Part::After {
                *progress = Progress { is_another: true, ..Progress::default() };
            }
        });
    }

    /// Whether this is not the exchange that the connection was opened for.
    pub(super) fn is_another(&self) -> bool {
        self.with(|progress| progress.is_another)
    }

    pub(super) fn read(&self, bytes: &[u8]) {
        self.with(|progress| bytes.iter().for_each(|byte| progress.take(*byte)));
    }

    /// What becomes of a request for a certificate now, as in the browsers: Firefox always asks; Chrome asks before the end of
    /// the headers, fails in the body, and ends the connection after it.
    pub(super) fn treatment(&self, mode: Mode) -> Treatment {
        match (mode, self.with(|progress| progress.part)) {
            (Mode::Firefox, _) | (Mode::Chrome, Part::Head) => Treatment::Answer,
            (Mode::Chrome, Part::Body) => Treatment::Fail,
            (Mode::Chrome, Part::After) => Treatment::End,
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Progress) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Progress {
    fn take(&mut self, byte: u8) {
        if self.part != Part::Head {
            return;
        }
        match byte {
            b'\n' => self.end_line(),
            b'\r' => {}
            _ if self.line.len() < STATUS => self.line.push(byte),
            _ => {}
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        match (self.in_headers, line.is_empty()) {
            (false, true) => {}
            (false, false) => {
                self.in_headers = true;
                // After 101 the connection no longer speaks HTTP
                self.interim = line.get(9..).is_some_and(|code| code.starts_with(b"1") && code != b"101");
            }
            (true, false) => {}
            (true, true) => {
                self.in_headers = false;
                if !self.interim {
                    self.part = Part::Body;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_headers_is_found_in_pieces_of_any_size() {
        use Treatment::{Answer, Fail};
        let cases: [(&[u8], Treatment); 6] = [
            (b"", Answer),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", Answer),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", Fail),
            (b"HTTP/1.1 200 OK\nA: b\n\nbody", Fail),
            (b"HTTP/1.1 100 Continue\r\n\r\n", Answer),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Fail),
        ];
        for (bytes, treatment) in cases {
            for size in 1..=bytes.len().max(1) {
                let position = HttpPosition::default();
                bytes.chunks(size).for_each(|part| position.read(part));
                assert_eq!(position.treatment(Mode::Chrome), treatment, "{:?}", bytes.escape_ascii().to_string());
                assert_eq!(position.treatment(Mode::Firefox), Answer);
            }
        }
    }

    #[test]
    fn another_request_starts_a_new_exchange() {
        let position = HttpPosition::default();
        position.read(b"HTTP/1.1 200 OK\r\n\r\nbody");
        position.written();
        assert_eq!(position.treatment(Mode::Chrome), Treatment::Fail, "the request is still being written");
        position.finished();
        assert_eq!(position.treatment(Mode::Chrome), Treatment::End);
        assert_eq!(position.treatment(Mode::Firefox), Treatment::Answer);
        assert!(!position.is_another());
        position.written();
        assert!(position.is_another());
        assert_eq!(position.treatment(Mode::Chrome), Treatment::Answer);
    }
}
