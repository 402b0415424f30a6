//! Forwarding bytes between two streams, each direction until its end.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{MissedTickBehavior, interval};

use crate::http::socket::Peer;

/// Bytes forwarded at once: a TLS record.
const PIECE: usize = 16 << 10;

/// How often to check whether the other ends are gone.
const TICK: Duration = Duration::from_secs(1);

/// A relay ends after this many ticks without a byte if the end that it still waits for is gone.
const LULL: u32 = 2;

/// The same while data of a client that has gone may still be delivered to the far side.
const STALLED: u32 = 30;

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

/// The other ends of the two sockets of a relay.
pub(crate) struct Peers {
    pub(crate) near: Peer,
    pub(crate) far: Peer,
}

/// Forwards bytes between `near` and `far` until both have ended. The end of one direction is passed on, and the other direction
/// continues, even if nothing is sent for a long time, until the end that waits is gone. `answered` is called before the first byte of
/// `far` is forwarded.
///
/// # Errors
/// Those of the far side.
pub(crate) async fn relay<N, F, A>(near: N, far: F, peers: &Peers, answered: A) -> io::Result<End>
where
    N: AsyncRead + AsyncWrite,
    F: AsyncRead + AsyncWrite,
    A: AsyncFnOnce(),
{
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (split(near), split(far));
    let moved = AtomicU64::new(0);
    let mut up = pin!(carry(&mut from_near, &mut to_far, &moved, async || ()));
    let mut down = pin!(carry(&mut from_far, &mut to_near, &moved, answered));
    let (mut up_ended, mut down_ended, mut unsent) = (false, false, None);
    let mut ticks = interval(TICK);
    // Ticks that were missed, for example while the machine slept, do not count
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut idle = Idle::default();
    poll_fn(|cx| {
        while ticks.poll_tick(cx).is_ready() {
            idle.tick(moved.load(Ordering::Relaxed));
            // Nobody would read what may still arrive
            if idle.is_for(if up_ended { LULL } else { STALLED }) && peers.near.is_gone() {
                return Poll::Ready(Ok(End::Gone));
            }
            if down_ended && idle.is_for(LULL) && peers.far.is_gone() {
                return Poll::Ready(Ok(End::Whole));
            }
        }
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

/// Counts the ticks since a byte was last forwarded.
#[derive(Default)]
struct Idle {
    moved: u64,
    ticks: u32,
}

impl Idle {
    fn tick(&mut self, moved: u64) {
        self.ticks = if moved == self.moved { self.ticks.saturating_add(1) } else { 0 };
        self.moved = moved;
    }

    fn is_for(&self, ticks: u32) -> bool {
        self.ticks >= ticks
    }
}

async fn carry<R, W, A>(from: &mut R, to: &mut W, moved: &AtomicU64, first: A) -> Result<(), Broken>
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
        let mut rest = piece.get(..read).unwrap_or_default();
        while !rest.is_empty() {
            let written = to.write(rest).await.map_err(Broken::Sink)?;
            if written == 0 {
                return Err(Broken::Sink(io::ErrorKind::WriteZero.into()));
            }
            moved.fetch_add(written as u64, Ordering::Relaxed);
            rest = rest.get(written..).unwrap_or_default();
        }
        to.flush().await.map_err(Broken::Sink)?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::net::UnixStream;

    use super::*;
    use crate::http::socket::Socket;

    fn pair() -> (UnixStream, Socket) {
        let (outside, inside) = UnixStream::pair().unwrap();
        (outside, Socket::unix(inside))
    }

    #[test]
    fn each_direction_ends_by_itself() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (alive, socket) = pair();
            for near_ends_first in [true, false] {
                let ((client, near), (far, server)) = (duplex(8), duplex(8));
                let (mut first, mut last) = if near_ends_first { (client, server) } else { (server, client) };
                let peers = Peers { near: socket.peer(), far: socket.peer() };
                let relayed = tokio::spawn(async move { relay(near, far, &peers, async || ()).await });
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
            drop(alive);
        });
    }

    /// One side has closed its connection. The other may still send, but is silent.
    #[test]
    fn a_side_that_is_gone_does_not_wait_for_one_that_is_silent() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for near_is_gone in [true, false] {
                let ((client, near), (server, far)) = (pair(), pair());
                let peers = Peers { near: near.peer(), far: far.peer() };
                let (gone, silent) = if near_is_gone { (client, server) } else { (server, client) };
                drop(gone);
                let end = relay(near, far, &peers, async || ()).await.unwrap();
                assert_eq!(matches!(end, End::Gone), near_is_gone, "{end:?}");
                drop(silent);
            }
        });
    }
}
