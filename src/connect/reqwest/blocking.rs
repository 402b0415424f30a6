//! The same client for programs without a runtime, as reqwest's `blocking` is. The work is done on one thread of this module, which
//! all its clients share.
//!
//! A call blocks its thread, so do not call it from asynchronous code: there it would keep the executor from its other tasks. With
//! debug assertions, reading the body of reqwest's blocking response in asynchronous code panics.
//!
//! # Example
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use cardcase::Selector;
//! # use cardcase::connect::reqwest::blocking::Client;
//! # fn example(selector: Arc<Selector>, config: rustls::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(selector, config);
//! println!("{}", client.get("https://intranet.example.com/").send()?.text()?);
//! # Ok(()) }
//! ```

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use ::reqwest::blocking::Response;
use ::reqwest::{IntoUrl, Method, Request, ResponseBuilderExt};
use ::tokio::runtime::{Builder, Handle};
use hyper::http;
use rustls::ClientConfig;

use super::Client as Async;
use super::builder::RequestBuilder;
use crate::connect::error::Error;
use crate::select::selector::Selector;

/// Sends requests of reqwest to any destination, and waits for the response. Make it [from](From) an asynchronous client to set
/// more than [`new`](Self::new) does.
#[derive(Clone, Debug)]
pub struct Client(Async);

impl From<Async> for Client {
    fn from(client: Async) -> Self {
        Self(client)
    }
}

impl Client {
    /// Like the asynchronous [`Client::new`](Async::new).
    pub fn new(selector: Arc<Selector>, base: ClientConfig) -> Self {
        Self(Async::new(selector, base))
    }

    /// Begins a request with this method. What is wrong with the URL is an error when it is sent.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder<Self> {
        self.0.request(method, url).with_client(self.clone())
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

    /// Sends a request, as the asynchronous [`Client::execute`](Async::execute) does, and waits for the response.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Dial`] if the thread cannot be started.
    pub fn execute(&self, request: Request) -> Result<Response, Error> {
        let (tell, told) = mpsc::channel();
        let client = self.0.clone();
        runtime().map_err(Error::Dial)?.spawn(async move {
            // Nobody waits any more if the thread of the caller has ended
            let _ = tell.send(client.execute(request).await);
        });
        into_blocking(told.recv().map_err(Error::shut_down)??)
    }
}

impl RequestBuilder<Client> {
    /// Sends the request, as [`Client::execute`] does.
    ///
    /// # Errors
    /// [`Error`].
    pub fn send(self) -> Result<Response, Error> {
        let client = self.client.clone();
        client.execute(self.build()?)
    }
}

/// The runtime of all blocking clients, on a thread that lasts as long as the process.
fn runtime() -> io::Result<Handle> {
    static RUNTIME: Mutex<Option<Handle>> = Mutex::new(None);
    let mut running = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*running {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("cardcase reqwest".to_owned()).spawn(run)?;
    Ok(running.insert(handle).clone())
}

fn into_blocking(response: ::reqwest::Response) -> Result<Response, Error> {
    let url = response.url().clone();
    let (parts, body) = http::Response::from(response).into_parts();
    let mut builder = http::Response::builder().status(parts.status).version(parts.version).url(url);
    if let Some(headers) = builder.headers_mut() {
        *headers = parts.headers;
    }
    if let Some(extensions) = builder.extensions_mut() {
        extensions.extend(parts.extensions);
    }
    let response = builder.body(body).map_err(|error| Error::Request { source: error.into(), opened: None })?;
    Ok(Response::from(response))
}
