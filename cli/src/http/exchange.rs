//! One HTTP exchange over one stream.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::http::dial::BoxStream;

/// A request without a body.
pub(crate) type Empty = http_body_util::Empty<Bytes>;

/// HTTP/2's name in ALPN (RFC 9113).
pub(crate) const H2: &[u8] = b"h2";
/// HTTP/1.1's name in ALPN (RFC 7301).
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";

/// Sends a request with an absolute URI, and gives the response once its headers are there.
pub(crate) async fn send(
    stream: BoxStream,
    alpn: Option<&[u8]>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    let io = TokioIo::new(stream);
    if alpn == Some(H2) {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await
    }
}
