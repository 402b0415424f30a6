//! What `fetch -v` prints of requests and responses.

use hyper::Request;
use hyper::header::{self, HeaderMap, HeaderName};

use crate::http::upload::Sending;
use crate::ui::say;

/// What is sent, to be printed with `-v`.
pub(crate) struct Told {
    line: String,
    host: Option<String>,
    headers: HeaderMap,
}

impl Told {
    pub(crate) fn new(request: &Request<Sending>) -> Self {
        let (uri, headers) = (request.uri(), request.headers().clone());
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().filter(|_| !headers.contains_key(header::HOST)).map(ToString::to_string);
        Self { line: format!("{} {path}", request.method()), host, headers }
    }

    pub(crate) fn tell(&self) {
        say::http('>', &self.line);
        if let Some(host) = &self.host {
            say::http('>', &format!("host: {host}"));
        }
        tell_headers('>', &self.headers);
    }
}

/// Prints headers, with `-v`, without secrets.
pub(crate) fn tell_headers(mark: char, headers: &HeaderMap) {
    const SECRET: [HeaderName; 4] =
        [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, header::SET_COOKIE];
    for (name, value) in headers {
        match SECRET.contains(name) {
            true => say::http(mark, &format!("{name}: (not shown)")),
            false => say::http(mark, &format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))),
        }
    }
    say::http(mark, "");
}
