//! The request that `fetch` sends: method, headers and body, and what remains of them after a redirect.

use std::collections::HashSet;
use std::path::Path;

use cardcase::Target;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use url::Url;

use crate::app::App;
use crate::cli::Fetch;
use crate::http::decompress;
use crate::http::login;
use crate::http::patience::Activity;
use crate::http::upload::{Sending, Upload};
use crate::ui::failure::Failure;

/// A request without its URL.
pub(crate) struct Message {
    method: Method,
    headers: HeaderMap,
    body: Upload,
}

impl Message {
    pub(crate) fn new(app: &App, args: &Fetch) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("cardcase/", env!("CARGO_PKG_VERSION"))));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let body = match args.data.as_deref() {
            None => Upload::empty(),
            Some(data) => {
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(header::CONTENT_TYPE, form);
                match data.strip_prefix('@') {
                    Some(file) => Upload::open(&app.input, Path::new(file))?,
                    None => Upload::Bytes(data.as_bytes().to_vec().into()),
                }
            }
        };
        if args.compressed {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(decompress::ACCEPTED));
        }
        // The first header of a name replaces the default one; further ones are added
        let mut given = HashSet::new();
        for line in &args.headers {
            let (name, value) = parse_header(line)?;
            if given.insert(name.clone()) {
                headers.remove(&name);
            }
            if !value.is_empty() {
                headers.append(name, value);
            }
        }
        let method = match args.method.as_deref() {
            Some(method) => Method::from_bytes(method.as_bytes())
                .map_err(|_| Failure::usage(format_args!("--request {method}: not a valid method")))?,
            None if args.head => Method::HEAD,
            None if args.data.is_some() => Method::POST,
            None => Method::GET,
        };
        Ok(Self { method, headers, body })
    }

    /// The same with the header for `--user`, unless one was given with `--header`. A person may be asked for the password.
    pub(crate) fn logged_in(mut self, app: &App, args: &Fetch) -> Result<Self, Failure> {
        let names_it = |line: &String| parse_header(line).is_ok_and(|(name, _)| name == header::AUTHORIZATION);
        if let Some(user) = args.user.as_ref().filter(|_| !args.headers.iter().any(names_it)) {
            self.headers.insert(header::AUTHORIZATION, login::basic(user, &login::password(app, args, user)?)?);
        }
        Ok(self)
    }

    /// Whether the response has no body, so that no page can say what the server refuses.
    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether a client certificate may be sent with it: if one is wanted, and it is not a CORS-preflight request.
    pub(crate) fn carries_credentials(&self, wanted: bool) -> bool {
        wanted && !Target::is_preflight(self.method.as_str(), |name| self.headers.contains_key(name))
    }

    /// Whether it may be sent again after the server may have processed it: sending it twice does what sending it once does
    /// (RFC 9110 section 9.2.2), and all of it is still there.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.method.is_idempotent() && self.is_replayable()
    }

    /// Whether all of it is still there to be sent again.
    pub(crate) fn is_replayable(&self) -> bool {
        self.body.is_replayable()
    }

    /// Changes it for a redirect (RFC 9110 section 15.4): 303, and 301 or 302 after a POST, make it a GET. Credentials in
    /// headers do not go to another host or port.
    pub(crate) fn redirected(&mut self, status: StatusCode, same_origin: bool) {
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = Upload::empty();
            self.headers.remove(header::CONTENT_TYPE);
        }
        if !same_origin {
            for name in [header::AUTHORIZATION, header::COOKIE, header::HOST, header::PROXY_AUTHORIZATION] {
                self.headers.remove(name);
            }
        }
    }

    /// The request for a URL, with an absolute URI.
    ///
    /// # Errors
    /// The body cannot be sent again.
    pub(crate) fn request(&self, url: &Url, activity: Activity) -> Result<Request<Sending>, Failure> {
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let query = url.query().map_or(String::new(), |query| format!("?{query}"));
        let uri = format!("{}://{authority}{}{query}", url.scheme(), url.path()).parse::<Uri>();
        let mut request = Request::new(self.body.send(activity)?);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.map_err(|error| Failure::usage(format_args!("{url}: {error}")))?;
        *request.headers_mut() = self.headers.clone();
        // hyper sends no body with GET otherwise. It leaves this header out of HTTP/2
        if !self.body.has_length() && !self.headers.contains_key(header::CONTENT_LENGTH) {
            request.headers_mut().entry(header::TRANSFER_ENCODING).or_insert(HeaderValue::from_static("chunked"));
        }
        Ok(request)
    }
}

/// `Name: value`; the value may be empty.
fn parse_header(line: &str) -> Result<(HeaderName, HeaderValue), Failure> {
    let wrong = || Failure::usage(format_args!("--header {line}: expected 'Name: value'"));
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
    Ok((name, HeaderValue::from_str(value.trim()).map_err(|_| wrong())?))
}
