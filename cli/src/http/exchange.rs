//! One HTTP exchange over one connection.

use cardcase::connect::Opened;
use cardcase::raw::Prepared;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::http::outcome::{Asked, Outcomes};
use crate::http::stream::BoxStream;

/// Sends a request, and gives the response as soon as its headers have arrived.
pub(crate) async fn send(
    stream: BoxStream,
    is_http2: bool,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    let io = TokioIo::new(stream);
    if is_http2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await
    }
}

/// The certificate requests of one connection.
#[derive(Default)]
pub(crate) struct Requests {
    /// The last one that is not yet recorded as accepted or refused.
    pub(crate) asked: Option<Asked>,
    /// Where more may come.
    pub(crate) open: Option<Opened>,
    /// How many of them were announced.
    seen: usize,
}

impl Requests {
    /// On a connection whose server asks in the handshake only.
    pub(crate) fn of_handshake(asked: Option<Asked>) -> Self {
        Self { asked, ..Self::default() }
    }

    /// On a connection whose server may ask at any time.
    #[cfg(feature = "openssl")]
    pub(crate) fn at_any_time(open: Opened) -> Self {
        Self { open: Some(open), ..Self::default() }
    }

    /// Announces the requests that have arrived since the last call; whether there were any. A server that asks again has
    /// accepted the answer before.
    pub(crate) fn catch_up(&mut self, outcomes: &Outcomes) -> bool {
        let Some(open) = &self.open else { return false };
        let before = self.seen;
        for asked in open.answers().into_iter().skip(before).filter_map(Asked::on) {
            if let Some(accepted) = self.asked.take() {
                outcomes.accepted(&accepted);
            }
            self.seen += 1;
            outcomes.announce(&asked);
            self.asked = Some(asked);
        }
        self.seen > before
    }

    /// The last answer, if a person chose it on a connection that may have ended before they did.
    pub(crate) fn chosen_too_late(&self) -> Option<Prepared> {
        Asked::on(self.open.clone()?)?.chosen()
    }

    /// Whether the last request came in the middle of the connection.
    pub(crate) fn were_mid_connection(&self) -> bool {
        self.open.as_ref().is_some_and(Opened::is_mid_connection)
    }
}
