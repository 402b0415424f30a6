//! The proxy of a destination.

use ::reqwest::Url;
use ::reqwest::header::HeaderValue;
use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use crate::connect::error::Error;
use crate::request::Destination;

/// The proxy that requests to one destination go through.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Proxy {
    url: Url,
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// The proxy for a URL, if any.
    pub(super) fn of(proxies: &Matcher, url: &Url) -> Result<Option<Self>, Error> {
        let Some(proxy) = url.as_str().parse::<Uri>().ok().and_then(|uri| proxies.intercept(&uri)) else {
            return Ok(None);
        };
        let is_wrong = |source| Error::Request { source, opened: None };
        let mut url: Url = proxy.uri().to_string().parse().map_err(|error| is_wrong(Box::new(error)))?;
        if let Some((user, password)) = proxy.raw_auth() {
            let set = url.set_username(user).and_then(|()| url.set_password(Some(password)));
            set.map_err(|()| is_wrong(format!("the proxy {url} takes no user name").into()))?;
        }
        Ok(Some(Self { url, authorization: proxy.basic_auth().cloned() }))
    }

    /// # Errors
    /// [`Error::TlsProxy`] if the proxy speaks TLS: reqwest has one configuration of TLS for it and the destination.
    pub(super) fn without_tls(self, destination: &Destination) -> Result<Self, Error> {
        match self.url.scheme() {
            "https" => Err(Error::TlsProxy { proxy: self.url.into(), destination: destination.clone() }),
            _ => Ok(self),
        }
    }

    pub(super) fn for_reqwest(&self) -> ::reqwest::Result<::reqwest::Proxy> {
        let proxy = ::reqwest::Proxy::all(self.url.clone())?;
        Ok(match &self.authorization {
            Some(authorization) => proxy.custom_http_auth(authorization.clone()),
            None => proxy,
        })
    }
}
