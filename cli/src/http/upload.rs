//! The body of a request: sent piece by piece, from its start each time that the request is sent.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use rustix::buffer::spare_capacity;
use rustix::io::{pread, read, retry_on_intr};
use tokio::sync::mpsc::{Receiver, channel};

use crate::http::patience::Activity;
use crate::input::Input;
use crate::ui::failure::{Code, Failure};

/// Bytes read and passed on at once.
const PIECE: usize = 64 << 10;

/// Bytes of an input without a known length that are kept in memory. If it has no more, its length is known, and it can be sent as
/// often as necessary.
const KEPT: usize = 2 << 20;

/// What a request sends. Clones are of the same body.
#[derive(Clone)]
pub(crate) enum Upload {
    /// In memory.
    Bytes(Bytes),
    /// A regular file, read anew whenever it is sent.
    File(Arc<Source>),
    /// Anything else that is long, such as a pipe. It can be sent again only until something after the kept bytes has been read.
    Pipe(Arc<Pipe>),
}

/// A part of a regular file, from where it was open to its end.
pub(crate) struct Source {
    file: File,
    path: PathBuf,
    start: u64,
    end: u64,
    metadata: Metadata,
}

pub(crate) struct Pipe {
    path: PathBuf,
    /// How often it was sent. A connection that goes on with an earlier request must not take the rest.
    turn: AtomicU64,
    /// What was read so far, and the rest; `None` once that is being read.
    unread: Mutex<Option<(Bytes, File)>>,
}

impl Upload {
    pub(crate) fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    /// A file, or stdin for `-`.
    pub(crate) fn open(input: &Input, path: &Path) -> Result<Self, Failure> {
        let file = input.open(path)?;
        Self::from_file(file, path).map_err(|error| Failure::io(path, &error))
    }

    fn from_file(mut file: File, path: &Path) -> io::Result<Self> {
        let (metadata, path) = (file.metadata()?, path.to_owned());
        if metadata.is_file() {
            let (start, end) = (file.stream_position()?, metadata.len());
            if end.saturating_sub(start) > KEPT as u64 {
                // The next program that reads this stdin continues after the body
                file.seek(SeekFrom::Start(end))?;
                return Ok(Self::File(Arc::new(Source { file, path, start, end, metadata })));
            }
        }
        let mut kept = Vec::new();
        while kept.len() <= KEPT {
            kept.reserve(PIECE);
            if retry_on_intr(|| read(&file, spare_capacity(&mut kept)))? == 0 {
                return Ok(Self::Bytes(kept.into()));
            }
        }
        Ok(Self::Pipe(Arc::new(Pipe { path, turn: AtomicU64::new(0), unread: Mutex::new(Some((kept.into(), file))) })))
    }

    /// Whether all of it can be sent, if it was sent before.
    pub(crate) fn is_replayable(&self) -> bool {
        match self {
            Self::Bytes(_) | Self::File(_) => true,
            Self::Pipe(pipe) => pipe.unread().is_some(),
        }
    }

    /// Whether its length is known.
    pub(crate) fn has_length(&self) -> bool {
        !matches!(self, Self::Pipe(_))
    }

    /// The body of one request.
    ///
    /// # Errors
    /// It was sent before, and cannot be sent again.
    pub(crate) fn send(&self, activity: Activity) -> Result<Sending, Failure> {
        let rest = match self {
            Self::Bytes(bytes) => Rest::Bytes(bytes.clone()),
            Self::File(source) => Rest::File(source.clone(), source.start),
            Self::Pipe(pipe) => {
                let kept = pipe.unread().as_ref().map(|(kept, _)| kept.clone());
                let kept = kept.ok_or_else(|| pipe.is_spent())?;
                let turn = pipe.turn.fetch_add(1, Ordering::AcqRel) + 1;
                Rest::Pipe(pipe.clone(), kept, turn)
            }
        };
        let unread = Unread::default();
        if let Self::Bytes(bytes) = self
            && bytes.len() <= PIECE
        {
            // It goes out with the head, and an empty one is never asked for
            unread.note_complete();
        }
        Ok(Sending { rest, activity, unread })
    }
}

impl Pipe {
    fn unread(&self) -> MutexGuard<'_, Option<(Bytes, File)>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failure of a request that has to be sent again.
    fn is_spent(&self) -> Failure {
        let why = "the request must be sent again, but its body is gone: it came from a pipe and was too long to keep";
        Failure::new(Code::Failed, why).in_file(&self.path).hint("save it to a file, and use -d @FILE")
    }
}

