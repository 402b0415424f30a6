//! Redirects, which reqwest follows only within one client.

use ::reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
};
use ::reqwest::{Method, Request, Response, StatusCode};

use super::repeat::Repeat;

/// The request that a redirect leads to (RFC 9110 section 15.4), without secret headers if it leads to another origin. `None` if
/// the response is no redirect, or if the body of the request would be needed and is a stream.
pub(super) fn redirected(repeat: Repeat, response: &Response) -> Option<Repeat> {
    let next = repeat.url().join(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
    if !matches!(next.scheme(), "https" | "http") {
        return None;
    }
    let (mut request, is_whole) = repeat.into_parts();
    match response.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT if is_whole => {}
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if request.method() != Method::POST && is_whole => {}
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if request.method() != Method::POST => return None,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => into_get(&mut request),
        _ => return None,
    }
    if next.origin() != request.url().origin() {
        forget_secrets(request.headers_mut());
    }
    *request.url_mut() = next;
    Some(Repeat::new(request))
}

fn into_get(request: &mut Request) {
    if request.method() != Method::HEAD {
        *request.method_mut() = Method::GET;
    }
    *request.body_mut() = None;
    for header in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, TRANSFER_ENCODING] {
        request.headers_mut().remove(header);
    }
}

fn forget_secrets(headers: &mut HeaderMap) {
    for header in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
        headers.remove(header);
    }
}
