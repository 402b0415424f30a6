//! Byte streams, whatever they run over.

use tokio::io::{AsyncRead, AsyncWrite};

/// Any byte stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A byte stream of some kind.
pub(crate) type BoxStream = Box<dyn Stream>;