impl Source {
    /// The piece at this position.
    fn read(&self, at: u64) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.end - at).unwrap_or(PIECE).min(PIECE);
        let mut piece = Vec::with_capacity(length);
        while piece.len() < length {
            let at = at + piece.len() as u64;
            if retry_on_intr(|| pread(&self.file, spare_capacity(&mut piece), at))? == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, Changed));
            }
        }
        // Before its last piece goes out, the server cannot take the body for complete
        if at + piece.len() as u64 >= self.end && !self.is_unchanged()? {
            return Err(io::Error::other(Changed));
        }
        piece.truncate(length);
        Ok(piece)
    }

    fn is_unchanged(&self) -> io::Result<bool> {
        let state = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        Ok(state(&self.file.metadata()?) == state(&self.metadata))
    }
}

/// A file was written to while it was sent.
#[derive(Debug)]
struct Changed;

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it changed while it was sent, so the request was not completed")
    }
}

impl std::error::Error for Changed {}

/// Whether a body was read to its end, and why not. HTTP libraries lose the error of a body.
#[derive(Clone, Default)]
pub(crate) struct Unread(Arc<(Mutex<Option<Failure>>, AtomicBool)>);

impl Unread {
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether all of it was passed on.
    pub(crate) fn is_complete(&self) -> bool {
        self.0.1.load(Ordering::Acquire)
    }

    fn note_complete(&self) {
        self.0.1.store(true, Ordering::Release);
    }

    fn note(&self, path: &Path, error: io::Error) -> io::Error {
        let failure = Failure::io(path, &error);
        let is_changed = error.get_ref().is_some_and(|error| error.is::<Changed>());
        let failure = match is_changed {
            true => failure.hint("to send a file that others write to, send a copy of it"),
            false => failure,
        };
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        error
    }
}

/// A body on its way.
pub(crate) struct Sending {
    rest: Rest,
    activity: Activity,
    unread: Unread,
}

/// What was not passed on yet.
enum Rest {
    Bytes(Bytes),
    /// From this position on.
    File(Arc<Source>, u64),
    /// The kept bytes first; with the turn.
    Pipe(Arc<Pipe>, Bytes, u64),
    Reading(PathBuf, Receiver<io::Result<Bytes>>),
}

impl Sending {
    /// Tells whether the body could be read.
    pub(crate) fn unread(&self) -> Unread {
        self.unread.clone()
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match &mut self.rest {
                Rest::Bytes(bytes) if bytes.is_empty() => return Poll::Ready(None),
                // In pieces, so that the clock restarts while a slow server takes them
                Rest::Bytes(bytes) => return Poll::Ready(Some(Ok(bytes.split_to(bytes.len().min(PIECE))))),
                Rest::File(source, at) if *at >= source.end => return Poll::Ready(None),
                Rest::File(source, at) => {
                    let piece = source.read(*at).map_err(|error| self.unread.note(&source.path, error));
                    *at += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                    return Poll::Ready(Some(piece.map(Bytes::from)));
                }
                Rest::Pipe(pipe, _, turn) if pipe.turn.load(Ordering::Acquire) != *turn => {
                    return Poll::Ready(Some(Err(io::Error::other("the request was sent again"))));
                }
                Rest::Pipe(_, kept, _) if !kept.is_empty() => {
                    return Poll::Ready(Some(Ok(kept.split_to(kept.len().min(PIECE)))));
                }
                Rest::Pipe(pipe, ..) => {
                    let unread = pipe.unread().take();
                    let (_, file) = unread.ok_or_else(|| io::Error::other("another request reads it"))?;
                    let pieces = read_on(file).map_err(|error| self.unread.note(&pipe.path, error))?;
                    self.rest = Rest::Reading(pipe.path.clone(), pieces);
                }
                Rest::Reading(path, pieces) => {
                    let piece = pieces.poll_recv(cx);
                    return piece.map(|piece| Some(piece?.map_err(|error| self.unread.note(path, error))));
                }
            }
        }
    }
}

/// Reads on another thread what may make its reader wait. The thread ends when nobody wants more.
fn read_on(file: File) -> io::Result<Receiver<io::Result<Bytes>>> {
    let (sender, receiver) = channel(1);
    thread::Builder::new().spawn(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = retry_on_intr(|| read(&file, spare_capacity(&mut piece)));
            let piece = match read {
                Ok(0) => return,
                Ok(_) => Ok(Bytes::from(piece)),
                Err(error) => Err(error.into()),
            };
            if sender.blocking_send(piece).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.poll_piece(cx);
        let is_last = match &piece {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.is_end_stream(),
            _ => false,
        };
        if is_last {
            self.unread.note_complete();
        }
        // While the command waits for its own input, it does not wait for the server
        self.activity.note_sending(piece.is_ready());
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.rest {
            Rest::Bytes(bytes) => bytes.is_empty(),
            Rest::File(source, at) => *at >= source.end,
            Rest::Pipe(..) | Rest::Reading(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Rest::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Rest::File(source, at) => SizeHint::with_exact(source.end - at),
            Rest::Pipe(..) | Rest::Reading(..) => SizeHint::default(),
        }
    }
}
