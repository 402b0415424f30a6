//! reqwest: a client for every destination, and redirects between them.
//!
//! A client of reqwest has one TLS configuration, so there is one client per destination, and a new one for every other
//! answer. reqwest gives nobody the stream under its TLS session; so unlike over the other connectors, in TLS 1.2 a server
//! that asks while nothing is decided gets an empty Certificate before the first connection ends. An identity that demands TLS
//! 1.3 needs a configuration without TLS 1.2 here. There are no proxies: reqwest would show a proxy that is spoken to by TLS
//! the identity of the destination. Whoever needs more takes [`connect::hyper`](super::hyper).
//!
//! # Example
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use cardcase::Selector;
//! # use cardcase::connect::reqwest::Client;
//! # async fn example(selector: Arc<Selector>, config: rustls::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(selector, config);
//! let response = client.get("https://intranet.example.com/").await?;
//! # Ok(()) }
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ::reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
};
use ::reqwest::redirect::Policy;
use ::reqwest::{Client as One, ClientBuilder, Method, Request, Response, StatusCode, Url};
use rustls::ClientConfig;

use super::connection::{ATTEMPTS, ConnectError, Kept, record_refusal, record_success};
use super::tokio::Connector;
use crate::connect::refusal::refusal;
use crate::connect::resolver::{Resolver, needs};
use crate::error::Error;
use crate::request::{Destination, Target};
use crate::select::matching::Reason;
use crate::select::selector::Selector;

/// Redirects that are followed for one request; as many as reqwest follows.
const REDIRECTS: usize = 10;

/// Destinations whose clients are kept.
const KEPT: usize = 256;

/// Sends requests of reqwest, and answers certificate requests from a store.
pub struct Client {
    connector: Connector,
    tls13: Option<ClientConfig>,
    builder: Box<dyn Fn() -> ClientBuilder + Send + Sync>,
    clients: Mutex<HashMap<Destination, Known>>,
    /// For `http`.
    plain: OnceLock<One>,
}

/// The client of one destination, and one answer.
#[derive(Clone)]
struct Known {
    resolver: Arc<Resolver>,
    client: One,
    /// Whether it is recorded that the answer was accepted.
    recorded: Arc<AtomicBool>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request failed. [`refusal`] tells whether the server refused the identity: then remember another for it.
    #[error(transparent)]
    Request(#[from] ::reqwest::Error),
    /// The selection failed, and nothing was sent; each of its variants says what to do.
    #[error(transparent)]
    Selection(#[from] ConnectError),
    /// The answer to the server's certificate request is decided by now, but the request, whose body is a stream, is spent.
    /// Make it anew.
    #[error("what to send to {destination} is decided now; send the request again")]
    SendAgain {
        /// Where the certificate was asked for.
        destination: Destination,
    },
    /// Redirects have no end. The servers are at fault.
    #[error("more than {REDIRECTS} redirects")]
    TooManyRedirects,
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        Self::Selection(error.into())
    }
}

impl Client {
    /// A client that takes everything about TLS but the client certificate from `base`: roots, versions, ALPN (reqwest's
    /// feature `http2` has to be on for `h2`).
    pub fn new(selector: Arc<Selector>, base: ClientConfig) -> Self {
        Self::with_builder(selector, base, One::builder)
    }

    /// Like [`new`](Self::new), with clients of this builder: timeouts, headers, name resolution. Its TLS, its proxies and its
    /// redirects do not count.
    pub fn with_builder(
        selector: Arc<Selector>,
        base: ClientConfig,
        builder: impl Fn() -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let connector = Connector::new(selector, base);
        Self { connector, tls13: None, builder: Box::new(builder), clients: Mutex::default(), plain: OnceLock::new() }
    }

    /// With a configuration that allows no TLS below 1.3, for identities that demand that. Without one they are not used.
    #[must_use]
    pub fn with_tls13(self, base: ClientConfig) -> Self {
        Self { tls13: Some(base), ..self }
    }

    /// Gets a URL.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn get(&self, url: impl ::reqwest::IntoUrl) -> Result<Response, RequestError> {
        self.execute(Request::new(Method::GET, url.into_url()?)).await
    }

