//! Finding out what a server asks for once it has read a request, without sending it an identity.

use std::sync::Arc;

use cardcase::connect::{self, Opened};
use cardcase::{Selector, Target};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request};
use rustls::ClientConfig;

use crate::app::App;
use crate::cli::{self, Explain, TlsLibrary};
use crate::http::dial::TIMEOUT;
use crate::http::incompatible::{self, Incompatible};
use crate::http::mid_connection::MidConnection;
#[cfg(feature = "openssl")]
use crate::http::openssl;
use crate::http::outcome::Outcomes;
use crate::http::patience::{Patience, Speed, next};
use crate::http::probe::{Look, Seen};
use crate::http::route::{Dialer, H2, HTTP_1_1, Route, connector};
use crate::http::verify;
use crate::ui::failure::{Code, Failure};
use crate::ui::{remedy, say};

/// Bytes of an error page that are searched for what the server says.
const MAX_PAGE: usize = 64 << 10;

/// Sends a request without an identity, and returns what the server asked for until it answered.
///
/// # Errors
/// The server cannot be reached, or asks in a way that the TLS library does not support.
pub(crate) fn ask(app: &App, args: &Explain, target: &Target, config: &ClientConfig) -> Result<Seen, Failure> {
    let method = match args.method.as_deref() {
        Some(method) => Method::from_bytes(method.as_bytes())
            .map_err(|_| Failure::usage(format_args!("-X {method}: not a valid method")))?,
        None => Method::GET,
    };
    let selector = Arc::new(app.selector()?);
    let outcomes = Arc::new(Outcomes::new(selector.clone(), app.mode_flag()));
    let route = cli::Route {
        cacert: args.cacert.clone(),
        connect_to: args.connect.iter().map(|address| format!("::{address}")).collect(),
        // Directly, as without --request
        proxy: Some(String::new()),
    };
    let route = Arc::new(Route::new(&route, config, outcomes, TIMEOUT)?);
    let asking = Asking { app, args, target: target.clone().without_credentials(), config, selector, method, route };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Failed, error))?;
    let limit = match args.tls {
        None => incompatible::limit_of_identity(&asking.selector, target, None)?,
        Some(_) => None,
    };
    runtime.block_on(asking.run(limit))
}

struct Asking<'a> {
    app: &'a App,
    args: &'a Explain,
    target: Target,
    config: &'a ClientConfig,
    selector: Arc<Selector>,
    method: Method,
    route: Arc<Route>,
}

/// The outcome of a request.
struct Sent {
    opened: Option<Opened>,
    error: Option<connect::Error>,
    /// Why OpenSSL is needed to see what the server asks for, and whether the request may be sent again whatever its method.
    needs_openssl: Option<(String, bool)>,
}

