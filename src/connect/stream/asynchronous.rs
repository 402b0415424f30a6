//! The same over tokio.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::{Patient, Session, Stream, unsupported};
use crate::connect::guarded::Guarded;
use crate::connect::refusal::is_closed;

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    fn tokio(&mut self) -> io::Result<Pin<&mut TlsStream<Guarded<Patient<S>>>>> {
        match &mut self.session {
            Session::Tokio(stream) => Ok(Pin::new(stream)),
            Session::Blocking(_) => Err(unsupported()),
        }
    }

    /// Reads on after a failed write, until the alert or the end.
    fn poll_last_words(&mut self, cx: &mut Context<'_>, kind: io::ErrorKind) -> Poll<io::Error> {
        self.write_error = Some(kind);
        let mut scratch = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let stream = match self.tokio() {
                Ok(stream) => stream,
                Err(error) => return Poll::Ready(error),
            };
            match ready!(stream.poll_read(cx, &mut buffer)) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.open.0.note_error(&error);
                    return Poll::Ready(error);
                }
                Ok(()) if !buffer.filled().is_empty() => self.open.0.note_read(),
                _ => {
                    self.open.0.note_hang_up();
                    return Poll::Ready(kind.into());
                }
            }
        }
    }

    fn poll_write_or_read_on<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TlsStream<Guarded<Patient<S>>>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Some(kind) = self.write_error {
            return self.poll_last_words(cx, kind).map(Err);
        }
        match ready!(write(self.tokio()?, cx)) {
            Err(error) if is_closed(error.kind()) => self.poll_last_words(cx, error.kind()).map(Err),
            done => Poll::Ready(done),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, has_room) = (buffer.filled().len(), buffer.remaining() > 0);
        let read = ready!(self.tokio()?.poll_read(cx, buffer));
        match &read {
            Ok(()) if buffer.filled().len() > before => self.open.0.note_read(),
            Ok(()) if has_room => self.open.0.note_hang_up(),
            Ok(()) => {}
            Err(error) => self.open.0.note_error(error),
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.open.0.note_written();
        self.poll_write_or_read_on(cx, |stream, cx| stream.poll_write(cx, data))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.open.0.note_written();
        self.poll_write_or_read_on(cx, |stream, cx| stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.session {
            Session::Tokio(stream) => stream.is_write_vectored(),
            Session::Blocking(_) => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_or_read_on(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tokio()?.poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        let is_over = read.is_err() || buffer.filled().len() == before;
        Poll::Ready(match self.unsent {
            Some(kind) if is_over => Err(kind.into()),
            _ => read,
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(&mut self.stream).poll_write(cx, data));
        Poll::Ready(self.written(done, data.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, data));
        Poll::Ready(self.written(done, data.iter().map(|part| part.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(self.written(done.map(|()| 0), 0).map(drop))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let done = Pin::new(self.reading()?).poll_read(cx, buffer);
        self.note_read(buffer.filled().get(before..).unwrap_or_default());
        done
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(self.writing()?).poll_write(cx, data));
        Poll::Ready(self.written(done, &[io::IoSlice::new(data)]))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(self.writing()?).poll_write_vectored(cx, data));
        Poll::Ready(self.written(done, data))
    }

    fn is_write_vectored(&self) -> bool {
        self.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.writing()?).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use ::tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// The server must not be able to hang up between two records of one flight.
    #[test]
    fn slices_passed_together_are_written_together() {
        let parts = [io::IoSlice::new(b"Certificate"), io::IoSlice::new(b"Finished")];
        let whole = parts.iter().map(|part| part.len()).sum::<usize>();
        let runtime = ::tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (near, _far) = duplex(64);
        let mut guarded = Guarded::new(near, 0);
        assert_eq!(runtime.block_on(guarded.write_vectored(&parts)).unwrap(), whole);
        let mut guarded = Guarded::new(Vec::new(), 0);
        assert_eq!(io::Write::write_vectored(&mut guarded, &parts).unwrap(), whole);
    }

    /// Has sent its last words and accepts nothing more.
    struct HungUp(&'static [u8]);

    impl AsyncRead for HungUp {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for HungUp {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_handshake_reads_the_last_words_before_it_reports_a_broken_pipe() {
        let runtime = ::tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut stream = Patient::new(HungUp(b"alert"));
            stream.write_all(b"certificate").await.unwrap();
            let mut said = [0; 5];
            stream.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"alert");
            assert_eq!(stream.read(&mut said).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);

            let mut stream = Patient::new(HungUp(b""));
            stream.is_handshaking = false;
            assert_eq!(stream.write_all(b"request").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
    }
}
