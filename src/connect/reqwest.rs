//! reqwest: a client for every destination, and redirects between them.
//!
//! A client of reqwest has one TLS configuration, so there is one client of reqwest per destination, and a new one for every other
//! answer. reqwest does not show the stream below its TLS session. So unlike with the other connectors, in TLS 1.2 a server that
//! asks while nothing is decided gets an empty Certificate before the first connection ends. An identity that requires TLS 1.3
//! needs a configuration without TLS 1.2 here. There are no proxies: a proxy that speaks TLS would see the identity of the
//! destination. For more, use [`connect::hyper`](super::hyper).
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

use crate::answer::decision::Outcome;
use crate::answer::refusal::Refusal;
use crate::connect::drive::{Drive, Ready, Start};
use crate::connect::error::Error;
use crate::connect::resolver::Resolver;
use crate::connect::tokio::Connector;
use crate::error;
use crate::request::{Destination, Target};
use crate::select::matching::Reason;
use crate::select::selector::Selector;

/// Redirects that are followed for one request, as in reqwest.
const REDIRECTS: usize = 10;

/// Destinations whose clients are kept.
const MAX_DESTINATIONS: usize = 256;

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
    /// Whether it was recorded that the server accepted the answer.
    recorded: Arc<AtomicBool>,
}

impl Client {
    /// A client that takes everything about TLS but the client certificate from `base`: roots, versions, ALPN (reqwest's
    /// feature `http2` has to be on for `h2`).
    pub fn new(selector: Arc<Selector>, base: ClientConfig) -> Self {
        Self::with_builder(selector, base, One::builder)
    }

    /// Like [`new`](Self::new), with clients of this builder: timeouts, headers, name resolution. Its settings for TLS, proxies
    /// and redirects are ignored.
    pub fn with_builder(
        selector: Arc<Selector>,
        base: ClientConfig,
        builder: impl Fn() -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let connector = Connector::new(selector, base);
        Self { connector, tls13: None, builder: Box::new(builder), clients: Mutex::default(), plain: OnceLock::new() }
    }

    /// With a configuration that allows only TLS 1.3, for identities that require it. Without one they are not used.
    #[must_use]
    pub fn with_tls13(self, base: ClientConfig) -> Self {
        Self { tls13: Some(base), ..self }
    }

    /// Gets a URL.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get(&self, url: impl ::reqwest::IntoUrl) -> Result<Response, Error> {
        self.execute(Request::new(Method::GET, url.into_url().map_err(failed)?)).await
    }

    /// Sends a request, and follows its redirects. The response carries the [`Opened`](crate::connect::Opened) of its
    /// destination in its extensions.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn execute(&self, mut request: Request) -> Result<Response, Error> {
        for _ in 0..=REDIRECTS {
            let again = request.try_clone();
            let response = self.send(request).await?;
            match again.and_then(|request| redirected(request, &response)) {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
        Err(Error::TooManyRedirects { limit: REDIRECTS })
    }

    /// Sends a request to its destination and nowhere else.
    async fn send(&self, mut request: Request) -> Result<Response, Error> {
        if request.url().scheme() != "https" {
            return self.plain().map_err(failed)?.execute(request).await.map_err(failed);
        }
        let destination = destination(request.url())?;
        let target = Target::new(destination.clone());
        let mut drive = Drive::new(Start::Target(target.clone()))?;
        loop {
            let ready = self.connector.ready(drive.look_up()).await?;
            let known = self.client(&target, &ready).await?;
            let again = request.try_clone();
            let error = match known.client.execute(request).await {
                Ok(response) => return self.accepted(&known, response).await,
                Err(error) => error,
            };
            let Some(needs) = drive.failed(&error)? else { return Err(self.refused(&known, error).await?) };
            drive.again(self.connector.grant(&ready.prepared, needs).await?);
            request = again.ok_or(Error::SendAgain { destination: destination.clone() })?;
        }
    }

    /// Records that the server accepted what it was sent, once for a client: reqwest shows nobody its connections.
    async fn accepted(&self, known: &Known, mut response: Response) -> Result<Response, Error> {
        let opened = known.resolver.opened();
        let is_accepted = opened.selection().is_some() && !Refusal::may_come_with(response.status().as_u16());
        if is_accepted && !known.recorded.swap(true, Ordering::AcqRel) {
            let opened = opened.clone();
            let record = move |selector: &Selector| {
                let _ = opened.record(selector, Outcome::Accepted, None);
                Ok(())
            };
            self.connector.blocking(record).await?;
        }
        response.extensions_mut().insert(opened);
        Ok(response)
    }

    /// The error, after a refusal was recorded.
    async fn refused(&self, known: &Known, error: ::reqwest::Error) -> Result<Error, Error> {
        let opened = known.resolver.opened();
        opened.ended_by(&error);
        // It is not known which connection it was. A server that has accepted the answer before did not refuse it by hanging up
        if known.recorded.load(Ordering::Acquire) {
            opened.note_read();
        }
        if opened.refusal().is_some() {
            // If the server accepts something after that, it is recorded again
            known.recorded.store(false, Ordering::Release);
            let opened = opened.clone();
            let record = move |selector: &Selector| {
                opened.record_refusal(selector);
                Ok(())
            };
            self.connector.blocking(record).await?;
        }
        Ok(Error::Request { source: error.into(), opened: Some(opened) })
    }

    /// The client of this resolver, as long as its connections may be reused; else a new one.
    async fn client(&self, target: &Target, ready: &Ready) -> Result<Known, Error> {
        let known = self
            .locked()
            .get(target.destination())
            .filter(|known| Arc::ptr_eq(&known.resolver, &ready.resolver))
            .cloned();
        if let Some(known) = known {
            let (opened, target) = (known.resolver.opened(), target.clone());
            if self.connector.blocking(move |selector| opened.may_be_reused(selector, &target)).await? {
                return Ok(known);
            }
        }
        let builder = (self.builder)().tls_backend_preconfigured(self.config(ready)?);
        let client = self.build(builder).map_err(failed)?;
        let known = Known { resolver: ready.resolver.clone(), client, recorded: Arc::default() };
        let mut clients = self.locked();
        if clients.len() >= MAX_DESTINATIONS {
            clients.clear();
        }
        clients.insert(target.destination().clone(), known.clone());
        Ok(known)
    }

    /// In TLS 1.2 rustls writes the certificate before it asks for the signature, and here nothing can hold it back.
    fn config(&self, ready: &Ready) -> Result<ClientConfig, error::Error> {
        match (ready.resolver.prepared().demands_tls13(), &self.tls13) {
            (None, _) => Ok(ClientConfig::clone(&ready.config)),
            (Some(_), Some(base)) => Ok(ready.resolver.config(base)),
            (Some(name), None) => {
                Err(error::Error::DoesNotFit { name: name.to_owned(), reason: Reason::RequiresTls13.text() })
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

fn failed(error: ::reqwest::Error) -> Error {
    Error::Request { source: error.into(), opened: None }
}

fn destination(url: &Url) -> Result<Destination, error::Error> {
    Destination::new(
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or(Destination::DEFAULT_PORT),
    )
}

/// The request that a redirect leads to (RFC 9110 section 15.4), without secret headers if it leads to another origin.
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
