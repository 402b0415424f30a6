//! A request that can be sent again, once a handshake got what it needed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use ::reqwest::{Body, Request, Url};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

/// A request that can be sent again: a body that is a stream, as long as nothing of it was read. A handshake that fails reads
/// nothing of it.
pub(super) struct Repeat {
    /// Without a body that is a stream.
    request: Request,
    stream: Option<Stream>,
}

impl Repeat {
    pub(super) fn new(mut request: Request) -> Self {
        let is_stream = request.body().is_some_and(|body| body.as_bytes().is_none());
        let body = if is_stream { request.body_mut().take() } else { None };
        Self { request, stream: body.map(Stream::new) }
    }

    pub(super) fn url(&self) -> &Url {
        self.request.url()
    }

    /// The request; `None` when its body was read in part.
    pub(super) fn request(&self) -> Option<Request> {
        let mut request = self.request.try_clone()?;
        if let Some(stream) = &self.stream {
            if stream.locked().has_begun {
                return None;
            }
            *request.body_mut() = Some(Body::wrap(stream.clone()));
        }
        Some(request)
    }

    /// The request without a body that is a stream, and whether that is all of it.
    pub(super) fn into_parts(self) -> (Request, bool) {
        (self.request, self.stream.is_none())
    }
}

/// A body that belongs to the request as long as nothing of it was read.
#[derive(Clone)]
struct Stream(Arc<Mutex<Unread>>);

struct Unread {
    body: Body,
    has_begun: bool,
}

impl Stream {
    fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Unread { body, has_begun: false })))
    }

    fn locked(&self) -> MutexGuard<'_, Unread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = ::reqwest::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ::reqwest::Error>>> {
        let mut unread = self.locked();
        unread.has_begun = true;
        Pin::new(&mut unread.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.locked().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.locked().body.size_hint()
    }
}
