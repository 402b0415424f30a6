//! A client for all destinations.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use ::reqwest::redirect::Policy;
use ::reqwest::{Client as One, ClientBuilder, IntoUrl, Method, Request, Response, Url};
use hyper_util::client::proxy::matcher::Matcher;
use rustls::ClientConfig;
use tower_service::Service;

use super::builder::{RequestBuilder, failed};
use super::proxy::Proxy;
use super::redirect::redirected;
use super::repeat::Repeat;
use crate::answer::decision::Outcome;
use crate::answer::refusal::Refusal;
use crate::connect::alpn::offering_http;
use crate::connect::drive::{Drive, Ready, Start};
use crate::connect::error::Error;
use crate::connect::live::allows_tls12;
use crate::connect::refusal::causes;
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

/// Sends requests of reqwest to any destination, and answers certificate requests from a store. Clones are cheap, and share the
/// connections.
///
/// It is a `Service<Request>` of tower, and so is a reference to it. For reqwest-middleware it is the last link of a chain: see
/// docs/clients.md.
#[derive(Clone)]
pub struct Client {
    settings: Settings,
    clients: Arc<Clients>,
}

/// What the clients of all destinations are made with.
#[derive(Clone)]
struct Settings {
    connector: Arc<Connector>,
    base: ClientConfig,
    allows_tls12: bool,
    tls13: Option<ClientConfig>,
    builder: Arc<dyn Fn() -> ClientBuilder + Send + Sync>,
    proxies: Arc<Matcher>,
    max_redirects: usize,
}

#[derive(Default)]
struct Clients {
    known: Mutex<HashMap<Destination, Known>>,
    /// For `http`, one for each proxy.
    plain: Mutex<HashMap<Option<Proxy>, One>>,
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
    /// A client that takes everything about TLS but the client certificate from `base`: roots and versions. Without protocols
    /// (ALPN) in `base` it offers HTTP/2 and HTTP/1.1. It uses the proxies of the environment, as reqwest does.
    pub fn new(selector: Arc<Selector>, base: ClientConfig) -> Self {
        Self::with_builder(selector, base, One::builder)
    }

    /// Like [`new`](Self::new), with clients of this builder: timeouts, headers, cookies, name resolution. Its settings for TLS,
    /// proxies and redirects are ignored: they are those of this client.
    pub fn with_builder(
        selector: Arc<Selector>,
        base: ClientConfig,
        builder: impl Fn() -> ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        let base = offering_http(base);
        Self::set(Settings {
            connector: Arc::new(Connector::new(selector, base.clone())),
            allows_tls12: allows_tls12(&base),
            base,
            tls13: None,
            builder: Arc::new(builder),
            proxies: Arc::new(Matcher::from_system()),
            max_redirects: REDIRECTS,
        })
    }

    /// With a configuration that allows only TLS 1.3, for identities that require it. Without one they are used only if the
    /// configuration of the client allows nothing else.
    #[must_use]
    pub fn with_tls13(self, base: ClientConfig) -> Self {
        Self::set(Settings { tls13: Some(offering_http(base)), ..self.settings })
    }

    /// With these proxies in place of those of the environment; `Matcher::builder().build()` is none. TLS to the destination goes
    /// through the tunnel of an HTTP proxy (`http://`, RFC 9110 section 9.3.6), or of a SOCKS proxy with reqwest's feature
    /// `socks`. reqwest would present the identity of the destination to a proxy that speaks TLS itself (`https://`), so such
    /// a proxy is an error for `https` requests: [`Error::TlsProxy`].
    #[must_use]
    pub fn with_proxies(self, proxies: Matcher) -> Self {
        Self::set(Settings { proxies: Arc::new(proxies), ..self.settings })
    }

    /// With so many redirects at most for one request; 10 without this. With 0, a redirect is a response like any other.
    #[must_use]
    pub fn with_max_redirects(self, max_redirects: usize) -> Self {
        Self::set(Settings { max_redirects, ..self.settings })
    }