impl Asking<'_> {
    async fn run(&self, limit: Option<String>) -> Result<Seen, Failure> {
        if let Some(limit) = limit {
            say::note(format_args!("{limit}; connecting to {} with OpenSSL", self.target.destination()));
            return self.send(true).await?.into_seen(&self.target);
        }
        let demanded = self.args.tls;
        let sent = self.send(demanded == Some(TlsLibrary::Openssl)).await?;
        let Some((what, may_repeat)) = sent.needs_openssl.as_ref().filter(|_| demanded != Some(TlsLibrary::Openssl))
        else {
            return sent.into_seen(&self.target);
        };
        let message = incompatible::unsupported(self.target.destination(), what);
        let may_turn = cfg!(feature = "openssl") && demanded.is_none();
        if !may_turn || !(*may_repeat || self.method.is_idempotent()) {
            return Err(Failure::new(Code::Failed, message).hint(remedy::use_openssl()));
        }
        say::note(format_args!("{message}; connecting again with OpenSSL"));
        self.send(true).await?.into_seen(&self.target)
    }

    /// What the server uses that rustls does not have.
    fn beyond_rustls(&self) -> String {
        let cacert = self.args.cacert.as_deref();
        let roots = || verify::roots(self.app, cacert);
        let (connect, tls) = (self.args.connect.as_deref(), None);
        let look = Look { target: &self.target, connect, config: self.config, roots: &roots, tls, given: None };
        look.by_openssl(&self.selector).map_or_else(|_| incompatible::NOTHING_IN_COMMON.to_owned(), |(_, what)| what)
    }

    async fn send(&self, by_openssl: bool) -> Result<Sent, Failure> {
        let dialer = Dialer::new(self.route.clone(), false, None);
        let activity = dialer.activity().clone();
        let handshake = match by_openssl {
            #[cfg(feature = "openssl")]
            true => openssl::PATIENCE,
            _ => TIMEOUT,
        };
        let by_rustls = Arc::new(connector(self.selector.clone(), self.config, &[H2, HTTP_1_1], TIMEOUT));
        let connector = connect::hyper::Connector::over(by_rustls, dialer).without_history();
        let connector = match by_openssl {
            #[cfg(feature = "openssl")]
            true => {
                let openssl = openssl::connector(
                    self.app,
                    self.selector.clone(),
                    self.args.cacert.as_deref(),
                    &[HTTP_1_1],
                    handshake,
                )?;
                connector.with_openssl(Arc::new(openssl), |_| true)
            }
            _ => connector,
        };
        let url = format!("https://{}{}", self.target.destination(), self.target.path().unwrap_or("/"));
        let request = Request::builder().method(self.method.clone()).uri(&url).header("accept", "*/*");
        let request = request.extension(self.target.clone()).body(Empty::<Bytes>::new());
        let request = request.map_err(|error| Failure::usage(format_args!("{url}: {error}")))?;
        let patience = Patience::new(None, None);
        let client = connect::hyper::Client::with_connector(connector);
        let slow = |impatience| Failure::new(Code::Failed, format_args!("{}: {impatience}", self.target.destination()));
        Ok(match activity.head(patience, handshake, client.request(request)).await.map_err(slow)? {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                let page = start(body, Speed::new(activity, patience)).await;
                let how = MidConnection::from_page(head.status, &String::from_utf8_lossy(&page));
                Sent { opened: head.extensions.remove(), error: None, needs_openssl: how.map(told) }
            }
            Err(error) => {
                let how = MidConnection::from_error(&error, error.opened());
                let is_incompatible = Incompatible::from_error(&error).is_some();
                let nothing_in_common = is_incompatible.then(|| (self.beyond_rustls(), true));
                let (opened, needs_openssl) = (error.opened().cloned(), how.map(told).or(nothing_in_common));
                Sent { opened, error: Some(error), needs_openssl }
            }
        })
    }
}

impl Sent {
    fn into_seen(self, target: &Target) -> Result<Seen, Failure> {
        let opened = self.opened.as_ref();
        let request = opened.and_then(Opened::request);
        let version = opened.and_then(Opened::version).or(request.as_ref().and_then(|request| request.version));
        let mid_connection = opened.is_some_and(Opened::is_mid_connection);
        let unverified = self.error.as_ref().and_then(|error| verify::unverified(target.destination(), error));
        match &self.error {
            // A server that asked may refuse because nothing was sent
            Some(error) if request.is_none() && unverified.is_none() => {
                Err(verify::failed(target.destination(), error))
            }
            _ => Ok(Seen { request, version, unverified, mid_connection }),
        }
    }
}

fn told(how: MidConnection) -> (String, bool) {
    (how.meaning().to_owned(), how.is_unprocessed())
}

/// The start of a page. If the server hangs up or becomes too slow, what has arrived is enough.
async fn start(mut body: Incoming, mut speed: Speed) -> Vec<u8> {
    let mut start = Vec::new();
    while start.len() < MAX_PAGE
        && let Ok(Ok(Some(data))) = speed.next(next(&mut body)).await
    {
        start.extend_from_slice(&data);
    }
    start
}
