//! Forwarding bytes between two streams, each direction until its end.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

/// Bytes forwarded at once: a TLS record.
const PIECE: usize = 16 << 10;

/// How a relay ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Both directions have ended.
    Whole,
    /// The near side has closed the connection.
    Gone,
    /// The far side has closed the connection without saying that its data is complete: the data may be cut short.
    Cut,
}

/// Why one direction ended before the end of its data.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

/// Forwards bytes between `near` and `far` until both have ended. The end of one direction is passed on, and the other direction
/// continues. `answered` is called before the first byte of `far` is forwarded.
///
/// # Errors
/// Those of the far side.
pub(crate) async fn relay<N, F, A>(near: N, far: F, answered: A) -> io::Result<End>
where
    N: AsyncRead + AsyncWrite,
    F: AsyncRead + AsyncWrite,
    A: AsyncFnOnce(),
{
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (split(near), split(far));
    let mut up = pin!(carry(&mut from_near, &mut to_far, async || ()));
    let mut down = pin!(carry(&mut from_far, &mut to_near, answered));
    let (mut up_ended, mut down_ended, mut unsent) = (false, false, None);
    poll_fn(|cx| {
        if !up_ended && let Poll::Ready(ended) = up.as_mut().poll(cx) {
            up_ended = true;
            match ended {
                Ok(()) => {}
                Err(Broken::Source(_)) => return Poll::Ready(Ok(End::Gone)),
                // The far side accepts no more data, and may have sent the reason
                Err(Broken::Sink(error)) => unsent = Some(error).filter(|_| !down_ended),
            }
        }
        if !down_ended && let Poll::Ready(ended) = down.as_mut().poll(cx) {
            match ended {
                Ok(()) => down_ended = true,
                Err(Broken::Sink(_)) => return Poll::Ready(Ok(End::Gone)),
                // A peer that has read our end may close without close_notify: no more data was expected
                Err(Broken::Source(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(match unsent.take() {
                        Some(error) => Err(error),
                        None if up_ended => Ok(End::Whole),
                        None => Ok(End::Cut),
                    });
                }
                Err(Broken::Source(error)) => return Poll::Ready(Err(error)),
            }
        }
        match unsent.take_if(|_| down_ended) {
            Some(error) => Poll::Ready(Err(error)),
            None if up_ended && down_ended => Poll::Ready(Ok(End::Whole)),
            None => Poll::Pending,
        }
    })
    .await
}

async fn carry<R, W, A>(from: &mut R, to: &mut W, first: A) -> Result<(), Broken>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    A: AsyncFnOnce(),
{
    let mut piece = vec![0; PIECE];
    let mut first = Some(first);
    loop {
        let read = from.read(&mut piece).await.map_err(Broken::Source)?;
        if read == 0 {
            return to.shutdown().await.map_err(Broken::Sink);
        }
        if let Some(first) = first.take() {
            first().await;
        }
        to.write_all(piece.get(..read).unwrap_or_default()).await.map_err(Broken::Sink)?;
        to.flush().await.map_err(Broken::Sink)?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[test]
    fn each_direction_ends_by_itself() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for near_ends_first in [true, false] {
                let ((client, near), (far, server)) = (duplex(8), duplex(8));
                let (mut first, mut last) = if near_ends_first { (client, server) } else { (server, client) };
                let relayed = tokio::spawn(async move { relay(near, far, async || ()).await });
                let (mut heard, mut answer) = (String::new(), String::new());
                first.write_all(b"question").await.unwrap();
                first.shutdown().await.unwrap();
                last.read_to_string(&mut heard).await.unwrap();
                last.write_all(b"a long answer").await.unwrap();
                last.shutdown().await.unwrap();
                first.read_to_string(&mut answer).await.unwrap();
                assert_eq!((heard.as_str(), answer.as_str()), ("question", "a long answer"));
                assert!(matches!(relayed.await.unwrap().unwrap(), End::Whole));
            }
        });
    }
}
