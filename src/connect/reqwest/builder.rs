//! A request that is being made.

use std::fmt;
use std::time::Duration;

use ::reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use ::reqwest::{Body, Request, RequestBuilder as Inner, Version};
use serde::Serialize;

use crate::connect::error::Error;

/// A request that is being made, as in reqwest; its method `send` sends it with the client `C` that it began with.
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder<C> {
    pub(super) client: C,
    request: Result<Inner, Error>,
}

impl<C> RequestBuilder<C> {
    pub(super) fn new(client: C, request: Result<Inner, Error>) -> Self {
        Self { client, request }
    }

    /// The same request, for another client.
    #[cfg(feature = "reqwest-blocking")]
    pub(super) fn with_client<D>(self, client: D) -> RequestBuilder<D> {
        RequestBuilder { client, request: self.request }
    }

    /// Changes the request by any method of reqwest's builder, such as `multipart`. Do not send it there: that would send no
    /// identity.
    ///
    /// ```no_run
    /// # use cardcase::connect::reqwest::{Client, RequestBuilder};
    /// # fn example(client: Client) -> RequestBuilder<Client> {
    /// client.get("https://intranet.example.com/").map(|request| request.header("accept", "text/plain"))
    /// # }
    /// ```
    pub fn map(self, change: impl FnOnce(Inner) -> Inner) -> Self {
        Self { request: self.request.map(change), ..self }
    }

    /// Adds a header.
    pub fn header<K, V>(self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<hyper::http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<hyper::http::Error>,
    {
        self.map(|request| request.header(name, value))
    }

    /// Sets these headers; they replace those of the same names.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.map(|request| request.headers(headers))
    }

    /// Sets the header of basic authentication (RFC 7617).
    pub fn basic_auth(self, user: impl fmt::Display, password: Option<impl fmt::Display>) -> Self {
        self.map(|request| request.basic_auth(user, password))
    }

    /// Sets the header of a bearer token (RFC 6750).
    pub fn bearer_auth(self, token: impl fmt::Display) -> Self {
        self.map(|request| request.bearer_auth(token))
    }

    /// Adds pairs to the query of the URL.
    pub fn query(self, query: &(impl Serialize + ?Sized)) -> Self {
        self.map(|request| request.query(query))
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.map(|request| request.body(body))
    }

    /// Sets the body to a form of HTML, and its Content-Type.
    pub fn form(self, form: &(impl Serialize + ?Sized)) -> Self {
        self.map(|request| request.form(form))
    }

    /// Sets the body to JSON, and its Content-Type.
    pub fn json(self, json: &(impl Serialize + ?Sized)) -> Self {
        self.map(|request| request.json(json))
    }

    /// Limits how long each exchange may take, until the end of the body of its response. The time that a person takes to answer
    /// does not count.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|request| request.timeout(timeout))
    }

    /// Sets the version of HTTP.
    pub fn version(self, version: Version) -> Self {
        self.map(|request| request.version(version))
    }

    /// The request, for `execute`.
    ///
    /// # Errors
    /// [`Error::Request`] when the URL, a header or the body is wrong.
    pub fn build(self) -> Result<Request, Error> {
        self.request?.build().map_err(failed)
    }
}

impl<C> fmt::Debug for RequestBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.request {
            Ok(request) => request.fmt(f),
            Err(error) => f.debug_tuple("RequestBuilder").field(error).finish(),
        }
    }
}

pub(super) fn failed(error: ::reqwest::Error) -> Error {
    Error::Request { source: error.into(), opened: None }
}
