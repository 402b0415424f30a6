//! Frames: a length, the version of the protocol, and a body. Bounded in size and in time.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::protocol::VERSION;

/// Bytes of a frame. In TLS 1.2 a client signs the whole handshake so far: a few messages of up to 64 KiB each, with all the names of
/// authorities that the server sends.
pub(super) const MAX_FRAME: usize = 1 << 20;

/// Bytes of the length field.
const LENGTH: usize = 4;

/// One message. It may hold a private key.
pub(super) struct Frame {
    pub(super) version: u8,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// A connection with a deadline, however slowly the other end reads and writes.
pub(super) struct Timed<'a> {
    stream: &'a UnixStream,
    until: Instant,
}

impl<'a> Timed<'a> {
    pub(super) fn new(stream: &'a UnixStream, limit: Duration) -> Self {
        Self { stream, until: Instant::now() + limit }
    }

    /// The deadline that somebody else has set.
    pub(super) fn until(stream: &'a UnixStream, until: Instant) -> Self {
        Self { stream, until }
    }

    fn remaining(&self) -> io::Result<Duration> {
        let remaining = self.until.saturating_duration_since(Instant::now());
        if remaining.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(remaining) }
    }

    /// # Errors
    /// `TimedOut`, and `InvalidData` when the length is not that of a frame.
    pub(super) fn read_frame(&mut self) -> io::Result<Frame> {
        let mut header = [0; LENGTH + 1];
        self.read_exact(&mut header)?;
        let [length @ .., version] = header;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 || length > MAX_FRAME {
            return Err(io::Error::new(ErrorKind::InvalidData, "the length is not that of a frame"));
        }
        // Allocated at once: growing would leave copies behind
        let mut body = Zeroizing::new(vec![0; length - 1]);
        self.read_exact(&mut body)?;
        Ok(Frame { version, body })
    }

    /// Waits for the first byte of a frame, or for the end of the connection.
    ///
    /// # Errors
    /// `TimedOut`.
    pub(super) fn wait(&self) -> io::Result<()> {
        let limit = Timespec::try_from(self.remaining()?).map_err(io::Error::other)?;
        match retry_on_intr(|| poll(&mut [PollFd::new(self.stream, PollFlags::IN)], Some(&limit)))? {
            0 => Err(ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn write_frame(&mut self, frame: &Frame) -> io::Result<()> {
        let length = u32::try_from(frame.body.len() + 1).map_err(io::Error::other)?;
        if length as usize > MAX_FRAME {
            return Err(io::Error::new(ErrorKind::InvalidData, "it is more than a frame may hold"));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH + length as usize));
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.push(frame.version);
        bytes.extend_from_slice(&frame.body);
        // All at once: each write may wake the other end
        self.write_all(&bytes)
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.remaining()?))?;
        in_time(self.stream.read(buffer))
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.remaining()?))?;
        in_time(self.stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket reports its time-out as `WouldBlock`.
fn in_time<T>(done: io::Result<T>) -> io::Result<T> {
    done.map_err(|error| if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error })
}

impl Frame {
    pub(super) fn encode(value: &impl Serialize) -> io::Result<Self> {
        Self::encode_as(VERSION, value)
    }

    /// In another version, for an answer to a request of that version.
    pub(super) fn encode_as(version: u8, value: &impl Serialize) -> io::Result<Self> {
        let size = postcard::experimental::serialized_size(value).map_err(io::Error::other)?;
        let mut body = Zeroizing::new(vec![0; size]);
        postcard::to_slice(value, &mut body).map_err(io::Error::other)?;
        Ok(Self { version, body })
    }

    /// The value it holds; `None` when it holds another one, or more.
    pub(super) fn decode<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        match postcard::take_from_bytes(&self.body) {
            Ok((value, [])) => Some(value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    fn sent(bytes: &[u8], keep: bool) -> io::Result<Frame> {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(bytes).unwrap();
        let _open = keep.then_some(near);
        Timed::new(&far, SOON).read_frame()
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let (near, far) = UnixStream::pair().unwrap();
        let frame = Frame::encode(&"hello").unwrap();
        Timed::new(&near, SOON).write_frame(&frame).unwrap();
        let read = Timed::new(&far, SOON).read_frame().unwrap();
        assert_eq!((read.version, read.decode::<&str>()), (VERSION, Some("hello")));
        assert_eq!(read.decode::<u8>(), None, "there is more in it");
    }

    #[test]
    fn an_invalid_frame_is_refused_and_half_a_frame_times_out() {
        let kind = |bytes: &[u8], keep| sent(bytes, keep).map(drop).unwrap_err().kind();
        assert_eq!(kind(&[0, 0, 0, 0, 1], true), ErrorKind::InvalidData);
        assert_eq!(kind(&[0xff; 5], true), ErrorKind::InvalidData);
        assert_eq!(kind(&[0, 0, 0, 9, 1, 2], true), ErrorKind::TimedOut);
        assert_eq!(kind(&[0, 0], true), ErrorKind::TimedOut);
        assert_eq!(kind(&[0, 0, 0, 9, 1, 2], false), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn sending_byte_by_byte_does_not_extend_the_deadline() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let sender = std::thread::spawn(move || {
            let _ = near.write_all(&[0, 0, 1, 0, 1]);
            while near.write_all(&[0]).is_ok() {
                std::thread::sleep(SOON / 4);
            }
        });
        let began = Instant::now();
        assert_eq!(Timed::new(&far, SOON).read_frame().map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() < SOON * 3);
        drop(far);
        sender.join().unwrap();
    }
}