    /// Begins a request with this method. What is wrong with the URL is an error when it is sent.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder<Self> {
        RequestBuilder::new(self.clone(), self.plain(None).map_err(failed).map(|any| any.request(method, url)))
    }

    /// Begins a GET request.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder<Self> {
        self.request(Method::GET, url)
    }

    /// Begins a POST request.
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder<Self> {
        self.request(Method::POST, url)
    }

    /// Begins a PUT request.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder<Self> {
        self.request(Method::PUT, url)
    }

    /// Begins a PATCH request.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder<Self> {
        self.request(Method::PATCH, url)
    }

    /// Begins a DELETE request.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder<Self> {
        self.request(Method::DELETE, url)
    }

    /// Begins a HEAD request.
    pub fn head(&self, url: impl IntoUrl) -> RequestBuilder<Self> {
        self.request(Method::HEAD, url)
    }

    /// Sends a request, and follows its redirects; each goes with the identity that is decided for its destination. The response
    /// carries the [`Opened`](crate::connect::Opened) of its destination in its extensions. A body that is a stream is read
    /// once: it is sent after asking, but not to where a redirect with status 307 or 308 leads, which is returned.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        let (limit, mut repeat) = (self.settings.max_redirects, Repeat::new(request));
        for _ in 0..limit {
            let response = self.send(&repeat).await?;
            match redirected(repeat, &response) {
                Some(next) => repeat = next,
                None => return Ok(response),
            }
        }
        let response = self.send(&repeat).await?;
        match redirected(repeat, &response) {
            Some(_) if limit > 0 => Err(Error::TooManyRedirects { limit }),
            _ => Ok(response),
        }
    }

    fn set(settings: Settings) -> Self {
        Self { settings, clients: Arc::default() }
    }

    /// Sends a request to its destination and nowhere else.
    async fn send(&self, repeat: &Repeat) -> Result<Response, Error> {
        let url = repeat.url();
        let proxy = Proxy::of(&self.settings.proxies, url)?;
        if url.scheme() != "https" {
            let request = repeat.request().ok_or_else(|| send_again(url))?;
            return self.plain(proxy).map_err(failed)?.execute(request).await.map_err(failed);
        }
        let destination = destination(url)?;
        let proxy = proxy.map(|proxy| proxy.without_tls(&destination)).transpose()?;
        let target = Target::new(destination);
        let mut drive = Drive::new(Start::Target(target.clone()))?;
        loop {
            let ready = self.settings.connector.ready(drive.look_up()).await?;
            let known = self.client(&target, &ready, proxy.as_ref()).await?;
            let request = repeat.request().ok_or_else(|| send_again(url))?;
            let error = match known.client.execute(request).await {
                Ok(response) => return Ok(self.accepted(&known, response)),
                Err(error) => error,
            };
            let Some(needs) = drive.failed(&error)? else { return Err(self.refused(&known, error).await?) };
            drive.again(self.settings.connector.grant(&ready.prepared, needs).await?);
        }
    }

    /// Records that the server accepted what it was sent, once for a client: reqwest shows nobody its connections.
    fn accepted(&self, known: &Known, mut response: Response) -> Response {
        let opened = known.resolver.opened();
        let is_accepted = opened.selection().is_some() && !Refusal::may_come_with(response.status().as_u16());
        if is_accepted && !known.recorded.swap(true, Ordering::AcqRel) {
            // A history that cannot be written does not make a request fail
            let _ = opened.record(self.settings.connector.selector(), Outcome::Accepted, None);
        }
        response.extensions_mut().insert(opened);
        response
    }

    /// The error, after a refusal was recorded.
    async fn refused(&self, known: &Known, error: ::reqwest::Error) -> Result<Error, Error> {
        let opened = known.resolver.opened();
        opened.ended_by(&error);
        if ended_before_sending(&error) {
            opened.note_hang_up();
        }
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
            self.settings.connector.blocking(record).await?;
        }
        Ok(Error::Request { source: error.into(), opened: Some(opened) })
    }

    /// The client of this resolver, as long as its connections may be reused; else a new one.
    async fn client(&self, target: &Target, ready: &Ready, proxy: Option<&Proxy>) -> Result<Known, Error> {
        let known = self
            .locked()
            .get(target.destination())
            .filter(|known| Arc::ptr_eq(&known.resolver, &ready.resolver))
            .cloned();
        if let Some(known) = known {
            let (opened, target) = (known.resolver.opened(), target.clone());
            if self.settings.connector.blocking(move |selector| opened.may_be_reused(selector, &target)).await? {
                return Ok(known);
            }
        }
        let client = self.build(self.config(ready)?, proxy).map_err(failed)?;
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
        match (ready.resolver.prepared().demands_tls13(), &self.settings.tls13) {
            (Some(_), Some(base)) => Ok(ready.resolver.config(base)),
            (Some(name), None) if self.settings.allows_tls12 => {
                Err(error::Error::DoesNotFit { name: name.to_owned(), reason: Reason::RequiresTls13.text() })
            }
            _ => Ok(ClientConfig::clone(&ready.config)),
        }
    }

    fn plain(&self, proxy: Option<Proxy>) -> ::reqwest::Result<One> {
        let known = || self.clients.plain.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known().get(&proxy).cloned();
        match before {
            Some(plain) => Ok(plain),
            None => {
                let plain = self.build(self.settings.base.clone(), proxy.as_ref())?;
                Ok(known().entry(proxy).or_insert(plain).clone())
            }
        }
    }

    fn build(&self, config: ClientConfig, proxy: Option<&Proxy>) -> ::reqwest::Result<One> {
        let builder = (self.settings.builder)().tls_backend_preconfigured(config);
        let builder = builder.redirect(Policy::none()).no_proxy();
        match proxy {
            Some(proxy) => builder.proxy(proxy.for_reqwest()?).build(),
            None => builder.build(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Destination, Known>> {
        self.clients.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestBuilder<Client> {
    /// Sends the request, as [`Client::execute`] does.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn send(self) -> Result<Response, Error> {
        let client = self.client.clone();
        client.execute(self.build()?).await
    }
}

impl Service<Request> for Client {
    type Response = Response;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        (&*self).call(request)
    }
}

impl Service<Request> for &Client {
    type Response = Response;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let client = Client::clone(self);
        Box::pin(async move { client.execute(request).await })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connector", &self.settings.connector).finish_non_exhaustive()
    }
}

/// Whether the connection ended before the request was sent. Over HTTP/2 that may be all that is left of an alert: hyper drops the
/// error of a connection on which no request is under way yet.
fn ended_before_sending(error: &::reqwest::Error) -> bool {
    causes(error).any(|cause| cause.downcast_ref().is_some_and(hyper::Error::is_canceled))
}

/// The body was read in part.
fn send_again(url: &Url) -> Error {
    destination(url).map_or_else(Error::from, |destination| Error::SendAgain { destination })
}

fn destination(url: &Url) -> Result<Destination, error::Error> {
    Destination::new(
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or(Destination::DEFAULT_PORT),
    )
}