    /// Sends a request, and follows its redirects.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn execute(&self, mut request: Request) -> Result<Response, RequestError> {
        for _ in 0..=REDIRECTS {
            let again = request.try_clone();
            let response = self.send(request).await?;
            match again.and_then(|request| redirected(request, &response)) {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
        Err(RequestError::TooManyRedirects)
    }

    /// Sends a request to its destination and nowhere else.
    async fn send(&self, mut request: Request) -> Result<Response, RequestError> {
        if request.url().scheme() != "https" {
            return Ok(self.plain()?.execute(request).await?);
        }
        let destination = destination(request.url())?;
        let target = Target::new(destination.clone());
        let mut prepared = None;
        for attempt in 1..=ATTEMPTS {
            let kept = self.connector.ready(&target, prepared.take()).await?;
            let known = self.client(&target, &kept).await?;
            let again = request.try_clone();
            let error = match known.client.execute(request).await {
                Ok(response) => {
                    self.note_success(&target, &known, &response).await?;
                    return Ok(response);
                }
                Err(error) => error,
            };
            let Some(needs) = needs(&error) else {
                self.note_refusal(&target, &known, &error).await?;
                return Err(error.into());
            };
            // Nobody is asked for what will not be used
            if attempt == ATTEMPTS {
                break;
            }
            prepared = Some(self.connector.grant(&kept.prepared, needs).await?);
            request = again.ok_or(RequestError::SendAgain { destination: destination.clone() })?;
        }
        Err(Error::RequestKeepsChanging { destination: destination.to_string(), attempts: ATTEMPTS }.into())
    }

    /// Once for a client: nobody sees its connections.
    async fn note_success(&self, to: &Target, by: &Known, response: &Response) -> Result<(), RequestError> {
        let Known { resolver, recorded, .. } = by;
        let sent = resolver.prepared().selection().filter(|_| resolver.was_asked()).cloned();
        // nginx refuses by a page with this status
        let accepts = sent.is_some() && response.status() != StatusCode::BAD_REQUEST;
        if !accepts || recorded.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let record = move |selector: &Selector, to: &Target| {
            record_success(selector, to.destination(), sent.as_ref(), None);
            Ok(())
        };
        Ok(self.connector.blocking(to, record).await?)
    }

    async fn note_refusal(&self, to: &Target, by: &Known, error: &::reqwest::Error) -> Result<(), RequestError> {
        let Known { resolver, recorded, .. } = by;
        let sent = resolver.prepared().selection().filter(|_| resolver.was_asked()).cloned();
        let Some(refusal) = refusal(error).filter(|_| sent.is_some()) else { return Ok(()) };
        // What is accepted after that is news again
        recorded.store(false, Ordering::Release);
        let record = move |selector: &Selector, to: &Target| {
            record_refusal(selector, to.destination(), sent.as_ref(), Some(refusal), None);
            Ok(())
        };
        Ok(self.connector.blocking(to, record).await?)
    }

    /// The client of this resolver, as long as its connections stand; else a new one.
    async fn client(&self, target: &Target, kept: &Kept) -> Result<Known, RequestError> {
        let known = self
            .locked()
            .get(target.destination())
            .filter(|known| Arc::ptr_eq(&known.resolver, &kept.resolver))
            .cloned();
        if let Some(known) = known {
            let standing = known.resolver.standing();
            if self.connector.blocking(target, move |selector, to| selector.stands(&standing, to)).await? {
                return Ok(known);
            }
        }
        let client = self.build((self.builder)().tls_backend_preconfigured(self.config(kept)?))?;
        let known = Known { resolver: kept.resolver.clone(), client, recorded: Arc::default() };
        let mut clients = self.locked();
        if clients.len() >= KEPT {
            clients.clear();
        }
        clients.insert(target.destination().clone(), known.clone());
        Ok(known)
    }

    /// In TLS 1.2 rustls writes the certificate before it asks for the signature, and here nothing keeps it back.
    fn config(&self, kept: &Kept) -> Result<ClientConfig, Error> {
        match (kept.resolver.prepared().demands_tls13(), &self.tls13) {
            (None, _) => Ok(ClientConfig::clone(&kept.config)),
            (Some(_), Some(base)) => Ok(kept.resolver.config(base)),
            (Some(name), None) => {
                Err(Error::DoesNotFit { name: name.to_owned(), reason: Reason::RequiresTls13.text() })
            }
        }
    }

    fn plain(&self) -> ::reqwest::Result<&One> {
        match self.plain.get() {
            Some(plain) => Ok(plain),
            None => self.build((self.builder)()).map(|new| self.plain.get_or_init(|| new)),
        }
    }

    fn build(&self, builder: ClientBuilder) -> ::reqwest::Result<One> {
        builder.redirect(Policy::none()).no_proxy().build()
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Destination, Known>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connector", &self.connector).finish_non_exhaustive()
    }
}

fn destination(url: &Url) -> Result<Destination, Error> {
    Destination::new(
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or(Destination::DEFAULT_PORT),
    )
}

/// The request that a redirect leads to (RFC 9110 section 15.4), without what is secret when it leads elsewhere.
fn redirected(mut request: Request, response: &Response) -> Option<Request> {
    let next = request.url().join(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
    if !matches!(next.scheme(), "https" | "http") {
        return None;
    }
    match response.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {}
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if request.method() != Method::POST => {}
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => into_get(&mut request),
        _ => return None,
    }
    if next.origin() != request.url().origin() {
        forget_secrets(request.headers_mut());
    }
    *request.url_mut() = next;
    Some(request)
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
